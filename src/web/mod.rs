//! What speaks HTTP: the redirect site, and `/metrics` with `/health`.

pub mod metrics;
pub mod plain;
pub mod site;
