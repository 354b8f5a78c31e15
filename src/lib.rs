//! Tidegate, the program: an email-security gateway as an actor-based stream processor.
//!
//! `schemas <- actors <- topology <- tidegate`: this crate joins the inner ones with their backends, the
//! redirect site and the command line. ARCHITECTURE.md has the map.

pub mod admin;
pub mod app;
pub mod backends;
pub mod cli;
pub mod config;
pub mod files;
pub mod registry;
pub mod telemetry;
pub mod tenants;
pub mod web;
