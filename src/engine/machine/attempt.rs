//! The beginning of an attempt: what each handler asks for, or does at once (`docs/workflow-spec.md`, handlers).

use std::sync::Arc;

use super::{
    Conversation, Effect, LONGEST_ERROR, Machine, Next, Phase, Settled, StepId, StreamWish, StreamedReply, Turn, Visit,
};
use crate::{
    domain::{
        chat::{ChatCall, ChatTurn, Part, Sampling},
        failure::{Failure, FailureClass},
        message::Constraint,
        route::{Capability, ModelRoute},
        time::Timestamp,
        value::Value,
    },
    engine::{
        command, completion,
        hook::HookInvocation,
        program::{Program, Step, Work},
        reply, tokens,
        transition::Evaluation,
    },
};

/// Shorter prompts fit every model's context, so that their tokens need not be counted.
const COUNTED_FROM_BYTES: usize = 2048;

/// What an attempt begins with, or goes on with.
pub(super) enum Begun {
    Asks {
        call: Box<ChatCall>,
        route: ModelRoute,
        conversation: Option<Conversation>,
        sent: Option<u64>,
    },
    Embeds {
        text: String,
        route: ModelRoute,
        sent: Option<u64>,
    },
    Calls(HookInvocation),
    /// First the tokens, then the call.
    Counts {
        texts: Vec<String>,
        route: ModelRoute,
    },
    Done(Value, Evaluation),
    Raises(Failure),
}

/// The attempt that begins or goes on.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub(super) program: &'a Program,
    pub(super) step: &'a Step,
    pub(super) visit: &'a Visit,
    /// The tokens of the call, once they are counted.
    pub(super) counted: Option<u64>,
    pub(super) now: Timestamp,
}

impl Machine {
    /// Begins the next attempt of the current task.
    pub(super) fn attempt(&mut self, program: &Program, turn: &mut Turn) -> Next {
        let Some(visit) = &mut self.visit else { return Next::Wait };
        visit.attempt += 1;
        visit.tries += 1;
        visit.began = turn.now;
        visit.mending = None;
        visit.repairs = 0;
        self.ask(program, None, turn)
    }

    /// Does what the task does, or gives out the effect that does it. `counted`: the tokens of the call, once they are.
    pub(super) fn ask(&mut self, program: &Program, counted: Option<u64>, turn: &mut Turn) -> Next {
        let Some(step) = self.visit.as_ref().and_then(|visit| program.steps.get(visit.place)) else {
            return Next::Wait;
        };
        self.asked += 1;
        let id = StepId(self.asked);
        let left = self.left(turn.now);
        let Some(visit) = &mut self.visit else { return Next::Wait };
        (visit.step, visit.phase, visit.sent) = (id, Phase::Asking, None);
        // Counting and mending take their time of the attempt's.
        let whole = step.timeout.unwrap_or(self.settings.default_step_timeout);
        let time = whole.saturating_sub(turn.now.since(visit.began));
        visit.last_time = left.filter(|left| *left <= time);
        let timeout = visit.last_time.unwrap_or(time);
        let Some(visit) = &self.visit else { return Next::Wait };
        if timeout.is_zero() {
            let failure = Failure::new(FailureClass::Timeout, format!("the attempt took longer than {whole:?}"));
            return Next::Settle(Settled::at_once(Err(failure)));
        }
        let place = visit.place;
        let begun = self.begin(Asking { program, step, visit, counted, now: turn.now });
        let extent = || visit.input.extent();
        let mut is_streamed = false;
        let (effect, conversation, sent) = match begun {
            Ok(Begun::Asks { call, route, conversation, sent }) => {
                let streamed = self.streamed(program, place, conversation.as_ref());
                is_streamed = streamed.is_some();
                (Effect::AskModel { step: id, call, route, timeout, streamed }, conversation, sent)
            }
            Ok(Begun::Embeds { text, route, sent }) => (Effect::Embed { step: id, text, route, timeout }, None, sent),
            Ok(Begun::Calls(hook)) => (Effect::CallHook { step: id, hook, timeout }, None, None),
            Ok(Begun::Counts { texts, route }) => {
                turn.effects.push(Effect::CountTokens { step: id, texts, route, timeout });
                if let Some(visit) = &mut self.visit {
                    visit.phase = Phase::Counting;
                }
                return Next::Wait;
            }
            Ok(Begun::Done(output, value)) => {
                if !matches!(step.work, Work::Noop) {
                    turn.work = turn.work.saturating_add(extent());
                }
                return Next::Settle(Settled::at_once(Ok((output, value))));
            }
            // To find this out, the input was read and perhaps its tokens counted.
            Ok(Begun::Raises(failure)) => {
                turn.work = turn.work.saturating_add(extent());
                return Next::Settle(Settled::at_once(Err(failure)));
            }
            Err(failure) => {
                turn.work = turn.work.saturating_add(extent());
                return Next::Settle(Settled::refused(failure));
            }
        };
        turn.effects.push(effect);
        if let Some(visit) = &mut self.visit {
            (visit.conversation, visit.sent, visit.streamed) = (conversation, sent, is_streamed);
        }
        Next::Wait
    }

