//! Messages from files, folders (walked) and mbox files.

use super::super::{Failure, exit};
use bytes::Bytes;
use std::path::{Path, PathBuf};

/// A message of a path; several may be of one mbox.
pub(super) struct Message {
    /// The file.
    pub(super) path: PathBuf,
    part: Option<Bytes>,
}

impl Message {
    /// Its octets, CRLF lines.
    pub(super) fn octets(&self) -> Result<Bytes, Failure> {
        match &self.part {
            Some(part) => Ok(part.clone()),
            None => read(&self.path),
        }
    }
}

/// A message file: an mbox separator before it is cut off, bare LF becomes CRLF.
pub(super) fn read(path: &Path) -> Result<Bytes, Failure> {
    let octets =
        std::fs::read(path).map_err(|e| Failure::text(exit::NO_INPUT, format!("{}: {e}", path.display())))?;
    Ok(canonical(&octets).into())
}

/// All messages of these paths; folders in order of names.
pub(super) fn messages(paths: &[PathBuf]) -> Result<Vec<Message>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        walk(path, &mut files)?;
    }
    let mut all = Vec::new();
    for path in files {
        if path.extension().is_some_and(|e| e == "mbox") {
            let octets = std::fs::read(&path)?;
            all.extend(
                split_mbox(&octets).into_iter().map(|part| Message { path: path.clone(), part: Some(part) }),
            );
        } else {
            all.push(Message { path, part: None });
        }
    }
    Ok(all)
}

fn walk(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let told = |e: std::io::Error| Failure::text(exit::NO_INPUT, format!("{}: {e}", path.display()));
    if !std::fs::metadata(path).map_err(told)?.is_dir() {
        files.push(path.to_path_buf());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
        .map_err(told)?
        .map(|e| e.map(|e| e.path()))
        .collect::<Result<_, _>>()
        .map_err(told)?;
    entries.sort();
    for entry in entries {
        walk(&entry, files)?;
    }
    Ok(())
}

fn canonical(octets: &[u8]) -> Vec<u8> {
    let octets = match octets.strip_prefix(b"From ") {
        Some(rest) => rest.iter().position(|b| *b == b'\n').map_or(octets, |at| &rest[at + 1..]),
        None => octets,
    };
    let mut out = Vec::with_capacity(octets.len() + octets.len() / 40);
    let mut before = 0;
    for &byte in octets {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

/// Messages of an mbox (RFC 4155): separated by `From ` at a line start after an empty line.
fn split_mbox(octets: &[u8]) -> Vec<Bytes> {
    let mut starts = Vec::new();
    let mut at = 0;
    for line in octets.split_inclusive(|b| *b == b'\n') {
        let fresh = at == 0 || octets[..at].ends_with(b"\n\n") || octets[..at].ends_with(b"\r\n\r\n");
        if fresh && is_separator(line) {
            starts.push(at);
        }
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([octets.len()]);
    starts.iter().zip(ends).map(|(start, end)| canonical(&octets[*start..end]).into()).collect()
}

/// `From SENDER DATE`, with a time of day in it: text that begins with the word does not have one.
fn is_separator(line: &[u8]) -> bool {
    let time = |w: &[u8]| w[0].is_ascii_digit() && w[1] == b':' && w[2].is_ascii_digit();
    line.starts_with(b"From ") && line.windows(3).any(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_mbox_is_split_at_its_separators_only() {
        let mbox = b"From a@b Mon Jan  1 10:00:00 2026\nSubject: 1\n\nFrom here on text\n\nFrom c@d Tue Jan  2 10:00:00 2026\nSubject: 2\n\nx\n";
        let parts = split_mbox(mbox);
        assert_eq!(parts.len(), 2);
        assert_eq!(parts[0], "Subject: 1\r\n\r\nFrom here on text\r\n\r\n".as_bytes());
    }

    #[test]
    fn a_leading_separator_is_cut_and_lines_end_in_crlf() {
        assert_eq!(canonical(b"From x y\nA: b\r\nC: d\n"), b"A: b\r\nC: d\r\n");
    }
}
