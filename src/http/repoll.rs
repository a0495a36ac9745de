//! A future that wakes its own task while it is polled is polled again at once.
//!
//! hyper does so several times a request: whoever wants the next piece of a body wakes the connection that it comes from,
//! which may well be the one being polled. The scheduler lets another thread be woken for every such task, and that costs
//! more than the answer of a short request. Nothing here knows of HTTP.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

/// After so many polls in a row the others of this thread have their turn.
const IN_A_ROW: usize = 8;

/// What happens to its future.
const AWAY: u8 = 0;
const POLLED: u8 = 1;
const POLLED_AND_WOKEN: u8 = 2;

/// See the module.
pub(super) struct Repolled<F> {
    future: F,
    known: Option<(Waker, Arc<OwnWaker>)>,
}

/// Remembers a wake that comes while the future is polled, and passes every other one on.
struct OwnWaker {
    state: AtomicU8,
    task: Waker,
}

impl<F> Repolled<F> {
    pub(super) const fn new(future: F) -> Self {
        Self { future, known: None }
    }
}

impl<F: Future + Unpin> Future for Repolled<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, known } = self.get_mut();
        if known.as_ref().is_some_and(|(_, own)| !own.task.will_wake(context.waker())) {
            *known = None;
        }
        let (waker, own) = known.get_or_insert_with(|| OwnWaker::of(context.waker()));
        for _ in 0..IN_A_ROW {
            own.state.store(POLLED, Ordering::Release);
            if let Poll::Ready(output) = Pin::new(&mut *future).poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(output);
            }
            if own.state.compare_exchange(POLLED, AWAY, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        own.state.store(AWAY, Ordering::Release);
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl OwnWaker {
    fn of(task: &Waker) -> (Waker, Arc<Self>) {
        let own = Arc::new(Self { state: AtomicU8::new(AWAY), task: task.clone() });
        (Waker::from(Arc::clone(&own)), own)
    }
}

impl Wake for OwnWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = self.state.compare_exchange(POLLED, POLLED_AND_WOKEN, Ordering::AcqRel, Ordering::Acquire);
        if woken == Err(AWAY) {
            self.task.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, sync::atomic::AtomicUsize};

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counted() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    #[test]
    fn a_wake_of_its_own_is_a_poll_and_no_wake_of_the_task() {
        let (wakes, waker) = counted();
        let mut polls = 0;
        let mut future = Repolled::new(poll_fn(|context| {
            polls += 1;
            if polls == 3 {
                return Poll::Ready("done");
            }
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        assert_eq!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)), Poll::Ready("done"));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_wake_between_polls_wakes_the_task_each_time() {
        let (wakes, waker) = counted();
        let mut kept = None;
        let mut future = Repolled::new(poll_fn(|context| {
            kept = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        let own = kept.clone().unwrap();
        own.wake_by_ref();
        own.wake();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_future_that_never_stops_waking_itself_lets_others_have_their_turn() {
        let (wakes, waker) = counted();
        let mut polls = 0;
        let mut future = Repolled::new(poll_fn(|context| {
            polls += 1;
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        assert!(Pin::new(&mut future).poll(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!((polls, wakes.0.load(Ordering::Relaxed)), (IN_A_ROW, 1));
    }

    #[test]
    fn a_future_that_moves_to_another_task_wakes_that_one() {
        let ((first, first_waker), (second, second_waker)) = (counted(), counted());
        let mut kept = None;
        let mut future = Repolled::new(poll_fn(|context| {
            kept = Some(context.waker().clone());
            Poll::<()>::Pending
        }));
        for waker in [&first_waker, &second_waker] {
            assert!(Pin::new(&mut future).poll(&mut Context::from_waker(waker)).is_pending());
        }
        kept.unwrap().wake();
        assert_eq!((first.0.load(Ordering::Relaxed), second.0.load(Ordering::Relaxed)), (0, 1));
    }
}
