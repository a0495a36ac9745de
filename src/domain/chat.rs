//! What a generating model is asked and what it says, in no provider's dialect: the middle of every translation.
//!
//! A [`ChatCall`] is made by the engine (chains), by `api::execute`, or by a dialect's decoder of a client's request; the
//! adapters in `providers` write it in their backend's words. What comes back is a stream of [`ReplyEvent`]s, or all of
//! them collected into one [`ChatReply`].

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::domain::message::{ChatMessage, Constraint};

/// One call of a generating model, for every kind of backend.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChatCall {
    /// System instruction first, if any; at least one turn.
    pub messages: Vec<ChatTurn>,
    /// How the reply is drawn.
    pub sampling: Sampling,
    /// Form of the reply.
    pub constraint: Option<Constraint>,
    /// What the model may call.
    pub tools: Vec<Tool>,
    /// Whether it should.
    pub tool_choice: ToolChoice,
    /// Whether it may call several at once; `None` leaves the backend's own default.
    pub parallel_tool_calls: Option<bool>,
    /// Whether it thinks before it answers; `None` leaves the backend's own default.
    pub thinking: Option<Thinking>,
    /// Log probabilities wanted of each token, and of so many likeliest others.
    pub logprobs: Option<u32>,
    /// Replies wanted to the one call; 0 and 1 are one.
    pub choices: u32,
    /// True when the messages are one prompt with an optional instruction: a backend with a route of its own for
    /// that (Ollama's generate) uses it.
    pub single_prompt: bool,
    /// What stands behind the reply of a single prompt, as in the middle of a file; empty for nothing. Only Ollama's generate
    /// takes it.
    pub suffix: String,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChatTurn {
    /// `system`, `developer`, `user`, `assistant`, `tool`, or what the sender said.
    pub role: String,
    /// Who speaks, where several share a role; empty when the sender gave none.
    pub name: String,
    /// What is said, in order; nothing in a turn that only calls tools.
    pub parts: Vec<Part>,
    /// What the assistant thought before it spoke.
    pub reasoning: String,
    /// Tools that the assistant called in this turn.
    pub tool_calls: Vec<ToolCall>,
    /// Which call this turn answers, in a turn of the role `tool`.
    pub answers: Option<AnsweredCall>,
}

impl ChatTurn {
    /// A turn of text alone.
    pub fn text(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self { role: role.into(), parts: vec![Part::Text(text.into())], ..Self::default() }
    }

    /// Its texts, joined.
    pub fn joined_text(&self) -> Cow<'_, str> {
        let mut texts = self.parts.iter().filter_map(Part::as_text);
        match (texts.next(), texts.next()) {
            (None, _) => Cow::Borrowed(""),
            (Some(only), None) => Cow::Borrowed(only),
            (Some(first), Some(second)) => Cow::Owned([first, second].into_iter().chain(texts).collect()),
        }
    }
}

impl From<&ChatMessage> for ChatTurn {
    fn from(message: &ChatMessage) -> Self {
        Self::text(message.role.as_str(), message.content.as_str())
    }
}

/// One part of what is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Words.
    Text(String),
    /// A picture.
    Image(Image),
}

impl Part {
    /// The words of a text.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) => None,
        }
    }
}

/// A picture in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Image {
    /// Sent along.
    Inline {
        /// For example `image/png`; empty where the sender did not tell.
        media_type: String,
        /// Base64.
        data: String,
    },
    /// To be fetched by the backend: we fetch nothing ourselves.
    Url(String),
}

/// A function that a model may call.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// JSON Schema of its arguments, where the sender gave one.
    pub parameters: Option<Json>,
    /// Whether arguments must follow the schema exactly, where the sender said so.
    pub strict: Option<bool>,
}

/// Whether a model calls tools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ToolChoice {
    /// As it likes.
    #[default]
    Auto,
    /// Never.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
}

/// One call of a tool by a model.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ToolCall {
    /// What its answer names; made by us where a backend gives none.
    pub id: String,
    /// Which tool.
    pub name: String,
    /// JSON text as the model wrote it; a weak model's may be invalid.
    pub arguments: String,
    /// What the backend wants back with the conversation, opaque (Gemini's thought signature); empty for none.
    pub signature: String,
}

/// The call that a turn of the role `tool` answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AnsweredCall {
    /// The call's id; empty where the sender gave none.
    pub id: String,
    /// The tool's name; empty where the sender gave none.
    pub name: String,
}

/// Whether and how hard a model thinks before it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thinking {
    /// Not at all.
    Off,
    /// As it does.
    On,
    /// `minimal`, `low`, `medium`, `high` or what the backend knows.
    Effort(String),
}

