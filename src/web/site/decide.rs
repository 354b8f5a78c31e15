//! What happens at a click: one table, in one order.
//!
//! Block lists (user, domain, provider, operator), known dangerous, then (only for a link opened where it
//! belongs, with everything readable) allow lists, known good, learned, and last the tenant's mode. Each step
//! wins over all later ones. When something could not be asked, only what is certain still counts: a block
//! found is a block, everything else is the warning page. Nothing is ever redirected on a guess.

use tidegate_actors::learn_whitelist::Explanation;
use tidegate_actors::ports::Listed;
use tidegate_schemas::tenant::Mode;

/// What was found out about a click.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Hit in the lists of the user and the levels above.
    pub listed: Option<Listed>,
    /// The name that feeds call dangerous.
    pub dangerous: Option<String>,
    /// The name that feeds call good.
    pub good: Option<String>,
    /// Why it counts as learned.
    pub learned: Option<Explanation>,
    /// The tenant's mode for sites that nobody knows.
    pub mode: Mode,
    /// Whether the mode `sample` picks this click for the page.
    pub sampled: bool,
    /// The link was opened outside its tenant, or its tenant is gone.
    pub outside: bool,
    /// Lists, feeds or learning could not be read.
    pub unchecked: bool,
}

/// What the site does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 302 to the target.
    Redirect,
    /// The warning page.
    Warn,
    /// The blocked page.
    Block,
}

/// Why, as the step of the table that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A block list has it.
    Blocked,
    /// A feed calls it dangerous.
    Dangerous,
    /// Not everything could be asked.
    Unchecked,
    /// Opened outside its tenant.
    Outside,
    /// An allow list has it.
    Allowed,
    /// A feed calls it good.
    Good,
    /// It was learned.
    Learned,
    /// Mode `warn`.
    Unknown,
    /// Mode `sample`, this click asked.
    Sampled,
    /// Mode `sample`, this click not asked.
    NotSampled,
    /// Mode `silent`.
    Silent,
}

impl Step {
    /// The word in signals, click rows and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Step::Blocked => "block list",
            Step::Dangerous => "known dangerous",
            Step::Unchecked => "not checked",
            Step::Outside => "outside its tenant",
            Step::Allowed => "allow list",
            Step::Good => "known good",
            Step::Learned => "learned",
            Step::Unknown => "unknown site",
            Step::Sampled => "unknown site, sampled",
            Step::NotSampled => "unknown site, not sampled",
            Step::Silent => "unknown site, silent mode",
        }
    }
}

/// The table.
pub fn decide(found: &Findings) -> (Answer, Step) {
    if found.listed.as_ref().is_some_and(|l| !l.allow) {
        return (Answer::Block, Step::Blocked);
    }
    if found.dangerous.is_some() {
        return (Answer::Block, Step::Dangerous);
    }
    if found.unchecked {
        return (Answer::Warn, Step::Unchecked);
    }
    if found.outside {
        return (Answer::Warn, Step::Outside);
    }
    if found.listed.is_some() {
        return (Answer::Redirect, Step::Allowed);
    }
    if found.good.is_some() {
        return (Answer::Redirect, Step::Good);
    }
    if found.learned.is_some() {
        return (Answer::Redirect, Step::Learned);
    }
    match found.mode {
        Mode::Warn => (Answer::Warn, Step::Unknown),
        Mode::Sample if found.sampled => (Answer::Warn, Step::Sampled),
        Mode::Sample => (Answer::Redirect, Step::NotSampled),
        Mode::Silent => (Answer::Redirect, Step::Silent),
    }
}

/// Whether `sample` picks a click: by hash of the link and the day, so that a link asks all day or not at all.
pub fn is_sampled(token: &str, day: &str, share: f32) -> bool {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    (token, day).hash(&mut hasher);
    let place = (hasher.finish() >> 40) as f32 / (1_u64 << 24) as f32;
    place < share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(allow: bool) -> Option<Listed> {
        Some(Listed { allow, level: "domain", value: ".site.test".into() })
    }

    fn learned() -> Option<Explanation> {
        Some(Explanation { users: 5, days: 3, tenants: 2, since: "20260101".into() })
    }

    /// Everything at once that speaks for a redirect.
    fn all_for_it() -> Findings {
        Findings {
            listed: listed(true),
            good: Some("site.test".into()),
            learned: learned(),
            mode: Mode::Silent,
            ..Findings::default()
        }
    }

    #[test]
    fn each_step_wins_over_all_later_ones() {
        let mut found = all_for_it();
        found.dangerous = Some("site.test".into());
        found.unchecked = true;
        found.outside = true;
        found.listed = listed(false);
        assert_eq!(decide(&found), (Answer::Block, Step::Blocked));
        found.listed = listed(true);
        assert_eq!(decide(&found), (Answer::Block, Step::Dangerous), "no allow list opens a dangerous site");
        found.dangerous = None;
        assert_eq!(decide(&found), (Answer::Warn, Step::Unchecked));
        found.unchecked = false;
        assert_eq!(decide(&found), (Answer::Warn, Step::Outside));
        found.outside = false;
        assert_eq!(decide(&found), (Answer::Redirect, Step::Allowed));
        found.listed = None;
        assert_eq!(decide(&found), (Answer::Redirect, Step::Good));
        found.good = None;
        assert_eq!(decide(&found), (Answer::Redirect, Step::Learned));
        found.learned = None;
        assert_eq!(decide(&found), (Answer::Redirect, Step::Silent));
    }

    #[test]
    fn a_site_that_nobody_knows_goes_by_the_tenants_mode() {
        let with = |mode, sampled| decide(&Findings { mode, sampled, ..Findings::default() });
        assert_eq!(with(Mode::Warn, false), (Answer::Warn, Step::Unknown));
        assert_eq!(with(Mode::Sample, true), (Answer::Warn, Step::Sampled));
        assert_eq!(with(Mode::Sample, false), (Answer::Redirect, Step::NotSampled));
        assert_eq!(with(Mode::Silent, true), (Answer::Redirect, Step::Silent));
    }

    #[test]
    fn no_combination_redirects_when_blocked_dangerous_unchecked_or_outside() {
        for bits in 0_u8..64 {
            let on = |bit: u8| bits & (1 << bit) != 0;
            let mut found = all_for_it();
            if on(0) {
                found.listed = listed(false);
            }
            found.dangerous = on(1).then(|| "site.test".into());
            found.unchecked = on(2);
            found.outside = on(3);
            if on(4) {
                found.learned = None;
            }
            if on(5) {
                found.good = None;
            }
            let stopped = bits & 0b1111 != 0;
            assert_eq!(decide(&found).0 == Answer::Redirect, !stopped, "{found:?}");
        }
    }

    #[test]
    fn the_sample_is_about_its_share_and_stable_within_a_day() {
        let picked = (0..4_000).filter(|i| is_sampled(&format!("1.a1.{i}"), "20260101", 0.25)).count();
        assert!((800..1_200).contains(&picked), "{picked}");
        assert!(!(0..500).any(|i| is_sampled(&i.to_string(), "20260101", 0.0)));
        assert!((0..500).all(|i| is_sampled(&i.to_string(), "20260101", 1.0)));
        assert_eq!(is_sampled("t", "20260101", 0.5), is_sampled("t", "20260101", 0.5));
    }
}
