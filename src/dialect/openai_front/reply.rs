//! Whole replies as clients of chats and of text completions read them.

use serde::Serialize;
use serde_json::{Value as Json, json};

use super::Stamp;
use crate::domain::chat::{ChatReply, Finish, Said, ToolCall, Usage};

/// Tokens of a call. Clients expect numbers: what the backend did not tell is 0.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct UsageBody {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: u64,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: u64,
}

impl From<Usage> for UsageBody {
    fn from(usage: Usage) -> Self {
        let (input, output) = (usage.input_tokens.unwrap_or_default(), usage.output_tokens.unwrap_or_default());
        Self {
            prompt_tokens: input,
            completion_tokens: output,
            total_tokens: input.saturating_add(output),
            prompt_tokens_details: usage.cached_tokens.map(|cached_tokens| PromptDetails { cached_tokens }),
            completion_tokens_details: usage
                .reasoning_tokens
                .map(|reasoning_tokens| CompletionDetails { reasoning_tokens }),
        }
    }
}

/// Why a reply ended. Backends that call tools say they were done, or nothing at all.
pub(super) const fn finish_reason(finish: Option<Finish>, calls_tools: bool) -> &'static str {
    match finish {
        None | Some(Finish::Stop) if calls_tools => "tool_calls",
        None | Some(Finish::Stop) => "stop",
        Some(Finish::Length) => "length",
        Some(Finish::ToolCalls) => "tool_calls",
        Some(Finish::ContentFilter) => "content_filter",
    }
}

/// The same of a text completion, in which no tools are called.
pub(super) const fn text_finish_reason(finish: Option<Finish>) -> &'static str {
    match finish {
        Some(Finish::ToolCalls) => "stop",
        finish => finish_reason(finish, false),
    }
}

/// The id of a call: the backend's own, else one that no other call has.
pub(super) fn call_id(own: &str, stamp: &Stamp, choice: u32, index: u32) -> String {
    if own.is_empty() { format!("call_{}{choice:02x}{index:03x}", stamp.id) } else { own.to_owned() }
}

/// What a client must send back with a call, where Google's own servers of this API put it.
pub(super) fn extra_content(signature: &str) -> Option<Json> {
    (!signature.is_empty()).then(|| json!({"google": {"thought_signature": signature}}))
}

/// The answer of `POST /v1/chat/completions`.
pub fn chat_completion(reply: &ChatReply, stamp: &Stamp) -> Json {
    let choices = (0u32..).zip(&reply.choices).map(|(choice, said)| {
        json!({
            "index": choice,
            "message": message(said, stamp, choice),
            "logprobs": said.logprobs,
            "finish_reason": finish_reason(said.finish, !said.tool_calls.is_empty()),
        })
    });
    json!({
        "id": format!("chatcmpl-{}", stamp.id),
        "object": "chat.completion",
        "created": stamp.created,
        "model": stamp.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": UsageBody::from(reply.usage),
    })
}

fn message(said: &Said, stamp: &Stamp, choice: u32) -> Json {
    let is_silent = said.text.is_empty() && !said.tool_calls.is_empty();
    let content = if is_silent { Json::Null } else { json!(said.text) };
    let mut message = json!({"role": "assistant", "content": content, "refusal": null});
    if !said.reasoning.is_empty() {
        message["reasoning_content"] = json!(said.reasoning);
    }
    if !said.tool_calls.is_empty() {
        let calls = (0u32..).zip(&said.tool_calls).map(|(index, call)| tool_call(call, stamp, choice, index));
        message["tool_calls"] = calls.collect();
    }
    message
}

fn tool_call(call: &ToolCall, stamp: &Stamp, choice: u32, index: u32) -> Json {
    let mut written = json!({
        "id": call_id(&call.id, stamp, choice, index),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    });
    if let Some(extra) = extra_content(&call.signature) {
        written["extra_content"] = extra;
    }
    written
}

/// The answer of `POST /v1/completions`. `echo`: what each text begins with.
pub fn text_completion(reply: &ChatReply, stamp: &Stamp, echo: &str) -> Json {
    let choices = (0u32..).zip(&reply.choices).map(|(choice, said)| {
        let finish = text_finish_reason(said.finish);
        json!({"index": choice, "text": format!("{echo}{}", said.text), "logprobs": null, "finish_reason": finish})
    });
    json!({
        "id": format!("cmpl-{}", stamp.id),
        "object": "text_completion",
        "created": stamp.created,
        "model": stamp.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": UsageBody::from(reply.usage),
    })
}