    /// Whether and how the reply to a step is told while it arrives.
    fn streamed(&self, program: &Program, place: usize, conversation: Option<&Conversation>) -> Option<StreamedReply> {
        let streamed = program.streamed.get(place)?.as_ref()?;
        let is_wished = match self.wish {
            StreamWish::Nothing => false,
            StreamWish::Text => true,
            StreamWish::Response => streamed.in_response,
        };
        is_wished.then(|| StreamedReply {
            text: streamed.text,
            shown: streamed.shown.clone(),
            asked: conversation.map(|conversation| conversation.model.clone()).unwrap_or_default(),
        })
    }

    fn begin(&self, asking: Asking<'_>) -> Result<Begun, Failure> {
        let Asking { program, step, visit, counted, now } = asking;
        let input = &visit.input;
        let form = |may: bool, constraint: &dyn Fn() -> Constraint| Some(may.then(constraint));
        match &step.work {
            Work::Noop => Ok(Begun::Done(input.clone(), Evaluation::of("noop"))),
            Work::RaiseError => Ok(Begun::Raises(invalid(reply::shortened(&prompt(input)?, LONGEST_ERROR)))),
            Work::RawString => self.prompted(asking, None),
            Work::ConditionKey { conditions, constrain } => {
                let form = form(*constrain, &|| Constraint::OneOf(conditions.keys()));
                self.prompted(asking, form)
            }
            Work::Parse { form: wanted, constrain } => self.prompted(asking, form(*constrain, &|| wanted.constraint())),
            Work::ParseJson { schema, constrain, .. } => {
                let schema = schema.as_ref().filter(|_| *constrain);
                let form = Some(schema.map(|schema| Constraint::Schema(Arc::clone(schema.source()))));
                self.prompted(asking, form)
            }
            Work::ParseTransition => {
                let word = command::of(input).map_err(invalid)?;
                Ok(Begun::Done(input.clone(), Evaluation::of(word)))
            }
            Work::ConvertToOpenaiChatResponse { model } => {
                let Value::ChatHistory(history) = input else {
                    let found = input.data_type();
                    return Err(invalid(format!("{} needs a chat_history, not {found}", step.handler.as_str())));
                };
                // No two attempts of a run have the same number.
                let reply = format!("chatcmpl-{}-{}", self.run.run_id, visit.step.0);
                let response = completion::of(history, &reply, model.as_deref(), now);
                Ok(Begun::Done(response, Evaluation::of("converted")))
            }
            Work::Embedding => {
                let text = prompt(input)?;
                self.within_budget()?;
                let mut route = step.model.route(visit.choice, Capability::Embed, program, None);
                if counted.is_none() && self.settings.counts_exactly && text.len() >= COUNTED_FROM_BYTES {
                    return Ok(Begun::Counts { texts: vec![text], route });
                }
                route.tokens = counted.or_else(|| (text.len() >= COUNTED_FROM_BYTES).then(|| tokens::count(&text)));
                let sent = self.budgeted(route.tokens, std::iter::once(text.as_str()));
                Ok(Begun::Embeds { text, route, sent })
            }
            Work::ModelExecution => self.converse(asking),
            Work::Hook(call) => Ok(Begun::Calls(HookInvocation {
                call: Arc::clone(call),
                input: input.clone(),
                started_at: self.run.started_at,
                request_id: self.run.request_id.clone(),
            })),
        }
    }

