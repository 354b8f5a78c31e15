//! How Tidegate's stages are joined and kept alive.
//!
//! * [`spec`] reads the table of topics and stages, [`mod@plan`] checks it and makes the plan, [`draw`] prints it.
//! * [`log`] is the port to whatever keeps topics; [`memory`] is a whole one for tests and offline tools.
//! * A lane reads a batch from a topic, sends it through its stages, commits, and reads again; it is the
//!   supervisor of its stages ([`supervise`] has the decisions). [`running`] is all lanes at work.
//!
//! The inner modules (`lane`, `answers`, `flight`, `generation`, `dead`) are nobody else's business.

#![forbid(unsafe_code)]

mod answers;
mod dead;
pub mod draw;
mod flight;
mod generation;
pub mod health;
mod lane;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod plan;
pub mod running;
pub mod spec;
pub mod supervise;

pub use health::{LaneHealth, LaneState};
pub use log::{Batch, Entry, Log, LogError, Output, Seat, Want};
pub use memory::MemoryLog;
pub use metrics::Metrics;
pub use plan::{Known, LanePlan, Plan, StagePlan, TopicPlan, plan};
pub use running::{Failure, Running, StartError};
pub use spec::{MAIL_TOML, Mistake};
