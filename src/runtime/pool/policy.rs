//! In which order a pool tries its candidates: pure functions over what they carry now.

use std::collections::BTreeMap;

use crate::domain::pool::Policy;

/// What a policy may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    /// Preference; lower is tried first whatever the policy says.
    pub(crate) tier: u32,
    /// Calls that run.
    pub(crate) in_use: u16,
    /// Calls that may.
    pub(crate) limit: u16,
}

/// The candidates' indexes, best first: the lowest tier before all others, the policy within each. `turn` counts the
/// pool's picks; `random` gives a number below its argument.
pub(crate) fn order(policy: Policy, loads: &[Load], turn: usize, mut random: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut by_tier: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, load) in loads.iter().enumerate() {
        by_tier.entry(load.tier).or_default().push(at);
    }
    for picked in by_tier.values_mut() {
        order_equals(policy, loads, picked, turn, &mut random);
    }
    by_tier.into_values().flatten().collect()
}

/// Orders candidates of one tier.
fn order_equals(
    policy: Policy,
    loads: &[Load],
    picked: &mut [usize],
    turn: usize,
    random: &mut impl FnMut(usize) -> usize,
) {
    if picked.len() < 2 {
        return;
    }
    match policy {
        Policy::Random => shuffle(picked, random),
        Policy::RoundRobin => picked.rotate_left(turn % picked.len()),
        Policy::LeastLoaded => {
            // Power of two choices: looking at all would send every simultaneous request to the same emptiest backend.
            shuffle(picked, random);
            if is_busier(loads[picked[0]], loads[picked[1]]) {
                picked.swap(0, 1);
            }
            picked[1..].sort_by(|a, b| share(loads[*a]).total_cmp(&share(loads[*b])));
        }
    }
}

fn is_busier(a: Load, b: Load) -> bool {
    share(a) > share(b)
}

/// How much of its limit a backend uses.
fn share(load: Load) -> f64 {
    f64::from(load.in_use) / f64::from(load.limit.max(1))
}

fn shuffle(items: &mut [usize], random: &mut impl FnMut(usize) -> usize) {
    for end in (1..items.len()).rev() {
        items.swap(end, random(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loads(in_use: &[u16]) -> Vec<Load> {
        in_use.iter().map(|in_use| Load { tier: 0, in_use: *in_use, limit: 16 }).collect()
    }

    fn first_picks(policy: Policy, loads: &[Load], rounds: usize) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut picks = vec![0; loads.len()];
        for turn in 0..rounds {
            picks[order(policy, loads, turn, |below| random.usize(..below))[0]] += 1;
        }
        picks
    }

    #[test]
    fn round_robin_gives_everybody_the_same() {
        assert_eq!(first_picks(Policy::RoundRobin, &loads(&[9, 0, 3]), 300), [100, 100, 100]);
    }

    #[test]
    fn random_gives_everybody_about_the_same() {
        for count in first_picks(Policy::Random, &loads(&[9, 0, 3]), 3_000) {
            assert!((900..1_100).contains(&count), "{count}");
        }
    }

    #[test]
    fn least_loaded_never_starts_with_the_busiest_and_prefers_the_idlest() {
        let picks = first_picks(Policy::LeastLoaded, &loads(&[9, 0, 3]), 3_000);
        assert_eq!(picks[0], 0);
        assert!(picks[1] > picks[2], "{picks:?}");
    }

    #[test]
    fn least_loaded_breaks_ties_at_random() {
        for count in first_picks(Policy::LeastLoaded, &loads(&[2, 2]), 2_000) {
            assert!((900..1_100).contains(&count), "{count}");
        }
    }

    #[test]
    fn a_lower_tier_comes_first_under_every_policy() {
        let mut loads = loads(&[9, 0]);
        loads[1].tier = 1;
        for policy in Policy::ALL {
            assert_eq!(first_picks(policy, &loads, 100), [100, 0], "{policy:?}");
        }
    }

    #[test]
    fn other_tiers_do_not_disturb_the_policy_within_one() {
        let mut mixed = loads(&[9, 0, 0, 0, 0]);
        for load in &mut mixed[2..] {
            load.tier = 1;
        }
        assert_eq!(first_picks(Policy::RoundRobin, &mixed, 300), [150, 150, 0, 0, 0]);
        assert_eq!(first_picks(Policy::LeastLoaded, &mixed, 300), [0, 300, 0, 0, 0]);
    }

    #[test]
    fn every_candidate_appears_once() {
        for policy in Policy::ALL {
            let mut all = order(policy, &loads(&[1, 2, 3, 4]), 3, |below| below / 2);
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3], "{policy:?}");
        }
    }
}
