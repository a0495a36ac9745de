//! How a run's effects are carried out: each in a task of its own, whose result comes back to the actor as an event.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::time::Instant;
use tracing::Instrument;

use super::{
    RunMsg, RunState,
    live::Progress,
    told::{HasTold, ToldAttempt},
};
use crate::{
    domain::{
        alert::Alert,
        embedding::EmbedCall,
        failure::{Failure, FailureClass},
        message::{Completion, Served},
        route::ModelRoute,
    },
    engine::{Effect, Event, StepId},
    faults::fault,
    runtime::{ask::answer, counter::built_in, dispatch::DispatchError, mailbox::Lane, task::caught},
    telemetry::log::PRINT,
};

/// What a delay may take beyond its time.
const SLACK: Duration = Duration::from_secs(60);

impl RunState {
    /// Carries out effects; true when the run is over.
    pub(super) fn carry_out(&mut self, effects: Vec<Effect>) -> bool {
        self.tally.steps(self.machine.state());
        self.watch = self.watch.take().and_then(|watch| watch.after_turn(&self.machine, &effects));
        let task = self.machine.current().map(|current| current.task);
        self.live.show(Progress { task, steps: self.machine.state().len() });
        for effect in effects {
            match effect {
                Effect::AskModel { step, call, route, timeout, streamed } => {
                    let route = self.narrowed(route);
                    let dispatcher = self.deps.dispatcher.clone();
                    let counted = self.live.count_call();
                    if let Some((streamed, teller)) = streamed.zip(self.teller.clone()) {
                        let has_told = HasTold::default();
                        let attempt = ToldAttempt { teller, streamed, has_told: has_told.clone() };
                        let work = async move {
                            let _counted = counted;
                            attempt.ask(&dispatcher, route, *call).await
                        };
                        self.spawn_told(step, timeout, has_told, Box::pin(work));
                        continue;
                    }
                    self.spawn(step, timeout, async move {
                        let _counted = counted;
                        let made = async { dispatcher.generate(&route?, &call).await };
                        match made.await {
                            Ok((completion, served)) => Outcome::Answered(completion, served),
                            Err(error) => Outcome::Failed(error.failure, error.served.map(|served| *served)),
                        }
                    });
                }
                Effect::Embed { step, text, route, timeout } => {
                    let dispatcher = self.deps.dispatcher.clone();
                    let route = self.narrowed(route);
                    let counted = self.live.count_call();
                    self.spawn(step, timeout, async move {
                        let _counted = counted;
                        let made = async { dispatcher.embed(&route?, &EmbedCall::of(text)).await };
                        match made.await {
                            Ok((embedded, served)) => {
                                let vector = embedded.vectors.into_iter().next().unwrap_or_default();
                                Outcome::Embedded(vector, served)
                            }
                            Err(error) => Outcome::Failed(error.failure, error.served.map(|served| *served)),
                        }
                    });
                }
                Effect::CallHook { step, hook, timeout } => {
                    let hooks = self.deps.hooks.clone();
                    self.spawn(step, timeout, async move {
                        match hooks.call(hook.name(), &hook, &hook.request_id).await {
                            Ok(reply) => Outcome::HookReplied(reply),
                            Err(failure) => Outcome::Failed(failure, None),
                        }
                    });
                }
                Effect::CountTokens { step, texts, route, timeout } => {
                    let counter = self.deps.counter.clone();
                    let route = self.narrowed(route);
                    self.spawn(step, timeout, async move {
                        match route {
                            // Texts go to a backend's counter only where the call itself may go.
                            Ok(route) => Outcome::Counted(counter.count(&route, texts, timeout).await),
                            // The call itself will fail and say why.
                            Err(_) => Outcome::Counted(built_in(&texts)),
                        }
                    });
                }
                Effect::Wait { step, least, most } => {
                    let delay = drawn(least, most);
                    tracing::debug!(run = %self.id, request_id = %self.request_id, ?delay, "an attempt will be made again");
                    // It ends by itself, so its bound only guards against a fault.
                    self.spawn(step, delay.saturating_add(SLACK), async move {
                        tokio::time::sleep(delay).await;
                        Outcome::Waited
                    });
                }
                Effect::RaiseAlert(raised) => self.deps.alerts.raise(Alert {
                    id: uuid::Uuid::new_v4().to_string(),
                    message: raised.message,
                    request_id: raised.request_id,
                    metadata: raised.metadata,
                    timestamp: raised.timestamp,
                }),
                Effect::Print { task, text: Ok(text) } => {
                    tracing::info!(target: PRINT, request_id = %self.request_id, run = %self.id, %task, "{text}");
                }
                Effect::Print { task, text: Err(error) } => {
                    let request_id = &self.request_id;
                    tracing::warn!(%request_id, run = %self.id, %task, %error, "a print could not be rendered");
                }
                Effect::Yield => self.go_on_later(),
                Effect::Finish(outcome) => {
                    // Whoever is told of the run sees that end before this one.
                    self.teller = None;
                    self.tally.ended(&outcome);
                    if let Some(sender) = self.outcome.take() {
                        answer(sender, *outcome);
                    }
                    return true;
                }
            }
        }
        false
    }

