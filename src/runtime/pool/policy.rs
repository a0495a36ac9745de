//! In which order a pool tries its candidates (`docs/api.md`, policies): pure functions over what they carry now.

use std::collections::BTreeMap;

use super::affinity::{is_overloaded, rank};
use crate::{domain::pool::Policy, runtime::backend::LatencyView};

/// Milliseconds by which latencies differ without meaning anything: the way there and chance.
const LATENCY_NOISE: f32 = 20.0;
/// How many times as good or as bad as the others a backend may seem for its latency.
const LATENCY_WEIGHT: f64 = 8.0;

/// What a policy may look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Load {
    /// Preference; lower is tried first whatever the policy says.
    pub(crate) tier: u32,
    /// Calls that run.
    pub(crate) in_use: u16,
    /// Calls that may.
    pub(crate) limit: u16,
    /// Share under weighted policies.
    pub(crate) weight: u32,
    /// Which backend it is, in consistent hashing.
    pub(crate) hash: u64,
    /// Whether the model is in memory.
    pub(crate) is_warm: bool,
    /// Tokens of context, 0 = unknown.
    pub(crate) context: i64,
    /// How long its answers take to begin.
    pub(crate) latency: LatencyView,
}

/// What a policy may know of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pick {
    /// Counts the picks of the pool.
    pub(crate) turn: usize,
    /// What calls have in common that should go to the same backend; 0 = nothing.
    pub(crate) key: u64,
}

/// The candidates' indexes, best first: the lowest tier before all others, the policy within each. `random` gives a
/// number below its argument.
pub(crate) fn order(policy: Policy, loads: &[Load], pick: Pick, mut random: impl FnMut(usize) -> usize) -> Vec<usize> {
    let mut by_tier: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (at, load) in loads.iter().enumerate() {
        by_tier.entry(load.tier).or_default().push(at);
    }
    for picked in by_tier.values_mut() {
        order_equals(policy, loads, picked, pick, &mut random);
    }
    by_tier.into_values().flatten().collect()
}

/// Orders candidates of one tier.
fn order_equals(
    policy: Policy,
    loads: &[Load],
    picked: &mut [usize],
    pick: Pick,
    random: &mut impl FnMut(usize) -> usize,
) {
    if picked.len() < 2 {
        return;
    }
    match policy {
        Policy::Random => shuffle(picked, random),
        Policy::RoundRobin => picked.rotate_left(pick.turn % picked.len()),
        Policy::LeastLoaded => least_loaded(loads, picked, random),
        // The backends of a key that no other call has.
        Policy::Weighted => by_rank(loads, picked, random(usize::MAX) as u64),
        Policy::PrefixAffinity => by_affinity(loads, picked, pick.key),
        Policy::WarmFirst => {
            picked.sort_by_key(|at| !loads[*at].is_warm);
            let (warm, cold) = picked.split_at_mut(picked.partition_point(|at| loads[*at].is_warm));
            least_loaded(loads, warm, random);
            least_loaded(loads, cold, random);
        }
        Policy::Auto | Policy::LowLatency => {
            match pick.key {
                0 => shuffle(picked, random),
                key => by_affinity(loads, picked, key),
            }
            picked.sort_by_key(|at| std::cmp::Reverse(loads[*at].context));
        }
    }
}

/// Power of two choices: looking at all would send every simultaneous request to the same best backend.
fn least_loaded(loads: &[Load], picked: &mut [usize], random: &mut impl FnMut(usize) -> usize) {
    if picked.len() < 2 {
        return;
    }
    shuffle(picked, random);
    let usual = usual_latency(picked.iter().map(|at| loads[*at].latency));
    let cost = |at: &usize| cost(loads[*at], usual);
    if cost(&picked[0]) > cost(&picked[1]) {
        picked.swap(0, 1);
    }
    picked[1..].sort_by(|a, b| cost(a).total_cmp(&cost(b)));
}

/// What a further call costs there: the part of its slots that it would use, times the square of its latency in terms of
/// the usual one. The square, because an engine that batches takes hardly longer for more calls: with the latency alone, as
/// for servers that work on one call after the other, one slow backend would get calls while fast ones have slots, and the
/// slowest calls of the pool would be its calls (`docs/performance.md`, one slow backend in four).
/// A latency that is old, or that nobody knows, is the usual one: who was slow is tried again, and who was fast is not
/// overrun.
fn cost(load: Load, usual: Option<f32>) -> f64 {
    let share = (f64::from(load.in_use) + 1.0) / f64::from(load.limit.max(1));
    let Some(usual) = usual else { return share };
    let LatencyView { millis, trust } = load.latency;
    let believed = usual + (millis - usual) * trust;
    let factor = f64::from((believed + LATENCY_NOISE) / (usual + LATENCY_NOISE));
    share * (factor * factor).clamp(LATENCY_WEIGHT.recip(), LATENCY_WEIGHT)
}

