//! Stage `check_dns`.
pub mod spf;
