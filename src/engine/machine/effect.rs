//! What a run wants done, and what it is told.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use serde_json::Value as Json;

use crate::{
    domain::{
        chat::{ChatCall, Finish},
        failure::{Failure, FailureClass},
        ids::{RequestId, RunId},
        message::{Completion, Served},
        model::same_model,
        route::ModelRoute,
        time::Timestamp,
        value::Value,
    },
    engine::{answer_stream::StreamedText, hook::HookInvocation, state::StateUnit},
};

/// One effect of a run that is answered; the event that answers it names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(pub(crate) u64);

/// Which run this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunInfo {
    /// Unlike that of any other run: the engine draws no random numbers, so ids it makes are made of this one.
    pub run_id: RunId,
    /// The request that runs the chain.
    pub request_id: RequestId,
    /// When it came.
    pub started_at: Timestamp,
}

/// What the server's configuration says about all runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineSettings {
    /// Told to the model by tasks that parse its reply, where they have no instruction of their own; empty = nothing.
    pub default_system_instruction: String,
    /// Tokens a reply may have where the chain does not say.
    pub max_output_tokens: u32,
    /// Longest time of one attempt where the chain does not say.
    pub default_step_timeout: Duration,
    /// Whether tokens are counted exactly before a long prompt is sent, even where the chain has no `token_limit`.
    pub counts_exactly: bool,
}

/// Something to be done for a run. The first five are answered with exactly one event of the same [`StepId`]; after
/// their timeout with [`Event::Failed`] of class `Timeout`. No slot of a backend may be held for a run that waits.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask a model; answered by [`Event::Answered`] or [`Event::Failed`].
    AskModel {
        /// The attempt.
        step: StepId,
        /// What is asked.
        call: Box<ChatCall>,
        /// Who may answer.
        route: ModelRoute,
        /// Longest time, queueing included.
        timeout: Duration,
        /// Set where the reply may be told while it arrives. Once any of it was told, a failure is [`Event::BrokeOff`].
        streamed: Option<StreamedReply>,
    },
    /// Embed a text; answered by [`Event::Embedded`] or [`Event::Failed`].
    Embed {
        /// The attempt.
        step: StepId,
        /// The text.
        text: String,
        /// Who may answer.
        route: ModelRoute,
        /// Longest time, queueing included.
        timeout: Duration,
    },
    /// Call a remote hook; answered by [`Event::HookReplied`] or [`Event::Failed`].
    CallHook {
        /// The attempt.
        step: StepId,
        /// Which hook, and what it is sent.
        hook: HookInvocation,
        /// Longest time; the hook's own limit applies too.
        timeout: Duration,
    },
    /// Count the tokens of a call that is about to be made; answered by [`Event::Counted`] with what comes closest.
    CountTokens {
        /// The attempt.
        step: StepId,
        /// What will be sent.
        texts: Vec<String>,
        /// Who may get it.
        route: ModelRoute,
        /// Longest time.
        timeout: Duration,
    },
    /// Wait before the next attempt, for a time drawn between these; answered by [`Event::Waited`].
    Wait {
        /// The attempt that failed.
        step: StepId,
        /// At least this long.
        least: Duration,
        /// At most this long.
        most: Duration,
    },
    /// Raise an alert.
    RaiseAlert(RaisedAlert),
    /// Put one line into the server's log: the rendered text, or why it could not be rendered.
    Print {
        /// The task that prints.
        task: Arc<str>,
        /// The line.
        text: Result<String, String>,
    },
    /// The run has worked long enough for one turn; always the last effect. Answered with
    /// [`Machine::resume`](super::Machine::resume), after whatever else is waiting for the same thread.
    Yield,
    /// The run is over; always the last effect.
    Finish(Box<RunOutcome>),
}

