//! Identical deterministic calls that are wanted at the same time, made once, where their pool wants that (`docs/api.md`,
//! single flight).
//!
//! Owns the flights that can be joined. The first request of a kind begins one: its call is made by a tracked task, and not
//! by the request, so that it goes on when that one leaves. Those who come while it runs get the same answer, a stream from
//! its beginning. Deadlines, waits and accounts stay each request's own: a refusal of the call, which may be so because the
//! first had little time left, is nobody's but the first's, and the others try again together.

mod flight;
mod shared;
mod window;

use std::{
    collections::HashMap,
    future::pending,
    iter,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Mutex, time::Instant};
use tokio_util::task::TaskTracker;

use self::flight::{Controls, Flight, Landing, Outcome};
pub(super) use self::{
    flight::{Piece, Seat},
    shared::{Shared, of_another_kind},
};
use super::{
    DispatchError, Dispatcher,
    admission::{Plan, past_deadline, too_late},
    deadline::Urgency,
    exchange::{Answer, Asked, Exchange, HeldRelay, HeldReply, Original, RelayedReply},
    key::Key,
    memory::{Known, Memory},
    repeat::Spent,
};
use crate::{
    domain::{
        chat::ChatCall, embedding::EmbedCall, failure::Failure, ledger::Spending, message::Served, route::ModelRoute,
        timing::CallTiming,
    },
    faults::fault,
    runtime::{
        directory::PoolCell,
        pool::{Course, TooLate},
    },
};

/// How long a stream waits in all for readers who hold up others.
const HELD_UP: Duration = Duration::from_secs(1);
/// How often a request joins calls that are refused, before it makes its own.
const MAX_FLIGHTS: usize = 3;

/// See the module.
pub(super) struct Flights {
    aloft: Mutex<HashMap<Key, Arc<Flight>>>,
    tasks: TaskTracker,
}

impl Flights {
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { aloft: Mutex::default(), tasks }
    }

    #[cfg(test)]
    pub(super) async fn is_empty(&self) -> bool {
        self.aloft.lock().await.is_empty()
    }

    /// Nobody may join this one any more.
    async fn forget(&self, key: &Key, flight: &Arc<Flight>) {
        let mut aloft = self.aloft.lock().await;
        if aloft.get(key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            aloft.remove(key);
        }
    }
}

/// What a request asks.
pub(super) enum Question<'a> {
    Generate(&'a ChatCall),
    Embed(&'a EmbedCall),
    Exchange(&'a Exchange<'a>),
}

/// The same for a task that outlives the request.
enum Asking {
    Generate(ChatCall),
    Embed(EmbedCall),
    Exchange { original: Option<Original>, asked: Asked, wants_stream: bool },
}

impl Question<'_> {
    /// By what it is known; `None` where the call is not to be shared.
    pub(super) fn key(&self, pool: &PoolCell, route: &ModelRoute) -> Option<Key> {
        match self {
            Self::Generate(call) => Key::of_chat(&pool.id, route, call),
            Self::Embed(call) => Key::of_texts(&pool.id, route, call),
            Self::Exchange(exchange) => Key::of_exchange(&pool.id, route, exchange),
        }
    }

    /// Whether the answer is wanted as a stream.
    pub(super) const fn wants_stream(&self) -> bool {
        matches!(self, Self::Exchange(Exchange { wants_stream: true, .. }))
    }

    /// What a task must have to ask it.
    fn asking(&self) -> Option<Asking> {
        Some(match self {
            Self::Generate(call) => Asking::Generate((*call).clone()),
            Self::Embed(call) => Asking::Embed((*call).clone()),
            Self::Exchange(Exchange { original, translate, wants_stream }) => {
                Asking::Exchange { original: original.cloned(), asked: translate().ok()?, wants_stream: *wants_stream }
            }
        })
    }
}

/// How a request goes on.
pub(super) enum Sharing {
    /// With an answer that was kept.
    Known(Known),
    /// With the answer of a shared call.
    Shared(Shared),
    /// By itself, with what it has spent so far.
    Alone(Plan, Spent),
}

/// Why a request waits no longer for a shared call.
enum Late {
    Deadline,
    /// Its deadline will pass before the call has a slot, as far as the queue can tell.
    OutOfReach,
    Patience,
}

/// What the task of a call holds.
enum Made {
    Landed(Landing),
    Pieces(HeldReply),
    Lines(HeldRelay),
}

