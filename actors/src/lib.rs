//! What Tidegate does to a record.
//!
//! One file or folder a stage; each is a [`stage::Stage`] that knows neither its neighbours nor the log, and
//! gets what it needs from outside through [`ports`]. Only [`host`] implements `actix::Actor`.

pub mod check_dns;
pub mod deliver;
pub mod detect_sender;
pub mod hold;
pub mod host;
pub mod ingest;
pub mod keep_ledger;
pub mod learn_whitelist;
pub mod parse;
pub mod ports;
pub mod rate_reputation;
pub mod requeue;
pub mod rewrite_links;
pub mod score_spam;
pub mod stage;
pub mod train_filter;
