//! The adapters behind the ports: one folder a port, one file a backend.

pub mod directory;
pub mod dns;
pub mod intake;
pub mod log;
pub mod relay;
pub mod store;
