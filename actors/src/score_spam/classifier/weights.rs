//! Logistic regression over slots: five learners with a rate per slot (AdaGrad), of which the mean scores.
//!
//! A learner's own order of marks has much influence on it; the mean of five that saw different samples in
//! different orders has little. A mark that a learner strongly contradicts is distrusted (the step shrinks
//! with the contradiction), since people press the wrong button; without that, one wrong mark in twenty ruins
//! the model.

use super::features::{GROUPS, SLOTS};

/// Learners averaged.
pub(crate) const LEARNERS: usize = 5;
/// Steps smaller than this are not taken.
const LEAST_ERROR: f32 = 0.01;
/// Errors above this are distrusted.
const TRUSTED_ERROR: f32 = 0.8;
const RATE: f32 = 1.0;
const DAMPING: f32 = 0.01;

/// Weight and sum of squared gradients of each learner, side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cell {
    pub(crate) weight: [f32; LEARNERS],
    pub(crate) squares: [f32; LEARNERS],
}

/// All slots.
pub(crate) struct Weights {
    pub(crate) cells: Vec<Cell>,
    /// Mean of the learners, by slot: all that scoring reads.
    mean: Vec<f32>,
}

impl Default for Weights {
    fn default() -> Weights {
        Weights { cells: vec![Cell::default(); SLOTS], mean: vec![0.0; SLOTS] }
    }
}

/// Every group weighs the same, and a message as a whole has length one.
fn value(group: &[u32]) -> f32 {
    0.5 / (group.len().max(1) as f32).sqrt()
}

pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

impl Weights {
    /// Log-odds of spam by the mean of the learners.
    pub(crate) fn log_odds(&self, groups: &[Vec<u32>; GROUPS]) -> f32 {
        let of = |group: &Vec<u32>| {
            let sum: f32 = group.iter().filter_map(|slot| self.mean.get(*slot as usize)).sum();
            sum * value(group)
        };
        groups.iter().map(of).sum()
    }

    /// What one slot of a group adds to the log-odds.
    pub(crate) fn share(&self, slot: u32) -> f32 {
        self.mean.get(slot as usize).copied().unwrap_or_default()
    }

    /// One step of one learner. `doubt`: distrust a mark that contradicts the learner.
    pub(crate) fn step(&mut self, learner: usize, groups: &[Vec<u32>; GROUPS], spam: bool, doubt: bool) {
        if learner >= LEARNERS {
            return;
        }
        let mut odds = 0.0;
        for group in groups {
            let weights = group.iter().filter_map(|slot| self.cells.get(*slot as usize));
            odds += weights.map(|cell| cell.weight[learner]).sum::<f32>() * value(group);
        }
        let mut error = f32::from(u8::from(spam)) - sigmoid(odds);
        if error.abs() < LEAST_ERROR {
            return;
        }
        if doubt && error.abs() > TRUSTED_ERROR {
            error *= (1.0 - error.abs()) / (1.0 - TRUSTED_ERROR);
        }
        for group in groups {
            let gradient = error * value(group);
            for slot in group {
                let Some(cell) = self.cells.get_mut(*slot as usize) else { continue };
                cell.squares[learner] += gradient * gradient;
                cell.weight[learner] += RATE * gradient / (DAMPING + cell.squares[learner].sqrt());
            }
        }
    }

    /// Makes the mean right again for slots that steps have changed.
    pub(crate) fn settle(&mut self, groups: &[Vec<u32>; GROUPS]) {
        for slot in groups.iter().flatten() {
            let at = *slot as usize;
            if let (Some(mean), Some(cell)) = (self.mean.get_mut(at), self.cells.get(at)) {
                *mean = cell.weight.iter().sum::<f32>() / LEARNERS as f32;
            }
        }
    }

    /// Puts one slot as it was saved.
    pub(crate) fn put(&mut self, slot: usize, cell: Cell) {
        if let (Some(mean), Some(place)) = (self.mean.get_mut(slot), self.cells.get_mut(slot)) {
            *mean = cell.weight.iter().sum::<f32>() / LEARNERS as f32;
            *place = cell;
        }
    }
}
