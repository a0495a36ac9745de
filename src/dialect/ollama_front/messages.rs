//! Messages, pictures and tools of a request.
//!
//! Clients of Ollama's API mostly drop the ids of tool calls, other backends cannot do without: calls get ids by their place
//! in the conversation, the same in every request that repeats it, and answers find the call they belong to.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::Value as Json;

use super::{Read, fields::Fields};
use crate::domain::chat::{AnsweredCall, ChatTurn, Image, Part, Tool, ToolCall};

/// Calls of tools in one message.
const MAX_TOOL_CALLS: usize = 1024;

/// Reads the field `messages`.
pub(super) fn read(at: &Fields<'_>) -> Read<Vec<ChatTurn>> {
    let mut open = OpenCalls::default();
    let turn = |(place, message)| turn(&at.within(&format!("messages[{place}]"), message)?, &mut open);
    at.list("messages")?.iter().enumerate().map(turn).collect()
}

fn turn(at: &Fields<'_>, open: &mut OpenCalls) -> Read<ChatTurn> {
    let role = at.text("role")?.trim().to_lowercase();
    if role.is_empty() {
        return at.missing("role");
    }
    let mut turn =
        ChatTurn { parts: parts(at, "content")?, reasoning: at.text("thinking")?.to_owned(), ..ChatTurn::default() };
    turn.tool_calls = open.made(tool_calls(at)?);
    if role == "tool" {
        let answered = AnsweredCall { id: at.text("tool_call_id")?.to_owned(), name: at.text("tool_name")?.to_owned() };
        turn.answers = Some(open.answered(answered));
    }
    turn.role = role;
    Ok(turn)
}

/// The text of a field and the pictures beside it.
pub(super) fn parts(at: &Fields<'_>, text: &str) -> Read<Vec<Part>> {
    let text = at.text(text)?;
    let mut parts = Vec::new();
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    for (place, image) in at.list("images")?.iter().enumerate() {
        match image.as_str().and_then(picture) {
            Some(image) => parts.push(Part::Image(image)),
            None => return at.wrong(&format!("images[{place}]"), "a picture in base64"),
        }
    }
    Ok(parts)
}

fn picture(data: &str) -> Option<Image> {
    // Line ends are no part of it to Go's decoder.
    let data: String = data.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    STANDARD.decode(&data).ok().filter(|bytes| !bytes.is_empty())?;
    Some(Image::Inline { media_type: String::new(), data })
}

fn tool_calls(at: &Fields<'_>) -> Read<Vec<ToolCall>> {
    let calls = at.list("tool_calls")?;
    if calls.len() > MAX_TOOL_CALLS {
        return at.wrong("tool_calls", &format!("an array of at most {MAX_TOOL_CALLS} calls"));
    }
    calls
        .iter()
        .enumerate()
        .map(|(place, call)| tool_call(&at.within(&format!("tool_calls[{place}]"), call)?))
        .collect()
}

fn tool_call(at: &Fields<'_>) -> Read<ToolCall> {
    let Some(function) = at.object("function")? else { return at.missing("function") };
    let name = match function.text("name")? {
        "" => return function.missing("name"),
        name => name.to_owned(),
    };
    let arguments = match function.get("arguments") {
        None => "{}".to_owned(),
        Some(arguments @ Json::Object(_)) => arguments.to_string(),
        Some(_) => return function.wrong("arguments", "an object"),
    };
    Ok(ToolCall { id: at.text("id")?.to_owned(), name, arguments, signature: at.text("signature")?.to_owned() })
}

/// Calls that no message has answered yet.
#[derive(Default)]
struct OpenCalls {
    /// Calls so far, in all messages.
    count: usize,
    /// Of the last message that made some.
    open: Vec<AnsweredCall>,
}

impl OpenCalls {
    /// The calls of a message, each with an id.
    fn made(&mut self, mut calls: Vec<ToolCall>) -> Vec<ToolCall> {
        if !calls.is_empty() {
            self.open.clear();
        }
        for call in &mut calls {
            if call.id.is_empty() {
                call.id = format!("call_{}", self.count);
            }
            self.count += 1;
            self.open.push(AnsweredCall { id: call.id.clone(), name: call.name.clone() });
        }
        calls
    }

    /// Which call a message answers: the one of its id, else the first of its name, else the first.
    fn answered(&mut self, told: AnsweredCall) -> AnsweredCall {
        let fits = |call: &AnsweredCall| match (told.id.as_str(), told.name.as_str()) {
            ("", "") => true,
            ("", name) => call.name == name,
            (id, _) => call.id == id,
        };
        match self.open.iter().position(fits) {
            Some(at) => self.open.remove(at),
            None => told,
        }
    }
}

/// Reads the field `tools`.
pub(super) fn tools(at: &Fields<'_>) -> Read<Vec<Tool>> {
    let tool = |(place, tool)| {
        let at = at.within(&format!("tools[{place}]"), tool)?;
        if !matches!(at.text("type")?, "" | "function") {
            return at.wrong("type", "\"function\"");
        }
        let Some(function) = at.object("function")? else { return at.missing("function") };
        let name = match function.text("name")? {
            "" => return function.missing("name"),
            name => name.to_owned(),
        };
        let parameters = match function.get("parameters") {
            Some(Json::Object(_)) | None => function.get("parameters").cloned(),
            Some(_) => return function.wrong("parameters", "an object"),
        };
        Ok(Tool { name, description: function.text("description")?.to_owned(), parameters, strict: None })
    };
    at.list("tools")?.iter().enumerate().map(tool).collect()
}