impl Dispatcher {
    /// Plans a call, and makes it together with others that ask the same, if its pool wants that and it may be shared. What
    /// is made of it is told to `memory`.
    pub(super) async fn shared(
        &self,
        route: &ModelRoute,
        question: Question<'_>,
        memory: &mut Memory,
    ) -> Result<Sharing, DispatchError> {
        let plan = self.plan(route, 0)?;
        if plan.pool.calls().cache.ttl_ms > 0
            && let Some(answers) = &self.answers
        {
            *memory = Memory::of(answers, &plan.pool, route, &question);
            if let Some(known) = Box::pin(memory.recall()).await {
                return Ok(Sharing::Known(known));
            }
        }
        if !plan.pool.calls().single_flight {
            return Ok(Sharing::Alone(plan, Spent::default()));
        }
        Box::pin(self.share(plan, route, question)).await
    }

    async fn share(&self, plan: Plan, route: &ModelRoute, question: Question<'_>) -> Result<Sharing, DispatchError> {
        let (pool, mut spent) = (Arc::clone(&plan.pool), Spent::default());
        let Some(key) = question.key(&pool, route) else { return Ok(Sharing::Alone(plan, spent)) };
        drop(plan);
        let urgency = Urgency::of(route);
        for _ in 0..MAX_FLIGHTS {
            if urgency.is_over() {
                break;
            }
            let began = Instant::now();
            let Some(mut seat) = self.board(&pool, &key, route, &question, spent.waited).await else { break };
            // Whoever has waited before may have less time than the one for whom the call is made first of all.
            let left = Duration::from_millis(pool.table().pool.queue.max_wait_ms).saturating_sub(spent.waited);
            let patience = (!spent.waited.is_zero()).then_some(began + left);
            match seat.landed_in_time(urgency.deadline, patience).await {
                Err(late) => return Err(seat.too_late(&pool, &late)),
                Ok(Err(error)) if !seat.leads() && is_refusal(&error) => spent.waited += began.elapsed(),
                Ok(Err(DispatchError { failure, served })) => {
                    let seen = |served: Box<Served>| Box::new(self.seen_from(&seat, *served, Duration::MAX));
                    return Err(DispatchError { failure, served: served.map(seen) });
                }
                Ok(Ok(_)) if seat.is_cut_off() => break,
                Ok(Ok((landing, served))) => {
                    let served = self.seen_from(&seat, served, spent.waited + began.elapsed());
                    return Ok(Sharing::Shared(Shared { landing, served, seat }));
                }
            }
        }
        // What was found before it shared a call may not be there now, or not be allowed any more.
        Ok(Sharing::Alone(self.plan(route, 0)?, spent))
    }

    /// A seat in the flight of this key; in a new one where none can be joined.
    async fn board(
        &self,
        pool: &Arc<PoolCell>,
        key: &Key,
        route: &ModelRoute,
        question: &Question<'_>,
        waited: Duration,
    ) -> Option<Seat> {
        let mut aloft = self.flights.aloft.lock().await;
        if let Some(seat) = aloft.get(key).and_then(|flight| flight.join(pool)) {
            return Some(seat);
        }
        let asking = question.asking()?;
        let (flight, controls, seat) = Flight::new();
        aloft.insert(key.clone(), flight);
        drop(aloft);
        // Deadlines and accounts are those of each who waits.
        let route = ModelRoute { deadline: None, spending: Spending::UNCOUNTED, ..route.clone() };
        let spent = Spent { waited, course: Some(controls.course()), ..Spent::default() };
        self.flights.tasks.spawn(self.clone().fly(key.clone(), route, asking, controls, spent));
        Some(seat)
    }

    /// Makes a call for all who have a seat, until the last of them has left.
    async fn fly(self, key: Key, route: ModelRoute, asking: Asking, controls: Controls, spent: Spent) {
        let made = tokio::select! {
            made = Box::pin(self.make(&route, &asking, spent)) => made,
            () = controls.deserted() => return self.flights.forget(&key, controls.flight()).await,
        };
        let (mut stream, landing, served) = match made {
            Ok((Made::Pieces(held), served)) => (Stream::Pieces(held), Landing::Pieces, served),
            Ok((Made::Lines(held), served)) => (Stream::Lines(held), Landing::Lines, served),
            Ok((Made::Landed(landing), served)) => return self.land(&key, controls, Ok((landing, served))).await,
            Err(error) => return self.land(&key, controls, Err(error)).await,
        };
        controls.begin(landing, served);
        let ending = stream.pass_on(&controls).await;
        // Frees the slot, or aborts the call, before anybody is told.
        drop(stream);
        self.flights.forget(&key, controls.flight()).await;
        controls.end(ending);
    }

    async fn land(&self, key: &Key, controls: Controls, outcome: Outcome) {
        self.flights.forget(key, controls.flight()).await;
        controls.land(outcome);
    }

