//! Embeddings of several requests in one call, where their pool wants that (`docs/api.md`, batching).
//!
//! Owns the batches that are still open. A request adds its texts to the open batch of its kind and waits for its vectors; a
//! batch is sent when it has as many texts as are worth waiting for, or its window is over. How many that is follows the
//! load: one as long as requests come singly, so that nobody waits for company that does not come. Each batch is sent by a
//! tracked task of its own, which gives up when the last request of it has gone.

use std::{collections::HashMap, pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, oneshot},
    time::Instant,
};
use tokio_util::task::TaskTracker;

use super::{
    DispatchError, Dispatcher,
    admission::{past_deadline, too_late},
    call::Embed,
    deadline::Urgency,
    repeat::Spent,
    tab::Tab,
};
use crate::{
    domain::{
        chat::Usage,
        embedding::{EmbedCall, Embedded},
        failure::{FailureClass, RefusalReason},
        ids::PoolId,
        ledger::Spending,
        message::Served,
        pool::Batching,
        route::ModelRoute,
    },
    faults::fault,
    runtime::{
        ask::answer,
        directory::PoolCell,
        pool::{Course, TooLate},
    },
};

/// Kinds of batch that are remembered; beyond it the sizes of all are learned anew.
const MAX_KINDS: usize = 1_024;

/// What a request of a batch gets.
type Outcome = Result<(Embedded, Served), DispatchError>;

/// Requests that can be made in one call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    pool: PoolId,
    route: ModelRoute,
    dimensions: Option<u32>,
}

/// One request of a batch.
struct Member {
    inputs: Vec<String>,
    reply: oneshot::Sender<Outcome>,
}

/// Requests that are made in one call.
#[derive(Default)]
struct Batch {
    members: Vec<Member>,
    /// How far the call has come.
    course: Arc<Course>,
}

/// The batches of one kind.
struct Open {
    /// The open one; empty when none is.
    batch: Batch,
    inputs: usize,
    /// Counts the batches, so that a timer closes none but its own.
    number: u64,
    worth: Worth,
    /// When the latest one was full.
    filled_at: Option<Instant>,
}

/// How many texts are worth waiting for: twice as many after a batch that got them right behind another, half as many after
/// one that did not get them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worth(usize);

impl Worth {
    const ONE: Self = Self(1);

    fn filled(&mut self, most: usize) {
        self.0 = (self.0 * 2).min(most).max(1);
    }

    fn missed(&mut self, inputs: usize) {
        if inputs * 2 <= self.0 {
            self.0 = (self.0 / 2).max(1);
        }
    }
}

/// See the module.
pub(super) struct Batches {
    open: Mutex<HashMap<Kind, Open>>,
    tasks: TaskTracker,
}

impl Batches {
    pub(super) fn new(tasks: TaskTracker) -> Self {
        Self { open: Mutex::default(), tasks }
    }
}

impl Dispatcher {
    /// The pool's wish for batches and the kind of batch, where the call may be part of one.
    fn batching(pool: &PoolCell, route: &ModelRoute, call: &EmbedCall) -> Option<(Batching, Kind)> {
        let batching = pool.calls().batching;
        let most = usize::try_from(batching.max_inputs).unwrap_or(usize::MAX);
        if batching.window_ms <= 0.0 || call.inputs.len() >= most {
            return None;
        }
        // Its deadline, its size and its account are those of one request.
        let route = ModelRoute { deadline: None, tokens: None, spending: Spending::UNCOUNTED, ..route.clone() };
        Some((batching, Kind { pool: pool.id.clone(), route, dimensions: call.dimensions }))
    }