/// What came of an effect. `elapsed` is the time since the effect was given out.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A model answered.
    Answered {
        /// The attempt.
        step: StepId,
        /// The whole reply.
        completion: Completion,
        /// Who answered.
        served: Option<Served>,
        /// How long it took.
        elapsed: Duration,
    },
    /// A text was embedded.
    Embedded {
        /// The attempt.
        step: StepId,
        /// The vector.
        vector: Vec<f64>,
        /// Who answered.
        served: Option<Served>,
        /// How long it took.
        elapsed: Duration,
    },
    /// A hook answered with success; whether it reports an error is for the engine to see.
    HookReplied {
        /// The attempt.
        step: StepId,
        /// The decoded body.
        reply: Json,
        /// How long it took.
        elapsed: Duration,
    },
    /// The tokens of a call were counted.
    Counted {
        /// The attempt.
        step: StepId,
        /// Of all its texts together.
        tokens: u64,
    },
    /// The delay is over.
    Waited {
        /// The attempt before it.
        step: StepId,
    },
    /// It could not be done.
    Failed {
        /// The attempt.
        step: StepId,
        /// Why.
        failure: Failure,
        /// Who was asked, if anybody.
        served: Option<Served>,
        /// How long it took.
        elapsed: Duration,
    },
    /// A reply whose beginning was told could not be finished: nothing takes that back, so the run is over.
    BrokeOff {
        /// The attempt.
        step: StepId,
        /// Why.
        failure: Failure,
        /// Who was asked.
        served: Option<Served>,
        /// How long it took.
        elapsed: Duration,
    },
}

impl Event {
    /// The attempt it belongs to.
    pub const fn step(&self) -> StepId {
        match self {
            Self::Answered { step, .. }
            | Self::Embedded { step, .. }
            | Self::HookReplied { step, .. }
            | Self::Counted { step, .. }
            | Self::Waited { step }
            | Self::Failed { step, .. }
            | Self::BrokeOff { step, .. } => *step,
        }
    }
}

/// An alert without its id, which the engine has no randomness for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaisedAlert {
    /// The text written in the chain.
    pub message: String,
    /// The request whose run raises it.
    pub request_id: RequestId,
    /// `task_id` and `eval` (a matched branch) or `error` (a failure).
    pub metadata: BTreeMap<String, String>,
    /// When.
    pub timestamp: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOutcome {
    /// Which run.
    pub run_id: RunId,
    /// The last task's output, or why there is none.
    pub result: Result<Value, RunFailure>,
    /// Every attempt, in order.
    pub state: Vec<StateUnit>,
    /// What the caller should know of a run that went well, such as replies that were cut.
    pub warnings: Vec<String>,
    /// Who served the last call of the run, if there was one.
    pub served: Option<Served>,
    /// Why the reply ended whose text is the output, where the chain passes that on as it is.
    pub finish: Option<Finish>,
}

/// A reply that is told while it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamedReply {
    /// How the text is made of it.
    pub text: StreamedText,
    /// The model that the run's output will show whoever answers, where the chain says so.
    pub(crate) shown: Option<Arc<str>>,
    /// The model that the conversation names, or empty.
    pub(crate) asked: String,
}

impl StreamedReply {
    /// The model that the run's output will show.
    pub fn model(&self, served: &Served) -> String {
        let shown = self.shown.as_deref().map(str::to_owned);
        shown.unwrap_or_else(|| model_shown(&self.asked, served).to_owned())
    }
}

/// The name the sender wrote is kept where it means the model that answered.
pub(super) fn model_shown<'a>(asked: &'a str, served: &'a Served) -> &'a str {
    if asked.is_empty() || !same_model(asked, &served.model) { &served.model } else { asked }
}

/// What of a run's output somebody wants to be told while it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StreamWish {
    /// Nothing.
    #[default]
    Nothing,
    /// Its text, whatever it is the text of.
    Text,
    /// The text of a response of OpenAI's chat API; of other output nothing.
    Response,
}

/// Why a run failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFailure {
    /// What happened.
    pub failure: Failure,
    /// In which task; `None` = to the run as a whole.
    pub task: Option<String>,
}

impl RunFailure {
    /// Whether the caller is to blame: the input is not what the chain's `input_schema` asks for. Nothing was executed.
    pub fn is_refused_input(&self) -> bool {
        self.task.is_none() && self.failure.class == FailureClass::InvalidInput
    }
}

impl fmt::Display for RunFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.task {
            Some(task) => write!(f, "task {task}: {}", self.failure),
            None => self.failure.fmt(f),
        }
    }
}

impl std::error::Error for RunFailure {}
