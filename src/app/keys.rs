//! The link keys of a data directory: made at first start, read again when `tidegate keys rotate` changed them.

use parking_lot::RwLock;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tidegate_schemas::link::LinkKeys;

/// The keys in use; stages and site read them for every link.
pub type SharedKeys = Arc<RwLock<Arc<LinkKeys>>>;

const FILE: &str = "link.keys";

/// Path of the key file.
pub fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Reads the keys; makes them when there are none.
pub fn open(data: &Path) -> anyhow::Result<LinkKeys> {
    let path = path(data);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(LinkKeys::parse(&text)?),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let keys = LinkKeys::generate()?;
            crate::files::write_private(&path, keys.to_text().as_bytes())?;
            Ok(keys)
        }
        Err(e) => Err(anyhow::anyhow!("{}: {e}", path.display())),
    }
}

/// Puts a new key in front and writes the file.
pub fn rotate(data: &Path) -> anyhow::Result<LinkKeys> {
    let rotated = open(data)?.rotated()?;
    crate::files::write_private(&path(data), rotated.to_text().as_bytes())?;
    Ok(rotated)
}

/// Looks at the file every half second and takes changes over. A damaged file changes nothing but the log.
pub async fn follow(data: PathBuf, shared: SharedKeys) {
    let changed_at = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let path = path(&data);
    let mut seen: Option<SystemTime> = changed_at(&path);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tick.tick().await;
        let now = changed_at(&path);
        if now == seen {
            continue;
        }
        seen = now;
        match open(&data) {
            Ok(keys) => {
                tracing::info!(
                    newest = keys.ids().first().copied().unwrap_or_default(),
                    "link keys read again"
                );
                *shared.write() = Arc::new(keys);
            }
            Err(error) => tracing::error!("link keys not taken: {error:#}"),
        }
    }
}