    /// A route as the run's request allows it.
    fn narrowed(&self, route: ModelRoute) -> Result<ModelRoute, DispatchError> {
        self.deps.dispatcher.narrowed(route, &self.scope)
    }

    /// Goes on behind the messages that are waiting, and behind the other tasks of this thread.
    fn go_on_later(&self) {
        let (address, stop) = (self.address.clone(), self.stop.clone());
        let alive = Arc::clone(&self.alive);
        self.deps.tasks.spawn(async move {
            let _alive = alive;
            let go_on = async {
                tokio::task::yield_now().await;
                if let Err(error) = address.send(Lane::Control, RunMsg::Continue).await {
                    tracing::debug!(%error, "a run ended before it went on");
                }
            };
            stop.run_until_cancelled(go_on).await;
        });
    }

    /// Runs one effect in a task of its own, whose result comes back as a message.
    fn spawn(&self, step: StepId, timeout: Duration, work: impl Future<Output = Outcome> + Send + 'static) {
        self.spawn_told(step, timeout, HasTold::default(), Box::pin(work));
    }

    /// The same with what was told of it meanwhile. The work is large and stays in one place: each of the futures around it
    /// would be as large twice, and copied as often as they are handed on.
    fn spawn_told(&self, step: StepId, timeout: Duration, has_told: HasTold, work: BoxFuture<'static, Outcome>) {
        let (address, stop) = (self.address.clone(), self.stop.clone());
        let alive = Arc::clone(&self.alive);
        let work = carried_out(work);
        let span = tracing::error_span!("run", run = %self.id, request_id = %self.request_id);
        self.deps.tasks.spawn(
            async move {
                let _alive = alive;
                let began = Instant::now();
                let work = async {
                    let outcome = match tokio::time::timeout(timeout, caught("step", work)).await {
                        Ok(Ok(outcome)) => outcome,
                        Ok(Err(_)) => {
                            let message = "the attempt met a fault of the server; see its log";
                            Outcome::Failed(Failure::new(FailureClass::Internal, message), None)
                        }
                        Err(_) => {
                            let message = format!("the attempt took longer than {timeout:?}");
                            Outcome::Failed(Failure::new(FailureClass::Timeout, message), None)
                        }
                    };
                    let event = Box::new(outcome.into_event(step, began.elapsed(), has_told.get()));
                    if let Err(error) = address.send(Lane::Control, RunMsg::Happened(event)).await {
                        tracing::debug!(%error, "an effect outlived its run");
                    }
                };
                stop.run_until_cancelled(work).await;
            }
            .instrument(span),
        );
    }
}

/// What is done about an effect.
async fn carried_out(work: BoxFuture<'static, Outcome>) -> Outcome {
    fault!("run.effect", else |fault| Outcome::Failed(fault.into(), None));
    work.await
}

/// What came of an effect, before it is an event of a step.
pub(super) enum Outcome {
    Answered(Completion, Served),
    Embedded(Vec<f64>, Served),
    HookReplied(serde_json::Value),
    Counted(u64),
    Waited,
    Failed(Failure, Option<Served>),
}

impl Outcome {
    fn into_event(self, step: StepId, elapsed: Duration, has_told: bool) -> Event {
        match self {
            Self::Answered(completion, served) => Event::Answered { step, completion, served: Some(served), elapsed },
            Self::Embedded(vector, served) => Event::Embedded { step, vector, served: Some(served), elapsed },
            Self::HookReplied(reply) => Event::HookReplied { step, reply, elapsed },
            Self::Counted(tokens) => Event::Counted { step, tokens },
            Self::Waited => Event::Waited { step },
            Self::Failed(failure, served) if has_told => Event::BrokeOff { step, failure, served, elapsed },
            Self::Failed(failure, served) => Event::Failed { step, failure, served, elapsed },
        }
    }
}

/// A time between these two.
fn drawn(least: Duration, most: Duration) -> Duration {
    most.saturating_sub(least).mul_f64(fastrand::f64()).saturating_add(least).min(most)
}
