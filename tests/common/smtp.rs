//! A plain SMTP client that says what it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Client {
    read: BufReader<TcpStream>,
    write: TcpStream,
}

impl Client {
    /// Connects and reads the greeting.
    pub fn connect(address: SocketAddr) -> std::io::Result<Client> {
        let write = TcpStream::connect(address)?;
        write.set_read_timeout(Some(super::PATIENCE))?;
        write.set_nodelay(true)?;
        let mut client = Client { read: BufReader::new(write.try_clone()?), write };
        client.reply()?;
        Ok(client)
    }

    /// Sends octets and reads one reply.
    pub fn say(&mut self, text: &str) -> std::io::Result<String> {
        self.write.write_all(text.as_bytes())?;
        self.write.write_all(b"\r\n")?;
        self.reply()
    }

    pub fn reply(&mut self) -> std::io::Result<String> {
        let mut all = String::new();
        loop {
            let mut line = String::new();
            if self.read.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let more = line.as_bytes().get(3) == Some(&b'-');
            all.push_str(&line);
            if !more {
                return Ok(all);
            }
        }
    }

    /// One transaction; the final reply, or the one that ended it.
    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) -> std::io::Result<String> {
        let mut reply = self.say(&format!("MAIL FROM:<{from}>"))?;
        for to in to {
            if reply.starts_with('2') {
                reply = self.say(&format!("RCPT TO:<{to}>"))?;
            }
        }
        if !reply.starts_with('2') {
            return Ok(reply);
        }
        reply = self.say("DATA")?;
        if !reply.starts_with('3') {
            return Ok(reply);
        }
        let mut data = Vec::with_capacity(message.len() + 8);
        for line in message.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                data.push(b'.');
            }
            data.extend_from_slice(line);
        }
        if !data.is_empty() && !data.ends_with(b"\r\n") {
            data.extend_from_slice(b"\r\n");
        }
        data.extend_from_slice(b".\r\n");
        self.write.write_all(&data)?;
        self.reply()
    }
}

/// One mail over one connection; the final reply.
pub fn send(address: SocketAddr, from: &str, to: &[&str], message: &str) -> String {
    let mut client = Client::connect(address).unwrap();
    client.say("EHLO news.test").unwrap();
    client.send(from, to, message.as_bytes()).unwrap()
}

/// The trace id of a 250 reply.
pub fn trace_of(reply: &str) -> String {
    let word = reply.split_whitespace().find(|w| {
        let bare = w.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        bare.len() == 26 && bare.bytes().all(|b| b.is_ascii_alphanumeric())
    });
    let word = word.unwrap_or_else(|| panic!("no trace id in {reply:?}"));
    word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
}
