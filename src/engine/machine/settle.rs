//! The end of an attempt that waited: what the event means for the task (`docs/workflow-spec.md`, handlers).

use super::{Event, Settled, Visit};
use crate::{
    domain::{
        failure::{Failure, FailureClass},
        message::{ChatHistory, ChatMessage, Completion, Finish, Served, Usage},
        model::same_model,
        time::Timestamp,
        value::Value,
    },
    engine::{
        hook,
        program::{Step, Work},
        reply, tokens,
        transition::Evaluation,
    },
};

type Produced = Result<(Value, Evaluation), Failure>;

/// Reads an event as the outcome of the attempt it belongs to.
pub(super) fn settle(
    step: &Step,
    visit: &mut Visit,
    event: Event,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Settled {
    match event {
        Event::Answered { completion, served, elapsed, .. } => {
            let usage = completion.usage;
            let result = answered(step, visit, completion, served.as_ref(), now, warnings);
            Settled { result, elapsed, served, usage }
        }
        Event::Embedded { vector, served, elapsed, .. } => {
            let result = match &step.work {
                Work::Embedding => Ok((Value::Vector(vector.into()), Evaluation::of("ok"))),
                _ => Err(unasked()),
            };
            Settled { result, elapsed, served, usage: Usage::default() }
        }
        Event::HookReplied { reply, elapsed, .. } => {
            let result = match &step.work {
                Work::Hook(_) => hook::read_reply(reply, now),
                _ => Err(unasked()),
            };
            Settled { result, elapsed, served: None, usage: Usage::default() }
        }
        Event::Failed { failure, served, elapsed, .. } => {
            Settled { result: Err(failure), elapsed, served, usage: Usage::default() }
        }
    }
}

fn answered(
    step: &Step,
    visit: &mut Visit,
    completion: Completion,
    served: Option<&Served>,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Produced {
    let cut = completion.finish == Finish::Length;
    let mut warn = || {
        if cut {
            warnings.push(format!("task {}: the reply was cut at its bound of output tokens", step.id));
        }
    };
    match &step.work {
        Work::RawString => {
            let text = reply::answer(&completion.text)?;
            warn();
            Ok((Value::string(text), Evaluation::of(text)))
        }
        Work::ConditionKey { .. } | Work::Parse { .. } if cut => {
            let text = "the reply was cut at its bound of output tokens, so it cannot be relied on";
            Err(Failure::new(FailureClass::InvalidOutput, text))
        }
        Work::ConditionKey { conditions, .. } => {
            let text = reply::answer(&completion.text)?;
            let matched = conditions.matching(text);
            let matched = matched.ok_or_else(|| Failure::new(FailureClass::InvalidOutput, conditions.refusal(text)))?;
            Ok((Value::string(matched.text.as_str()), matched))
        }
        Work::Parse { form, .. } => {
            form.read(reply::answer(&completion.text)?).map_err(|text| Failure::new(FailureClass::InvalidOutput, text))
        }
        Work::ModelExecution => {
            // The conversation keeps the reply as it came, but it must hold an answer.
            reply::answer(&completion.text)?;
            warn();
            let conversation = visit.conversation.take().ok_or_else(unasked)?;
            let mut messages = conversation.messages;
            let output_tokens = tokens::count(&completion.text);
            messages.push(ChatMessage::new(completion.role, completion.text, now));
            // The name the sender wrote is kept where it means the model that answered.
            let model = match served {
                Some(served) if conversation.model.is_empty() || !same_model(&conversation.model, &served.model) => {
                    served.model.clone()
                }
                _ => conversation.model,
            };
            let history = ChatHistory {
                messages,
                model,
                input_tokens: signed(conversation.input_tokens),
                output_tokens: signed(output_tokens),
            };
            Ok((Value::chat_history(history), Evaluation::of("executed")))
        }
        Work::ParseTransition
        | Work::Embedding
        | Work::RaiseError
        | Work::Noop
        | Work::ConvertToOpenaiChatResponse { .. }
        | Work::Hook(_) => Err(unasked()),
    }
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// An event of another kind than the task asked for.
fn unasked() -> Failure {
    Failure::new(FailureClass::Internal, "the task was answered something it did not ask for")
}
