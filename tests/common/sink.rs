//! The sink: a real SMTP server that keeps what it gets and misbehaves when told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A message as delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    pub from: String,
    pub to: Vec<String>,
    pub octets: Vec<u8>,
}

impl Delivered {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.octets).into_owned()
    }

    /// What stands after the header block.
    pub fn body(&self) -> Vec<u8> {
        let at = self.octets.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(self.octets.len() - 4);
        self.octets[at + 4..].to_vec()
    }
}

/// What the sink does with messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Take,
    Later,
    Refuse,
    Close,
}

pub struct Sink {
    pub address: SocketAddr,
    delivered: Arc<Mutex<Vec<Delivered>>>,
    manner: Arc<Mutex<Manner>>,
}

impl Sink {
    pub fn start() -> Sink {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let delivered: Arc<Mutex<Vec<Delivered>>> = Arc::default();
        let manner = Arc::new(Mutex::new(Manner::Take));
        let (kept, mood) = (delivered.clone(), manner.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, mood) = (kept.clone(), mood.clone());
                std::thread::spawn(move || session(stream, &kept, &mood));
            }
        });
        Sink { address, delivered, manner }
    }

    pub fn set(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    pub fn all(&self) -> Vec<Delivered> {
        self.delivered.lock().unwrap().clone()
    }

    /// Waits for at least `count` messages.
    pub fn wait(&self, count: usize) -> Vec<Delivered> {
        super::wait_for(&format!("{count} delivered mails"), || {
            let all = self.all();
            (all.len() >= count).then_some(all)
        })
    }

    /// Waits for a message that contains this.
    pub fn wait_for(&self, part: &str) -> Delivered {
        super::wait_for(&format!("a mail with {part}"), || {
            self.all().into_iter().find(|m| m.text().contains(part))
        })
    }
}

fn session(stream: TcpStream, kept: &Mutex<Vec<Delivered>>, manner: &Mutex<Manner>) -> Option<()> {
    let mut write = stream.try_clone().ok()?;
    let mut read = BufReader::new(stream);
    write.write_all(b"220 sink ESMTP\r\n").ok()?;
    let (mut from, mut to) = (String::new(), Vec::new());
    loop {
        let mut line = String::new();
        if read.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let address = || line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let reply = match verb.as_str() {
            "EHLO" => "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n".to_owned(),
            "MAIL" => {
                from = address();
                to.clear();
                "250 fine\r\n".to_owned()
            }
            "RCPT" => {
                to.push(address());
                "250 fine\r\n".to_owned()
            }
            "DATA" => {
                write.write_all(b"354 go\r\n").ok()?;
                if *manner.lock().unwrap() == Manner::Close {
                    return None;
                }
                let octets = data(&mut read)?;
                match *manner.lock().unwrap() {
                    Manner::Later => "451 4.3.0 later\r\n".to_owned(),
                    Manner::Refuse => "554 5.7.1 never\r\n".to_owned(),
                    _ => {
                        let mail = Delivered { from: from.clone(), to: to.clone(), octets };
                        kept.lock().unwrap().push(mail);
                        "250 2.0.0 taken\r\n".to_owned()
                    }
                }
            }
            "QUIT" => {
                write.write_all(b"221 bye\r\n").ok()?;
                return None;
            }
            _ => "250 fine\r\n".to_owned(),
        };
        write.write_all(reply.as_bytes()).ok()?;
    }
}

fn data(read: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    loop {
        let mut line = Vec::new();
        if read.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if line == b".\r\n" {
            return Some(octets);
        }
        octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
