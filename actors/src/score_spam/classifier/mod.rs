//! The statistical classifier: learns from marks one at a time and gives a message's probability of spam.
//!
//! Score = log-odds of five averaged learners over hashed features + a bounded part of the Robinson-Fisher
//! deviation of the header words; `calibration` makes a probability of it. Deterministic: the same marks in
//! the same order give the same model, to the bit, on one platform (exponentials differ by C library).
//!
//! Learning a mark: each learner takes it at least once and by chance (of the mark's id) more often, and
//! rehearses a kept mark of the other class. A mark's id is learned once; the last 100,000 ids are remembered.
//! A mark that contradicts the model is distrusted only while the model is mostly right about that class,
//! so that a first folder of ham after a thousand spams is believed.
//!
//! Memory: 40 MiB of learners, 4 MiB of means, 4 MiB of word counts, 8 MiB of kept marks; untouched pages of
//! a new model cost nothing.

mod calibration;
mod features;
mod file;
pub(crate) mod hash;
mod kept;
mod weights;

mod fisher;

pub use file::ModelError;
pub(crate) use file::learn_durably;

use super::parsed::{Parsed, Part, message, parts, without_mbox_line};
use calibration::Calibration;
use fisher::Fisher;
use kept::Kept;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use weights::{LEARNERS, Weights, sigmoid};

/// One model, shared by the scoring and the training stage and the admin API.
pub type SharedModel = Arc<parking_lot::RwLock<Model>>;

/// Marks of each class before the model says anything.
pub const LEAST_MARKS: u64 = 20;
/// Ids of marks that are remembered.
const IDS: usize = 100_000;
/// Weight and scale of the Fisher part.
const FISHER_WEIGHT: f32 = 5.4;
const FISHER_SCALE: f32 = 23.0;
/// Words told of a message.
const TOLD: usize = 4;

/// What the classifier says of one message.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Calibrated probability of spam, 0..1.
    pub probability: f32,
    /// The words of this message that spoke loudest for the judgement, at most four, strongest first.
    pub telling: Vec<String>,
}

/// The classifier; see the module.
#[derive(Default)]
pub struct Model {
    weights: Weights,
    fisher: Fisher,
    calibration: Calibration,
    kept: Kept,
    /// Marks learned: ham, spam.
    marks: [u64; 2],
    /// Share of recent marks of ham and spam that the model contradicted.
    contradicted: [f32; 2],
    ids: HashSet<u64>,
    id_order: VecDeque<u64>,
    /// One at a time writes files of this model.
    writing: Arc<parking_lot::Mutex<()>>,
}

/// A message ready to be learned: made without the model, so that no lock is held meanwhile.
pub struct Lesson {
    pub(crate) id: u64,
    pub(crate) spam: bool,
    pub(crate) features: features::Features,
}

impl Lesson {
    /// Features of a message (an mbox `From ` line is skipped). `id` names the mark.
    pub fn new(id: &str, raw: &[u8], spam: bool) -> Lesson {
        let raw = without_mbox_line(raw);
        let message = message(raw);
        let parts = message.as_ref().map(parts).unwrap_or_default();
        let parsed = Parsed::new(raw, message.as_ref(), &parts);
        let (mut features, _) = features::extract(&parsed, &parts);
        // Sums of floats hang on order, and the journal keeps slots sorted: a replay must give the same bits.
        features.groups.iter_mut().for_each(|group| group.sort_unstable());
        Lesson { id: hash::of(id.as_bytes(), 60), spam, features }
    }
}

impl Model {
    /// A model that knows nothing, ready to be shared.
    pub fn shared() -> SharedModel {
        Arc::new(parking_lot::RwLock::new(Model::default()))
    }

    /// Marks learned so far: `(ham, spam)`.
    pub fn marks(&self) -> (u64, u64) {
        (self.marks[0], self.marks[1])
    }

    /// Whether it has seen enough of both classes to say anything.
    pub fn is_trained(&self) -> bool {
        self.marks.iter().all(|n| *n >= LEAST_MARKS)
    }

    /// Learns one message; `false` when this mark was learned before.
    pub fn learn(&mut self, id: &str, raw: &[u8], spam: bool) -> bool {
        self.take(&Lesson::new(id, raw, spam))
    }

