//! A run whose output is told while it is made, as the events of a model's reply: the tokens of its last model step where the
//! chain allows it, and then why it ended.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use tokio::sync::mpsc;

use super::output;
use crate::{
    api::{
        Api, failure,
        run::{self, Runnable},
        scope::Scope,
        stream::EventSource,
    },
    domain::{
        chat::{ChatReply, ReplyEvent},
        failure::{Failure, FailureClass},
        ids::RunId,
        message::Served,
        value::Value,
    },
    engine::{RunInfo, RunOutcome, StateUnit, StreamWish},
    error::Error,
    runtime::run::{RunHandle, told::Told},
};

/// How a run has begun to answer.
pub(in crate::api) enum Begun {
    /// It was over before anything could be told.
    Over(RunOutcome),
    /// Its first piece is there.
    Telling {
        /// Which run it is.
        run: RunId,
        /// All pieces; dropping it stops the run.
        events: ChainStream,
        /// Who serves the step that is told.
        served: Served,
        /// The model's name as an answer shows it.
        model: String,
    },
}

/// Starts a run and waits for its first piece, or for its end. Dropping the future stops the run.
///
/// # Errors
/// 404 for an unknown pool, 503 when too many run, 500 when the run's actor crashed; a failed run is an outcome.
pub(in crate::api) async fn begin(
    api: &Api,
    chain: Runnable,
    input: Value,
    info: RunInfo,
    scope: &Scope,
    wish: StreamWish,
) -> Result<Begun, Error> {
    let (mut run, mut told) = run::told(api, chain, input, info, scope.clone(), wish).await?;
    match told.recv().await {
        Some(Told::Begun(served, model)) => {
            let id = run.id.clone();
            let running = Running { run, told, bytes: 0 };
            let events = ChainStream { running: Some(running), ready: VecDeque::new(), steps: Arc::default() };
            Ok(Begun::Telling { run: id, events, served, model })
        }
        // The first thing told names who serves it, so there was none.
        _ => run.outcome().await.map(Begun::Over).ok_or_else(|| failure::crashed().of_run(&run.id)),
    }
}

/// The steps of a run, once it is over.
pub(in crate::api) type StepsTaken = Arc<OnceLock<Vec<StateUnit>>>;

/// The events of a chain's reply.
pub(in crate::api) struct ChainStream {
    /// `None` once the run is over.
    running: Option<Running>,
    ready: VecDeque<ReplyEvent>,
    steps: StepsTaken,
}

struct Running {
    run: RunHandle,
    told: mpsc::Receiver<Told>,
    /// Of the text that was told.
    bytes: usize,
}

impl Running {
    fn event(&mut self, told: Told) -> Option<ReplyEvent> {
        let Told::Event(event) = told else { return None };
        if let ReplyEvent::Text { text, .. } = &event {
            self.bytes += text.len();
        }
        Some(event)
    }
}

impl ChainStream {
    /// Of a run that is over.
    pub(super) fn of(reply: ChatReply) -> Self {
        Self { running: None, ready: reply.into_events().collect(), steps: Arc::default() }
    }

    /// Where the steps of the run are found after its last event.
    pub(in crate::api) fn steps(&self) -> StepsTaken {
        Arc::clone(&self.steps)
    }

    /// The end of a run whose text was told: why it ended, and the tokens.
    fn end(&mut self, outcome: Option<RunOutcome>, bytes: usize) -> Result<(), Failure> {
        let internal = |text: &str| Failure::new(FailureClass::Internal, text);
        let outcome = outcome.ok_or_else(|| internal(failure::crashed().message()))?;
        let RunOutcome { result, state, finish, .. } = outcome;
        let reply = match &result {
            Ok(value) => output::reply(value, &state, finish),
            Err(failed) => return Err(Failure { message: failed.to_string(), ..failed.failure.clone() }),
        };
        self.steps.get_or_init(|| state);
        if reply.choices.first().map(|said| said.text.len()) != Some(bytes) {
            tracing::error!("the text of a run is not what was told of it");
            return Err(internal("the run's output is not what was told of it"));
        }
        let is_told = |event: &ReplyEvent| matches!(event, ReplyEvent::Text { .. });
        self.ready.extend(reply.into_events().filter(|event| !is_told(event)));
        Ok(())
    }
}

impl EventSource for ChainStream {
    async fn next(&mut self) -> Option<Result<ReplyEvent, Failure>> {
        while let Some(running) = &mut self.running {
            match running.told.recv().await {
                Some(told) => {
                    if let Some(event) = running.event(told) {
                        return Some(Ok(event));
                    }
                }
                None => {
                    let (outcome, bytes) = (running.run.outcome().await, running.bytes);
                    self.running = None;
                    if let Err(failure) = self.end(outcome, bytes) {
                        return Some(Err(failure));
                    }
                }
            }
        }
        self.ready.pop_front().map(Ok)
    }

    fn next_ready(&mut self) -> Option<ReplyEvent> {
        match &mut self.running {
            Some(running) => running.told.try_recv().ok().and_then(|told| running.event(told)),
            None => self.ready.pop_front(),
        }
    }
}
