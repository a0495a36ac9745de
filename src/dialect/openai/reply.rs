//! What a server answers, whole or a piece of a stream, as events: one decoder for `message` and `delta`, for chats and text
//! completions.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{
    calls::{CallBody, Calls, Origin},
    response_format::is_wrapped,
    server::Server,
    timings::Timings,
    unwrap::{Unwrapper, unwrapped},
};
use crate::{
    dialect::{error_body::parse_error, json, lenient, reply::ReplyError},
    domain::{
        chat::{ChatReply, Finish, ReplyEvent, Usage},
        message::Constraint,
    },
};

#[derive(Deserialize)]
struct Body {
    /// Which reply it is.
    #[serde(default, deserialize_with = "lenient::member")]
    id: Option<String>,
    #[serde(default)]
    choices: Option<Vec<Choice>>,
    #[serde(default, deserialize_with = "lenient::member")]
    usage: Option<UsageBody>,
    /// llama.cpp's account of the time.
    #[serde(default, deserialize_with = "lenient::member")]
    timings: Option<Timings>,
    #[serde(default)]
    error: Option<Value>,
    /// `error` in a body that is an error itself, as older versions of vLLM write it.
    #[serde(default)]
    object: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    message: Option<Message>,
    /// Of a stream, in place of the message.
    #[serde(default)]
    delta: Option<Message>,
    /// Of a text completion, in place of either.
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    logprobs: Option<Value>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Content>,
    /// What the model says where it will not do what it was asked.
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    reasoning_content: Option<Content>,
    /// Another name for it; servers on their way from the one to the other send both.
    #[serde(default)]
    reasoning: Option<Content>,
    #[serde(default)]
    tool_calls: Option<Vec<CallBody>>,
}

