//! The account: one slot a mail, written by source and sink without locks.

use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// What is known of one mail. Times are microseconds since the start; 0 = not yet.
#[derive(Default)]
struct Slot {
    sent: AtomicU32,
    arrived: AtomicU32,
    accepted: AtomicBool,
    arrivals: AtomicU8,
    damaged: AtomicBool,
}

/// All mails of one run.
pub struct Tally {
    start: Instant,
    slots: Vec<Slot>,
    next: AtomicUsize,
    checksum: u64,
    /// Arrived mails that carried no number of ours, such as DSNs.
    pub foreign: AtomicUsize,
    refused: parking::Counts,
}

mod parking {
    //! Counts by reply code; few codes, seldom touched.
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[derive(Default)]
    pub(super) struct Counts(Mutex<BTreeMap<u16, usize>>);

    impl Counts {
        pub(super) fn add(&self, code: u16) {
            if let Ok(mut map) = self.0.lock() {
                *map.entry(code).or_default() += 1;
            }
        }

        pub(super) fn all(&self) -> BTreeMap<u16, usize> {
            self.0.lock().map(|map| map.clone()).unwrap_or_default()
        }
    }
}

impl Tally {
    /// Room for `count` mails whose bodies have this checksum.
    pub fn new(count: usize, checksum: u64) -> Tally {
        let slots = std::iter::repeat_with(Slot::default).take(count).collect();
        let refused = parking::Counts::default();
        Tally { start: Instant::now(), slots, next: 0.into(), checksum, foreign: 0.into(), refused }
    }

    fn now(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_micros() / 16).unwrap_or(u32::MAX).max(1)
    }

    /// The next number to send, or `None` when all are taken.
    pub fn take(&self) -> Option<usize> {
        let number = self.next.fetch_add(1, Relaxed);
        (number < self.slots.len()).then_some(number)
    }

    /// The final dot of a mail goes out now.
    pub fn sent(&self, number: usize) {
        self.slots[number].sent.store(self.now(), Relaxed);
    }

    /// The reply to the final dot, or 0 for a connection that closed.
    pub fn answered(&self, number: usize, code: u16) {
        if code / 100 == 2 {
            self.slots[number].accepted.store(true, Relaxed);
        } else {
            self.refused.add(code);
        }
    }

    /// A message arrived at the sink and is about to be confirmed.
    pub fn arrived(&self, message: &[u8]) {
        let (number, checksum) = crate::mail::inspect(message);
        let Some(slot) = number.and_then(|n| self.slots.get(n)) else {
            self.foreign.fetch_add(1, Relaxed);
            return;
        };
        if slot.arrivals.fetch_add(1, Relaxed) == 0 {
            slot.arrived.store(self.now(), Relaxed);
        }
        if checksum != self.checksum {
            slot.damaged.store(true, Relaxed);
        }
    }

    /// Accepted mails that have not arrived.
    pub fn missing(&self) -> usize {
        self.slots.iter().filter(|s| s.accepted.load(Relaxed) && s.arrivals.load(Relaxed) == 0).count()
    }

    /// Mails accepted so far.
    pub fn accepted(&self) -> usize {
        self.slots.iter().filter(|s| s.accepted.load(Relaxed)).count()
    }

    /// Mails that arrived so far, each once.
    pub fn delivered(&self) -> usize {
        self.slots.iter().filter(|s| s.arrivals.load(Relaxed) > 0).count()
    }

    /// The account as JSON.
    pub fn report(&self) -> Value {
        let count = |pick: &dyn Fn(&Slot) -> bool| self.slots.iter().filter(|s| pick(s)).count();
        let seconds = |ticks: u32| f64::from(ticks) * 16e-6;
        let first = self.slots.iter().map(|s| s.sent.load(Relaxed)).filter(|t| *t > 0).min().unwrap_or(0);
        let last = self.slots.iter().map(|s| s.arrived.load(Relaxed)).max().unwrap_or(0);
        let delivered = self.delivered();
        let span = seconds(last.saturating_sub(first));
        let mut waits: Vec<f64> = self
            .slots
            .iter()
            .filter(|s| s.arrivals.load(Relaxed) > 0 && s.sent.load(Relaxed) > 0)
            .map(|s| seconds(s.arrived.load(Relaxed).saturating_sub(s.sent.load(Relaxed))) * 1e3)
            .collect();
        waits.sort_by(f64::total_cmp);
        let at =
            |share: f64| waits.get(((waits.len() as f64 - 1.0) * share) as usize).copied().unwrap_or(0.0);
        json!({
            "accepted": self.accepted(),
            "delivered": delivered,
            "lost": self.missing(),
            "doubled": count(&|s| s.arrivals.load(Relaxed) > 1),
            "damaged": count(&|s| s.damaged.load(Relaxed)),
            "arrived_without_250": count(&|s| !s.accepted.load(Relaxed) && s.arrivals.load(Relaxed) > 0),
            "foreign": self.foreign.load(Relaxed),
            "refused": self.refused.all(),
            "seconds": (span * 1e3).round() / 1e3,
            "delivered_per_second": if span > 0.0 { (delivered as f64 / span).round() } else { 0.0 },
            "latency_ms": {"p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)},
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Maker;

    #[test]
    fn lost_doubled_and_damaged_mails_are_counted_apart() {
        let maker = Maker::new(1_000, 3, "a@example.test");
        let tally = Tally::new(4, maker.checksum());
        for number in 0..4 {
            tally.sent(number);
            tally.answered(number, 250);
        }
        tally.arrived(&maker.message(0));
        tally.arrived(&maker.message(1));
        tally.arrived(&maker.message(1));
        let mut damaged = maker.message(2);
        let last = damaged.len() - 3;
        damaged[last] = b'x';
        tally.arrived(&damaged);
        let report = tally.report();
        assert_eq!(
            (&report["lost"], &report["doubled"], &report["damaged"]),
            (&json!(1), &json!(1), &json!(1))
        );
    }
}
