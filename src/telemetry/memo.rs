//! Handles that are made when they are first needed and only read from then on, for things whose number is bounded but not
//! known beforehand: routes with their statuses, models of a backend, chains.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;

/// Hashed quickly: there are too few keys for anybody to make them collide to an effect.
type Known<K, H> = HashMap<K, Arc<H>, RandomState>;

/// See the module. Reading it takes no lock.
pub struct Memo<K, H> {
    known: ArcSwap<Known<K, H>>,
    growing: Mutex<()>,
    most: usize,
}

impl<K: Clone + Eq + Hash, H> Memo<K, H> {
    /// Of so many at most.
    pub fn of_at_most(most: usize) -> Self {
        Self { known: ArcSwap::default(), growing: Mutex::new(()), most }
    }

    /// The handles of a thing, made if it is new; `None` where there are as many as may be.
    pub fn get<Q>(&self, key: &Q, make: impl FnOnce() -> H) -> Option<Arc<H>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(known) = self.known.load().get(key) {
            return Some(Arc::clone(known));
        }
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if let Some(known) = known.get(key) {
            return Some(Arc::clone(known));
        }
        if known.len() >= self.most {
            return None;
        }
        let made = Arc::new(make());
        let mut grown = Known::clone(&known);
        grown.insert(key.to_owned(), Arc::clone(&made));
        self.known.store(Arc::new(grown));
        Some(made)
    }

    /// Forgets those of which this is not said.
    pub fn retain(&self, is_wanted: impl Fn(&K) -> bool) {
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let known = self.known.load();
        if known.keys().all(&is_wanted) {
            return;
        }
        let kept = known.iter().filter(|(key, _)| is_wanted(key));
        self.known.store(Arc::new(kept.map(|(key, handle)| (key.clone(), Arc::clone(handle))).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_gets_one_handle_and_there_are_no_more_than_may_be() {
        let memo: Memo<String, usize> = Memo::of_at_most(2);
        assert_eq!(memo.get("a", || 1).as_deref(), Some(&1));
        assert_eq!(memo.get("a", || panic!("it is known")).as_deref(), Some(&1));
        assert_eq!(memo.get("b", || 2).as_deref(), Some(&2));
        assert!(memo.get("c", || 3).is_none());
        memo.retain(|key| key == "b");
        assert_eq!(memo.get("c", || 3).as_deref(), Some(&3));
        assert_eq!(memo.get("b", || panic!("it was kept")).as_deref(), Some(&2));
    }
}
