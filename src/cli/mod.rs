//! The command line. This folder alone prints to the terminal: results to stdout, everything else to stderr.
//!
//! Exit codes are those of sysexits.h: 64 wrong usage, 65 bad input, 66 no such input, 69 a service is away,
//! 70 the gateway stopped by itself, 74 input or output failed, 78 wrong configuration.

mod args;
mod demo;
mod desk;
mod offline;
mod output;
mod run;

pub use args::Args;

use args::Command;
use clap::{CommandFactory, Parser};
use std::process::ExitCode;

/// sysexits.h
pub mod exit {
    /// The command line is wrong.
    pub const USAGE: u8 = 64;
    /// Input does not make sense.
    pub const DATA: u8 = 65;
    /// Input is not there.
    pub const NO_INPUT: u8 = 66;
    /// Something needed is away.
    pub const UNAVAILABLE: u8 = 69;
    /// The gateway stopped by itself.
    pub const SOFTWARE: u8 = 70;
    /// Reading or writing failed.
    pub const IO: u8 = 74;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
}

/// An error with its exit code.
#[derive(Debug)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What to tell.
    pub error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { code: exit::IO, error: error.into() }
    }
}

impl Failure {
    /// An error of this code.
    pub fn new(code: u8, error: impl Into<anyhow::Error>) -> Failure {
        Failure { code, error: error.into() }
    }

    /// An error of this code and text.
    pub fn text(code: u8, text: impl std::fmt::Display) -> Failure {
        Failure { code, error: anyhow::anyhow!("{text}") }
    }
}

/// Parses the arguments, runs the command, maps its outcome.
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _told = error.print();
            let fine = matches!(
                error.kind(),
                clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
            );
            return if fine { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) };
        }
    };
    match dispatch(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::error(&format!("{:#}", failure.error));
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(args: Args) -> Result<(), Failure> {
    match args.command {
        Command::Demo(demo) => demo::demo(&demo),
        Command::Run(run) => run::run(&run),
        Command::Check { config } => run::check(&config),
        Command::Plan { config, format, only } => run::plan(config.as_deref(), format, &only),
        Command::Judge(judge) => offline::judge(&judge),
        Command::Train(train) => offline::train(&train),
        Command::Rewrite { rcpt, data, file } => offline::rewrite(&rcpt, data.as_deref(), &file),
        Command::Restore { data, file } => offline::restore(data.as_deref(), &file),
        Command::Link { command } => offline::link(&command),
        Command::Keys { command, data } => offline::keys(&command, &data),
        Command::Log { command } => offline::log(&command),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "tidegate", &mut std::io::stdout());
            Ok(())
        }
        Command::Man => Ok(clap_mangen::Man::new(Args::command()).render(&mut std::io::stdout())?),
        other => desk::run(other),
    }
}
