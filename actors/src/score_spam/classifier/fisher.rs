//! Header words by the method of Robinson and Fisher: how often each word stood in spam and in ham, combined
//! into two chi-square statistics. It does not depend on the order of marks, and so steadies the learners.

use super::features::SLOTS;

/// Strength and value of the assumption about a word never seen.
const STRENGTH: f64 = 0.0178;
const ASSUMED: f64 = 0.52;
/// Only words that say something count.
const LEAST_DEVIATION: f64 = 0.45;
/// Counts are halved before they overflow, which also lets old mail fade.
const MOST_MARKS: u32 = 60_000;

/// How often words stood in ham (first) and spam (second).
pub(crate) struct Fisher {
    pub(crate) counts: Vec<[u16; 2]>,
    /// Marks counted: ham, spam.
    pub(crate) marks: [u32; 2],
}

impl Default for Fisher {
    fn default() -> Fisher {
        Fisher { counts: vec![[0; 2]; SLOTS], marks: [0; 2] }
    }
}

impl Fisher {
    /// Counts the words of one mark.
    pub(crate) fn learn(&mut self, words: &[u32], spam: bool) {
        let class = usize::from(spam);
        for word in words {
            if let Some(count) = self.counts.get_mut(*word as usize) {
                count[class] = count[class].saturating_add(1);
            }
        }
        self.marks[class] += 1;
        if self.marks[class] >= MOST_MARKS {
            self.marks.iter_mut().for_each(|n| *n /= 2);
            self.counts.iter_mut().flatten().for_each(|n| *n /= 2);
        }
    }

    /// Standard deviations towards spam; 0 without knowledge.
    pub(crate) fn deviation(&self, words: &[u32]) -> f64 {
        let [ham, spam] = self.marks.map(f64::from);
        if ham == 0.0 || spam == 0.0 {
            return 0.0;
        }
        let (mut for_spam, mut for_ham, mut used) = (0.0, 0.0, 0_u32);
        for word in words {
            let Some([in_ham, in_spam]) = self.counts.get(*word as usize) else { continue };
            let seen = f64::from(*in_ham) + f64::from(*in_spam);
            let (rate_spam, rate_ham) = (f64::from(*in_spam) / spam, f64::from(*in_ham) / ham);
            let share = if seen > 0.0 { rate_spam / (rate_spam + rate_ham) } else { ASSUMED };
            let belief = (STRENGTH * ASSUMED + seen * share) / (STRENGTH + seen);
            if (belief - 0.5).abs() <= LEAST_DEVIATION {
                continue;
            }
            used += 1;
            for_spam -= 2.0 * (1.0 - belief).ln();
            for_ham -= 2.0 * belief.ln();
        }
        if used == 0 {
            return 0.0;
        }
        normal(for_spam, f64::from(2 * used)) - normal(for_ham, f64::from(2 * used))
    }
}

/// Normal deviate of a chi-square value, by Wilson and Hilferty.
fn normal(chi: f64, freedom: f64) -> f64 {
    let spread = 2.0 / (9.0 * freedom);
    ((chi / freedom).cbrt() - (1.0 - spread)) / spread.sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_spam_pull_one_way_and_words_of_ham_the_other() {
        let mut fisher = Fisher::default();
        for _ in 0..20 {
            fisher.learn(&[1, 2, 9], true);
            fisher.learn(&[3, 4, 9], false);
        }
        let (spam, ham) = (fisher.deviation(&[1, 2, 9]), fisher.deviation(&[3, 4, 9]));
        assert!(spam > 3.0 && ham < -3.0, "{spam} {ham}");
        assert!(fisher.deviation(&[9, 77]).abs() < 0.1);
    }

    #[test]
    fn counts_fade_and_never_overflow() {
        let mut fisher = Fisher::default();
        for _ in 0..=MOST_MARKS {
            fisher.learn(&[5], true);
        }
        assert_eq!(fisher.marks, [0, MOST_MARKS / 2 + 1]);
        assert_eq!(u32::from(fisher.counts[5][1]), MOST_MARKS / 2 + 1);
    }
}
