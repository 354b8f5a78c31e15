//! The configuration file: how this process runs. Tenants are not in it, they live in the store.
//!
//! Reading reports every mistake at once, each with its line: syntax, unknown keys (with a suggestion), wrong
//! types, and values that make no sense together. A config with mistakes runs nothing.

mod read;
mod sections;

pub use read::{Mistake, Mistakes};
pub use sections::{
    Checks, Config, Deliver, DkimKey, Dns, Listen, LogFiles, Server, SiteSection, Smtp, Telemetry, Tls,
};

use std::path::Path;

/// Reads and checks a file.
pub fn load(path: &Path) -> Result<Config, Mistakes> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|e| Mistakes {
        file: shown.clone(),
        mistakes: vec![Mistake { line: 0, what: format!("cannot be read: {e}") }],
    })?;
    let mut config = parse(&text).map_err(|mistakes| Mistakes { file: shown, mistakes })?;
    config.base = path.parent().map(Path::to_path_buf).unwrap_or_default();
    Ok(config)
}

/// Reads and checks a text.
pub fn parse(text: &str) -> Result<Config, Vec<Mistake>> {
    let mut reader = read::Reader::new(text);
    let config = sections::read(&mut reader);
    let mistakes = reader.finish();
    if mistakes.is_empty() { Ok(config) } else { Err(mistakes) }
}

#[cfg(test)]
mod tests;
