//! The SMTP and LMTP client over one connection.

use super::Options;
use super::conversation::{Conversation, Reply};
use super::tls;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;
use tidegate_actors::deliver::relay::{Job, Outcome};

/// What the server said it can.
#[derive(Clone, Copy, Debug, Default)]
struct Offers {
    pipelining: bool,
    size: Option<u64>,
    eight_bit: bool,
    smtputf8: bool,
    dsn: bool,
    starttls: bool,
}

/// A connection that has been greeted.
pub(super) struct Session {
    talk: Conversation,
    offers: Offers,
    lmtp: bool,
    mails: u32,
    pub(super) used: Instant,
}

/// Why a job got no outcomes.
pub(super) enum Broken {
    /// The connection ended before anything was said on it: another one may do.
    Stale,
    /// It ended later; the recipients are deferred with this.
    Late(String),
}

impl Session {
    /// Connects, greets, turns TLS on when offered. A failed handshake is tried again in the clear.
    pub(super) async fn open(address: SocketAddr, lmtp: bool, options: &Options) -> io::Result<Session> {
        let connector = if options.starttls { tls::connector() } else { None };
        match Session::open_with(address, lmtp, options, connector.as_ref()).await {
            Err(error) if connector.is_some() && error.kind() == io::ErrorKind::InvalidData => {
                Session::open_with(address, lmtp, options, None).await
            }
            other => other,
        }
    }

    async fn open_with(
        address: SocketAddr,
        lmtp: bool,
        options: &Options,
        connector: Option<&tokio_rustls::TlsConnector>,
    ) -> io::Result<Session> {
        let stream = Conversation::connect(address, options.connect_timeout).await?;
        let mut talk = Conversation::over(Box::new(stream));
        let greeting = talk.reply(options.command_timeout).await?;
        if !greeting.is_fine() {
            return Err(io::Error::other(greeting.text));
        }
        let mut offers = hello(&mut talk, lmtp, options).await?;
        if let Some(connector) = connector.filter(|_| offers.starttls) {
            talk.send(&[b"STARTTLS\r\n"], options.command_timeout).await?;
            if talk.reply(options.command_timeout).await?.is_fine() {
                let secure = tls::handshake(connector, talk.into_stream(), address.ip());
                let secure = tokio::time::timeout(options.connect_timeout, secure).await;
                let wrong = || io::Error::new(io::ErrorKind::InvalidData, "TLS handshake");
                talk = Conversation::over(secure.map_err(|_| wrong())?.map_err(|_| wrong())?);
                offers = hello(&mut talk, lmtp, options).await?;
            }
        }
        Ok(Session { talk, offers, lmtp, mails: 0, used: Instant::now() })
    }

    /// Whether it may take one more mail.
    pub(super) fn is_fresh(&self, options: &Options) -> bool {
        self.mails < options.mails_per_connection && self.used.elapsed() < options.idle
    }

    /// Sends one job. `Ok` leaves the connection ready for the next when the flag is true.
    pub(super) async fn send(
        &mut self,
        job: &Job,
        options: &Options,
    ) -> Result<(Vec<Outcome>, bool), Broken> {
        self.mails += 1;
        if let Some(outcome) = self.unfit(job) {
            return Ok((vec![outcome; job.recipients.len()], true));
        }
        let told = match self.envelope(job, options).await {
            Ok(told) => told,
            Err((true, _)) => return Err(Broken::Stale),
            Err((false, error)) => return Err(Broken::Late(format!("451 4.4.2 {error}"))),
        };
        let late = |error: io::Error| Broken::Late(format!("451 4.4.2 {error}"));
        let outcome = self.finish(job, told, options).await.map_err(late);
        self.used = Instant::now();
        outcome
    }

    /// What this server cannot take at all.
    fn unfit(&self, job: &Job) -> Option<Outcome> {
        let needs_utf8 =
            job.smtputf8 && (!job.sender.is_ascii() || job.recipients.iter().any(|r| !r.address.is_ascii()));
        if needs_utf8 && !self.offers.smtputf8 {
            return Some(Outcome::Failed("550 5.6.7 The next hop does not take UTF-8 addresses".into()));
        }
        let size = (job.header.len() + job.body.len()) as u64;
        match self.offers.size {
            Some(most) if most > 0 && size > most => {
                Some(Outcome::Failed(format!("552 5.3.4 The next hop takes no more than {most} octets")))
            }
            _ => None,
        }
    }

