//! One session: the dialogue, its order and its limits. What a mail needs to be taken is in `transaction`.

mod envelope;
mod transaction;

use super::command::{self, Command};
use super::server::Server;
use super::wire::{Line, Wire, WireError};
use super::{Mode, auth};
use envelope::Envelope;
use std::net::IpAddr;
use std::sync::Arc;
use tidegate_schemas::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use transaction::Facts;

/// What the dialogue does after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

/// One client's session.
pub(super) struct Session {
    server: Arc<Server>,
    wire: Wire,
    /// Address of the client, from PROXY or XCLIENT where a trusted peer said so.
    ip: IpAddr,
    /// Address of the connection.
    peer: IpAddr,
    client: Client,
    greeted: bool,
    envelope: Option<Envelope>,
    facts: Option<JoinHandle<Facts>>,
    known: Option<Arc<Facts>>,
    waited: bool,
    errors: u32,
    failed_logins: u32,
    transactions: u32,
    refusals_told: u32,
}

impl Session {
    pub(super) fn new(server: Arc<Server>, wire: Wire, ip: IpAddr, peer: IpAddr) -> Session {
        let client = Client { ip: ip.to_string(), ..Client::default() };
        let mut session = Session {
            server,
            wire,
            ip,
            peer,
            client,
            greeted: false,
            envelope: None,
            facts: None,
            known: None,
            waited: false,
            errors: 0,
            failed_logins: 0,
            transactions: 0,
            refusals_told: 0,
        };
        session.look_up();
        session
    }

