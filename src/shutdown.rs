//! When and how to stop (`docs/operations.md`, draining): the first SIGTERM or SIGINT drains, a second one ends at once.
//!
//! [`Drain`] is the one value that knows how far the stop has come. `app` makes it and lets it [conduct](Drain::conduct),
//! `http` and `api` look at it; looking is one atomic load.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// The two signals that stop a server.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts to listen; signals from here on are not lost.
    ///
    /// # Errors
    /// When the process may not install handlers.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Not told to stop.
    Serving,
    /// Not ready any more, and serving all the same, until those who send requests have seen it.
    Settling,
    /// New work is refused, running work goes on.
    Draining,
    /// What still runs is ended, and told so.
    Over,
    /// Whoever has not taken that is cut.
    Cut,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Serving, Self::Settling, Self::Draining, Self::Over, Self::Cut];
}

/// How long each phase takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// From the signal until new work is refused.
    pub settle: Duration,
    /// From the signal until running work is ended, `settle` included.
    pub deadline: Duration,
    /// What clients get for the last words.
    pub notice: Duration,
}

impl DrainTimes {
    /// The phases behind a signal, and when each begins.
    fn schedule(self) -> [(Duration, Phase); 4] {
        let deadline = self.deadline.max(self.settle);
        [
            (Duration::ZERO, Phase::Settling),
            (self.settle, Phase::Draining),
            (deadline, Phase::Over),
            (deadline.saturating_add(self.notice), Phase::Cut),
        ]
    }
}

/// The way out. Cheap to clone.
#[derive(Clone, Default)]
pub struct Drain(Arc<Way>);

#[derive(Default)]
struct Way {
    phase: AtomicU8,
    draining: CancellationToken,
    over: CancellationToken,
    cut: CancellationToken,
    ended: AtomicUsize,
}

impl Drain {
    /// Where it is.
    pub fn phase(&self) -> Phase {
        let phase = usize::from(self.0.phase.load(Ordering::Acquire));
        Phase::ALL.get(phase).copied().unwrap_or(Phase::Cut)
    }

    /// Takes all phases in their times, from when `stop` is cancelled. Never returns.
    pub async fn conduct(&self, stop: CancellationToken, times: DrainTimes) -> ! {
        stop.cancelled().await;
        let began = tokio::time::Instant::now();
        for (after, phase) in times.schedule() {
            if !after.is_zero() {
                tokio::time::sleep_until(began + after).await;
            }
            self.enter(phase);
        }
        loop {
            std::future::pending::<()>().await;
        }
    }

    fn enter(&self, phase: Phase) {
        // First what is looked at, then those who must look.
        self.0.phase.store(phase as u8, Ordering::Release);
        match phase {
            Phase::Serving | Phase::Settling => {}
            Phase::Draining => self.0.draining.cancel(),
            Phase::Over => self.0.over.cancel(),
            Phase::Cut => self.0.cut.cancel(),
        }
    }

    /// Cuts whoever is still there, whatever the time.
    pub fn cut(&self) {
        self.enter(Phase::Cut);
    }

    /// Waits until new work is refused.
    pub async fn draining(&self) {
        self.0.draining.cancelled().await;
    }

    /// The same as a value to keep.
    pub fn until_draining(&self) -> WaitForCancellationFutureOwned {
        self.0.draining.clone().cancelled_owned()
    }

    /// Until running work is ended.
    pub fn until_over(&self) -> WaitForCancellationFutureOwned {
        self.0.over.clone().cancelled_owned()
    }

    /// Until everybody is cut.
    pub fn until_cut(&self) -> WaitForCancellationFutureOwned {
        self.0.cut.clone().cancelled_owned()
    }

    /// One of many pieces of work, of which none is begun when the time for work is over: `None`. See
    /// [`Drain::unless_over`].
    pub async fn piece<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.phase() >= Phase::Over {
            self.note_ended();
            return None;
        }
        self.unless_over(work).await
    }

    /// Runs some work, which is given up when the time for work is over and it is not done: `None`. It only looks whenever
    /// it is polled, which costs next to nothing a token; the connection that the work is for is woken when that time has
    /// come (`http::connection`).
    pub async fn unless_over<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let done = std::future::poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending if self.phase() >= Phase::Over => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        if done.is_none() {
            self.note_ended();
        }
        done
    }

    /// Counts one whose work was not finished.
    pub fn note_ended(&self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }

    /// Those whose work was not finished.
    pub fn ended(&self) -> usize {
        self.0.ended.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: DrainTimes = DrainTimes {
        settle: Duration::from_secs(2),
        deadline: Duration::from_secs(10),
        notice: Duration::from_secs(1),
    };

    #[test]
    fn phases_stand_in_the_order_in_which_they_are_taken() {
        assert!(Phase::ALL.is_sorted());
        for (at, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(phase as u8), at);
        }
        let early = DrainTimes { deadline: Duration::from_secs(1), ..TIMES };
        assert!(early.schedule().is_sorted(), "work is not ended before new work is refused");
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_begins_in_its_time_after_the_signal() {
        let (drain, told) = (Drain::default(), CancellationToken::new());
        let (seen, stop) = (drain.clone(), told.clone());
        let watching = async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert_eq!(seen.phase(), Phase::Serving);
            let began = tokio::time::Instant::now();
            stop.cancel();
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(seen.phase(), Phase::Settling);
            seen.draining().await;
            assert_eq!((seen.phase(), began.elapsed()), (Phase::Draining, TIMES.settle));
            seen.until_over().await;
            assert_eq!((seen.phase(), began.elapsed()), (Phase::Over, TIMES.deadline));
            seen.until_cut().await;
            assert_eq!((seen.phase(), began.elapsed()), (Phase::Cut, TIMES.deadline + TIMES.notice));
        };
        tokio::select! {
            () = watching => {}
            never = drain.conduct(told, TIMES) => never,
        }
    }

    #[tokio::test]
    async fn work_that_is_done_counts_and_work_that_waits_is_given_up() {
        let drain = Drain::default();
        assert_eq!(drain.unless_over(async { 1 }).await, Some(1));
        drain.enter(Phase::Draining);
        assert_eq!(
            drain
                .unless_over(async {
                    tokio::task::yield_now().await;
                    2
                })
                .await,
            Some(2),
            "it goes on"
        );
        drain.enter(Phase::Over);
        assert_eq!(drain.unless_over(async { 3 }).await, Some(3), "what is ready is not lost");
        assert_eq!(drain.piece(async { 3 }).await, None, "a stream that is always ready must end too");
        assert_eq!(drain.unless_over(std::future::pending::<u8>()).await, None);
    }
}
