//! The source: connections that send mail after mail, as fast as they are answered or at a given rate.

use crate::mail::Maker;
use crate::tally::Tally;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// What to send, where, how fast.
#[derive(Clone)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// The mails.
    pub maker: Arc<Maker>,
    /// Mails a second over all connections; 0 = as fast as answered.
    pub rate: f64,
    /// Stop sending then.
    pub until: Instant,
    /// A mail that was refused or whose connection broke is sent again (under its own number).
    pub persistent: bool,
}

/// Sends until the tally has no more numbers or time is up. A broken connection is opened again.
pub async fn run(plan: Plan, tally: Arc<Tally>, started: Instant) {
    while Instant::now() < plan.until {
        match session(&plan, &tally, started).await {
            Ok(()) => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn session(plan: &Plan, tally: &Tally, started: Instant) -> std::io::Result<()> {
    let stream = TcpStream::connect(plan.target).await?;
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let mut talk = Talk { read: BufReader::new(read), write, line: String::new() };
    talk.expect().await?;
    talk.write.write_all(b"EHLO storm.example.net\r\n").await?;
    talk.expect().await?;
    let envelope = format!("MAIL FROM:<{}>\r\nRCPT TO:<{}>\r\nDATA\r\n", plan.maker.from, plan.maker.to);
    while Instant::now() < plan.until {
        let Some(number) = tally.take() else { break };
        if plan.rate > 0.0 {
            let due = started + Duration::from_secs_f64(number as f64 / plan.rate);
            tokio::time::sleep_until(due.into()).await;
        }
        loop {
            let sent =
                talk.one(envelope.as_bytes(), &plan.maker.message(number), || tally.sent(number)).await;
            let code = match sent {
                Ok(code) => code,
                Err(error) => {
                    tally.answered(number, 0);
                    return Err(error);
                }
            };
            tally.answered(number, code);
            if code / 100 == 2 || !plan.persistent || Instant::now() >= plan.until {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    talk.write.write_all(b"QUIT\r\n").await
}

/// One connection.
struct Talk {
    read: BufReader<tokio::net::tcp::OwnedReadHalf>,
    write: tokio::net::tcp::OwnedWriteHalf,
    line: String,
}

impl Talk {
    /// One transaction; the code that decided it. `sending` is called when the message goes out.
    async fn one(&mut self, envelope: &[u8], message: &[u8], sending: impl FnOnce()) -> std::io::Result<u16> {
        self.write.write_all(envelope).await?;
        let mut worst = 0;
        for _ in 0..3 {
            worst = worst.max(self.expect().await?);
        }
        if worst != 354 {
            self.write.write_all(b"RSET\r\n").await?;
            self.expect().await?;
            return Ok(worst);
        }
        sending();
        let mut data = Vec::with_capacity(message.len() + 3);
        data.extend_from_slice(message);
        data.extend_from_slice(b".\r\n");
        self.write.write_all(&data).await?;
        self.expect().await
    }

    /// Reads one reply, all its lines.
    async fn expect(&mut self) -> std::io::Result<u16> {
        loop {
            self.line.clear();
            if self.read.read_line(&mut self.line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if self.line.as_bytes().get(3) != Some(&b'-') {
                let code = self.line.get(..3).and_then(|c| c.parse().ok());
                return code.ok_or_else(|| std::io::ErrorKind::InvalidData.into());
            }
        }
    }
}