/// How a reply is drawn. `None` leaves the backend's own default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sampling {
    /// 0 = always the likeliest token.
    pub temperature: Option<f64>,
    /// Nucleus sampling bound.
    pub top_p: Option<f64>,
    /// Likeliest tokens that are looked at.
    pub top_k: Option<u32>,
    /// Share of the likeliest token's probability below which others are not looked at.
    pub min_p: Option<f64>,
    /// Tokens the reply may have.
    pub max_tokens: Option<u32>,
    /// Texts that end the reply.
    pub stop: Vec<String>,
    /// Start of the random numbers: the same draws the same reply, as far as the backend keeps that.
    pub seed: Option<i64>,
    /// Penalty for what was said at all.
    pub presence_penalty: Option<f64>,
    /// Penalty for what was said often.
    pub frequency_penalty: Option<f64>,
    /// Factor by which what was just said becomes less likely.
    pub repeat_penalty: Option<f64>,
}

/// Why a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Finish {
    /// The model was done.
    #[default]
    Stop,
    /// Cut at the bound of output tokens.
    Length,
    /// The model wants tools called.
    ToolCalls,
    /// Withheld by the server's content filter.
    ContentFilter,
}

/// What a call took, as the backend counted it; `None` where it does not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: Option<u64>,
    /// Of the reply, reasoning included.
    pub output_tokens: Option<u64>,
    /// Of the prompt, served from a cache.
    pub cached_tokens: Option<u64>,
    /// Of the reply, spent on reasoning.
    pub reasoning_tokens: Option<u64>,
    /// How long it worked on the call. Time in its own queue is no work.
    pub worked: Option<Duration>,
}

impl Usage {
    /// Of texts of which vectors were made.
    pub fn of_texts(input_tokens: Option<u64>) -> Self {
        Self { input_tokens, ..Self::default() }
    }
}

/// One piece of a reply as it arrives. `choice` counts from 0 where several replies were asked for.
#[derive(Debug, Clone, PartialEq)]
pub enum ReplyEvent {
    /// More of the answer.
    Text {
        /// Of which reply.
        choice: u32,
        /// The piece.
        text: String,
    },
    /// More of what the model thinks before it answers.
    Reasoning {
        /// Of which reply.
        choice: u32,
        /// The piece.
        text: String,
    },
    /// A call of a tool, or more of one: pieces of the same `index` belong together.
    ToolCall {
        /// Of which reply.
        choice: u32,
        /// Which of its calls, from 0.
        index: u32,
        /// With the call's first piece, and only there; the arguments here are a piece of their text.
        piece: ToolCall,
    },
    /// Log probabilities in OpenAI's form (`{"content": [...]}`) of what was said last.
    Logprobs {
        /// Of which reply.
        choice: u32,
        /// As the backend told them.
        logprobs: Json,
    },
    /// A reply is over.
    Finish {
        /// Which.
        choice: u32,
        /// Why.
        reason: Finish,
    },
    /// Tokens so far; the last one counts.
    Usage(Usage),
}

/// One whole reply of a model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Said {
    /// The answer; empty when it only calls tools.
    pub text: String,
    /// What the model thought before it answered.
    pub reasoning: String,
    /// Tools it wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Log probabilities in OpenAI's form, where they were asked for and told.
    pub logprobs: Option<Json>,
    /// Why it ended; `None` when the backend never said.
    pub finish: Option<Finish>,
}

/// Everything that came back for one call.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatReply {
    /// By number of the choice; never empty after a successful call.
    pub choices: Vec<Said>,
    /// Tokens spent.
    pub usage: Usage,
}

impl ChatReply {
    /// All events of a reply, put together.
    pub fn collect(events: impl IntoIterator<Item = ReplyEvent>) -> Self {
        let mut collector = ReplyCollector::default();
        events.into_iter().for_each(|event| collector.add(event));
        collector.finish()
    }

    /// The same reply as events, in the order in which a model would have told it.
    pub fn into_events(self) -> impl Iterator<Item = ReplyEvent> {
        let some = |text: String| (!text.is_empty()).then_some(text);
        let said = (0u32..).zip(self.choices).flat_map(move |(choice, said)| {
            let reasoning = some(said.reasoning).map(|text| ReplyEvent::Reasoning { choice, text });
            let text = some(said.text).map(|text| ReplyEvent::Text { choice, text });
            let calls = (0u32..).zip(said.tool_calls);
            let calls = calls.map(move |(index, piece)| ReplyEvent::ToolCall { choice, index, piece });
            let logprobs = said.logprobs.map(|logprobs| ReplyEvent::Logprobs { choice, logprobs });
            let finish = said.finish.map(|reason| ReplyEvent::Finish { choice, reason });
            reasoning.into_iter().chain(text).chain(calls).chain(logprobs).chain(finish)
        });
        said.chain(std::iter::once(ReplyEvent::Usage(self.usage)))
    }
}

/// Replies that one call may ask for: beyond it the numbers of choices are nonsense.
const MAX_CHOICES: u32 = 128;
/// Calls of tools in one reply.
const MAX_TOOL_CALLS: u32 = 1024;

/// Puts the events of a reply together while they pass.
#[derive(Debug, Default)]
pub struct ReplyCollector {
    choices: BTreeMap<u32, Said>,
    usage: Usage,
}