    fn commands(&self, job: &Job) -> Vec<String> {
        let mut mail = format!("MAIL FROM:<{}>", job.sender);
        if self.offers.size.is_some() {
            mail.push_str(&format!(" SIZE={}", job.header.len() + job.body.len()));
        }
        if job.eight_bit && self.offers.eight_bit {
            mail.push_str(" BODY=8BITMIME");
        }
        if job.smtputf8 && self.offers.smtputf8 {
            mail.push_str(" SMTPUTF8");
        }
        if self.offers.dsn {
            for (name, value) in [("RET", &job.ret), ("ENVID", &job.envid)] {
                if !value.is_empty() {
                    mail.push_str(&format!(" {name}={value}"));
                }
            }
        }
        let mut all = vec![mail];
        for recipient in &job.recipients {
            let mut rcpt = format!("RCPT TO:<{}>", recipient.address);
            if self.offers.dsn {
                for (name, value) in [("NOTIFY", &recipient.notify), ("ORCPT", &recipient.orcpt)] {
                    if !value.is_empty() {
                        rcpt.push_str(&format!(" {name}={value}"));
                    }
                }
            }
            all.push(rcpt);
        }
        all.push("DATA".into());
        all
    }

    /// MAIL, RCPT, DATA: their replies. The error says whether nothing at all was answered.
    async fn envelope(&mut self, job: &Job, options: &Options) -> Result<Vec<Reply>, (bool, io::Error)> {
        let commands = self.commands(job);
        let mut replies: Vec<Reply> = Vec::with_capacity(commands.len());
        if self.offers.pipelining {
            let group = commands.join("\r\n") + "\r\n";
            self.talk.send(&[group.as_bytes()], options.command_timeout).await.map_err(|e| (true, e))?;
        }
        for (index, command) in commands.iter().enumerate() {
            let nothing = replies.is_empty();
            if !self.offers.pipelining {
                // Without a sender or a recipient that was taken, DATA would be refused anyway.
                let last = index + 1 == commands.len();
                let refused = replies.first().is_some_and(|r| !r.is_fine());
                if refused || (last && !replies[1..].iter().any(Reply::is_fine)) {
                    replies.push(Reply { code: 503, text: "503 5.5.1 Not sent".into(), lines: Vec::new() });
                    continue;
                }
                let line = format!("{command}\r\n");
                self.talk
                    .send(&[line.as_bytes()], options.command_timeout)
                    .await
                    .map_err(|e| (nothing, e))?;
            }
            replies.push(self.talk.reply(options.command_timeout).await.map_err(|e| (nothing, e))?);
        }
        Ok(replies)
    }

    async fn finish(
        &mut self,
        job: &Job,
        told: Vec<Reply>,
        options: &Options,
    ) -> io::Result<(Vec<Outcome>, bool)> {
        let (mail, rest) = told.split_first().ok_or(io::ErrorKind::InvalidData)?;
        let (data, rcpts) = rest.split_last().ok_or(io::ErrorKind::InvalidData)?;
        let closing = told.iter().any(|r| r.code == 421);
        let taken = if mail.is_fine() { rcpts.iter().filter(|r| r.is_fine()).count() } else { 0 };
        let mut outcomes: Vec<Outcome> =
            rcpts.iter().map(|reply| if mail.is_fine() { of_reply(reply) } else { of_reply(mail) }).collect();
        if data.code != 354 {
            for (outcome, _) in
                outcomes.iter_mut().zip(rcpts).filter(|(o, _)| matches!(o, Outcome::Delivered { .. }))
            {
                *outcome = of_reply(data);
            }
            let ready = !closing && self.reset(options).await.is_ok();
            return Ok((outcomes, ready));
        }
        if taken == 0 {
            // The server wants a message for nobody (RFC 2920, 3.1): an empty one ends it.
            self.talk.send(&[b".\r\n"], options.command_timeout).await?;
            let _whatever = self.talk.reply(options.command_timeout).await?;
            return Ok((outcomes, !closing));
        }
        self.message(job, options).await?;
        let mut single = None;
        for outcome in outcomes.iter_mut().filter(|o| matches!(o, Outcome::Delivered { .. })) {
            // LMTP answers once for each recipient taken, SMTP once for all.
            let reply = match &single {
                Some(reply) if !self.lmtp => Reply::clone(reply),
                _ => self.talk.reply(options.data_timeout).await?,
            };
            *outcome = with_dsn(of_reply(&reply), self.offers.dsn);
            single = Some(reply);
        }
        let closing = closing || single.is_some_and(|r| r.code == 421);
        Ok((outcomes, !closing))
    }

