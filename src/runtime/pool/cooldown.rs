//! The gate of a pool: what becomes of a call when no candidate takes it at once (`docs/operations.md`, when a backend
//! fails). Breakers and rests are looked at where slots are taken, for calls that come and for those that wait alike.

use std::time::Duration;

use super::Candidate;
use crate::runtime::{
    backend::{Standing, Way},
    directory::BackendCell,
    lease::Lease,
};

/// A slot of the first candidate that has one and lets calls in. Where breakers and rests keep calls out of all of them,
/// `may_bypass` lets the call try the least bad one whose breaker is open: none at all would be worse.
pub(crate) fn first_lease(candidates: &[Candidate], may_bypass: bool) -> Option<(usize, Lease)> {
    let take = |at: usize, way| Some((at, Lease::try_acquire(&candidates.get(at)?.backend, way)?));
    if let Some(found) = (0..candidates.len()).find_map(|at| take(at, Way::Usual)) {
        return Some(found);
    }
    if !may_bypass {
        return None;
    }
    let standings: Vec<Standing> = candidates.iter().map(|candidate| candidate.backend.access.standing()).collect();
    least_bad(&standings).into_iter().find_map(|at| take(at, Way::Bypass))
}

/// How a call that waits goes to a backend of which a slot is free; `None` when it does not go there now.
pub(super) fn way_into(backend: &BackendCell, candidates: &[Candidate], may_bypass: bool) -> Option<Way> {
    match backend.access.standing() {
        Standing::In => Some(Way::Usual),
        Standing::Resting { .. } => None,
        Standing::Broken { .. } => {
            let is_in = |candidate: &Candidate| candidate.backend.access.standing() == Standing::In;
            (may_bypass && !candidates.iter().any(is_in)).then_some(Way::Bypass)
        }
    }
}

/// The candidates that may be tried in spite of their breakers, the least bad first: the one that is to be tried soonest
/// has failed least. None while any other may take the call.
fn least_bad(standings: &[Standing]) -> Vec<usize> {
    if standings.contains(&Standing::In) {
        return Vec::new();
    }
    let broken = |(at, standing): (usize, &Standing)| match standing {
        Standing::Broken { left } => Some((*left, at)),
        Standing::In | Standing::Resting { .. } => None,
    };
    let mut broken: Vec<(Duration, usize)> = standings.iter().enumerate().filter_map(broken).collect();
    broken.sort_unstable();
    broken.into_iter().map(|(_, at)| at).collect()
}

/// What becomes of a call that got no slot at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// It waits in the queue.
    Wait,
    /// All that could serve it rest for longer than it can wait; so long the first of them.
    Refuse { left: Duration },
    /// Nobody that it may still try is there.
    Nobody,
}

/// `patience`: how long the call can wait.
pub(crate) fn prospect(standings: impl Iterator<Item = Standing>, may_bypass: bool, patience: Duration) -> Prospect {
    let mut shortest: Option<Duration> = None;
    for standing in standings {
        match standing {
            Standing::In => return Prospect::Wait,
            Standing::Broken { .. } if may_bypass => return Prospect::Wait,
            Standing::Broken { .. } => {}
            Standing::Resting { left } => shortest = Some(shortest.map_or(left, |shortest| shortest.min(left))),
        }
    }
    match shortest {
        Some(left) if left <= patience => Prospect::Wait,
        Some(left) => Prospect::Refuse { left },
        None => Prospect::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn broken(seconds: u64) -> Standing {
        Standing::Broken { left: Duration::from_secs(seconds) }
    }

    const fn resting(seconds: u64) -> Standing {
        Standing::Resting { left: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_least_bad_is_the_one_to_be_tried_soonest_and_none_while_another_may_take_the_call() {
        assert_eq!(least_bad(&[broken(9), resting(1), broken(0), broken(3)]), [2, 3, 0]);
        assert_eq!(least_bad(&[broken(9), Standing::In]), [] as [usize; 0]);
        assert_eq!(least_bad(&[resting(1)]), [] as [usize; 0]);
    }

    #[test]
    fn a_call_waits_where_somebody_may_take_it_in_time_and_is_refused_at_once_where_nobody_will() {
        let patience = Duration::from_secs(5);
        let told = |standings: &[Standing], may_bypass| prospect(standings.iter().copied(), may_bypass, patience);
        assert_eq!(told(&[resting(60), Standing::In], false), Prospect::Wait);
        assert_eq!(told(&[resting(60), broken(60)], true), Prospect::Wait);
        assert_eq!(told(&[resting(60), resting(5)], true), Prospect::Wait);
        assert_eq!(told(&[resting(60), resting(6)], true), Prospect::Refuse { left: Duration::from_secs(6) });
        assert_eq!(told(&[resting(7), broken(1)], false), Prospect::Refuse { left: Duration::from_secs(7) });
        assert_eq!(told(&[broken(1)], false), Prospect::Nobody);
    }
}
