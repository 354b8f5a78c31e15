//! Only in test builds: a mail that names a stage in its `X-Tidegate-Trap` field makes that stage panic
//! (`panic STAGE`) or hang (`hang STAGE`), as a bug would.
//!
//! `TIDEGATE_TRAP=off` in the environment stands for the fix.

use async_trait::async_trait;
use std::sync::Arc;
use tidegate_actors::stage::{Stage, Step, Trouble};
use tidegate_schemas::Record;

/// A stage with the trap before it.
pub struct Trapped {
    inner: Arc<dyn Stage>,
}

impl Trapped {
    /// Wraps a stage.
    pub fn new(inner: Arc<dyn Stage>) -> Trapped {
        Trapped { inner }
    }
}

#[async_trait]
impl Stage for Trapped {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    #[allow(clippy::panic, reason = "panicking on demand is what this is for")]
    async fn work(&self, record: Record) -> Result<Step, Trouble> {
        if let Record::Mail(mail) = &record
            && std::env::var_os("TIDEGATE_TRAP").is_none_or(|v| v != "off")
        {
            let head = String::from_utf8_lossy(&mail.raw[..mail.raw.len().min(4_096)]);
            let trap = head.lines().find_map(|l| l.strip_prefix("X-Tidegate-Trap: ")).map(str::trim);
            match trap.and_then(|t| t.split_once(' ')) {
                Some(("panic", stage)) if stage == self.name() => panic!("trapped in {stage}"),
                Some(("hang", stage)) if stage == self.name() => std::future::pending::<()>().await,
                _ => {}
            }
        }
        self.inner.work(record).await
    }
}