    /// Makes the call together with others of its kind; `None` where it is to be made alone.
    pub(super) async fn embed_with_others(
        &self,
        pool: &PoolCell,
        route: &ModelRoute,
        call: &EmbedCall,
    ) -> Option<Outcome> {
        let (batching, kind) = Self::batching(pool, route, call)?;
        let urgency = Urgency::of(route);
        if urgency.is_over() {
            return Some(Err(too_late(pool, TooLate::Passed)));
        }
        let (reply, outcome) = oneshot::channel();
        let course = self.join(kind, batching, Member { inputs: call.inputs.clone(), reply }).await;
        let outcome = pin!(outcome);
        let outcome = tokio::select! {
            biased;
            outcome = urgency.in_time(outcome) => outcome,
            () = course.rules_out(urgency.deadline) => return Some(Err(too_late(pool, TooLate::OutOfReach))),
        };
        let Some(outcome) = outcome else { return Some(Err(past_deadline(pool, &course))) };
        let outcome = outcome.unwrap_or_else(|_| {
            let message = "the batch that the request was part of was given up; it is safe to retry";
            Err(DispatchError::refused(RefusalReason::Restarting, message))
        });
        if let (Ok((embedded, _)), Some(tab)) = (&outcome, Tab::of_texts(&route.spending, call)) {
            tab.embedded(embedded);
        }
        Some(outcome)
    }

    /// Adds a request to the open batch; the course of its call.
    async fn join(&self, kind: Kind, batching: Batching, member: Member) -> Arc<Course> {
        let most = usize::try_from(batching.max_inputs).unwrap_or(usize::MAX);
        let window = Duration::from_secs_f64(batching.window_ms / 1000.0);
        let mut open = self.batches.open.lock().await;
        if open.len() >= MAX_KINDS && !open.contains_key(&kind) {
            open.retain(|_, open| !open.batch.members.is_empty());
        }
        let latest = open.entry(kind.clone()).or_insert_with(|| Open {
            batch: Batch::default(),
            inputs: 0,
            number: 0,
            worth: Worth::ONE,
            filled_at: None,
        });
        // One that would grow too large is sent as it is.
        let overflowing = (latest.inputs + member.inputs.len() > most).then(|| latest.take());
        let is_new = latest.batch.members.is_empty();
        latest.inputs += member.inputs.len();
        latest.batch.members.push(member);
        let course = Arc::clone(&latest.batch.course);
        let full = (latest.inputs >= latest.worth.0).then(|| {
            let before = latest.filled_at.replace(Instant::now());
            if before.is_some_and(|at| at.elapsed() < window) {
                latest.worth.filled(most);
            }
            latest.take()
        });
        let number = latest.number;
        let waits = full.is_none() && is_new;
        drop(open);
        for batch in [overflowing, full].into_iter().flatten() {
            self.send(kind.clone(), batch);
        }
        if waits {
            let dispatcher = self.clone();
            self.batches.tasks.spawn(async move {
                tokio::time::sleep(window).await;
                dispatcher.close(kind, number).await;
            });
        }
        course
    }

    /// The window of this batch is over.
    async fn close(&self, kind: Kind, number: u64) {
        let mut open = self.batches.open.lock().await;
        let waits = open.get_mut(&kind).filter(|open| open.number == number && !open.batch.members.is_empty());
        let batch = waits.map(|open| {
            open.worth.missed(open.inputs);
            open.take()
        });
        drop(open);
        if let Some(batch) = batch {
            self.send(kind, batch);
        }
    }

    fn send(&self, kind: Kind, batch: Batch) {
        let dispatcher = self.clone();
        let Batch { mut members, course } = batch;
        self.batches.tasks.spawn(async move {
            // Who has gone meanwhile needs nothing.
            members.retain(|member| !member.reply.is_closed());
            if members.is_empty() {
                return;
            }
            fault!("batch.send", kind.pool, else |_|);
            let inputs = members.iter().flat_map(|member| member.inputs.iter().cloned()).collect();
            let call = EmbedCall { inputs, dimensions: kind.dimensions };
            let spent = Spent { course: Some(course), ..Spent::default() };
            let made = async {
                let plan = dispatcher.plan(&kind.route, 0)?;
                dispatcher.run_from(plan, &kind.route, Embed(&call), spent).await
            };
            let outcome = tokio::select! {
                outcome = made => outcome,
                () = all_gone(&mut members) => return,
            };
            match outcome {
                Ok((held, served)) => {
                    share(members, held.release(|embedded| Usage::of_texts(embedded.input_tokens)), &served)
                }
                // One bad text must not be the others' failure.
                Err(error) if members.len() > 1 && is_callers_fault(&error) => dispatcher.send_each(&kind, members),
                Err(error) => members.into_iter().for_each(|member| answer(member.reply, Err(error.clone()))),
            }
        });
    }

