//! The load driver: SMTP mail in at one end, a sink at the other, and an account of every single mail between.
//!
//! Each mail has a number; [`tally::Tally`] knows when it was sent, whether it was accepted, how often it
//! arrived and whether its octets outside of links were the same. A speed without that account is worth nothing.

pub mod gateway;
pub mod mail;
pub mod sink;
pub mod source;
pub mod tally;
