//! What may follow a failed call (`docs/operations.md`, what is tried again): another backend, another target of the route,
//! or nothing. Whether it is paid for is the pool's budget to say.

use std::{sync::Arc, time::Duration};

use super::deadline::Urgency;
use crate::{
    domain::route::ModelRoute,
    providers::{ProviderError, ProviderErrorKind},
    runtime::pool::Course,
};

/// Backends one call may be tried on, of each target.
pub(in crate::runtime) const MAX_ATTEMPTS: usize = 3;
/// The same on all targets of a route that falls back.
pub(super) const MAX_ATTEMPTS_IN_ALL: u32 = 10;

/// What a call has cost so far, on all of its targets.
#[derive(Debug, Default)]
pub(super) struct Spent {
    pub(super) attempts: u32,
    pub(super) waited: Duration,
    /// With backends that failed.
    pub(super) called: Duration,
    /// Where others read how far it has come, until its first slot.
    pub(super) course: Option<Arc<Course>>,
}

impl Spent {
    /// One more attempt begins.
    pub(super) fn begin(&mut self) {
        self.attempts += 1;
        if let Some(course) = self.course.take() {
            course.begin();
        }
    }

    /// Whether one more attempt on this target keeps the bounds. `tried`: backends of it that were asked.
    pub(super) const fn leaves_another(&self, tried: usize) -> bool {
        tried < MAX_ATTEMPTS && self.attempts < MAX_ATTEMPTS_IN_ALL
    }
}

/// Whether a call may be made on the next target of its route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onward {
    /// It is not.
    No,
    /// It is: the target before was not asked, or has said what has nothing to do with its load.
    Free,
    /// It is if it can be paid for.
    Paid,
}

/// After a failure of the target before: onward if nothing of the call was answered, and it was no fault of the call.
pub(super) fn onward(error: &ProviderError, route: &ModelRoute, spent: &Spent) -> Onward {
    use ProviderErrorKind::{
        Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
    };
    if !route.falls_back || spent.attempts >= MAX_ATTEMPTS_IN_ALL || Urgency::of(route).is_over() {
        return Onward::No;
    }
    match error.kind {
        RateLimited | Transient | Connect | Timeout | Server | Cut => Onward::Paid,
        Quota | ContextLength | Auth => Onward::Free,
        // A model that the provider does not have, or a call that its protocol has no words for.
        Caller if error.status == Some(404) || error.is_unsaid => Onward::Free,
        Caller | Stalled | Reply => Onward::No,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::model::Capability;

    fn route(falls_back: bool) -> ModelRoute {
        ModelRoute { falls_back, ..ModelRoute::default_model(Capability::Chat) }
    }

    #[test]
    fn only_what_says_something_of_the_load_must_be_paid_for() {
        use ProviderErrorKind::{Caller, ContextLength, Quota, RateLimited, Reply, Server, Stalled, Transient};
        for (kind, status, expected) in [
            (RateLimited, Some(429), Onward::Paid),
            (Transient, Some(503), Onward::Paid),
            (Server, Some(500), Onward::Paid),
            (Quota, Some(429), Onward::Free),
            (ContextLength, Some(400), Onward::Free),
            (Caller, Some(404), Onward::Free),
            (Caller, Some(400), Onward::No),
            (Stalled, None, Onward::No),
            (Reply, None, Onward::No),
        ] {
            let error = ProviderError { status, ..ProviderError::new(kind, "x") };
            assert_eq!(onward(&error, &route(true), &Spent::default()), expected, "{kind:?}");
            assert_eq!(onward(&error, &route(false), &Spent::default()), Onward::No);
            let spent = Spent { attempts: MAX_ATTEMPTS_IN_ALL, ..Spent::default() };
            assert_eq!(onward(&error, &route(true), &spent), Onward::No);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_made_again_after_the_deadline() {
        let error = ProviderError::new(ProviderErrorKind::Transient, "x");
        let mut route = route(true);
        route.deadline = Some((tokio::time::Instant::now() + Duration::from_millis(5)).into_std());
        assert_eq!(onward(&error, &route, &Spent::default()), Onward::Paid);
        tokio::time::advance(Duration::from_millis(5)).await;
        assert_eq!(onward(&error, &route, &Spent::default()), Onward::No);
    }
}
