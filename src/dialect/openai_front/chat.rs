//! `POST /v1/chat/completions` as a call in no dialect.

use serde_json::Value as Json;

use super::{Read, fields::Fields, format, messages, tools, tools::Nesting};
use crate::domain::chat::{ChatCall, Sampling, Thinking};

/// A chat request, and what it wants of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// What is asked of the model.
    pub call: ChatCall,
    /// Whether the last event of a stream tells the tokens.
    pub include_usage: bool,
    /// What was sent and has no effect on a backend of another dialect, for a warning.
    pub ignored: Vec<String>,
}

/// Fields that are read.
const READ: [&str; 24] = [
    "model",
    "messages",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
    "n",
    "seed",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning_effort",
    "logprobs",
    "top_logprobs",
    "modalities",
];
/// Fields that change nothing in the answer.
pub(super) const HARMLESS: [&str; 7] =
    ["user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"];
/// Fields without which the answer would not be what was asked for.
const REFUSED: [(&str, &str); 4] = [
    ("functions", "is of an older version of the API; send 'tools'"),
    ("function_call", "is of an older version of the API; send 'tool_choice'"),
    ("audio", "cannot be served by the backend of this model"),
    ("web_search_options", "cannot be served by the backend of this model"),
];

/// Replies that one call may ask for, as at OpenAI.
const MAX_CHOICES: u32 = 128;
/// Likeliest tokens that may be asked for, as at OpenAI.
const MAX_LOGPROBS: u32 = 20;

/// See [`read_chat`](super::read_chat).
pub(super) fn read(at: &Fields<'_>) -> Read<ChatRequest> {
    for (name, why) in REFUSED {
        if at.get(name).is_some() {
            return Err(at.fault(name, why));
        }
    }
    if at.list("modalities")?.is_some_and(|modes| modes.iter().any(|mode| mode != "text")) {
        return Err(at.fault("modalities", "may hold 'text' only: the backend of this model gives nothing else"));
    }
    let messages = messages::read(at)?;
    let (tools, tool_choice) = tools::read(at, Nesting::Within)?;
    let call = ChatCall {
        messages,
        sampling: sampling(at)?,
        constraint: format::read(at.object("response_format")?, Nesting::Within)?,
        tools,
        tool_choice,
        parallel_tool_calls: at.flag("parallel_tool_calls")?,
        thinking: effort(at, "reasoning_effort")?,
        logprobs: logprobs(at)?,
        choices: choices(at)?,
        single_prompt: false,
        suffix: String::new(),
    };
    Ok(ChatRequest { call, include_usage: include_usage(at)?, ignored: at.beside(&[&READ, &HARMLESS]) })
}

/// How the reply is drawn: the same fields in chats and completions.
pub(super) fn sampling(at: &Fields<'_>) -> Read<Sampling> {
    Ok(Sampling {
        temperature: at.number("temperature")?,
        top_p: at.number("top_p")?,
        // Negative: all of them.
        top_k: match at.get("top_k").and_then(Json::as_i64) {
            Some(..0) => None,
            _ => at.count("top_k")?,
        },
        min_p: at.number("min_p")?,
        max_tokens: match at.bound("max_completion_tokens")? {
            None => at.bound("max_tokens")?,
            newer => newer,
        },
        stop: at.texts("stop")?,
        seed: at.integer("seed")?,
        presence_penalty: at.number("presence_penalty")?,
        frequency_penalty: at.number("frequency_penalty")?,
        repeat_penalty: at.number("repetition_penalty")?,
    })
}

/// How hard the model thinks.
pub(super) fn effort(at: &Fields<'_>, name: &str) -> Read<Option<Thinking>> {
    Ok(match at.text(name)? {
        "" => None,
        "none" => Some(Thinking::Off),
        effort => Some(Thinking::Effort(Fields::shown(effort))),
    })
}

fn logprobs(at: &Fields<'_>) -> Read<Option<u32>> {
    let others = at.count("top_logprobs")?;
    match (at.flag("logprobs")?, others) {
        (Some(true), others) => top_logprobs(at, others).map(Some),
        (_, None | Some(0)) => Ok(None),
        (_, Some(_)) => Err(at.fault("top_logprobs", "needs 'logprobs' to be true")),
    }
}

/// Checks how many likeliest tokens are wanted.
pub(super) fn top_logprobs(at: &Fields<'_>, others: Option<u32>) -> Read<u32> {
    match others.unwrap_or_default() {
        others @ ..=MAX_LOGPROBS => Ok(others),
        _ => at.wrong("top_logprobs", &format!("at most {MAX_LOGPROBS}")),
    }
}

/// How many replies are wanted.
pub(super) fn choices(at: &Fields<'_>) -> Read<u32> {
    match at.count("n")?.unwrap_or(1) {
        choices @ 1..=MAX_CHOICES => Ok(choices),
        _ => at.wrong("n", &format!("from 1 to {MAX_CHOICES}")),
    }
}

/// Whether a stream tells the tokens at its end.
pub(super) fn include_usage(at: &Fields<'_>) -> Read<bool> {
    let options = at.object("stream_options")?;
    Ok(options.map(|options| options.flag("include_usage")).transpose()?.flatten().unwrap_or(false))
}