    /// The call of an asking handler. `parses`: the reply is parsed, perhaps forced into a form.
    fn prompted(&self, asking: Asking<'_>, parses: Option<Option<Constraint>>) -> Result<Begun, Failure> {
        let Asking { program, step, visit, counted, now: _ } = asking;
        let prompt = prompt(&visit.input)?;
        self.within_budget()?;
        let instruction = match step.system_instruction.as_str() {
            "" if parses.is_some() => self.settings.default_system_instruction.as_str(),
            own => own,
        };
        let system = (!instruction.is_empty()).then(|| ChatTurn::text("system", instruction));
        let mended = visit.mending.as_ref().map(|mending| {
            let said = ChatTurn::text("assistant", mending.reply.as_str());
            [said, ChatTurn::text("user", mending.complaint.as_str())]
        });
        let single_prompt = mended.is_none();
        let asked = std::iter::once(ChatTurn::text("user", prompt));
        let messages: Vec<ChatTurn> = system.into_iter().chain(asked).chain(mended.into_iter().flatten()).collect();
        let texts = || messages.iter().flat_map(|turn| turn.parts.iter().filter_map(Part::as_text));
        let bytes = texts().map(str::len).sum();
        let mut route = step.model.route(visit.choice, Capability::Prompt, program, None);
        if counted.is_none() && self.counts_first(program, bytes) {
            return Ok(Begun::Counts { texts: texts().map(str::to_owned).collect(), route });
        }
        let is_long = bytes >= COUNTED_FROM_BYTES;
        route.tokens = counted.or_else(|| is_long.then(|| texts().map(tokens::count).sum()));
        within_limit(program, route.tokens)?;
        let sent = self.budgeted(route.tokens, texts());
        let call = ChatCall {
            sampling: Sampling {
                temperature: Some(step.model.temperature.unwrap_or(0.0)),
                max_tokens: Some(step.model.max_tokens.unwrap_or(self.settings.max_output_tokens)),
                ..Sampling::default()
            },
            constraint: parses.flatten(),
            single_prompt,
            messages,
            ..ChatCall::default()
        };
        Ok(Begun::Asks { call: Box::new(call), route, conversation: None, sent })
    }

    /// Whether the tokens of a call are counted by somebody who may know better, because something hinges on them.
    pub(super) fn counts_first(&self, program: &Program, bytes: usize) -> bool {
        program.token_limit.is_some() || (self.settings.counts_exactly && bytes >= COUNTED_FROM_BYTES)
    }
}

/// The text to ask with; there must be one.
pub(super) fn prompt(input: &Value) -> Result<String, Failure> {
    let text = input.prompt_text().map_err(|error| invalid(format!("the input {error}")))?;
    if text.trim().is_empty() { Err(invalid("the prompt is empty")) } else { Ok(text.into_owned()) }
}

pub(super) fn within_limit(program: &Program, tokens: Option<u64>) -> Result<(), Failure> {
    match (tokens, program.token_limit) {
        (Some(tokens), Some(limit)) if tokens > limit => Err(Failure::new(
            FailureClass::ContextLength,
            format!("the call has {tokens} tokens, the chain's token_limit is {limit}"),
        )),
        _ => Ok(()),
    }
}

pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureClass::InvalidInput, message)
}