/// The average of what is known, by how much it is to be believed.
fn usual_latency(latencies: impl Iterator<Item = LatencyView>) -> Option<f32> {
    let weighed = |(sum, trust): (f32, f32), view: LatencyView| (sum + view.millis * view.trust, trust + view.trust);
    let (sum, trust) = latencies.fold((0.0, 0.0), weighed);
    (trust > 1e-6).then_some(sum / trust)
}

/// The backends of a key in their order, those with more than their share of the running calls last.
fn by_affinity(loads: &[Load], picked: &mut [usize], key: u64) {
    by_rank(loads, picked, key);
    let running = picked.iter().map(|at| u64::from(loads[*at].in_use)).sum();
    let weights = picked.iter().map(|at| u64::from(loads[*at].weight)).sum();
    picked.sort_by_key(|at| is_overloaded(loads[*at].in_use, loads[*at].weight, running, weights));
}

fn by_rank(loads: &[Load], picked: &mut [usize], key: u64) {
    // Numbers above 0 are in the order of their bits.
    picked.sort_by_cached_key(|at| rank(key, loads[*at].hash, loads[*at].weight).to_bits());
}

fn shuffle(items: &mut [usize], random: &mut impl FnMut(usize) -> usize) {
    for end in (1..items.len()).rev() {
        items.swap(end, random(end + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::pool::stable_hash;

    fn loads(in_use: &[u16]) -> Vec<Load> {
        let load = |(at, in_use): (usize, &u16)| Load {
            tier: 0,
            in_use: *in_use,
            limit: 16,
            weight: 1,
            hash: stable_hash([format!("backend-{at}").as_bytes()]),
            is_warm: true,
            context: 0,
            latency: LatencyView::UNKNOWN,
        };
        in_use.iter().enumerate().map(load).collect()
    }

    fn first_picks(policy: Policy, loads: &[Load], rounds: usize) -> Vec<usize> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut picks = vec![0; loads.len()];
        for turn in 0..rounds {
            let key = stable_hash([turn.to_string().as_bytes()]);
            picks[order(policy, loads, Pick { turn, key }, |below| random.usize(..below))[0]] += 1;
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

    fn took(millis: f32, trust: f32) -> LatencyView {
        LatencyView { millis, trust }
    }

    #[test]
    fn least_loaded_takes_a_slow_backend_for_a_busier_one() {
        let mut loads = loads(&[1, 3]);
        // Twice as many calls, but half of the time.
        (loads[0].latency, loads[1].latency) = (took(3_000.0, 1.0), took(1_500.0, 1.0));
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [0, 100]);
        loads[1].in_use = 7;
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [100, 0]);
    }

    #[test]
    fn least_loaded_divides_calls_by_the_limits() {
        let mut loads = loads(&[4, 2]);
        (loads[0].limit, loads[1].limit) = (16, 4);
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [100, 0]);
    }

    #[test]
    fn least_loaded_tries_a_backend_again_whose_slowness_is_long_ago() {
        let mut loads = loads(&[0, 0]);
        (loads[0].latency, loads[1].latency) = (took(60_000.0, 0.001), took(1_000.0, 1.0));
        loads[1].in_use = 1;
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [100, 0]);
        loads[0].latency.trust = 0.5;
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [0, 100]);
    }

    #[test]
    fn least_loaded_does_not_overrun_a_backend_that_was_fast_once_or_that_nobody_knows() {
        for latency in [took(1.0, 0.001), LatencyView::UNKNOWN] {
            let mut loads = loads(&[3, 2]);
            (loads[0].latency, loads[1].latency) = (latency, took(5_000.0, 1.0));
            assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [0, 100]);
        }
    }

    #[test]
    fn a_few_milliseconds_are_chance_and_no_latency_outweighs_everything() {
        let mut loads = loads(&[0, 1]);
        (loads[0].latency, loads[1].latency) = (took(9.0, 1.0), took(1.0, 1.0));
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [100, 0]);
        loads.iter_mut().for_each(|load| load.limit = 256);
        loads[1].in_use = 64;
        (loads[0].latency, loads[1].latency) = (took(600_000.0, 1.0), took(500.0, 1.0));
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 100), [100, 0]);
    }

    #[test]
    fn one_slow_backend_in_four_gets_its_part_and_no_more() {
        let mut loads = loads(&[4, 4, 4, 4]);
        loads.iter_mut().for_each(|load| load.latency = took(1_000.0, 1.0));
        loads[3].latency = took(5_000.0, 1.0);
        let picks = first_picks(Policy::LeastLoaded, &loads, 6_000);
        assert_eq!(picks[3], 0, "it loses against every other: {picks:?}");
        assert!(picks[..3].iter().all(|count| (1_800..2_200).contains(count)), "{picks:?}");
        loads[3].in_use = 0;
        assert_eq!(first_picks(Policy::LeastLoaded, &loads, 6_000)[3], 0, "nor idle, while they have slots");
        loads[3].latency = took(2_000.0, 1.0);
        assert!(
            first_picks(Policy::LeastLoaded, &loads, 6_000)[3] > 2_700,
            "a little slower, idle it is the better one"
        );
    }

    #[test]
    fn weighted_picks_in_proportion_to_the_weights_and_so_among_the_rest() {
        let mut loads = loads(&[9, 0, 3]);
        (loads[0].weight, loads[1].weight, loads[2].weight) = (600, 300, 100);
        let (mut random, mut seconds) = (fastrand::Rng::with_seed(7), [0; 3]);
        for turn in 0..10_000 {
            let picked = order(Policy::Weighted, &loads, Pick { turn, key: 0 }, |below| random.usize(..below));
            if picked[0] == 0 {
                seconds[picked[1]] += 1;
            }
        }
        let firsts = first_picks(Policy::Weighted, &loads, 10_000);
        assert!((5_800..6_200).contains(&firsts[0]) && (900..1_100).contains(&firsts[2]), "{firsts:?}");
        assert!((4_300..4_700).contains(&seconds[1]) && (1_350..1_650).contains(&seconds[2]), "{seconds:?}");
    }

    /// The backends in the order in which a key is offered to them; neither the turn nor chance has a say.
    fn offered(loads: &[Load], key: u64, chance: usize) -> Vec<usize> {
        order(Policy::PrefixAffinity, loads, Pick { turn: chance, key }, |below| chance % below)
    }

    #[test]
    fn a_prefix_keeps_its_backend_whatever_the_order_of_the_candidates_and_prefixes_spread() {
        let idle = loads(&[0, 0, 0]);
        let reversed: Vec<Load> = idle.iter().rev().copied().collect();
        for chance in 0..100 {
            let key = 7 + chance as u64;
            let (seen, again) = (offered(&idle, key, 0), offered(&reversed, key, chance));
            assert_eq!(seen, again.into_iter().map(|at| 2 - at).collect::<Vec<_>>());
        }
        for count in first_picks(Policy::PrefixAffinity, &idle, 3_000) {
            assert!((900..1_100).contains(&count), "{count}");
        }
    }

    #[test]
    fn an_overloaded_backend_passes_a_prefix_to_the_next_in_hash_order() {
        let mut loads = loads(&[4, 4, 4, 3]);
        for key in 0..100 {
            let idle = offered(&loads, key, 1);
            let first = idle[0];
            loads[first].in_use += 1;
            let busy = offered(&loads, key, 2);
            // Five quarters of a share of 17 calls are 5.3: 6 may run.
            assert_eq!(busy, idle);
            loads[first].in_use += 5;
            let expected: Vec<usize> = idle[1..].iter().chain(&idle[..1]).copied().collect();
            assert_eq!(offered(&loads, key, 3), expected);
            loads[first].in_use -= 6;
        }
    }

    #[test]
    fn warm_first_takes_the_idlest_that_has_the_model_in_memory_and_cold_ones_last() {
        let mut loads = loads(&[0, 9, 3, 0]);
        (loads[0].is_warm, loads[3].is_warm) = (false, false);
        assert_eq!(first_picks(Policy::WarmFirst, &loads, 100), [0, 0, 100, 0]);
        let all = order(Policy::WarmFirst, &loads, Pick { turn: 0, key: 0 }, |below| below - 1);
        assert_eq!(all[..2], [2, 1]);
        loads.iter_mut().for_each(|load| load.is_warm = false);
        assert_eq!(first_picks(Policy::WarmFirst, &loads, 2_000)[1], 0, "then as least-loaded");
    }

    #[test]
    fn auto_and_low_latency_take_the_largest_context_and_break_ties_at_random_or_by_session() {
        for policy in [Policy::Auto, Policy::LowLatency] {
            let mut loads = loads(&[0, 9, 9, 0]);
            (loads[1].context, loads[2].context, loads[3].context) = (8_192, 8_192, 4_096);
            let (mut random, mut firsts) = (fastrand::Rng::with_seed(7), [0; 4]);
            for turn in 0..2_000 {
                let picked = order(policy, &loads, Pick { turn, key: 0 }, |below| random.usize(..below));
                firsts[picked[0]] += 1;
                assert_eq!(picked[2..], [3, 0], "unknown contexts come last");
            }
            assert!(firsts[0] == 0 && firsts[3] == 0 && (900..1_100).contains(&firsts[1]), "{firsts:?}");
            let of_session = |turn| order(policy, &loads, Pick { turn, key: 9 }, |below| turn % below);
            assert!((1..9).all(|turn| of_session(turn) == of_session(0)));
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
            let mut all = order(policy, &loads(&[1, 2, 3, 4]), Pick { turn: 3, key: 3 }, |below| below / 2);
            all.sort_unstable();
            assert_eq!(all, [0, 1, 2, 3], "{policy:?}");
        }
    }
}
