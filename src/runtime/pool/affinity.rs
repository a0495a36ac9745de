//! Weighted rendezvous hashing with bounded loads: which backend a key belongs to, and when it is passed over.
//!
//! Each backend gets a number for the key and the lowest wins, so that a backend that comes or goes moves only its own
//! share of the keys (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998). The bound is that
//! of Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018.

use sha2::{Digest, Sha256};

/// A backend may run 5/4 of its fair share of the calls, rounded up.
const BOUND: (u64, u64) = (5, 4);

/// A number for these texts, the same in every process and version.
pub(crate) fn stable_hash<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let digest = texts.into_iter().fold(Sha256::new(), |hasher, text| hasher.chain_update(text)).finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The number of a backend for a key, above 0: exponentially distributed over the keys at the rate of its weight. The
/// lowest of several is a backend's in proportion to the weights, and so is the lowest of the rest (Efraimidis and
/// Spirakis, "Weighted random sampling with a reservoir", 2006).
pub(super) fn rank(key: u64, backend: u64, weight: u32) -> f64 {
    // 52 bits and a half: never 0 and never 1.
    let uniform = ((mixed(key ^ backend) >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    -uniform.ln() / f64::from(weight.max(1))
}

/// Whether a backend of this weight runs all it may of `running` calls on backends of `weights` in all, and the one to
/// come. Some backend always may take it.
pub(super) fn is_overloaded(in_use: u16, weight: u32, running: u64, weights: u64) -> bool {
    let share = (running + 1) * u64::from(weight.max(1)) * BOUND.0;
    u64::from(in_use) >= share.div_ceil(weights.max(1) * BOUND.1)
}

/// The finishing step of splitmix64: close keys end far apart.
fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Who gets each of the keys, of backends with the same names in every run.
    fn owners(keys: &[u64], weights: &[u32]) -> Vec<usize> {
        let hash = |at: usize| stable_hash([format!("backend-{at}").as_bytes()]);
        let backends: Vec<(u64, u32)> = weights.iter().enumerate().map(|(at, weight)| (hash(at), *weight)).collect();
        let owner = |key: &u64| {
            let ranks = backends.iter().map(|(hash, weight)| rank(*key, *hash, *weight));
            ranks.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b)).unwrap().0
        };
        keys.iter().map(owner).collect()
    }

    #[test]
    fn the_same_texts_have_the_same_number_in_every_version() {
        assert_eq!(stable_hash([b"abc".as_slice()]), 0xba78_16bf_8f01_cfea);
        assert_eq!(stable_hash([b"a".as_slice(), b"bc"]), 0xba78_16bf_8f01_cfea);
    }

    #[test]
    fn keys_are_spread_by_weight() {
        let mut owned = [0usize; 3];
        // Neighbours, as no hash would give them.
        for owner in owners(&(0..6_000).collect::<Vec<_>>(), &[1, 2, 3]) {
            owned[owner] += 1;
        }
        assert!((900..1_100).contains(&owned[0]) && (1_850..2_150).contains(&owned[1]), "{owned:?}");
    }

    #[test]
    fn a_backend_is_overloaded_at_five_quarters_of_its_share() {
        // Four backends and 15 calls: with the next one a share is 4, and 5 may run.
        assert!(!is_overloaded(4, 1, 15, 4) && is_overloaded(5, 1, 15, 4));
        // A backend that is to get two fifths of 25 calls: 12.5 may run, rounded up.
        assert!(!is_overloaded(12, 2, 24, 5) && is_overloaded(12, 2, 23, 5));
        assert!(!is_overloaded(0, 1, 0, 1000), "an idle backend never is");
    }

    proptest! {
        #[test]
        fn a_further_backend_takes_its_share_and_moves_nothing_else(
            mut weights in prop::collection::vec(1u32..=1000, 1..8), added in 1u32..=1000, seed: u64,
        ) {
            let keys: Vec<u64> = (0..1_000u64).map(|key| mixed(seed ^ key)).collect();
            let before = owners(&keys, &weights);
            weights.push(added);
            let mut moved = 0.0;
            for (now, before) in owners(&keys, &weights).into_iter().zip(before) {
                if now != before {
                    prop_assert_eq!(now, weights.len() - 1);
                    moved += 1.0;
                }
            }
            let share = f64::from(added) / f64::from(weights.iter().sum::<u32>());
            prop_assert!((moved / 1_000.0 - share).abs() < 0.1, "{} instead of {}", moved / 1_000.0, share);
        }

        #[test]
        fn somebody_may_always_take_a_call(backends in prop::collection::vec((0u16..50, 1u32..=1000), 1..9)) {
            let running = backends.iter().map(|(in_use, _)| u64::from(*in_use)).sum();
            let weights = backends.iter().map(|(_, weight)| u64::from(*weight)).sum();
            prop_assert!(backends.iter().any(|(in_use, weight)| !is_overloaded(*in_use, *weight, running, weights)));
        }
    }
}