    /// The whole dialogue.
    pub(super) async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), WireError> {
        let limits = self.server.settings.limits.clone();
        if self.server.settings.implicit_tls {
            self.handshake().await?;
        }
        if !self.greet().await? {
            return Ok(());
        }
        loop {
            let line = tokio::select! {
                biased;
                line = self.wire.line(limits.max_line, limits.command_timeout) => line,
                _ = stop.wait_for(|stop| *stop) => {
                    self.say("421 4.3.2 Shutting down, try again later");
                    return Ok(());
                }
            };
            let parsed = match line {
                Ok(Line::Text(line)) => command::parse(&line),
                Ok(Line::Malformed) => {
                    Err("500 5.5.2 Lines end in CRLF and hold no other control characters")
                }
                Ok(Line::TooLong) => Err("500 5.5.2 Line too long"),
                Err(WireError::Timeout) => {
                    self.say("421 4.4.2 Timeout");
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let flow = match parsed {
                Ok(command) => self.act(command).await?,
                Err(reply) => self.wrong(reply),
            };
            if flow == Flow::End {
                return Ok(());
            }
        }
    }

    /// Ends the connection.
    pub(super) async fn end(self) {
        if let Some(facts) = self.facts {
            facts.abort();
        }
        self.wire.close().await;
    }

    fn say(&mut self, reply: &str) {
        self.server.counters.reply(reply);
        self.wire.reply(reply);
    }

    /// A reply to something wrong; too many of them end the session.
    fn wrong(&mut self, reply: &str) -> Flow {
        self.say(reply);
        self.errors += 1;
        if self.errors < self.server.settings.limits.max_errors {
            return Flow::Go;
        }
        self.server.counters.refuse("errors");
        self.say("421 4.7.0 Too many errors");
        Flow::End
    }

    fn fine(&mut self, reply: &str) -> Flow {
        self.say(reply);
        Flow::Go
    }

    async fn handshake(&mut self) -> Result<(), WireError> {
        let Some(acceptor) = self.server.acceptor.clone() else { return Err(WireError::Closed) };
        let patience = self.server.settings.limits.handshake_timeout;
        self.client.tls = self.wire.start_tls(&acceptor, patience).await?;
        Ok(())
    }

    /// The greeting; `false` when the client talked before it and is refused.
    async fn greet(&mut self) -> Result<bool, WireError> {
        let delay = self.server.settings.limits.greet_delay;
        if !delay.is_zero() {
            match self.wire.fill(delay).await {
                Err(WireError::Timeout) => {}
                Err(error) => return Err(error),
                Ok(()) if self.server.settings.refuse_early_talkers => {
                    self.server.counters.refuse("early_talker");
                    self.say("554 5.5.1 You talk before the greeting");
                    return Ok(false);
                }
                Ok(()) => {}
            }
        }
        let greeting = format!("220 {} ESMTP Tidegate", self.server.settings.hostname);
        self.say(&greeting);
        Ok(true)
    }

    async fn act(&mut self, command: Command) -> Result<Flow, WireError> {
        Ok(match command {
            Command::Hello(extended, name) => self.hello(extended, name),
            Command::Mail(sender, params) => self.mail(sender, &params),
            Command::Rcpt(recipient, params) => self.rcpt(&recipient, params).await,
            Command::Data => self.data().await?,
            Command::Bdat(size, last) => self.bdat(size, last).await?,
            Command::Rset => {
                self.envelope = None;
                self.fine("250 2.0.0 OK")
            }
            Command::Noop => self.fine("250 2.0.0 OK"),
            Command::Quit => {
                self.say("221 2.0.0 Bye");
                Flow::End
            }
            Command::Vrfy => self.fine("252 2.5.2 Send some mail, it will be tried"),
            Command::Expn => self.fine("502 5.5.1 Lists are not shown"),
            Command::Help => self.fine("214 2.0.0 RFC 5321 has it"),
            Command::StartTls => self.start_tls().await?,
            Command::Auth(mechanism, initial) => self.auth(&mechanism, initial).await?,
            Command::Xclient(attributes) => self.xclient(&attributes),
        })
    }

    fn hello(&mut self, extended: bool, name: String) -> Flow {
        self.client.helo = name;
        self.client.esmtp = extended;
        self.greeted = true;
        self.envelope = None;
        let hostname = self.server.settings.hostname.clone();
        if !extended {
            return self.fine(&format!("250 {hostname}"));
        }
        let mut lines = vec![hostname, "PIPELINING".into()];
        lines.push(format!("SIZE {}", self.server.settings.limits.max_message_bytes));
        lines.extend(["8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"].map(String::from));
        if self.client.tls.is_empty() && self.server.acceptor.is_some() {
            lines.push("STARTTLS".into());
        }
        if self.may_log_in() {
            lines.push("AUTH PLAIN LOGIN".into());
        }
        if self.server.settings.xclient_hosts.iter().any(|net| net.contains(self.peer)) {
            lines.extend(["XCLIENT ADDR NAME HELO LOGIN", "XFORWARD ADDR NAME HELO"].map(String::from));
        }
        let last = lines.len() - 1;
        for (index, line) in lines.iter().enumerate() {
            let mark = if index == last { ' ' } else { '-' };
            self.wire.reply(&format!("250{mark}{line}"));
        }
        self.server.counters.reply("250");
        Flow::Go
    }

    fn may_log_in(&self) -> bool {
        self.server.settings.mode == Mode::Submission && !self.client.tls.is_empty()
    }

    async fn start_tls(&mut self) -> Result<Flow, WireError> {
        if !self.client.tls.is_empty() {
            return Ok(self.wrong("503 5.5.1 TLS is on already"));
        }
        if self.server.acceptor.is_none() {
            return Ok(self.wrong("502 5.5.1 TLS is not offered"));
        }
        self.say("220 2.0.0 Go ahead");
        self.handshake().await?;
        // RFC 3207, 4.2: all that was said in the clear is forgotten.
        self.greeted = false;
        self.envelope = None;
        self.client.helo.clear();
        self.client.login.clear();
        Ok(Flow::Go)
    }

    async fn auth(&mut self, mechanism: &str, initial: Option<String>) -> Result<Flow, WireError> {
        if !self.may_log_in() {
            return Ok(self.wrong("538 5.7.11 Encryption is required for AUTH, and submission for logins"));
        }
        if !self.client.login.is_empty() || self.envelope.is_some() {
            return Ok(self.wrong("503 5.5.1 Not now"));
        }
        let pair = match mechanism {
            "PLAIN" => {
                let response = self.ask(initial, "334 ").await?;
                response.and_then(|r| auth::plain(&r))
            }
            "LOGIN" => {
                let login = self.ask(initial, "334 VXNlcm5hbWU6").await?.and_then(|r| auth::login(&r));
                match login {
                    Some(login) => {
                        let password =
                            self.ask(None, "334 UGFzc3dvcmQ6").await?.and_then(|r| auth::login(&r));
                        password.map(|password| (login, password))
                    }
                    None => None,
                }
            }
            _ => return Ok(self.wrong("504 5.5.4 Mechanism not offered")),
        };
        let Some((login, password)) = pair else { return Ok(self.wrong("501 5.5.2 Not understood")) };
        Ok(match self.server.directory.login(&login, &password).await {
            Ok(Some(address)) => {
                self.client.login = address;
                self.fine("235 2.7.0 Welcome")
            }
            Ok(None) => {
                self.server.counters.refuse("login");
                self.failed_logins += 1;
                if self.failed_logins >= self.server.settings.limits.max_failed_logins {
                    self.say("421 4.7.0 Too many failed logins");
                    return Ok(Flow::End);
                }
                self.wrong("535 5.7.8 Login or password is wrong")
            }
            Err(_) => self.fine("454 4.7.0 Logins cannot be checked now"),
        })
    }

    /// One answer of an AUTH dialogue; `None` when the client gave up or sent no line.
    async fn ask(&mut self, initial: Option<String>, prompt: &str) -> Result<Option<String>, WireError> {
        if initial.is_some() {
            return Ok(initial);
        }
        self.say(prompt);
        let limits = &self.server.settings.limits;
        let line = self.wire.line(limits.max_auth_line, limits.command_timeout).await?;
        Ok(match line {
            Line::Text(line) if line != "*" => Some(line),
            _ => None,
        })
    }

    fn xclient(&mut self, attributes: &[(String, String)]) -> Flow {
        if !self.server.settings.xclient_hosts.iter().any(|net| net.contains(self.peer)) {
            return self.wrong("550 5.7.0 You are not trusted to say so");
        }
        if self.envelope.is_some() {
            return self.wrong("503 5.5.1 Not in a transaction");
        }
        for (key, value) in attributes {
            let absent = value.starts_with('[');
            match key.as_str() {
                "ADDR" if !absent => {
                    let text = value.strip_prefix("IPV6:").unwrap_or(value);
                    let Ok(ip) = text.parse::<IpAddr>() else { return self.wrong("501 5.5.4 Bad address") };
                    self.ip = ip.to_canonical();
                    self.client.ip = self.ip.to_string();
                    self.look_up();
                }
                "HELO" if !absent => self.client.helo.clone_from(value),
                "LOGIN" if !absent && self.server.settings.mode == Mode::Submission => {
                    self.client.login.clone_from(value);
                }
                _ => {}
            }
        }
        self.fine("250 2.0.0 OK")
    }
}
