//! From log-odds to a probability that means what it says: of mails called 0.9, nine in ten are spam.
//!
//! Fitted on what the model said of each mark before it learned it (Platt's method, both classes weighing the
//! same, pulled towards a fixed start while there are few). The last marks of each class are kept.

/// Marks kept of each class.
const KEPT: usize = 512;
/// Fewer than this of either class fit nothing.
const LEAST: usize = 50;
/// Start of the slope: a learner in one pass is too sure of itself by about this much.
const SLOPE: f64 = 0.6;
/// How strongly the start pulls, in marks.
const PULL: f64 = 20.0;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Calibration {
    /// Scores of ham and of spam before they were learned, oldest first.
    pub(crate) seen: [Vec<f32>; 2],
    slope: f64,
    shift: f64,
    since_fit: usize,
}

impl Default for Calibration {
    fn default() -> Calibration {
        Calibration { seen: [Vec::new(), Vec::new()], slope: SLOPE, shift: 0.0, since_fit: 0 }
    }
}

impl Calibration {
    /// Takes note of what was said of a mark before it was learned.
    pub(crate) fn record(&mut self, score: f32, spam: bool) {
        let seen = &mut self.seen[usize::from(spam)];
        if seen.len() >= KEPT {
            seen.remove(0);
        }
        seen.push(score);
        self.since_fit += 1;
        if self.since_fit >= 32 {
            self.fit();
        }
    }

    /// Probability of spam, 0..1.
    pub(crate) fn probability(&self, score: f32) -> f32 {
        let odds = self.slope * f64::from(score) + self.shift;
        (1.0 / (1.0 + (-odds).exp())) as f32
    }

    /// Fits slope and shift by Newton's method; keeps the old ones when it leads nowhere.
    pub(crate) fn fit(&mut self) {
        self.since_fit = 0;
        if self.seen.iter().any(|s| s.len() < LEAST) {
            return;
        }
        let (mut slope, mut shift) = (SLOPE, 0.0);
        for _ in 0..20 {
            let step = self.newton(slope, shift);
            slope += step.0;
            shift += step.1;
            if step.0.abs() + step.1.abs() < 1e-6 {
                break;
            }
        }
        if slope.is_finite() && shift.is_finite() && (0.05..5.0).contains(&slope) && shift.abs() < 5.0 {
            (self.slope, self.shift) = (slope, shift);
        }
    }

    fn newton(&self, slope: f64, shift: f64) -> (f64, f64) {
        let (mut gradient, mut curve) =
            ([PULL * (SLOPE - slope), -PULL * shift / 16.0], [PULL, 0.0, PULL / 16.0]);
        for (class, seen) in self.seen.iter().enumerate() {
            let weight = 256.0 / seen.len() as f64;
            // Targets a little inside 0 and 1: a few hundred marks prove no certainty.
            let target = if class == 1 { 1.0 - 0.5 / (seen.len() as f64) } else { 0.5 / (seen.len() as f64) };
            for score in seen.iter().map(|s| f64::from(*s)) {
                let p = 1.0 / (1.0 + (-(slope * score + shift)).exp());
                let (error, spread) = (weight * (target - p), weight * (p * (1.0 - p)).max(1e-9));
                gradient[0] += error * score;
                gradient[1] += error;
                curve[0] += spread * score * score;
                curve[1] += spread * score;
                curve[2] += spread;
            }
        }
        let determinant = curve[0] * curve[2] - curve[1] * curve[1];
        if determinant.abs() < 1e-12 {
            return (0.0, 0.0);
        }
        let step = (
            (gradient[0] * curve[2] - gradient[1] * curve[1]) / determinant,
            (gradient[1] * curve[0] - gradient[0] * curve[1]) / determinant,
        );
        (step.0.clamp(-0.5, 0.5), step.1.clamp(-2.0, 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_too_sure_is_toned_down() {
        let mut calibration = Calibration::default();
        for n in 0..200 {
            // One in ten is on the wrong side at a score of four.
            calibration.record(if n % 10 == 0 { -4.0 } else { 4.0 }, true);
            calibration.record(if n % 10 == 0 { 4.0 } else { -4.0 }, false);
        }
        calibration.fit();
        let p = calibration.probability(4.0);
        assert!((0.86..0.94).contains(&p), "{p}");
        assert!((calibration.probability(0.0) - 0.5).abs() < 0.02);
    }

    #[test]
    fn few_marks_or_one_class_alone_fit_nothing() {
        let mut calibration = Calibration::default();
        for _ in 0..400 {
            calibration.record(-3.0, false);
        }
        calibration.fit();
        assert_eq!((calibration.slope, calibration.shift), (SLOPE, 0.0));
    }
}
