//! Where tests find real mail to measure on. It is never part of this project.

use std::io::Read as _;
use std::path::PathBuf;

/// One mail of the corpora.
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) raw: Vec<u8>,
    pub(crate) spam: bool,
}

/// The folder of corpora: `TIDEGATE_CORPORA`, or `shared/corpora` near a folder above this crate.
fn corpora() -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os("TIDEGATE_CORPORA") {
        return Some(folder.into());
    }
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let near = here.ancestors().flat_map(|a| [a.join("../shared/corpora"), a.join("shared/corpora")]);
    near.into_iter().find(|folder| folder.is_dir())
}

/// Ham and spam in a fixed mixed order, at most `limit`; `None`, with a note, when there are no corpora here.
/// Where `CI` is set they must be there.
pub(crate) fn ham_and_spam(limit: usize) -> Option<Vec<Sample>> {
    let Some(archive) = corpora().map(|folder| folder.join("mail/ham-spam.tar.zst")).filter(|a| a.is_file())
    else {
        assert!(std::env::var_os("CI").is_none(), "corpora are missing: set TIDEGATE_CORPORA");
        println!("skipped: no corpora here, set TIDEGATE_CORPORA");
        return None;
    };
    let file = std::fs::File::open(archive).unwrap();
    let mut archive = tar::Archive::new(zstd::Decoder::new(file).unwrap());
    let mut samples = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let name = entry.path().unwrap().to_string_lossy().into_owned();
        let mut raw = Vec::new();
        entry.read_to_end(&mut raw).unwrap();
        let spam = name.contains("/spam/");
        samples.push(Sample { name, raw, spam });
    }
    samples.sort_by_key(|s| super::classifier::hash::of(s.name.as_bytes(), 99));
    samples.truncate(limit);
    Some(samples)
}
