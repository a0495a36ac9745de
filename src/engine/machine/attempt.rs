//! The beginning of an attempt: what each handler asks for, or does at once (`docs/workflow-spec.md`, handlers).

use std::sync::Arc;

use super::{Conversation, Effect, LONGEST_ERROR, Machine, Next, Settled, StepId, Turn};
use crate::{
    domain::{
        failure::{Failure, FailureClass},
        message::{ChatCall, ChatMessage, Constraint, Sampling},
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

/// What an attempt begins with.
enum Begun {
    Asks(Effect),
    Converses(Effect, Conversation),
    Done(Value, Evaluation),
}

impl Machine {
    /// Begins the next attempt of the current task.
    pub(super) fn attempt(&mut self, program: &Program, turn: &mut Turn) -> Next {
        let Some(visit) = &mut self.visit else { return Next::Wait };
        let Some(step) = program.steps.get(visit.place) else { return Next::Wait };
        self.attempts += 1;
        visit.attempt += 1;
        visit.step = StepId(self.attempts);
        let (id, input) = (visit.step, visit.input.clone());
        match self.begin(program, step, id, &input, turn.now) {
            Ok(Begun::Asks(effect)) => turn.effects.push(effect),
            Ok(Begun::Converses(effect, conversation)) => {
                turn.effects.push(effect);
                if let Some(visit) = &mut self.visit {
                    visit.conversation = Some(conversation);
                }
            }
            Ok(Begun::Done(output, value)) => {
                if !matches!(step.work, Work::Noop) {
                    turn.work = turn.work.saturating_add(input.extent());
                }
                return Next::Settle(Settled::at_once(Ok((output, value))));
            }
            Err(failure) => {
                // To find this out, the input was read and perhaps its tokens counted.
                turn.work = turn.work.saturating_add(input.extent());
                return Next::Settle(Settled::at_once(Err(failure)));
            }
        }
        Next::Wait
    }

    fn begin(
        &self,
        program: &Program,
        step: &Step,
        id: StepId,
        input: &Value,
        now: Timestamp,
    ) -> Result<Begun, Failure> {
        let timeout = step.timeout.unwrap_or(self.settings.default_step_timeout);
        match &step.work {
            Work::Noop => Ok(Begun::Done(input.clone(), Evaluation::of("noop"))),
            Work::RaiseError => Err(invalid(reply::shortened(&prompt(input)?, LONGEST_ERROR))),
            Work::RawString => self
                .ask(program, step, prompt(input)?, None, now)
                .map(|(call, route)| Begun::Asks(Effect::AskModel { step: id, call, route, timeout })),
            Work::ConditionKey { conditions, constrain } => {
                let constraint = constrain.then(|| Constraint::OneOf(conditions.keys()));
                let (call, route) = self.ask(program, step, prompt(input)?, Some(constraint), now)?;
                Ok(Begun::Asks(Effect::AskModel { step: id, call, route, timeout }))
            }
            Work::Parse { form, constrain } => {
                let constraint = constrain.then(|| form.constraint());
                let (call, route) = self.ask(program, step, prompt(input)?, Some(constraint), now)?;
                Ok(Begun::Asks(Effect::AskModel { step: id, call, route, timeout }))
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
                let reply = format!("chatcmpl-{}-{}", self.run.run_id, id.0);
                let response = completion::of(history, &reply, model.as_deref(), now);
                Ok(Begun::Done(response, Evaluation::of("converted")))
            }
            Work::Embedding => {
                let text = prompt(input)?;
                let tokens = (text.len() >= COUNTED_FROM_BYTES).then(|| tokens::count(&text));
                let route = step.model.route(Capability::Embed, program, tokens);
                Ok(Begun::Asks(Effect::Embed { step: id, text, route, timeout }))
            }
            Work::ModelExecution => {
                let (call, route, conversation) = self.converse(program, step, input, now)?;
                Ok(Begun::Converses(Effect::AskModel { step: id, call, route, timeout }, conversation))
            }
            Work::Hook(call) => {
                let hook = HookInvocation {
                    call: Arc::clone(call),
                    input: input.clone(),
                    started_at: self.run.started_at,
                    request_id: self.run.request_id.clone(),
                };
                Ok(Begun::Asks(Effect::CallHook { step: id, hook, timeout }))
            }
        }
    }

    /// The call of an asking handler. `parses`: the reply is parsed, perhaps forced into a form.
    fn ask(
        &self,
        program: &Program,
        step: &Step,
        prompt: String,
        parses: Option<Option<Constraint>>,
        now: Timestamp,
    ) -> Result<(ChatCall, ModelRoute), Failure> {
        let instruction = match step.system_instruction.as_str() {
            "" if parses.is_some() => self.settings.default_system_instruction.as_str(),
            own => own,
        };
        let counted = program.token_limit.is_some() || prompt.len() + instruction.len() >= COUNTED_FROM_BYTES;
        let tokens = counted.then(|| tokens::count(&prompt) + tokens::count(instruction));
        within_limit(program, tokens)?;
        let system = (!instruction.is_empty()).then(|| ChatMessage::new("system", instruction, now));
        let call = ChatCall {
            messages: system.into_iter().chain([ChatMessage::new("user", prompt, now)]).collect(),
            sampling: Sampling {
                temperature: Some(step.model.temperature.unwrap_or(0.0)),
                max_tokens: Some(step.model.max_tokens.unwrap_or(self.settings.max_output_tokens)),
                ..Sampling::default()
            },
            constraint: parses.flatten(),
            single_prompt: true,
        };
        Ok((call, step.model.route(Capability::Prompt, program, tokens)))
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
