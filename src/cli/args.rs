//! The arguments. Names are fixed: others script against them.

use clap::{Parser, Subcommand, ValueEnum};
use std::net::IpAddr;
use std::path::PathBuf;

/// Email-security gateway: mail in by SMTP, judged, links rewritten, delivered; clicks answered by a phishing firewall.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything on this machine with sample mail, to look at
    Demo(Demo),
    /// The gateway
    Run(Run),
    /// Check a configuration: every mistake at once
    Check {
        /// Configuration file
        #[arg(long)]
        config: PathBuf,
    },
    /// Print the topology as it will run
    Plan {
        /// Configuration file; the shipped topology without one
        #[arg(long)]
        config: Option<PathBuf>,
        /// How to print it
        #[arg(long, value_enum, default_value = "text")]
        format: PlanFormat,
        /// Only lanes with these stages
        #[arg(long, value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Judge messages offline: one JSON line each
    Judge(Judge),
    /// Teach the classifier from files, folders or mbox
    Train(Train),
    /// Print what a recipient would get
    Rewrite {
        /// Recipient
        #[arg(long)]
        rcpt: String,
        /// Data directory with the keys; throw-away keys without one
        #[arg(long)]
        data: Option<PathBuf>,
        /// Message file
        file: PathBuf,
    },
    /// Print the original of a rewritten message
    Restore {
        /// Data directory with the keys
        #[arg(long)]
        data: Option<PathBuf>,
        /// Message file
        file: PathBuf,
    },
    /// Make or read a link token
    Link {
        /// What to do
        #[command(subcommand)]
        command: LinkCommand,
    },
    /// Link keys: list, rotate
    Keys {
        /// What to do
        #[arg(value_enum, default_value = "list")]
        command: KeysCommand,
        /// Data directory
        #[arg(long, default_value = "/var/lib/tidegate")]
        data: PathBuf,
    },
    /// The embedded log on disk
    Log {
        /// What to do
        #[command(subcommand)]
        command: LogCommand,
    },
    /// Apply tenants, policies and lists from a file; prints what changes
    Apply {
        /// tenants.toml
        file: PathBuf,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Print tenants, policies and lists as a file
    Export {
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Queued mail
    Queue {
        /// What to do
        #[command(subcommand)]
        command: QueueCommand,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Held mail (quarantine)
    Held {
        /// What to do
        #[command(subcommand)]
        command: HeldCommand,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Records that no stage could work on
    Dead {
        /// What to do
        #[command(subcommand)]
        command: DeadCommand,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// What became of a mail, and why
    Trace {
        /// The id that the 250 reply named
        id: String,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Judge a time window by today's rules and show what differs
    Replay {
        /// Start: RFC 3339 (`2026-11-27T08:00:00Z`) or milliseconds since 1970
        #[arg(long)]
        since: String,
        /// End
        #[arg(long)]
        until: String,
        /// Change nothing; without it, held mail that today's rules deliver is released
        #[arg(long)]
        dry_run: bool,
        /// The running gateway
        #[command(flatten)]
        gateway: Gateway,
    },
    /// Shell completions
    Completions {
        /// Shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// The manual page (roff)
    Man,
}

/// Which gateway a command speaks to.
#[derive(Clone, Debug, clap::Args)]
pub struct Gateway {
    /// Data directory of the running gateway
    #[arg(long, global = true, default_value = "/var/lib/tidegate")]
    pub data: PathBuf,
    /// JSON, one value a line
    #[arg(long, global = true)]
    pub json: bool,
}

/// `demo`
#[derive(Debug, clap::Args)]
pub struct Demo {
    /// Folder to use; a temporary one without
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Leave again as soon as the sample mail is through
    #[arg(long)]
    pub once: bool,
}

/// `run`
#[derive(Debug, clap::Args)]
pub struct Run {
    /// Configuration file
    #[arg(long)]
    pub config: PathBuf,
    /// Data directory; wins over the file
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Only lanes with these stages, and only the listeners named `smtp` or `site`
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,
}

/// `judge`
#[derive(Debug, clap::Args)]
pub struct Judge {
    /// Configuration file
    #[arg(long)]
    pub config: Option<PathBuf>,
    /// Data directory with a trained model
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Address of the SMTP client
    #[arg(long)]
    pub ip: Option<IpAddr>,
    /// Argument of its EHLO
    #[arg(long, default_value = "")]
    pub helo: String,
    /// MAIL FROM; the Return-Path or From field of each message without
    #[arg(long)]
    pub mail_from: Option<String>,
    /// RCPT TO
    #[arg(long, default_value = "user@example.test")]
    pub rcpt: String,
    /// Zone file that answers DNS, and nothing else does
    #[arg(long)]
    pub zone: Option<PathBuf>,
    /// Messages or folders
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// `train`
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("class").required(true).args(["spam", "ham"]))]
pub struct Train {
    /// Data directory
    #[arg(long)]
    pub data: PathBuf,
    /// They are spam
    #[arg(long)]
    pub spam: bool,
    /// They are ham
    #[arg(long)]
    pub ham: bool,
    /// Messages, folders, mbox files
    #[arg(required = true)]
    pub paths: Vec<PathBuf>,
}

/// How `plan` prints.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum PlanFormat {
    /// For people
    Text,
    /// Graphviz
    Dot,
    /// Mermaid
    Mermaid,
}

/// `link`
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// Make a link
    Encode {
        /// Recipient
        #[arg(long)]
        rcpt: String,
        /// Data directory with the keys
        #[arg(long)]
        data: Option<PathBuf>,
        /// The site
        #[arg(long, default_value = "http://127.0.0.1:8080")]
        site: String,
        /// Target address
        url: String,
    },
    /// Read a link
    Decode {
        /// Data directory with the keys
        #[arg(long, default_value = "/var/lib/tidegate")]
        data: PathBuf,
        /// Link or token
        token: String,
    },
}

/// `keys`
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum KeysCommand {
    /// Ids, newest first
    List,
    /// Put a new key in front; a running gateway takes it within a second
    Rotate,
}

/// `log`
#[derive(Debug, Subcommand)]
pub enum LogCommand {
    /// Read every frame and report damage
    Verify {
        /// Data directory
        #[arg(long)]
        data: PathBuf,
    },
}

/// `queue`
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// List
    List,
    /// One mail with its message
    Show {
        /// Id
        id: String,
    },
    /// Try now
    Retry {
        /// Id
        id: String,
    },
    /// Remove for good
    Remove {
        /// Id
        id: String,
    },
}

/// `held`
#[derive(Debug, Subcommand)]
pub enum HeldCommand {
    /// List
    List {
        /// Only of this tenant path
        #[arg(long, default_value = "")]
        tenant: String,
    },
    /// One mail with its message
    Show {
        /// Id
        id: String,
    },
    /// Deliver it after all
    Release {
        /// Id
        id: String,
        /// Even though it is malware
        #[arg(long)]
        malware: bool,
        /// Who says so
        #[arg(long, default_value = "operator")]
        by: String,
    },
    /// Remove for good
    Remove {
        /// Id
        id: String,
    },
}

/// `dead`
#[derive(Debug, Subcommand)]
pub enum DeadCommand {
    /// List
    List,
    /// One record
    Show {
        /// Id
        id: String,
    },
    /// Put it back on its topic
    Replay {
        /// Id
        id: String,
    },
    /// Remove for good
    Remove {
        /// Id
        id: String,
    },
}