    fn send_each(&self, kind: &Kind, members: Vec<Member>) {
        for mut member in members {
            let (dispatcher, kind) = (self.clone(), kind.clone());
            self.batches.tasks.spawn(async move {
                let call = EmbedCall { inputs: std::mem::take(&mut member.inputs), dimensions: kind.dimensions };
                let outcome = tokio::select! {
                    outcome = dispatcher.run(&kind.route, Embed(&call)) => outcome,
                    () = member.reply.closed() => return,
                };
                answer(
                    member.reply,
                    outcome.map(|(held, served)| {
                        (held.release(|embedded| Usage::of_texts(embedded.input_tokens)), served)
                    }),
                );
            });
        }
    }
}

impl Open {
    fn take(&mut self) -> Batch {
        self.number += 1;
        self.inputs = 0;
        std::mem::take(&mut self.batch)
    }
}

/// Resolves when nobody waits for the batch any more.
async fn all_gone(members: &mut [Member]) {
    for member in members {
        member.reply.closed().await;
    }
}

fn is_callers_fault(error: &DispatchError) -> bool {
    matches!(error.failure.class, FailureClass::InvalidInput | FailureClass::ContextLength)
}

/// Gives everybody its own vectors, and of the tokens its part by the length of its texts.
fn share(members: Vec<Member>, embedded: Embedded, served: &Served) {
    let lengths: Vec<usize> = members.iter().map(|member| member.inputs.iter().map(String::len).sum()).collect();
    let tokens = embedded.input_tokens.map(|tokens| parts(tokens, &lengths));
    let mut vectors = embedded.vectors.into_iter();
    for (at, member) in members.into_iter().enumerate() {
        let vectors = vectors.by_ref().take(member.inputs.len()).collect();
        let input_tokens = tokens.as_ref().map(|tokens| tokens[at]);
        answer(member.reply, Ok((Embedded { vectors, input_tokens }, served.clone())));
    }
}

/// A whole in parts of about these sizes, which add up to it.
fn parts(whole: u64, sizes: &[usize]) -> Vec<u64> {
    let all = sizes.iter().sum::<usize>().max(1) as f64;
    let (mut seen, mut given) = (0, 0);
    let part = |size: &usize| {
        seen += size;
        // Rounded sums, so that the roundings do not add up.
        let so_far = ((whole as f64) * (seen as f64 / all)).round() as u64;
        let part = so_far.saturating_sub(given);
        given = so_far;
        part
    };
    sizes.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_worth_waiting_for_follows_the_load() {
        let mut worth = Worth::ONE;
        let grown: Vec<usize> = (0..6)
            .map(|_| {
                worth.filled(20);
                worth.0
            })
            .collect();
        assert_eq!(grown, [2, 4, 8, 16, 20, 20]);
        worth.missed(15);
        assert_eq!(worth.0, 20, "more than half came");
        let shrunk: Vec<usize> = (0..6)
            .map(|_| {
                worth.missed(1);
                worth.0
            })
            .collect();
        assert_eq!(shrunk, [10, 5, 2, 1, 1, 1]);
    }

    proptest! {
        #[test]
        fn the_parts_of_the_tokens_add_up(whole in 0u64..1_000_000, sizes in prop::collection::vec(0usize..10_000, 1..40)) {
            let parts = parts(whole, &sizes);
            if sizes.iter().any(|size| *size > 0) {
                prop_assert_eq!(parts.iter().sum::<u64>(), whole);
            }
        }
    }
}
