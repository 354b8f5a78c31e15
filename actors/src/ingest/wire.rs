//! The octets of a session: lines in, replies out, TLS underneath or not.
//!
//! Replies are kept until the server has to wait for the client, so that a pipelined group gets one write.

use bytes::{Bytes, BytesMut};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// Room for a read; a newsletter comes in one.
const CHUNK: usize = 64 << 10;

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// In mid-handshake.
    Gone,
}

/// A line, or why there is none.
#[derive(Debug)]
pub(super) enum Line {
    /// Without its CRLF.
    Text(String),
    /// Ended in LF alone, held a bare CR or NUL, or was not UTF-8.
    Malformed,
    /// Longer than allowed; it has been read to its end.
    TooLong,
}

/// Why the session cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The client said nothing for too long.
    #[error("timeout")]
    Timeout,
    /// The client closed.
    #[error("closed")]
    Closed,
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// One connection.
pub(super) struct Wire {
    stream: Stream,
    /// What was read and not yet used.
    pub(super) buffer: BytesMut,
    out: Vec<u8>,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> Wire {
        Wire { stream: Stream::Plain(stream), buffer: BytesMut::new(), out: Vec::new() }
    }

    /// Keeps a reply for the next flush.
    pub(super) fn reply(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
        self.out.extend_from_slice(b"\r\n");
    }

    /// Writes what was kept.
    pub(super) async fn flush(&mut self, patience: Duration) -> Result<(), WireError> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        let write = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.write_all(&out).await,
                Stream::Tls(stream) => {
                    stream.write_all(&out).await?;
                    stream.flush().await
                }
                Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        timeout(patience, write).await.map_err(|_| WireError::Timeout)??;
        Ok(())
    }

    /// Reads some more octets.
    pub(super) async fn fill(&mut self, patience: Duration) -> Result<(), WireError> {
        self.flush(patience).await?;
        self.buffer.reserve(CHUNK);
        let read = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.read_buf(&mut self.buffer).await,
                Stream::Tls(stream) => stream.read_buf(&mut self.buffer).await,
                Stream::Gone => Err(io::ErrorKind::NotConnected.into()),
            }
        };
        match timeout(patience, read).await {
            Err(_) => Err(WireError::Timeout),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(0)) => Err(WireError::Closed),
            Ok(Ok(_)) => Ok(()),
        }
    }

    /// Reads one line of at most `max` octets, within `patience` in all.
    pub(super) async fn line(&mut self, max: usize, patience: Duration) -> Result<Line, WireError> {
        match timeout(patience, self.line_within(max, patience)).await {
            Ok(line) => line,
            Err(_) => Err(WireError::Timeout),
        }
    }

    async fn line_within(&mut self, max: usize, patience: Duration) -> Result<Line, WireError> {
        let mut too_long = false;
        let mut seen = 0;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[seen..]).map(|at| seen + at) {
                let line = self.buffer.split_to(at + 1);
                return Ok(if too_long || line.len() > max { Line::TooLong } else { text_of(&line) });
            }
            seen = self.buffer.len();
            if seen > max {
                too_long = true;
                self.buffer.clear();
                seen = 0;
            }
            self.fill(patience).await?;
        }
    }

    /// Takes exactly so many octets.
    pub(super) async fn exactly(&mut self, count: usize, patience: Duration) -> Result<Bytes, WireError> {
        while self.buffer.len() < count {
            self.fill(patience).await?;
        }
        Ok(self.buffer.split_to(count).freeze())
    }

    /// Reads and throws away so many octets.
    pub(super) async fn skip(&mut self, mut count: usize, patience: Duration) -> Result<(), WireError> {
        loop {
            let here = count.min(self.buffer.len());
            let _thrown = self.buffer.split_to(here);
            count -= here;
            if count == 0 {
                return Ok(());
            }
            self.fill(patience).await?;
        }
    }

    /// Becomes the server's end of TLS. What the client sent before is thrown away: it was sent in the clear and
    /// must not be taken for something said inside (command injection).
    pub(super) async fn start_tls(
        &mut self,
        acceptor: &tokio_rustls::TlsAcceptor,
        patience: Duration,
    ) -> Result<String, WireError> {
        self.flush(patience).await?;
        self.buffer.clear();
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Gone) else {
            return Err(WireError::Closed);
        };
        let tls = timeout(patience, acceptor.accept(stream)).await.map_err(|_| WireError::Timeout)??;
        let (_, session) = tls.get_ref();
        let version = session.protocol_version().map_or("TLS".into(), |v| format!("{v:?}").replace('_', "."));
        let cipher = session.negotiated_cipher_suite().map_or(String::new(), |c| format!("{:?}", c.suite()));
        self.stream = Stream::Tls(Box::new(tls));
        Ok(format!("{version} {cipher}"))
    }

    /// Says goodbye to the connection.
    pub(super) async fn close(mut self) {
        let _told = self.flush(Duration::from_secs(5)).await;
        let bye = async {
            match &mut self.stream {
                Stream::Plain(stream) => stream.shutdown().await,
                Stream::Tls(stream) => stream.shutdown().await,
                Stream::Gone => Ok(()),
            }
        };
        let _closed = timeout(Duration::from_secs(5), bye).await;
    }
}

fn text_of(line: &[u8]) -> Line {
    let Some(bare) = line.strip_suffix(b"\r\n") else { return Line::Malformed };
    if memchr::memchr2(b'\r', 0, bare).is_some() {
        return Line::Malformed;
    }
    match std::str::from_utf8(bare) {
        Ok(text) => Line::Text(text.to_owned()),
        Err(_) => Line::Malformed,
    }
}
