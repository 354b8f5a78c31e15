//! The only place that prints.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is the place that prints")]

use std::io::Write;

/// A line of the result. A closed pipe ends the program quietly, as `head` expects.
pub(super) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Octets of the result.
pub(super) fn octets(octets: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(octets)?;
    out.flush()
}

/// A line for the person at the terminal.
pub(super) fn note(text: &str) {
    eprintln!("{text}");
}

/// An error.
pub(super) fn error(text: &str) {
    eprintln!("tidegate: {text}");
}
