//! How much of a hurry a call is in, and what its deadline does to it (`docs/api.md`, priorities and deadlines).

use std::pin::Pin;

use tokio::time::Instant;

use crate::{
    domain::{
        failure::{Failure, FailureClass},
        priority::Priority,
        route::ModelRoute,
    },
    providers::ProviderErrorKind,
};

/// What a route says of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Urgency {
    /// Before whom it is served when slots are scarce.
    pub(super) priority: Priority,
    /// After which it is not begun, and given up while the backend has said nothing.
    pub(super) deadline: Option<Instant>,
}

impl Urgency {
    pub(super) fn of(route: &ModelRoute) -> Self {
        Self { priority: route.priority, deadline: route.deadline.map(Instant::from_std) }
    }

    /// Whether nobody wants the answer any more.
    pub(super) fn is_over(self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    /// What a call comes to that is given up at the deadline; `None` when it was. Without a deadline no timer is set.
    pub(super) async fn in_time<T>(self, call: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        match self.deadline {
            None => Some(call.await),
            Some(deadline) => tokio::time::timeout_at(deadline, call).await.ok(),
        }
    }
}

/// The failure of a call that was given up at its deadline.
pub(super) fn given_up() -> Failure {
    Failure::new(FailureClass::Timeout, "the request's deadline passed before the backend began to answer")
}

/// Whether the backend may go on with a call that failed so: it was hung up on, and not answered.
pub(super) const fn was_hung_up_on(kind: ProviderErrorKind) -> bool {
    use ProviderErrorKind::{
        Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
    };
    match kind {
        Timeout | Stalled | Reply => true,
        Auth | Caller | Connect | ContextLength | Cut | Quota | RateLimited | Server | Transient => false,
    }
}
