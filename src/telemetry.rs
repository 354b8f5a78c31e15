//! Log lines: to stderr, as text or JSON, filtered as the configuration says (`RUST_LOG` wins).
//!
//! Nothing secret goes there: no passwords, no tokens, no message text.

use crate::config::Telemetry;
use tracing_subscriber::EnvFilter;

/// Starts logging for this process; a second call changes nothing.
pub fn start(settings: &Telemetry) {
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(&settings.level));
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info"));
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(true);
    let _already = match settings.format.as_str() {
        "json" => builder.json().try_init(),
        _ => builder.with_ansi(false).try_init(),
    };
}
