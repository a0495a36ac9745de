//! The end of an attempt that waited: what the event means for the task (`docs/workflow-spec.md`, handlers).

use super::{Event, Mending, Settled, Visit, effect::model_shown};
use crate::{
    domain::{
        chat::Finish,
        failure::{Failure, FailureClass},
        message::{ChatHistory, ChatMessage, Completion, Served},
        time::Timestamp,
        value::Value,
    },
    engine::{
        hook, json_reply,
        program::{Step, Work},
        reply, tokens,
        transition::Evaluation,
    },
};

/// Bytes of a bad reply that the model is shown again.
const LONGEST_QUOTED: usize = 16 * 1024;

/// Reads an event as the outcome of the attempt it belongs to.
pub(super) fn settle(
    step: &Step,
    visit: &mut Visit,
    event: Event,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Settled {
    let sent = visit.sent.take();
    match event {
        Event::Answered { completion, served, elapsed, .. } => {
            let usage = completion.usage;
            let cost = sent.map_or(0, |sent| {
                let reply = usage.output_tokens.unwrap_or_else(|| tokens::count(&completion.text));
                usage.input_tokens.unwrap_or(sent).saturating_add(reply)
            });
            let (result, mending) = match answered(step, visit, completion, served.as_ref(), now, warnings) {
                Ok(produced) => (Ok(produced), None),
                Err(Unusable { failure, mending }) => (Err(failure), mending),
            };
            Settled { usage, cost, mending, ..Settled::after(result, elapsed, served) }
        }
        Event::Embedded { vector, served, elapsed, .. } => {
            let result = match &step.work {
                Work::Embedding => Ok((Value::Vector(vector.into()), Evaluation::of("ok"))),
                _ => Err(unasked()),
            };
            Settled { cost: sent.unwrap_or(0), ..Settled::after(result, elapsed, served) }
        }
        Event::HookReplied { reply, elapsed, .. } => {
            let result = match &step.work {
                Work::Hook(_) => hook::read_reply(reply, now),
                _ => Err(unasked()),
            };
            Settled::after(result, elapsed, None)
        }
        Event::Failed { failure, served, elapsed, .. } | Event::BrokeOff { failure, served, elapsed, .. } => {
            Settled::after(Err(failure), elapsed, served)
        }
        Event::Counted { .. } | Event::Waited { .. } => Settled::at_once(Err(unasked())),
    }
}

/// A reply that cannot be used, and what the model may be told of it.
struct Unusable {
    failure: Failure,
    mending: Option<Mending>,
}

impl From<Failure> for Unusable {
    fn from(failure: Failure) -> Self {
        Self { failure, mending: None }
    }
}

fn answered(
    step: &Step,
    visit: &mut Visit,
    completion: Completion,
    served: Option<&Served>,
    now: Timestamp,
    warnings: &mut Vec<String>,
) -> Result<(Value, Evaluation), Unusable> {
    let invalid = |text: String| Failure::new(FailureClass::InvalidOutput, text);
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
        Work::ConditionKey { .. } | Work::Parse { .. } | Work::ParseJson { .. } if cut => {
            let text = "the reply was cut at its bound of output tokens, so it cannot be relied on";
            Err(invalid(text.to_owned()).into())
        }
        Work::ConditionKey { conditions, .. } => {
            let text = reply::answer(&completion.text)?;
            let matched = conditions.matching(text).ok_or_else(|| invalid(conditions.refusal(text)))?;
            Ok((Value::string(matched.text.as_str()), matched))
        }
        Work::Parse { form, .. } => Ok(form.read(reply::answer(&completion.text)?).map_err(invalid)?),
        Work::ParseJson { schema, .. } => {
            let text = reply::answer(&completion.text)?;
            json_reply::read(text, schema.as_ref()).map_err(|violations| {
                let failure = invalid(json_reply::refusal(text, &violations));
                let mending = Mending {
                    reply: reply::within(text, LONGEST_QUOTED),
                    complaint: json_reply::complaint(&violations, schema.as_ref()),
                };
                Unusable { failure, mending: Some(mending) }
            })
        }
        Work::ModelExecution => {
            // The conversation keeps the reply as it came, but it must hold an answer.
            reply::answer(&completion.text)?;
            warn();
            let conversation = visit.conversation.take().ok_or_else(unasked)?;
            let mut messages = conversation.messages;
            let usage = completion.usage;
            let output_tokens = usage.output_tokens.unwrap_or_else(|| tokens::count(&completion.text));
            messages.push(ChatMessage::new(completion.role, completion.text, now));
            let model = match served {
                Some(served) => model_shown(&conversation.model, served).to_owned(),
                None => conversation.model,
            };
            let history = ChatHistory {
                messages,
                model,
                input_tokens: signed(usage.input_tokens.unwrap_or(conversation.input_tokens)),
                output_tokens: signed(output_tokens),
            };
            Ok((Value::chat_history(history), Evaluation::of("executed")))
        }
        Work::ParseTransition
        | Work::Embedding
        | Work::RaiseError
        | Work::Noop
        | Work::ConvertToOpenaiChatResponse { .. }
        | Work::Hook(_) => Err(unasked().into()),
    }
}

fn signed(tokens: u64) -> i64 {
    i64::try_from(tokens).unwrap_or(i64::MAX)
}

/// An event of another kind than the task asked for.
pub(super) fn unasked() -> Failure {
    Failure::new(FailureClass::Internal, "the task was answered something it did not ask for")
}
