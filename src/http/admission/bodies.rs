//! Bytes of request bodies that the process holds at once (`docs/operations.md`, admission). The bound on requests in flight
//! alone would let so many of the largest bodies in that no machine has the memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::OVERLOAD_RETRY_SECONDS;
use crate::{domain::failure::RefusalReason, error::Error};

/// Bodies up to this size are not counted: the bound on requests in flight bounds them well enough.
const SMALL_BYTES: usize = 64 << 10;

/// What all bodies weigh together; one for the process.
#[derive(Debug)]
pub(in crate::http) struct HeldBodies {
    now: AtomicUsize,
    /// 0: as much as comes.
    most: usize,
}

impl HeldBodies {
    pub(in crate::http) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { now: AtomicUsize::new(0), most })
    }

    /// Bytes that are held now.
    pub(in crate::http) fn held(&self) -> usize {
        self.now.load(Ordering::Relaxed)
    }
}

/// What one request holds of it, until it is dropped.
#[derive(Debug)]
pub(in crate::http) struct HeldBody {
    all: Arc<HeldBodies>,
    bytes: usize,
}

impl HeldBody {
    pub(in crate::http) fn of(all: &Arc<HeldBodies>) -> Self {
        Self { all: Arc::clone(all), bytes: 0 }
    }

    /// Whether a body of so many bytes would find room now. Nothing is taken for it: whoever announces much and sends little
    /// must not keep others out.
    pub(in crate::http) fn expect(&self, announced: usize) -> Result<(), Error> {
        let has_room = announced <= SMALL_BYTES
            || self.all.most == 0
            || self.all.now.load(Ordering::Acquire).saturating_add(announced) <= self.all.most;
        if has_room { Ok(()) } else { Err(self.full()) }
    }

    fn full(&self) -> Error {
        let most = self.all.most;
        let message =
            format!("request bodies of {most} bytes are held, there is no room for more; it is safe to retry");
        Error::refused(RefusalReason::Overloaded, message, OVERLOAD_RETRY_SECONDS)
    }

    /// Holds so many bytes in all.
    ///
    /// # Errors
    /// `Overloaded`, where there is no room for them now; what was held before still is.
    pub(in crate::http) fn grow(&mut self, to: usize) -> Result<(), Error> {
        if to <= self.bytes.max(SMALL_BYTES) || self.all.most == 0 {
            return Ok(());
        }
        let (more, most) = (to - self.bytes, self.all.most);
        let grown = |now: usize| now.checked_add(more).filter(|then| *then <= most);
        if self.all.now.fetch_update(Ordering::AcqRel, Ordering::Acquire, grown).is_err() {
            return Err(self.full());
        }
        self.bytes = to;
        Ok(())
    }
}

impl Drop for HeldBody {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.all.now.fetch_sub(self.bytes, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn what_all_bodies_weigh_is_bounded_and_given_back() {
        let all = HeldBodies::new(3 * MIB);
        let (mut one, mut other) = (HeldBody::of(&all), HeldBody::of(&all));
        one.grow(MIB).unwrap();
        one.grow(2 * MIB).unwrap();
        other.grow(MIB).unwrap();
        let refused = other.grow(MIB + 1).unwrap_err();
        assert_eq!(refused.reason(), Some(RefusalReason::Overloaded));
        assert!(HeldBody::of(&all).expect(MIB).is_err() && HeldBody::of(&all).expect(SMALL_BYTES).is_ok());
        one.grow(MIB).unwrap();
        assert_eq!(all.now.load(Ordering::Relaxed), 3 * MIB, "what is there already takes no more room");
        drop(one);
        other.grow(3 * MIB).unwrap();
        assert!(HeldBody::of(&all).grow(SMALL_BYTES).is_ok(), "small ones always fit");
        drop(other);
        assert_eq!(all.now.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn without_a_bound_everything_fits() {
        let all = HeldBodies::new(0);
        assert!(HeldBody::of(&all).grow(usize::MAX).is_ok());
    }
}
