//! One call that is made for several: whoever waits for it has a seat, and the task that makes it has the controls. It is
//! given up when the last seat is, and never before.

use std::{
    mem::size_of,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::window::{Next, Turn, Window};
use crate::{
    domain::{
        chat::{ChatReply, ReplyEvent, Usage},
        embedding::Embedded,
        failure::{Failure, FailureClass, RefusalReason},
        message::{Completion, Served},
    },
    providers::RelayedBody,
    runtime::{directory::PoolCell, dispatch::DispatchError, pool::Course},
};

/// What the pieces of a stream that are kept for its readers weigh at most, but for the latest.
pub(super) const KEPT_BYTES: usize = 512 << 10;

/// What a call has come to.
pub(super) type Outcome = Result<(Landing, Served), DispatchError>;

/// An answer that several get.
#[derive(Clone)]
pub(super) enum Landing {
    /// All of a reply, as a chain uses it.
    Completion(Arc<Completion>),
    /// All of a reply.
    Whole(Arc<ChatReply>),
    /// Vectors.
    Embedded(Arc<Embedded>),
    /// The backend's own bytes.
    RelayedWhole(RelayedBody),
    /// Events that arrive.
    Pieces,
    /// The backend's own bytes while they arrive.
    Lines,
}

/// A piece of a stream.
#[derive(Debug, Clone)]
pub(in crate::runtime::dispatch) enum Piece {
    Event(ReplyEvent),
    /// Whole lines of the backend, and what has come and was told until their end.
    Lines {
        bytes: Bytes,
        heard: u64,
        usage: Usage,
    },
}

impl Piece {
    /// About the bytes that it takes to keep it.
    fn weight(&self) -> usize {
        let held = match self {
            Self::Lines { bytes, .. } => bytes.len(),
            Self::Event(ReplyEvent::Text { text, .. } | ReplyEvent::Reasoning { text, .. }) => text.len(),
            Self::Event(ReplyEvent::ToolCall { piece, .. }) => {
                piece.id.len() + piece.name.len() + piece.arguments.len() + piece.signature.len()
            }
            // A value for each few characters of its text.
            Self::Event(ReplyEvent::Logprobs { logprobs, .. }) => logprobs.to_string().len() * 4,
            Self::Event(ReplyEvent::Finish { .. } | ReplyEvent::Usage(_)) => 0,
        };
        held + size_of::<Self>()
    }
}

/// How a stream ended: whole, or so.
type Ending = Option<Failure>;

struct State {
    /// `None` until a whole answer is there, a stream has begun or the call has failed.
    outcome: Option<Outcome>,
    /// Who waits, and what of a stream is kept for them.
    window: Window<Piece, Ending>,
}

/// See the module.
pub(super) struct Flight {
    state: watch::Sender<State>,
    /// A reader has moved on or left, so that it may be the writer's turn.
    moved: Notify,
    /// How far the call has come.
    course: Arc<Course>,
}

impl Flight {
    /// One that is to be made: itself, its controls, and the first seat.
    pub(super) fn new() -> (Arc<Self>, Controls, Seat) {
        let mut window = Window::new(KEPT_BYTES);
        let reader = window.join().unwrap_or_default();
        let flight = Arc::new(Self {
            state: watch::Sender::new(State { outcome: None, window }),
            moved: Notify::new(),
            course: Arc::default(),
        });
        let seat = Seat { changes: flight.state.subscribe(), flight: Arc::clone(&flight), reader, guest_of: None };
        (Arc::clone(&flight), Controls { flight, is_over: false }, seat)
    }

    /// A further seat; `None` where its reader would miss something, or nobody waits any more.
    pub(super) fn join(self: &Arc<Self>, pool: &Arc<PoolCell>) -> Option<Seat> {
        let reader = self.with(|state| state.window.join())?;
        pool.sharing.fetch_add(1, Ordering::Relaxed);
        let guest_of = Some(Arc::clone(pool));
        Some(Seat { changes: self.state.subscribe(), flight: Arc::clone(self), reader, guest_of })
    }

    /// Changes what is no news for those who wait.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> Option<T>) -> Option<T> {
        let mut changed = None;
        self.state.send_if_modified(|state| {
            changed = change(state);
            false
        });
        changed
    }
}

/// What one of those has who wait for the call. Dropping it gives it up.
pub(in crate::runtime::dispatch) struct Seat {
    flight: Arc<Flight>,
    reader: usize,
    changes: watch::Receiver<State>,
    /// Where it is counted; `None` where the call is made for this one first of all.
    guest_of: Option<Arc<PoolCell>>,
}

impl Seat {
    /// Whether the call is made for this one first of all.
    pub(super) const fn leads(&self) -> bool {
        self.guest_of.is_none()
    }

    /// How far the call has come.
    pub(super) fn course(&self) -> Arc<Course> {
        Arc::clone(&self.flight.course)
    }

    /// Whether the stream has run away from this one.
    pub(super) fn is_cut_off(&self) -> bool {
        self.flight.state.borrow().window.is_cut_off(self.reader)
    }

