//! `POST /v1/responses` as a call in no dialect: the part of that API that needs nothing stored.

use serde_json::{Map, Value as Json, json};

use super::{
    Read,
    chat::{HARMLESS, effort, top_logprobs},
    fields::Fields,
    format, items, tools,
    tools::Nesting,
};
use crate::domain::chat::{ChatCall, Sampling};

/// A request for a response, and what the answer repeats of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ResponseRequest {
    /// The model asked for; empty for none.
    pub model: String,
    /// Whether events are wanted.
    pub stream: bool,
    /// What is asked of the model.
    pub call: ChatCall,
    /// Members of the response object that tell what was asked for.
    pub repeated: Map<String, Json>,
    /// What was sent and has no effect, for a warning.
    pub ignored: Vec<String>,
}

/// Fields that are read.
const READ: [&str; 18] = [
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "store",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "text",
    "reasoning",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "include",
    "truncation",
    "background",
];
/// Fields that mean something stored.
const STORED: [(&str, &str); 3] = [
    ("previous_response_id", "cannot be served: responses are not stored here, send the whole conversation in 'input'"),
    ("conversation", "cannot be served: conversations are not stored here, send the whole conversation in 'input'"),
    ("prompt", "cannot be served: prompts are not stored here, send 'instructions' and 'input'"),
];
const LOGPROBS: &str = "message.output_text.logprobs";

/// See [`read_response`](super::read_response).
pub(super) fn read(at: &Fields<'_>) -> Read<ResponseRequest> {
    for (name, why) in STORED {
        if at.get(name).is_some() {
            return Err(at.fault(name, why));
        }
    }
    if at.flag("background")? == Some(true) {
        return Err(at.fault("background", "cannot be true: responses are not stored here"));
    }
    at.flag("store")?;
    let messages = items::read(at)?;
    let (tools, tool_choice) = tools::read(at, Nesting::Beside)?;
    let text = at.object("text")?;
    let form = text.as_ref().map(|text| text.object("format")).transpose()?.flatten();
    let reasoning = at.object("reasoning")?;
    let included = at.texts("include")?;
    let others = at.count("top_logprobs")?;
    let wants_logprobs = others.is_some_and(|others| others > 0) || included.iter().any(|name| name == LOGPROBS);
    let call = ChatCall {
        messages,
        sampling: Sampling {
            temperature: at.number("temperature")?,
            top_p: at.number("top_p")?,
            max_tokens: at.bound("max_output_tokens")?,
            ..Sampling::default()
        },
        constraint: format::read(form, Nesting::Beside)?,
        tools,
        tool_choice,
        parallel_tool_calls: at.flag("parallel_tool_calls")?,
        thinking: reasoning.as_ref().map(|reasoning| effort(reasoning, "effort")).transpose()?.flatten(),
        logprobs: if wants_logprobs { Some(top_logprobs(at, others)?) } else { None },
        choices: 1,
        single_prompt: false,
        suffix: String::new(),
    };
    let truncation = at.text("truncation")?;
    let mut ignored = at.beside(&[&READ, &HARMLESS]);
    ignored.extend((!matches!(truncation, "" | "disabled")).then(|| "truncation".to_owned()));
    Ok(ResponseRequest {
        model: at.text("model")?.to_owned(),
        stream: at.flag("stream")?.unwrap_or_default(),
        call,
        repeated: repeated(at),
        ignored,
    })
}

/// What a response object tells of its request, in the order of OpenAI's answers; what was not sent has their default.
fn repeated(at: &Fields<'_>) -> Map<String, Json> {
    let mut repeated = Map::new();
    for (name, unless) in [
        ("instructions", Json::Null),
        ("max_output_tokens", Json::Null),
        ("parallel_tool_calls", json!(true)),
        ("reasoning", json!({"effort": null, "summary": null})),
        ("safety_identifier", Json::Null),
        ("temperature", json!(1.0)),
        ("text", json!({"format": {"type": "text"}})),
        ("tool_choice", json!("auto")),
        ("tools", json!([])),
        ("top_logprobs", json!(0)),
        ("top_p", json!(1.0)),
        ("user", Json::Null),
        ("metadata", json!({})),
    ] {
        repeated.insert(name.to_owned(), at.get(name).cloned().unwrap_or(unless));
    }
    if let Some(Json::Object(text)) = repeated.get_mut("text") {
        text.entry("format").or_insert_with(|| json!({"type": "text"}));
    }
    repeated
}