/// Words, or parts of them (Mistral's thinking models).
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<PartBody>),
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum PartBody {
    Text { text: String },
    Thinking { thinking: Vec<ThoughtBody> },
    Other(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct ThoughtBody {
    #[serde(default)]
    text: String,
}

#[derive(Deserialize)]
struct UsageBody {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "lenient::member")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default, deserialize_with = "lenient::member")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

/// Reads the bodies of one reply, of which a stream has many.
#[derive(Default)]
pub(super) struct Pieces {
    choices: BTreeMap<u32, Progress>,
    /// Whether these are the pieces of a stream, and not a whole answer.
    is_stream: bool,
    /// Whether the texts come in a wrapping that must be taken off while they pass.
    is_wrapped: bool,
}

/// How far one of the replies is.
#[derive(Default)]
struct Progress {
    unwrapper: Unwrapper,
    calls: Calls,
    is_finished: bool,
}

/// Replies whose progress is kept: the numbers of others are nonsense.
const MAX_CHOICES: usize = 128;

impl Pieces {
    /// Of a stream of replies to a call with this constraint.
    pub(super) fn of_stream(constraint: Option<&Constraint>, server: Server) -> Self {
        let is_wrapped = constraint.is_some_and(|constraint| is_wrapped(constraint, server));
        Self { choices: BTreeMap::new(), is_stream: true, is_wrapped }
    }

    /// How many replies have told why they ended.
    pub(super) fn finished(&self) -> usize {
        self.choices.values().filter(|choice| choice.is_finished).count()
    }

    /// Whether there is any reply at all.
    pub(super) fn has_spoken(&self) -> bool {
        !self.choices.is_empty()
    }

    /// Reads one body.
    pub(super) fn read(&mut self, body: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let bytes = body;
        let body: Body = json::decode(bytes)?;
        if body.error.is_some_and(|error| !error.is_null()) || body.object.is_some_and(|object| object == "error") {
            return Err(ReplyError::Explained(Box::new(parse_error(bytes))));
        }
        for (place, choice) in (0u32..).zip(body.choices.unwrap_or_default()) {
            let number = choice.index.unwrap_or(place);
            let from = Origin { reply: body.id.as_deref().unwrap_or_default(), body: bytes, choice: number };
            self.choice(from, choice, events)?;
        }
        let timings = body.timings;
        events.extend(body.usage.map(|usage| {
            let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
            ReplyEvent::Usage(Usage {
                input_tokens: usage.prompt_tokens,
                output_tokens: usage.completion_tokens,
                cached_tokens: cached.or(timings.and_then(|timings| timings.cache_n)),
                reasoning_tokens: usage.completion_tokens_details.and_then(|details| details.reasoning_tokens),
                worked: timings.and_then(|timings| timings.worked()),
            })
        }));
        Ok(())
    }

    /// The stream is over: what was held back goes out.
    pub(super) fn end(&mut self, events: &mut Vec<ReplyEvent>) {
        for (choice, progress) in &mut self.choices {
            let mut text = String::new();
            progress.unwrapper.end(&mut text);
            events.extend((!text.is_empty()).then_some(ReplyEvent::Text { choice: *choice, text }));
        }
    }

    fn choice(&mut self, from: Origin<'_>, body: Choice, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let number = from.choice;
        if self.choices.len() >= MAX_CHOICES && !self.choices.contains_key(&number) {
            return Ok(());
        }
        let progress = self.choices.entry(number).or_default();
        let (mut reasoning, mut text) = (String::new(), body.text.unwrap_or_default());
        let mut calls = Vec::new();
        // Some servers send both in both (Perplexity): in a stream the message is all that was said so far, in a whole
        // answer the delta is nothing.
        let message = if self.is_stream { body.delta.or(body.message) } else { body.message.or(body.delta) };
        if let Some(message) = message {
            let thoughts = [message.reasoning_content, message.reasoning].into_iter().flatten().map(Content::words);
            reasoning = thoughts.map(|(text, _)| text).find(|text| !text.is_empty()).unwrap_or_default();
            if let Some((words, thoughts)) = message.content.map(Content::words) {
                reasoning.push_str(&thoughts);
                text.push_str(&words);
            }
            text.push_str(&message.refusal.unwrap_or_default());
            calls = message.tool_calls.unwrap_or_default();
        }
        if !reasoning.is_empty() {
            events.push(ReplyEvent::Reasoning { choice: number, text: reasoning });
        }
        // Servers written in Go say nothing with an empty text.
        let reason = body.finish_reason.filter(|reason| !reason.is_empty());
        if self.is_wrapped {
            let mut out = String::new();
            progress.unwrapper.push(&text, &mut out);
            if reason.is_some() {
                progress.unwrapper.end(&mut out);
            }
            text = out;
        }
        if !text.is_empty() {
            events.push(ReplyEvent::Text { choice: number, text });
        }
        events.extend(calls.into_iter().map(|call| progress.calls.read(from, call)));
        if let Some(logprobs) = body.logprobs.filter(|logprobs| logprobs.get("content").is_some_and(Value::is_array)) {
            events.push(ReplyEvent::Logprobs { choice: number, logprobs });
        }
        if let Some(reason) = reason {
            progress.is_finished = true;
            events.push(ReplyEvent::Finish { choice: number, reason: finish(&reason)? });
        }
        Ok(())
    }
}

impl Content {
    /// What is said, and what is thought.
    fn words(self) -> (String, String) {
        match self {
            Self::Text(text) => (text, String::new()),
            Self::Other(_) => Default::default(),
            Self::Parts(parts) => {
                let mut words = (String::new(), String::new());
                for part in parts {
                    match part {
                        PartBody::Text { text } => words.0.push_str(&text),
                        PartBody::Thinking { thinking } => {
                            thinking.iter().for_each(|thought| words.1.push_str(&thought.text));
                        }
                        PartBody::Other(_) => {}
                    }
                }
                words
            }
        }
    }
}

/// A reason under any of the servers' names.
fn finish(reason: &str) -> Result<Finish, ReplyError> {
    match reason {
        "length" | "max_tokens" | "model_length" => Ok(Finish::Length),
        "tool_calls" | "function_call" => Ok(Finish::ToolCalls),
        "content_filter" => Ok(Finish::ContentFilter),
        given_up if is_given_up(given_up) => Err(ReplyError::Cut),
        // `stop`, and what servers call it that tell how: `eos`, `stop_sequence`.
        _ => Ok(Finish::Stop),
    }
}

/// Whether a reason is vLLM's or others' word for a reply that they gave up.
pub(in crate::dialect) fn is_given_up(reason: &str) -> bool {
    matches!(reason, "abort" | "error" | "insufficient_system_resource")
}

/// Reads the answer of `POST /chat/completions` to a call with this constraint, and of `POST /completions`.
///
/// # Errors
/// No choice, a reply that the server gave up, an error in place of an answer, or a body that is none.
pub fn parse_reply(body: &[u8], constraint: Option<&Constraint>, server: Server) -> Result<ChatReply, ReplyError> {
    let mut events = Vec::new();
    Pieces::default().read(body, &mut events)?;
    let mut reply = ChatReply::collect(events);
    if reply.choices.is_empty() {
        return Err(ReplyError::Empty);
    }
    if constraint.is_some_and(|constraint| is_wrapped(constraint, server)) {
        for said in &mut reply.choices {
            said.text = unwrapped(std::mem::take(&mut said.text));
        }
    }
    Ok(reply)
}