impl ReplyCollector {
    /// Adds the next event. Numbers beyond any honest one are dropped.
    pub fn add(&mut self, event: ReplyEvent) {
        match event {
            ReplyEvent::Text { choice, text } => self.said(choice, |said| said.text.push_str(&text)),
            ReplyEvent::Reasoning { choice, text } => self.said(choice, |said| said.reasoning.push_str(&text)),
            ReplyEvent::ToolCall { choice, index, piece } => self.said(choice, |said| add_call(said, index, piece)),
            ReplyEvent::Logprobs { choice, logprobs } => self.said(choice, |said| add_logprobs(said, logprobs)),
            ReplyEvent::Finish { choice, reason } => self.said(choice, |said| said.finish = Some(reason)),
            ReplyEvent::Usage(usage) => self.usage = usage,
        }
    }

    fn said(&mut self, choice: u32, add: impl FnOnce(&mut Said)) {
        if choice < MAX_CHOICES {
            add(self.choices.entry(choice).or_default());
        }
    }

    /// What has come.
    pub fn finish(self) -> ChatReply {
        ChatReply { choices: self.choices.into_values().collect(), usage: self.usage }
    }
}

fn add_call(said: &mut Said, index: u32, piece: ToolCall) {
    let at = usize::try_from(index.min(MAX_TOOL_CALLS)).unwrap_or(0);
    if said.tool_calls.len() <= at {
        said.tool_calls.resize_with(at + 1, ToolCall::default);
    }
    let call = &mut said.tool_calls[at];
    for (whole, piece) in
        [(&mut call.id, piece.id), (&mut call.name, piece.name), (&mut call.signature, piece.signature)]
    {
        if !piece.is_empty() {
            *whole = piece;
        }
    }
    call.arguments.push_str(&piece.arguments);
}

/// Lists of the same name grow; anything else is replaced.
fn add_logprobs(said: &mut Said, more: Json) {
    match (&mut said.logprobs, more) {
        (Some(Json::Object(whole)), Json::Object(more)) => {
            for (name, value) in more {
                match (whole.get_mut(&name), value) {
                    (Some(Json::Array(whole)), Json::Array(more)) => whole.extend(more),
                    (_, value) => {
                        whole.insert(name, value);
                    }
                }
            }
        }
        (whole, more) => *whole = Some(more),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_pieces_of_a_reply_make_the_whole() {
        let text = |choice, text: &str| ReplyEvent::Text { choice, text: text.to_owned() };
        let call = |index, id: &str, name: &str, arguments: &str| ReplyEvent::ToolCall {
            choice: 0,
            index,
            piece: ToolCall {
                id: id.to_owned(),
                name: name.to_owned(),
                arguments: arguments.to_owned(),
                signature: String::new(),
            },
        };
        let reply = ChatReply::collect([
            ReplyEvent::Reasoning { choice: 0, text: "hm".to_owned() },
            text(1, "b"),
            text(0, "Hel"),
            text(0, "lo"),
            call(0, "c1", "f", ""),
            call(1, "c2", "g", "{}"),
            call(0, "", "", "{\"a\":"),
            call(0, "", "", "1}"),
            ReplyEvent::Logprobs { choice: 0, logprobs: json!({"content": [1]}) },
            ReplyEvent::Logprobs { choice: 0, logprobs: json!({"content": [2], "refusal": null}) },
            ReplyEvent::Usage(Usage { output_tokens: Some(1), ..Usage::default() }),
            ReplyEvent::Finish { choice: 0, reason: Finish::ToolCalls },
            ReplyEvent::Usage(Usage { output_tokens: Some(2), ..Usage::default() }),
        ]);
        let first = &reply.choices[0];
        assert_eq!((first.text.as_str(), first.reasoning.as_str()), ("Hello", "hm"));
        assert_eq!(first.tool_calls[0].arguments, "{\"a\":1}");
        assert_eq!((first.tool_calls[1].name.as_str(), first.finish), ("g", Some(Finish::ToolCalls)));
        assert_eq!(first.logprobs, Some(json!({"content": [1, 2], "refusal": null})));
        assert_eq!((reply.choices[1].text.as_str(), reply.choices[1].finish), ("b", None));
        assert_eq!(reply.usage.output_tokens, Some(2));
    }

    #[test]
    fn numbers_that_no_backend_means_take_no_memory() {
        let piece = ToolCall { name: "f".to_owned(), ..ToolCall::default() };
        let reply = ChatReply::collect([
            ReplyEvent::Text { choice: u32::MAX, text: "x".to_owned() },
            ReplyEvent::ToolCall { choice: 0, index: u32::MAX, piece },
        ]);
        assert_eq!((reply.choices.len(), reply.choices[0].tool_calls.len()), (1, 1025));
    }

    #[test]
    fn the_texts_of_a_turn_are_joined() {
        let image = Part::Image(Image::Url("http://x/y.png".to_owned()));
        let parts = vec![Part::Text("a".to_owned()), image, Part::Text("b".to_owned())];
        assert_eq!(ChatTurn { parts, ..ChatTurn::default() }.joined_text(), "ab");
        assert_eq!(ChatTurn::text("user", "a").joined_text(), "a");
        assert_eq!(ChatTurn::default().joined_text(), "");
    }
}
