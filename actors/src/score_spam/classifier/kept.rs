//! The last marks of each class, small: what the model rehearses, so that the order in which people mark
//! (a folder of spam today, a folder of ham next week) does not decide what it believes.
//!
//! A mark is kept as its sorted slots, each the distance from the one before in Rice's code: about 1.3 octets
//! a feature.

use super::features::GROUPS;
use std::collections::VecDeque;

/// Octets kept of each class.
const BUDGET: usize = 4 * 1024 * 1024;
/// Low bits of a distance stand as they are.
const LOW_BITS: u32 = 9;
/// No honest mark has more features in a group.
const MAX_GROUP: usize = 16_384;

/// See the module.
#[derive(Default)]
pub(crate) struct Kept {
    /// Encoded marks of ham and of spam, oldest first.
    pub(crate) marks: [VecDeque<Vec<u8>>; 2],
    octets: [usize; 2],
}

impl Kept {
    /// Keeps a mark; the oldest of its class go when there is no room.
    pub(crate) fn push(&mut self, mark: Vec<u8>, spam: bool) {
        let class = usize::from(spam);
        self.octets[class] += mark.len();
        self.marks[class].push_back(mark);
        while self.octets[class] > BUDGET {
            let Some(oldest) = self.marks[class].pop_front() else { return };
            self.octets[class] -= oldest.len();
        }
    }

    /// One mark of a class, by any number.
    pub(crate) fn pick(&self, spam: bool, number: u64) -> Option<[Vec<u32>; GROUPS]> {
        let marks = &self.marks[usize::from(spam)];
        let at = usize::try_from(number % (marks.len().max(1) as u64)).ok()?;
        decode(marks.get(at)?)
    }
}

/// Encodes sets of slots.
pub(crate) fn encode(groups: &[Vec<u32>; GROUPS]) -> Vec<u8> {
    let total: usize = groups.iter().map(Vec::len).sum();
    let mut out = Bits { octets: Vec::with_capacity(total + total / 2 + 16), word: 0, filled: 0 };
    for group in groups {
        let mut sorted = group.clone();
        sorted.sort_unstable();
        sorted.truncate(MAX_GROUP);
        out.push(sorted.len() as u32, 16);
        let mut last = 0;
        for slot in sorted {
            let distance = slot - last;
            last = slot;
            for _ in 0..distance >> LOW_BITS {
                out.push(1, 1);
            }
            out.push(0, 1);
            out.push(distance & ((1 << LOW_BITS) - 1), LOW_BITS);
        }
    }
    out.finish()
}

/// The sets of an encoded mark; `None` when it is damaged.
pub(crate) fn decode(octets: &[u8]) -> Option<[Vec<u32>; GROUPS]> {
    let mut input = Reader { octets, at: 0 };
    let mut groups: [Vec<u32>; GROUPS] = Default::default();
    for group in &mut groups {
        let length = input.take(16)? as usize;
        group.reserve(length.min(MAX_GROUP));
        let mut last = 0_u32;
        for _ in 0..length {
            let mut high = 0_u32;
            while input.take(1)? == 1 {
                high += 1;
            }
            let distance = high.checked_mul(1 << LOW_BITS)?.checked_add(input.take(LOW_BITS)?)?;
            last = last.checked_add(distance)?;
            group.push(last);
        }
    }
    Some(groups)
}

struct Bits {
    octets: Vec<u8>,
    word: u64,
    filled: u32,
}

impl Bits {
    fn push(&mut self, value: u32, bits: u32) {
        self.word = self.word << bits | u64::from(value);
        self.filled += bits;
        while self.filled >= 8 {
            self.filled -= 8;
            self.octets.push((self.word >> self.filled) as u8);
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.push(0, 8 - self.filled);
        }
        self.octets
    }
}

struct Reader<'o> {
    octets: &'o [u8],
    at: usize,
}

impl Reader<'_> {
    fn take(&mut self, bits: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..bits {
            let octet = self.octets.get(self.at / 8)?;
            value = value << 1 | u32::from(octet >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_oldest_marks_of_a_class_make_room_for_new_ones() {
        let mut kept = Kept::default();
        for n in 0..20_u8 {
            kept.push(vec![n; BUDGET / 10], true);
            kept.push(vec![n; 10], false);
        }
        assert_eq!((kept.marks[1].len(), kept.marks[0].len()), (10, 20));
        assert_eq!(kept.marks[1][0][0], 10);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

        #[test]
        fn a_mark_comes_back_as_it_was(slots in proptest::collection::vec(
            proptest::collection::btree_set(0..1_u32 << 20, 0..300), GROUPS)
        ) {
            let sorted: Vec<Vec<u32>> = slots.into_iter().map(|s| s.into_iter().collect()).collect();
            let groups: [Vec<u32>; GROUPS] = sorted.try_into().unwrap();
            prop_assert_eq!(decode(&encode(&groups)), Some(groups));
        }

        #[test]
        fn any_octets_decode_to_something_or_nothing(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&octets);
        }
    }
}