    /// What the call has come to; for a stream: that it has begun.
    pub(super) async fn landed(&mut self) -> Outcome {
        let landed = self.changes.wait_for(|state| state.outcome.is_some()).await;
        landed.ok().and_then(|state| state.outcome.clone()).unwrap_or_else(|| Err(given_up()))
    }

    /// The next piece of a stream; `None` at its clean end. After a failure there is nothing more.
    pub(in crate::runtime::dispatch) async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        loop {
            // What changes from here on is news.
            drop(self.changes.borrow_and_update());
            match self.look() {
                Next::Piece(piece) => return Some(Ok(piece)),
                Next::Over(None) => return None,
                Next::Over(Some(failure)) => return Some(Err(failure)),
                Next::CutOff => return Some(Err(left_behind())),
                Next::Nothing => {}
            }
            if self.changes.changed().await.is_err() {
                return Some(Err(given_up().failure));
            }
        }
    }

    /// The next piece if it is there already.
    pub(in crate::runtime::dispatch) fn next_ready(&mut self) -> Option<Piece> {
        match self.look() {
            Next::Piece(piece) => Some(piece),
            Next::Over(_) | Next::CutOff | Next::Nothing => None,
        }
    }

    fn look(&self) -> Next<Piece, Ending> {
        let (next, wakes) =
            self.flight.with(|state| Some(state.window.next(self.reader))).unwrap_or((Next::CutOff, false));
        if wakes {
            self.flight.moved.notify_one();
        }
        next
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(pool) = &self.guest_of {
            pool.sharing.fetch_sub(1, Ordering::Relaxed);
        }
        self.flight.state.send_if_modified(|state| {
            state.window.leave(self.reader);
            false
        });
        self.flight.moved.notify_one();
    }
}

/// What the task has that makes the call. Dropped too early, those who wait are told.
pub(super) struct Controls {
    flight: Arc<Flight>,
    is_over: bool,
}

impl Controls {
    pub(super) const fn flight(&self) -> &Arc<Flight> {
        &self.flight
    }

    /// How far the call has come.
    pub(super) fn course(&self) -> Arc<Course> {
        Arc::clone(&self.flight.course)
    }

    /// Resolves when nobody waits any more.
    pub(super) async fn deserted(&self) {
        while !self.flight.state.borrow().window.is_deserted() {
            self.flight.moved.notified().await;
        }
    }

    /// Tells everybody that this is all.
    pub(super) fn land(mut self, outcome: Outcome) {
        self.is_over = true;
        self.flight.state.send_modify(|state| state.outcome = Some(outcome));
    }

    /// Tells everybody that a stream has begun.
    pub(super) fn begin(&self, landing: Landing, served: Served) {
        self.flight.state.send_modify(|state| state.outcome = Some(Ok((landing, served))));
    }

    /// Waits until it is time for more of the stream; false where nobody reads it any more. What holds up those who wait for
    /// more takes from `patience`; who still does when it is used up is left behind.
    pub(super) async fn is_wanted(&self, patience: &mut Duration) -> bool {
        loop {
            match self.flight.with(|state| Some(state.window.turn())).unwrap_or(Turn::Deserted) {
                Turn::Write => return true,
                Turn::Deserted => return false,
                Turn::Rest => self.flight.moved.notified().await,
                Turn::Blocked if patience.is_zero() => self.cut_off_slowest(),
                Turn::Blocked => {
                    let began = Instant::now();
                    // Either way it is looked at again.
                    drop(tokio::time::timeout(*patience, self.flight.moved.notified()).await);
                    *patience = patience.saturating_sub(began.elapsed());
                }
            }
        }
    }

    /// More of the stream.
    pub(super) fn write(&self, pieces: impl Iterator<Item = Piece>) {
        self.flight.state.send_modify(|state| {
            for piece in pieces {
                let weight = piece.weight();
                state.window.write(piece, weight);
            }
        });
    }

    /// The stream is over.
    pub(super) fn end(mut self, ending: Ending) {
        self.is_over = true;
        self.flight.state.send_modify(|state| state.window.end(ending));
    }

    fn cut_off_slowest(&self) {
        self.flight.state.send_modify(|state| state.window.cut_off_slowest());
    }
}

impl Drop for Controls {
    fn drop(&mut self) {
        if !self.is_over {
            self.flight.state.send_modify(|state| {
                state.outcome.get_or_insert_with(|| Err(given_up()));
                state.window.end(Some(given_up().failure));
            });
        }
    }
}

/// The task that makes the call has ended before it was made.
fn given_up() -> DispatchError {
    let message = "the call that the request shared with others was given up; it is safe to retry";
    DispatchError::refused(RefusalReason::Restarting, message)
}

/// A stream has gone on without a reader who held up the others.
fn left_behind() -> Failure {
    let message = "the answer is shared with requests that read it faster, and what comes next is no longer kept; it is safe \
                   to ask again";
    Failure::new(FailureClass::Timeout, message)
}

#[cfg(test)]
mod tests;