    async fn reset(&mut self, options: &Options) -> io::Result<()> {
        self.talk.send(&[b"RSET\r\n"], options.command_timeout).await?;
        let reply = self.talk.reply(options.command_timeout).await?;
        if reply.is_fine() { Ok(()) } else { Err(io::Error::other(reply.text)) }
    }

    /// The message with its dots, and the final one. Most messages have no line that begins with a dot and are
    /// sent from where they lie.
    async fn message(&mut self, job: &Job, options: &Options) -> io::Result<()> {
        let ends = job.body.ends_with(b"\r\n") || job.body.is_empty();
        let end: &[u8] = if ends { b".\r\n" } else { b"\r\n.\r\n" };
        let header = stuffed(&job.header);
        let body = stuffed(&job.body);
        let header: &[u8] = header.as_deref().unwrap_or(&job.header);
        let body: &[u8] = body.as_deref().unwrap_or(&job.body);
        self.talk.send(&[header, body, end], options.data_timeout).await
    }
}

async fn hello(talk: &mut Conversation, lmtp: bool, options: &Options) -> io::Result<Offers> {
    let verb = if lmtp { "LHLO" } else { "EHLO" };
    talk.send(&[format!("{verb} {}\r\n", options.hostname).as_bytes()], options.command_timeout).await?;
    let reply = talk.reply(options.command_timeout).await?;
    if reply.is_fine() {
        return Ok(offers(&reply));
    }
    if lmtp || reply.code == 421 {
        return Err(io::Error::other(reply.text));
    }
    talk.send(&[format!("HELO {}\r\n", options.hostname).as_bytes()], options.command_timeout).await?;
    let reply = talk.reply(options.command_timeout).await?;
    if reply.is_fine() { Ok(Offers::default()) } else { Err(io::Error::other(reply.text)) }
}

fn offers(reply: &Reply) -> Offers {
    let mut offers = Offers::default();
    for line in reply.lines.iter().skip(1) {
        let mut words = line.split_whitespace();
        match words.next().map(str::to_ascii_uppercase).as_deref() {
            Some("PIPELINING") => offers.pipelining = true,
            Some("SIZE") => offers.size = Some(words.next().and_then(|w| w.parse().ok()).unwrap_or(0)),
            Some("8BITMIME") => offers.eight_bit = true,
            Some("SMTPUTF8") => offers.smtputf8 = true,
            Some("DSN") => offers.dsn = true,
            Some("STARTTLS") => offers.starttls = true,
            _ => {}
        }
    }
    offers
}

fn of_reply(reply: &Reply) -> Outcome {
    match reply.code / 100 {
        2 => Outcome::Delivered { reply: reply.text.clone(), dsn: false },
        5 => Outcome::Failed(reply.text.clone()),
        _ => Outcome::Deferred(reply.text.clone()),
    }
}

fn with_dsn(outcome: Outcome, offered: bool) -> Outcome {
    match outcome {
        Outcome::Delivered { reply, .. } => Outcome::Delivered { reply, dsn: offered },
        other => other,
    }
}

/// The octets with a dot more before each line that begins with one; `None` when there is no such line.
fn stuffed(octets: &[u8]) -> Option<Vec<u8>> {
    let finder = |from: &[u8]| from.windows(2).position(|w| w == b"\n.");
    if !octets.starts_with(b".") && !has_dotted_line(octets) {
        return None;
    }
    let mut out = Vec::with_capacity(octets.len() + 64);
    let mut rest = octets;
    if rest.starts_with(b".") {
        out.push(b'.');
    }
    while let Some(at) = finder(rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(b'.');
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

fn has_dotted_line(octets: &[u8]) -> bool {
    memchr::memmem::find(octets, b"\n.").is_some()
}
