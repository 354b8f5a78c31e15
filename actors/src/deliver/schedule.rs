//! When a deferred mail is tried again.
//!
//! Four waits, each with a topic of its own: within a topic all waits are the same, so its head is always the
//! next due and nobody has to look at the rest.

use std::time::Duration;

/// Names of the ways out, by length of wait.
pub const PORTS: [&str; 4] = ["retry-1m", "retry-5m", "retry-30m", "retry-2h"];

/// The way out and the wait after so many attempts (the first attempt is 1).
pub(super) fn next(attempts: u32, delays: &[Duration; 4]) -> (&'static str, Duration) {
    let index = (attempts.saturating_sub(1) as usize).min(PORTS.len() - 1);
    (PORTS[index], delays[index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_at_the_longest() {
        let delays = [1, 5, 30, 120].map(Duration::from_secs);
        let waits: Vec<u64> = (1..7).map(|n| next(n, &delays).1.as_secs()).collect();
        assert_eq!(waits, [1, 5, 30, 120, 120, 120]);
        assert_eq!(next(0, &delays).0, "retry-1m");
    }
}