    /// Whether a lesson was learned before.
    pub fn knows(&self, lesson: &Lesson) -> bool {
        self.ids.contains(&lesson.id)
    }

    /// Learns a lesson; `false` when its mark was learned before.
    pub fn take(&mut self, lesson: &Lesson) -> bool {
        if !self.remember(lesson.id) {
            return false;
        }
        let Lesson { id, spam, features } = lesson;
        let class = usize::from(*spam);
        if self.is_trained() {
            self.calibration.record(self.log_odds(features), *spam);
        }
        let said = sigmoid(self.weights.log_odds(&features.groups));
        let wrong = if *spam { said < 0.2 } else { said > 0.8 };
        let share = &mut self.contradicted[class];
        *share += 0.05 * (f32::from(u8::from(wrong)) - *share);
        let doubt = self.marks[class] >= LEAST_MARKS && *share < 0.3;
        for learner in 0..LEARNERS {
            for _ in 0..times(*id, learner) {
                self.weights.step(learner, &features.groups, *spam, doubt);
            }
        }
        self.weights.settle(&features.groups);
        for learner in 0..LEARNERS {
            self.rehearse(learner, !*spam, hash::pair(*id, 70 + learner as u64));
        }
        self.fisher.learn(&features.words, *spam);
        self.kept.push(kept::encode(&features.groups), *spam);
        self.marks[class] += 1;
        true
    }

    fn rehearse(&mut self, learner: usize, spam: bool, number: u64) {
        let Some(groups) = self.kept.pick(spam, number) else { return };
        self.weights.step(learner, &groups, spam, true);
        self.weights.settle(&groups);
    }

    fn remember(&mut self, id: u64) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.id_order.push_back(id);
        if self.id_order.len() > IDS
            && let Some(oldest) = self.id_order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }

    /// Judges a message; `None` before [`LEAST_MARKS`] of each class.
    pub fn score(&self, raw: &[u8]) -> Option<Judgement> {
        let raw = without_mbox_line(raw);
        let message = message(raw);
        let parts = message.as_ref().map(parts).unwrap_or_default();
        self.judge(&Parsed::new(raw, message.as_ref(), &parts), &parts)
    }

    /// Judges a message that is parsed already.
    pub(crate) fn judge(&self, parsed: &Parsed<'_>, parts: &[Part<'_>]) -> Option<Judgement> {
        if !self.is_trained() {
            return None;
        }
        let (features, named) = features::extract(parsed, parts);
        let probability = self.calibration.probability(self.log_odds(&features));
        let sign = if probability >= 0.5 { 1.0 } else { -1.0 };
        Some(Judgement { probability, telling: self.telling(&named, sign) })
    }

    fn log_odds(&self, features: &features::Features) -> f32 {
        let deviation = self.fisher.deviation(&features.words) as f32;
        self.weights.log_odds(&features.groups) + FISHER_WEIGHT * (deviation / FISHER_SCALE).tanh()
    }

    fn telling(&self, named: &[features::Named<'_>], sign: f32) -> Vec<String> {
        let mut best: Vec<(f32, &[u8])> = Vec::with_capacity(TOLD + 1);
        for (slot, word) in named {
            let share = self.weights.share(*slot) * sign;
            let least = if best.len() < TOLD { 0.0 } else { best.last().map_or(0.0, |b| b.0) };
            if share <= least || word.len() < 3 || best.iter().any(|b| b.1 == *word) {
                continue;
            }
            let at = best.partition_point(|b| b.0 >= share);
            best.insert(at, (share, word));
            best.truncate(TOLD);
        }
        best.into_iter().map(|(_, word)| String::from_utf8_lossy(word).into_owned()).collect()
    }
}

/// How often a learner takes a mark: once, and by a Poisson draw of mean one half more often.
fn times(id: u64, learner: usize) -> u32 {
    let draw = (hash::pair(id, learner as u64) >> 11) as f64 / (1_u64 << 53) as f64;
    1 + [0.6065, 0.9098, 0.9856, 0.9982].iter().map(|edge| u32::from(draw > *edge)).sum::<u32>()
}

#[cfg(test)]
mod tests;
