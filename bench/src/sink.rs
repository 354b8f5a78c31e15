//! The sink: an SMTP server that confirms everything, or misbehaves on purpose.

use crate::tally::Tally;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How the sink behaves; can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[repr(u8)]
pub enum Manner {
    /// 250 to everything.
    Ok = 0,
    /// 451 to every message.
    Later = 1,
    /// 450 to every recipient.
    RcptLater = 2,
    /// Closes in mid-DATA.
    Close = 3,
    /// Every third message gets 451.
    Flaky = 4,
}

/// The current manner, shared with whoever changes it.
#[derive(Debug, Default)]
pub struct Mood(AtomicU8);

impl Mood {
    /// Behaves like this from now on.
    pub fn set(&self, manner: Manner) {
        self.0.store(manner as u8, Relaxed);
    }

    fn is(&self, manner: Manner) -> bool {
        self.0.load(Relaxed) == manner as u8
    }
}

/// Serves until the process ends.
pub async fn serve(listener: TcpListener, tally: Arc<Tally>, mood: Arc<Mood>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (tally, mood) = (tally.clone(), mood.clone());
        tokio::spawn(async move {
            let _closed = session(stream, &tally, &mood).await;
        });
    }
}

async fn session(mut stream: TcpStream, tally: &Tally, mood: &Mood) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(b"220 sink ESMTP\r\n").await?;
    let mut buffer: Vec<u8> = Vec::with_capacity(128 << 10);
    let mut messages = 0_usize;
    loop {
        let Some(end) = crate::mail::find(&buffer, b"\r\n") else {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let line: Vec<u8> = buffer.drain(..end + 2).collect();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let more = crate::mail::find(&buffer, b"\r\n").is_some();
        let reply: &[u8] = match verb.as_slice() {
            b"EHLO" => {
                b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 104857600\r\n"
            }
            b"RCPT" if mood.is(Manner::RcptLater) => b"450 4.2.1 later\r\n",
            b"QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            b"DATA" if mood.is(Manner::Close) => {
                stream.write_all(b"354 go\r\n").await?;
                let _some = stream.read_buf(&mut buffer).await?;
                return Ok(());
            }
            b"DATA" if mood.is(Manner::RcptLater) => b"554 no recipients\r\n",
            b"DATA" => {
                stream.write_all(b"354 go\r\n").await?;
                let Some(message) = message(&mut stream, &mut buffer).await? else { return Ok(()) };
                messages += 1;
                if mood.is(Manner::Later) || (mood.is(Manner::Flaky) && messages.is_multiple_of(3)) {
                    b"451 4.3.0 later\r\n"
                } else {
                    tally.arrived(&message);
                    b"250 2.0.0 taken\r\n"
                }
            }
            _ => b"250 2.0.0 fine\r\n",
        };
        stream.write_all(reply).await?;
        if more {
            continue;
        }
    }
}

/// Reads up to the end of data; dot-stuffing undone. `None` when the peer closed before.
async fn message(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<Vec<u8>>> {
    let mut from = 0;
    loop {
        let begins = buffer.starts_with(b".\r\n");
        let end = if begins {
            Some(0)
        } else {
            crate::mail::find(&buffer[from..], b"\r\n.\r\n").map(|at| from + at)
        };
        if let Some(end) = end {
            let length = if begins { 3 } else { end + 5 };
            let raw: Vec<u8> = buffer.drain(..length).collect();
            let body = &raw[..if begins { 0 } else { end + 2 }];
            return Ok(Some(unstuffed(body)));
        }
        from = buffer.len().saturating_sub(4);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn unstuffed(body: &[u8]) -> Vec<u8> {
    if !body.starts_with(b".") && crate::mail::find(body, b"\r\n.").is_none() {
        return body.to_vec();
    }
    let mut out = Vec::with_capacity(body.len());
    let mut line_start = true;
    for byte in body {
        if !(line_start && *byte == b'.') {
            out.push(*byte);
        }
        line_start = *byte == b'\n';
    }
    out
}
