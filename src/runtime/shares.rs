//! How many slots of a backend are this instance's, where `maxConcurrency` sets their number and several instances share it
//! (`docs/operations.md`, several instances).
//!
//! One tracked task looks who is there, and grants each backend's share. Shares are equal; the slots that are left over go to
//! instances by a hash of both, so that they are spread. A backend with fewer slots than there are instances has them leased in
//! turns, where instances share a Valkey; otherwise everybody has one. Limits that are found by watching are each instance's own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    directory::{BackendCell, Directory},
    pool::stable_hash,
    presence::Presence,
};
use crate::{
    domain::ids::{BackendId, InstanceId},
    stores::shared::{SlotLeases, SlotTurn},
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How long a leased slot is held without another word.
const TIME: Duration = Duration::from_secs(3);

/// Divides slots.
pub(super) struct Shares {
    directory: Arc<Directory>,
    presence: Presence,
    /// Where few slots are leased in turns.
    turns: Option<Arc<dyn SlotLeases>>,
    /// Backends of which a slot is leased, or waited for.
    claimed: BTreeMap<BackendId, Arc<BackendCell>>,
}

impl Shares {
    pub(super) const fn new(directory: Arc<Directory>, presence: Presence, turns: Option<Arc<dyn SlotLeases>>) -> Self {
        Self { directory, presence, turns, claimed: BTreeMap::new() }
    }

    /// Grants what is due, for ever.
    pub(super) async fn keep(mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            self.look().await;
        }
    }

    async fn look(&mut self) {
        let others = self.presence.others();
        let backends = self.directory.backends();
        let mut leased = BTreeSet::new();
        for (id, cell) in backends.iter() {
            let Some(slots) = cell.fixed_limit() else { continue };
            match (share(slots, id, self.presence.me(), &others), &self.turns) {
                (Share::Some(share), _) => cell.grant(share),
                (Share::InTurns, None) => cell.grant(1),
                (Share::InTurns, Some(turns)) => {
                    leased.insert(id.clone());
                    self.claimed.insert(id.clone(), Arc::clone(cell));
                    take_turn(turns.as_ref(), cell, slots).await;
                }
            }
        }
        // What is not leased any more.
        let Some(turns) = &self.turns else { return };
        let done: Vec<BackendId> = self.claimed.keys().filter(|id| !leased.contains(*id)).cloned().collect();
        for id in done {
            turns.release(&id).await;
            self.claimed.remove(&id);
        }
    }
}

/// Holds a slot of a backend that has few, for as long as it may be.
async fn take_turn(turns: &dyn SlotLeases, cell: &Arc<BackendCell>, slots: u16) {
    let busy = cell.slots();
    let is_needed = busy.in_use > 0 || busy.waiters > 0;
    match turns.claim(&cell.id, slots, TIME, is_needed).await {
        Some(SlotTurn::Held) => cell.grant(1),
        Some(SlotTurn::Waiting) => cell.grant(0),
        Some(SlotTurn::HandOver) => {
            cell.grant(0);
            // From here on none begins; the last one that runs is waited for.
            if cell.slots().in_use == 0 {
                turns.release(&cell.id).await;
            }
        }
        // Better more than the backend wants than none at all.
        None => cell.grant(1),
    }
}

/// What one instance gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Some(u16),
    /// There are not enough for everybody.
    InTurns,
}

/// What of a backend's slots is `me`'s.
fn share(slots: u16, backend: &BackendId, me: &InstanceId, others: &BTreeSet<InstanceId>) -> Share {
    if others.is_empty() {
        // It grows with the limit, should that be raised.
        return Share::Some(u16::MAX);
    }
    let instances = others.len() + 1;
    let (each, left_over) = (usize::from(slots) / instances, usize::from(slots) % instances);
    if each == 0 {
        return Share::InTurns;
    }
    let place = |instance: &InstanceId| {
        (stable_hash([backend.as_str().as_bytes(), instance.as_str().as_bytes()]), instance.clone())
    };
    let own = place(me);
    let before = others.iter().filter(|other| place(other) < own).count();
    Share::Some(u16::try_from(each + usize::from(before < left_over)).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn instances(count: usize) -> BTreeSet<InstanceId> {
        (0..count).map(|number| InstanceId::new(format!("instance-{number}"))).collect()
    }

    fn shares(slots: u16, backend: &str, count: usize) -> Vec<Share> {
        let all = instances(count);
        let of = |me: &InstanceId| {
            let others = all.iter().filter(|other| *other != me).cloned().collect();
            share(slots, &BackendId::new(backend), me, &others)
        };
        all.iter().map(of).collect()
    }

    #[test]
    fn who_is_alone_has_all_and_where_there_are_too_few_they_go_round() {
        assert_eq!(shares(4, "b", 1), [Share::Some(u16::MAX)]);
        assert_eq!(shares(2, "b", 3), [Share::InTurns; 3]);
        assert_eq!(shares(3, "b", 3), [Share::Some(1); 3]);
    }

    #[test]
    fn what_is_left_over_is_spread_over_the_instances() {
        let mut more = [0; 4];
        for backend in 0..100 {
            for (at, share) in shares(5, &format!("backend-{backend}"), 4).into_iter().enumerate() {
                more[at] += usize::from(share == Share::Some(2));
            }
        }
        assert!(more.iter().sum::<usize>() == 100 && more.iter().all(|count| (10..=40).contains(count)), "{more:?}");
    }

    proptest! {
        #[test]
        fn all_shares_together_are_all_slots_and_none_is_two_larger_than_another(
            slots in 1u16..600, count in 2usize..12, backend in "[a-z]{1,8}",
        ) {
            prop_assume!(usize::from(slots) >= count);
            let shares: Vec<u16> = shares(slots, &backend, count).into_iter().map(|share| match share {
                Share::Some(share) => share,
                Share::InTurns => 0,
            }).collect();
            prop_assert_eq!(shares.iter().map(|share| u32::from(*share)).sum::<u32>(), u32::from(slots));
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            prop_assert!(most - least <= 1);
        }
    }
}
