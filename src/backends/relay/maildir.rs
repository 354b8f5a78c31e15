//! Delivery into a Maildir: written to `tmp`, synced, renamed to `new`, the folder synced.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tidegate_actors::deliver::relay::{Job, Outcome};

/// One file for each recipient.
pub(super) async fn store(folder: &Path, job: &Job, hostname: &str) -> Vec<Outcome> {
    let (folder, job, hostname) = (folder.to_path_buf(), job.clone(), hostname.to_owned());
    let count = job.recipients.len();
    let written = tokio::task::spawn_blocking(move || {
        job.recipients
            .iter()
            .map(|r| outcome(write(&folder, &job, &r.address, &hostname)))
            .collect::<Vec<_>>()
    });
    let failed = |e: tokio::task::JoinError| vec![Outcome::Deferred(format!("451 4.3.0 {e}")); count];
    written.await.unwrap_or_else(failed)
}

fn outcome(written: io::Result<PathBuf>) -> Outcome {
    match written {
        Ok(path) => Outcome::Delivered { reply: format!("250 2.0.0 {}", path.display()), dsn: false },
        Err(error) if error.kind() == io::ErrorKind::StorageFull => {
            Outcome::Deferred(format!("452 4.2.2 {error}"))
        }
        Err(error) => Outcome::Deferred(format!("451 4.3.0 {error}")),
    }
}

fn write(folder: &Path, job: &Job, recipient: &str, hostname: &str) -> io::Result<PathBuf> {
    for part in ["tmp", "new", "cur"] {
        std::fs::create_dir_all(folder.join(part))?;
    }
    let name = format!("{}.{}", tidegate_schemas::new_id(), hostname.replace('/', "_"));
    let (beside, path) = (folder.join("tmp").join(&name), folder.join("new").join(&name));
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
    let head = format!("Return-Path: <{}>\r\nDelivered-To: {recipient}\r\n", job.sender);
    let all = file
        .write_all(head.as_bytes())
        .and_then(|()| file.write_all(&job.header))
        .and_then(|()| file.write_all(&job.body))
        .and_then(|()| file.sync_all());
    if let Err(error) = all {
        let _gone = std::fs::remove_file(&beside);
        return Err(error);
    }
    std::fs::rename(&beside, &path)?;
    std::fs::File::open(folder.join("new"))?.sync_all()?;
    Ok(path)
}