    async fn make(&self, route: &ModelRoute, asking: &Asking, spent: Spent) -> Result<(Made, Served), DispatchError> {
        let plan = self.plan(route, 0)?;
        fault!("flight.make", plan.pool.id);
        match asking {
            Asking::Generate(call) => {
                let (completion, served) = self.generate_alone(plan, route, call, spent).await?;
                Ok((Made::Landed(Landing::Completion(Arc::new(completion))), served))
            }
            Asking::Embed(call) => {
                let (embedded, served) = self.embed_alone(plan, route, call, spent).await?;
                Ok((Made::Landed(Landing::Embedded(Arc::new(embedded))), served))
            }
            Asking::Exchange { original, asked, wants_stream } => {
                let translate = || Ok(asked.clone());
                let exchange =
                    Exchange { original: original.as_ref(), translate: &translate, wants_stream: *wants_stream };
                let (answer, served) = self.exchange_alone(plan, route, &exchange, spent).await?;
                Ok((Made::of(answer), served))
            }
        }
    }

    /// Who answered, as one of those sees it who have waited for it.
    fn seen_from(&self, seat: &Seat, mut served: Served, waited: Duration) -> Served {
        if seat.leads() {
            return served;
        }
        if let Some(backend) = self.directory.backend(&served.backend) {
            backend.shared_calls.fetch_add(1, Ordering::Relaxed);
        }
        served.is_shared = true;
        // The rest of the time is the other request's.
        served.timing = CallTiming { queued: served.timing.queued.min(waited), ..CallTiming::default() };
        served
    }
}

impl Seat {
    /// What the call has come to, if there is time until then. Patience ends with the first slot.
    async fn landed_in_time(&mut self, deadline: Option<Instant>, patience: Option<Instant>) -> Result<Outcome, Late> {
        let course = self.course();
        tokio::select! {
            biased;
            outcome = self.landed() => Ok(outcome),
            () = until(deadline) => Err(Late::Deadline),
            () = course.rules_out(deadline) => Err(Late::OutOfReach),
            () = impatience(patience, &course) => Err(Late::Patience),
        }
    }

    /// The error of a request that has waited for as long as it may.
    fn too_late(&self, pool: &PoolCell, late: &Late) -> DispatchError {
        match late {
            Late::Deadline => past_deadline(pool, &self.course()),
            Late::OutOfReach => too_late(pool, TooLate::OutOfReach),
            Late::Patience => too_late(pool, TooLate::Waited),
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}

/// Resolves when it is too late for a call that has had no slot yet.
async fn impatience(at: Option<Instant>, course: &Course) {
    until(at).await;
    if course.has_begun() {
        pending::<()>().await;
    }
}

/// Whether nobody was asked: then it is for the time of the one who waited for its slot.
fn is_refusal(error: &DispatchError) -> bool {
    error.failure.refusal.is_some() && error.served.is_none()
}

impl Made {
    fn of(answer: Answer) -> Self {
        match answer {
            Answer::Whole(reply) => Self::Landed(Landing::Whole(Arc::new(reply))),
            Answer::Embedded(embedded) => Self::Landed(Landing::Embedded(Arc::new(embedded))),
            Answer::Relayed(RelayedReply::Whole(body)) => Self::Landed(Landing::RelayedWhole(body)),
            Answer::Pieces(held) => Self::Pieces(held),
            Answer::Relayed(RelayedReply::Stream(held)) => Self::Lines(held),
        }
    }
}

/// A stream that its backend makes.
enum Stream {
    Pieces(HeldReply),
    Lines(HeldRelay),
}

impl Stream {
    async fn next(&mut self) -> Option<Result<Piece, Failure>> {
        match self {
            Self::Pieces(held) => held.next().await.map(|next| next.map(Piece::Event)),
            Self::Lines(held) => held.next().await.map(|next| next.map(|bytes| held.piece(&bytes))),
        }
    }

    fn next_ready(&mut self) -> Option<Piece> {
        match self {
            Self::Pieces(held) => held.next_ready().map(Piece::Event),
            Self::Lines(_) => None,
        }
    }

    /// Passes it on as fast as the first reader takes it; the failure that it ends with, if it does.
    async fn pass_on(&mut self, controls: &Controls) -> Option<Failure> {
        let mut patience = HELD_UP;
        while controls.is_wanted(&mut patience).await {
            let next = tokio::select! {
                next = self.next() => next?,
                () = controls.deserted() => return None,
            };
            fault!("flight.pass_on", else |fault| Some(fault.into()));
            match next {
                Ok(piece) => controls.write(iter::once(piece).chain(iter::from_fn(|| self.next_ready()))),
                Err(failure) => return Some(failure),
            }
        }
        None
    }
}
