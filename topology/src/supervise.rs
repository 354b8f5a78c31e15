//! What to do when a generation of stages dies: pure decisions, no clock, no tasks.
//!
//! * Died after good work: a fresh generation at once. Died before any: back off, doubling.
//! * A record that killed its stage so many times, alone, is buried (goes to `dead`).
//! * Too many deaths without good work between them: give up, for then it is the stage that is broken, and
//!   going on would bury every record there is.
//!
//! The last two pull against each other: a burst of poisoned mail must not stop the gateway (that would hand
//! a stranger its off switch), and a broken stage must not bury a whole topic. So deaths are forgiven with
//! the record that caused them, but only to a lane that has done good work, and only for so many burials in
//! a row.

use std::time::Duration;

/// Limits of supervision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Deaths that one record may cause before it is buried.
    pub kills: u32,
    /// Deaths without good work before the lane gives up.
    pub deaths: u32,
    /// Burials without good work whose deaths are forgiven.
    pub forgiven: u32,
    /// The first wait.
    pub shortest: Duration,
    /// No wait is longer.
    pub longest: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            kills: 3,
            deaths: 20,
            forgiven: 32,
            shortest: Duration::from_millis(100),
            longest: Duration::from_secs(30),
        }
    }
}

/// What to do after a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A fresh generation, now.
    AtOnce,
    /// A fresh generation, after this long.
    After(Duration),
    /// Stop the lane.
    GiveUp,
}

/// What a lane remembers of its generations.
#[derive(Clone, Debug)]
pub struct Supervision {
    rules: Rules,
    /// Whether this generation has finished a record.
    good: bool,
    /// Whether any generation ever has.
    proven: bool,
    /// Deaths since good work that are not forgiven.
    barren: u32,
    /// Burials since good work.
    buried: u32,
}

impl Supervision {
    /// Before the first generation.
    pub fn new(rules: Rules) -> Supervision {
        Supervision { rules, good: false, proven: false, barren: 0, buried: 0 }
    }

    /// A record was finished.
    pub fn worked(&mut self) {
        self.good = true;
        self.proven = true;
        self.barren = 0;
        self.buried = 0;
    }

    /// Whether the stages ever finished a record.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// Whether a record that has caused so many deaths is to be buried.
    pub fn buries(&self, kills: u32) -> bool {
        kills >= self.rules.kills
    }

    /// A record was buried for the deaths it caused. To be told before [`Supervision::died`] of the last one.
    pub fn buried(&mut self) {
        self.buried += 1;
        if self.proven && self.buried <= self.rules.forgiven {
            self.barren = 0;
        }
    }

    /// A generation died.
    pub fn died(&mut self) -> Decision {
        if std::mem::take(&mut self.good) {
            return Decision::AtOnce;
        }
        self.barren += 1;
        if self.barren >= self.rules.deaths {
            return Decision::GiveUp;
        }
        Decision::After(backoff(self.barren, self.rules.shortest, self.rules.longest))
    }
}

/// The wait before the n-th try (from 1): doubles from `shortest` to `longest`.
pub fn backoff(tries: u32, shortest: Duration, longest: Duration) -> Duration {
    let doublings = tries.saturating_sub(1).min(20);
    shortest.saturating_mul(1 << doublings).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> Rules {
        Rules::default()
    }

    fn millis(ms: u64) -> Decision {
        Decision::After(Duration::from_millis(ms))
    }

    #[test]
    fn death_after_good_work_restarts_at_once() {
        let mut supervision = Supervision::new(rules());
        for _ in 0..1_000 {
            supervision.worked();
            assert_eq!(supervision.died(), Decision::AtOnce);
        }
    }

    #[test]
    fn death_before_good_work_backs_off_up_to_a_limit() {
        let mut supervision = Supervision::new(rules());
        let waits: Vec<Decision> = (0..11).map(|_| supervision.died()).collect();
        assert_eq!(waits[..3], [millis(100), millis(200), millis(400)]);
        assert_eq!(waits[9..], [millis(30_000), millis(30_000)]);
    }

    #[test]
    fn twenty_deaths_without_good_work_are_the_end() {
        let mut supervision = Supervision::new(rules());
        let decisions: Vec<Decision> = (0..20).map(|_| supervision.died()).collect();
        assert!(decisions[..19].iter().all(|d| matches!(d, Decision::After(_))));
        assert_eq!(decisions[19], Decision::GiveUp);
    }

    #[test]
    fn good_work_resets_the_count_and_the_wait() {
        let mut supervision = Supervision::new(rules());
        for _ in 0..19 {
            supervision.died();
        }
        supervision.worked();
        assert_eq!(supervision.died(), Decision::AtOnce);
        assert_eq!(supervision.died(), millis(100));
    }

    /// Three deaths a record, the third buries it; the decisions of each.
    fn burst(supervision: &mut Supervision, records: usize) -> Vec<Decision> {
        let mut decisions = Vec::new();
        for _ in 0..records {
            decisions.push(supervision.died());
            decisions.push(supervision.died());
            supervision.buried();
            decisions.push(supervision.died());
        }
        decisions
    }

    #[test]
    fn a_burst_of_poison_does_not_stop_a_lane_that_has_worked() {
        let mut supervision = Supervision::new(rules());
        supervision.worked();
        assert_eq!(supervision.died(), Decision::AtOnce);
        let decisions = burst(&mut supervision, 32);
        let longest = Duration::from_millis(400);
        assert!(decisions.iter().all(|d| matches!(d, Decision::After(wait) if *wait <= longest)));
    }

    #[test]
    fn a_stage_that_never_worked_gives_up_after_few_burials() {
        let mut supervision = Supervision::new(rules());
        let decisions = burst(&mut supervision, 7);
        assert_eq!(decisions.iter().position(|d| *d == Decision::GiveUp), Some(19));
    }

    #[test]
    fn a_stage_that_breaks_later_gives_up_too() {
        let mut supervision = Supervision::new(rules());
        supervision.worked();
        supervision.died();
        let decisions = burst(&mut supervision, 60);
        let end = decisions.iter().position(|d| *d == Decision::GiveUp).unwrap();
        assert!(end < 3 * 40, "gave up only after {end} deaths");
    }

    #[test]
    fn the_wait_never_overflows() {
        assert_eq!(backoff(u32::MAX, rules().shortest, rules().longest), rules().longest);
        assert_eq!(backoff(0, rules().shortest, rules().longest), rules().shortest);
    }
}
