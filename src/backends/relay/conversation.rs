//! One connection: lines out, replies in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Octets of one reply at most, all its lines.
const MOST_REPLY: usize = 64 << 10;

/// What is under the conversation.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A reply: its code and its text on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub code: u16,
    /// Code and text of the lines, joined by a space.
    pub text: String,
    /// The lines without code, for EHLO.
    pub lines: Vec<String>,
}

impl Reply {
    pub(super) fn is_fine(&self) -> bool {
        self.code / 100 == 2
    }
}

/// A connection to a server.
pub(super) struct Conversation {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    used: usize,
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no answer in time")
}

impl Conversation {
    pub(super) async fn connect(address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let stream = timeout(patience, TcpStream::connect(address)).await.map_err(|_| late())??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub(super) fn over(stream: Box<dyn Stream>) -> Conversation {
        Conversation { stream, buffer: Vec::with_capacity(1024), used: 0 }
    }

    /// Gives the stream back, for TLS. What the server said beyond its last reply is thrown away.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Sends octets, piece by piece without joining them.
    pub(super) async fn send(&mut self, pieces: &[&[u8]], patience: Duration) -> io::Result<()> {
        let write = async {
            let total: usize = pieces.iter().map(|p| p.len()).sum();
            let mut done = 0;
            while done < total {
                let slices = rest(pieces, done);
                let count = self.stream.write_vectored(&slices).await?;
                if count == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                done += count;
            }
            self.stream.flush().await
        };
        timeout(patience, write).await.map_err(|_| late())?
    }

    /// Reads one reply.
    pub(super) async fn reply(&mut self, patience: Duration) -> io::Result<Reply> {
        timeout(patience, self.reply_now()).await.map_err(|_| late())?
    }

    async fn reply_now(&mut self) -> io::Result<Reply> {
        let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let code = line.get(..3).and_then(|c| c.parse::<u16>().ok()).filter(|c| (200..600).contains(c));
            let code = code.ok_or_else(|| bad("the server does not speak SMTP"))?;
            let more = line.as_bytes().get(3) == Some(&b'-');
            lines.push(line.get(4..).unwrap_or_default().to_owned());
            if lines.iter().map(String::len).sum::<usize>() > MOST_REPLY {
                return Err(bad("the reply does not end"));
            }
            if !more {
                let text = format!("{code} {}", lines.join(" "));
                return Ok(Reply { code, text: text.trim_end().to_owned(), lines });
            }
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = memchr_line(&self.buffer[self.used..]) {
                let line =
                    String::from_utf8_lossy(&self.buffer[self.used..self.used + at]).trim_end().to_owned();
                self.used += at + 1;
                if self.used == self.buffer.len() {
                    self.buffer.clear();
                    self.used = 0;
                }
                return Ok(line);
            }
            if self.buffer.len() - self.used > MOST_REPLY {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the reply does not end"));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

fn memchr_line(octets: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', octets)
}

/// The pieces without their first `done` octets.
fn rest<'p>(pieces: &[&'p [u8]], mut done: usize) -> Vec<io::IoSlice<'p>> {
    let mut out = Vec::with_capacity(pieces.len());
    for piece in pieces {
        if done >= piece.len() {
            done -= piece.len();
            continue;
        }
        out.push(io::IoSlice::new(&piece[done..]));
        done = 0;
    }
    out
}
