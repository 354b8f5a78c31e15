//! The hash that names features. It is part of the model file's format: it must give the same on every
//! machine and in every version, so it is written out here and pinned by a test.

const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;
const MIX: u64 = 0xD6E8_FEB8_6659_FD93;

/// Hash of some octets under a seed.
pub(crate) fn of(bytes: &[u8], seed: u64) -> u64 {
    let mut state = seed ^ (bytes.len() as u64).wrapping_mul(SPREAD);
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0_u8; 8];
        word.copy_from_slice(chunk);
        state = fold(state ^ u64::from_le_bytes(word), SPREAD);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        let mut word = [0_u8; 8];
        for (to, from) in word.iter_mut().zip(rest) {
            *to = *from;
        }
        state = fold(state ^ u64::from_le_bytes(word), MIX);
    }
    fold(state ^ SPREAD, MIX)
}

/// Hash of two hashes, in this order.
pub(crate) fn pair(one: u64, other: u64) -> u64 {
    fold(one.rotate_left(23) ^ SPREAD, other ^ MIX)
}

/// The two halves of a 128-bit product, xored.
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_for_ever() {
        assert_eq!(of(b"", 0), of(b"", 0));
        let pinned = [of(b"a", 0), of(b"Subject", 7), of(b"a longer piece of text", 1), pair(1, 2)];
        assert_eq!(pinned, PINNED);
    }

    #[test]
    fn the_upper_bits_spread_over_all_slots() {
        let slots: std::collections::HashSet<u64> =
            (0..10_000_u32).map(|n| of(n.to_string().as_bytes(), 3) >> 44).collect();
        assert!(slots.len() > 9_900, "{} slots", slots.len());
    }

    const PINNED: [u64; 4] = [0xf66ff36de43242a1, 0x26ab66b3bcd295b1, 0x64dc4727b0162d43, 0xe81c3a3d9d485d3d];
}
