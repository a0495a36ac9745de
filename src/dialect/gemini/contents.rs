//! A conversation in Gemini's words: the instruction apart, the rest in contents of two roles.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    dialect::{media_type::media_type_of, open_calls::OpenCalls, tool_arguments::object_of, unsayable::Unsayable},
    domain::chat::{AnsweredCall, ChatTurn, Image, Part, ToolCall},
};

#[derive(Serialize)]
pub(super) struct ContentBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    parts: Vec<PartBody<'a>>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inline_data: Option<InlineData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file_data: Option<FileData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_call: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function_response: Option<Value>,
    /// As the service gave it: without it, it has forgotten why it called.
    #[serde(skip_serializing_if = "str::is_empty")]
    thought_signature: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct InlineData<'a> {
    mime_type: &'a str,
    data: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FileData<'a> {
    file_uri: &'a str,
}

impl<'a> PartBody<'a> {
    fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }
}

impl<'a> ContentBody<'a> {
    /// Texts, each a part.
    pub(super) fn of_texts(role: Option<&'static str>, texts: impl IntoIterator<Item = Cow<'a, str>>) -> Self {
        Self { role, parts: texts.into_iter().map(PartBody::text).collect() }
    }
}

/// What stands in place of a signature that is lost, or was never made because another model called: the service's own
/// word for it. Its models from the third generation on refuse calls without.
const NO_SIGNATURE: &str = "skip_thought_signature_validator";

/// The instruction, if any, and the conversation. `is_strict`: the model wants its calls back with their signatures.
///
/// # Errors
/// A picture that the service would have to fetch from somewhere else; an answer to a call that nobody made.
pub(super) fn contents(
    turns: &[ChatTurn],
    is_strict: bool,
) -> Result<(Option<ContentBody<'_>>, Vec<ContentBody<'_>>), Unsayable> {
    let is_system = |turn: &&ChatTurn| matches!(turn.role.as_str(), "system" | "developer");
    let system: Vec<Cow<'_, str>> = turns.iter().filter(is_system).map(ChatTurn::joined_text).collect();
    let mut calls = OpenCalls::default();
    let mut said: Vec<ContentBody<'_>> = Vec::new();
    let mut last_is_answer = false;
    for turn in turns.iter().filter(|turn| !is_system(turn)) {
        turn.tool_calls.iter().for_each(|call| calls.called(call));
        let answer = turn.answers.as_ref().map(|answered| answer(turn, answered, &mut calls)).transpose()?;
        match (answer, said.last_mut()) {
            // The answers to calls that were made together stand together.
            (Some(answer), Some(last)) if last_is_answer => last.parts.push(answer),
            (Some(answer), _) => {
                said.push(ContentBody { role: Some("user"), parts: vec![answer] });
                last_is_answer = true;
            }
            (None, _) => {
                let role = if matches!(turn.role.as_str(), "assistant" | "model") { "model" } else { "user" };
                let parts = parts(turn, is_strict)?;
                // A turn that says nothing is refused, and means nothing.
                if !parts.is_empty() {
                    said.push(ContentBody { role: Some(role), parts });
                }
                last_is_answer = false;
            }
        }
    }
    // An instruction alone is no conversation; as the user's words it is one.
    Ok(match (said.is_empty(), system.is_empty()) {
        (true, _) => (None, vec![ContentBody::of_texts(Some("user"), system)]),
        (false, true) => (None, said),
        (false, false) => (Some(ContentBody::of_texts(None, system)), said),
    })
}

fn parts(turn: &ChatTurn, is_strict: bool) -> Result<Vec<PartBody<'_>>, Unsayable> {
    let says_something = |part: &&Part| !part.as_text().is_some_and(str::is_empty);
    let mut parts: Vec<PartBody<'_>> = turn.parts.iter().filter(says_something).map(part).collect::<Result<_, _>>()?;
    // Of calls that are made together the first has the signature.
    let missing = |at: usize| if is_strict && at == 0 { NO_SIGNATURE } else { "" };
    parts.extend(turn.tool_calls.iter().enumerate().map(|(at, own)| call(own, missing(at))));
    Ok(parts)
}

fn part(part: &Part) -> Result<PartBody<'_>, Unsayable> {
    match part {
        Part::Text(text) => Ok(PartBody::text(text.as_str())),
        Part::Image(Image::Inline { media_type, data }) => {
            let inline = InlineData { mime_type: media_type_of(media_type, data), data };
            Ok(PartBody { inline_data: Some(inline), ..PartBody::default() })
        }
        Part::Image(Image::Url(url)) if is_googles(url) => {
            Ok(PartBody { file_data: Some(FileData { file_uri: url }), ..PartBody::default() })
        }
        Part::Image(Image::Url(_)) => Err(Unsayable::new(
            "Gemini takes pictures in the request itself or from its own file store: send a data: URL in place of one to be \
             fetched",
        )),
    }
}

/// Where the service itself keeps files.
fn is_googles(url: &str) -> bool {
    url.starts_with("https://generativelanguage.googleapis.com/") || url.starts_with("gs://")
}

fn call<'a>(call: &'a ToolCall, missing: &'static str) -> PartBody<'a> {
    let mut function = json!({"name": call.name, "args": object_of(&call.arguments)});
    if !call.id.is_empty() {
        function["id"] = json!(call.id);
    }
    let thought_signature = if call.signature.is_empty() { missing } else { &call.signature };
    PartBody { function_call: Some(function), thought_signature, ..PartBody::default() }
}

/// The answer to a call, which the service knows by the function's name.
fn answer<'a>(
    turn: &'a ChatTurn,
    answered: &'a AnsweredCall,
    calls: &mut OpenCalls<'a>,
) -> Result<PartBody<'a>, Unsayable> {
    let call = calls.answered(answered);
    let (name, id) = match (answered.name.as_str(), call) {
        ("", None) => {
            let id: String = answered.id.chars().take(80).collect();
            return Err(Unsayable::new(format!(
                "the answer of a tool belongs to no call of this conversation (tool_call_id {id:?}): send the assistant's \
                 message that called it, too"
            )));
        }
        ("", Some(call)) => (call.name.as_str(), call.id.as_str()),
        (name, call) => (name, call.map_or("", |call| &call.id)),
    };
    let id = if answered.id.is_empty() { id } else { &answered.id };
    let text = turn.joined_text();
    let response = match serde_json::from_str(&text) {
        Ok(object @ Value::Object(_)) => object,
        _ => json!({"result": text}),
    };
    let mut function = json!({"name": name, "response": response});
    if !id.is_empty() {
        function["id"] = json!(id);
    }
    Ok(PartBody { function_response: Some(function), ..PartBody::default() })
}
