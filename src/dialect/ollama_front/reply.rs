//! Whole answers, and the line that both they and streams are made of.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use crate::domain::{
    chat::{ChatReply, Finish, Said, ToolCall, Usage},
    embedding::Embedded,
    time::Timestamp,
};

/// Characters of what a model wrote that an error repeats.
const SHOWN_CHARS: usize = 200;

/// Which route is answered: both say the same in different places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `/api/chat`: in a message.
    Chat,
    /// `/api/generate`: in a text.
    Generate,
}

/// A reading of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// What time it is.
    pub now: Timestamp,
    /// Since the request came.
    pub elapsed: Duration,
}

/// A model has written arguments of a tool that are no JSON object, which is all that clients can read there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("error parsing tool call: the model called '{name}' with arguments that are no JSON object: {arguments}")]
pub struct BadArguments {
    name: String,
    arguments: String,
}

/// One object of an answer; what is `None`, empty or zero is left out.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) model: &'a str,
    pub(super) created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [Called],
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a Json>,
    #[serde(flatten)]
    counters: Option<Counters>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tool_calls: &'a [Called],
}

/// What is said in one line.
#[derive(Default, Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) text: &'a str,
    pub(super) thinking: &'a str,
    pub(super) tool_calls: &'a [Called],
    pub(super) logprobs: Option<&'a Json>,
}

impl<'a> Line<'a> {
    pub(super) fn new(shape: Shape, model: &'a str, created_at: Timestamp, words: Words<'a>) -> Self {
        let Words { text, thinking, tool_calls, logprobs } = words;
        let is_chat = shape == Shape::Chat;
        Self {
            model,
            created_at,
            message: is_chat.then_some(Message { role: "assistant", content: text, thinking, tool_calls }),
            response: (!is_chat).then_some(text),
            thinking: if is_chat { "" } else { thinking },
            tool_calls: if is_chat { &[] } else { tool_calls },
            done: false,
            done_reason: None,
            logprobs,
            counters: None,
        }
    }

    /// Makes it the last one.
    pub(super) fn done(self, reason: &'a str, counters: Counters) -> Self {
        Self { done: true, done_reason: Some(reason), counters: Some(counters), ..self }
    }
}

/// A call of a tool as clients read it. Its id and its signature come back with those that keep whole messages.
#[derive(Serialize)]
pub(super) struct Called {
    #[serde(skip_serializing_if = "String::is_empty")]
    id: String,
    function: Function,
    #[serde(skip_serializing_if = "String::is_empty")]
    signature: String,
}

#[derive(Serialize)]
struct Function {
    index: usize,
    name: String,
    arguments: Map<String, Json>,
}

/// The calls of a reply with their arguments as objects.
pub(super) fn called(calls: &[ToolCall]) -> Result<Vec<Called>, BadArguments> {
    let called = |(index, call): (usize, &ToolCall)| {
        let text = call.arguments.trim();
        let arguments = match text {
            "" => Map::new(),
            text => serde_json::from_str(text).map_err(|_| BadArguments {
                name: call.name.chars().take(SHOWN_CHARS).collect(),
                arguments: text.chars().take(SHOWN_CHARS).collect(),
            })?,
        };
        let function = Function { index, name: call.name.clone(), arguments };
        Ok(Called { id: call.id.clone(), function, signature: call.signature.clone() })
    };
    // A number that was skipped has no call.
    calls.iter().filter(|call| !call.name.is_empty()).enumerate().map(called).collect()
}

/// Tokens, and nanoseconds as we measured them; what is zero is left out.
#[derive(Serialize, Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Counters {
    #[serde(skip_serializing_if = "is_zero")]
    total_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_duration: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counters {
    /// A call that waited so long for its slot, began to answer at `first` and is over at `end`.
    pub(super) fn measured(waited: Duration, first: Option<Duration>, end: Duration, usage: Usage) -> Self {
        let waited = waited.min(end);
        let first = first.map(|first| first.clamp(waited, end));
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        Self {
            total_duration: nanoseconds(end),
            load_duration: nanoseconds(waited),
            prompt_eval_count: usage.input_tokens.unwrap_or(0),
            prompt_eval_duration: first.map_or(0, |first| nanoseconds(first - waited)),
            eval_count: usage.output_tokens.unwrap_or(0),
            eval_duration: nanoseconds(end - first.unwrap_or(waited)),
        }
    }
}

/// The word for why a reply ended. A call of a tool is a stop, as it is to Ollama; one that the backend's filter withheld
/// has no word there and keeps OpenAI's.
pub(super) const fn done_reason(finish: Option<Finish>) -> &'static str {
    match finish {
        None | Some(Finish::Stop | Finish::ToolCalls) => "stop",
        Some(Finish::Length) => "length",
        Some(Finish::ContentFilter) => "content_filter",
    }
}

/// The list of log probabilities, which is of the same form as OpenAI's `content`.
pub(super) fn logprobs(told: &Json) -> Option<&Json> {
    told.get("content").filter(|content| content.is_array())
}

/// A whole reply. `waited`: for a slot.
///
/// # Errors
/// Arguments of a tool that no client could read.
pub fn whole(
    shape: Shape,
    model: &str,
    reply: &ChatReply,
    waited: Duration,
    at: Moment,
) -> Result<Vec<u8>, BadArguments> {
    let nothing = Said::default();
    let said = reply.choices.first().unwrap_or(&nothing);
    let tool_calls = called(&said.tool_calls)?;
    let words = Words {
        text: &said.text,
        thinking: &said.reasoning,
        tool_calls: &tool_calls,
        logprobs: said.logprobs.as_ref().and_then(logprobs),
    };
    let counters = Counters::measured(waited, None, at.elapsed, reply.usage);
    Ok(encoded(&Line::new(shape, model, at.now, words).done(done_reason(said.finish), counters)))
}

/// The answer to a request that said nothing: the model is in memory, or (`unloads`) has left it.
pub fn loaded(shape: Shape, model: &str, unloads: bool, now: Timestamp) -> Vec<u8> {
    let reason = if unloads { "unload" } else { "load" };
    encoded(&Line::new(shape, model, now, Words::default()).done(reason, Counters::default()))
}

/// The answer of `/api/embed`: vectors of length 1, as Ollama makes them.
pub fn embedded(model: &str, embedded: &Embedded, waited: Duration, at: Moment) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        model: &'a str,
        embeddings: Vec<Vec<f64>>,
        #[serde(flatten)]
        counters: Counters,
    }
    let usage = Usage { input_tokens: embedded.input_tokens, ..Usage::default() };
    let counters = Counters { eval_duration: 0, ..Counters::measured(waited, None, at.elapsed, usage) };
    let embeddings = embedded.vectors.iter().map(|vector| of_length_1(vector)).collect();
    encoded(&Answer { model, embeddings, counters })
}

/// The answer of the older `/api/embeddings`: the vector as the backend gave it.
pub fn old_embedded(vector: &[f64]) -> Vec<u8> {
    #[derive(Serialize)]
    struct Answer<'a> {
        embedding: &'a [f64],
    }
    encoded(&Answer { embedding: vector })
}

/// How far a vector's length may be from 1 to be left as it came.
const LENGTH_TOLERANCE: f64 = 1e-3;

fn of_length_1(vector: &[f64]) -> Vec<f64> {
    let length = vector.iter().map(|number| number * number).sum::<f64>().sqrt();
    if !length.is_normal() || (length - 1.0).abs() < LENGTH_TOLERANCE {
        return vector.to_vec();
    }
    vector.iter().map(|number| number / length).collect()
}

/// Nothing here can fail to be written.
fn encoded(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}
