//! The messages of a chat request.

use std::collections::HashMap;

use serde_json::Value as Json;

use super::{Read, fields::Fields};
use crate::domain::chat::{AnsweredCall, ChatTurn, Image, Part, ToolCall};

/// Reads `messages`: at least one.
pub(super) fn read(at: &Fields<'_>) -> Read<Vec<ChatTurn>> {
    let mut turns = Vec::new();
    for (place, message) in several(at)?.iter().enumerate() {
        let message = message_at(at, place, message)?;
        turns.push(turn(&message)?);
    }
    name_answered_tools(&mut turns);
    Ok(turns)
}

/// The list of messages.
pub(super) fn several<'a>(at: &Fields<'a>) -> Read<&'a [Json]> {
    match at.list("messages")? {
        Some(messages) if !messages.is_empty() => Ok(messages),
        _ => Err(at.fault("messages", "is required and must not be empty")),
    }
}

/// One message of it.
pub(super) fn message_at<'a>(at: &Fields<'a>, place: usize, message: &'a Json) -> Read<Fields<'a>> {
    at.within(&format!("messages[{place}]"), message)
}

fn turn(message: &Fields<'_>) -> Read<ChatTurn> {
    let role = message.required_text("role")?;
    let is_assistant = role == "assistant";
    let tool_calls = if is_assistant { tool_calls(message)? } else { Vec::new() };
    let parts = match message.get("content") {
        // An assistant that calls tools, or thinks only, says nothing.
        None if is_assistant => match message.text("refusal")? {
            "" => Vec::new(),
            refusal => vec![Part::Text(refusal.to_owned())],
        },
        None => return message.missing("content"),
        Some(Json::String(text)) if text.is_empty() && is_assistant => Vec::new(),
        Some(Json::String(text)) => vec![Part::Text(text.clone())],
        Some(Json::Array(parts)) => {
            let part = |(place, part)| self::part(&message.within(&format!("content[{place}]"), part)?);
            parts.iter().enumerate().map(part).collect::<Read<_>>()?
        }
        Some(_) => return message.wrong("content", "a string or an array of parts"),
    };
    let answers = match role {
        "tool" => Some(AnsweredCall { id: message.text("tool_call_id")?.to_owned(), name: String::new() }),
        // What tools were before they had ids.
        "function" => Some(AnsweredCall { id: String::new(), name: message.text("name")?.to_owned() }),
        _ => None,
    };
    let reasoning = match message.text("reasoning_content")? {
        "" if is_assistant => message.text("reasoning")?,
        reasoning => reasoning,
    };
    Ok(ChatTurn {
        role: if role == "function" { "tool".to_owned() } else { role.to_owned() },
        name: if answers.is_some() { String::new() } else { message.text("name")?.to_owned() },
        parts,
        reasoning: if is_assistant { reasoning.to_owned() } else { String::new() },
        tool_calls,
        answers,
    })
}

/// One part of what is said.
fn part(part: &Fields<'_>) -> Read<Part> {
    match part.text("type")? {
        "text" => match part.get("text") {
            Some(Json::String(text)) => Ok(Part::Text(text.clone())),
            _ => part.wrong("text", "a string"),
        },
        "refusal" => Ok(Part::Text(part.text("refusal")?.to_owned())),
        "image_url" => match part.get("image_url") {
            // Some clients leave out the object.
            Some(Json::String(url)) => Ok(Part::Image(image(part, "image_url", url)?)),
            _ => {
                let Some(image_url) = part.object("image_url")? else { return part.missing("image_url") };
                Ok(Part::Image(image(&image_url, "url", image_url.required_text("url")?)?))
            }
        },
        "" => part.missing("type"),
        kind => {
            let kind = Fields::shown(kind);
            Err(part.fault("type", &format!("is '{kind}'; parts of type 'text' and 'image_url' are read")))
        }
    }
}

/// A picture that is sent along as a data URL, or that the backend fetches.
pub(super) fn image(at: &Fields<'_>, name: &str, url: &str) -> Read<Image> {
    let scheme = |scheme: &str| url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    if scheme("http://") || scheme("https://") {
        return Ok(Image::Url(url.to_owned()));
    }
    let inline = url.get(5..).filter(|_| scheme("data:")).and_then(|rest| rest.split_once(','));
    if let Some((head, data)) = inline
        && let Some(media) = head.strip_suffix(";base64")
        && !data.is_empty()
    {
        // Parameters of the type, such as a charset, mean nothing for a picture.
        let media_type = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        return Ok(Image::Inline { media_type, data: data.to_owned() });
    }
    at.wrong(name, "an http or https URL or a data URL such as 'data:image/png;base64,…'")
}

fn tool_calls(message: &Fields<'_>) -> Read<Vec<ToolCall>> {
    let calls = message.list("tool_calls")?.unwrap_or_default().iter().enumerate();
    calls.map(|(place, call)| tool_call(&message.within(&format!("tool_calls[{place}]"), call)?)).collect()
}

fn tool_call(call: &Fields<'_>) -> Read<ToolCall> {
    if !matches!(call.text("type")?, "" | "function") {
        return call.wrong("type", "'function'");
    }
    let Some(function) = call.object("function")? else { return call.missing("function") };
    // Where Google's own servers of this API put it.
    let signature = match call.object("extra_content")?.map(|extra| extra.object("google")).transpose()?.flatten() {
        Some(google) => google.text("thought_signature")?,
        None => "",
    };
    Ok(ToolCall {
        id: call.text("id")?.to_owned(),
        name: function.required_text("name")?.to_owned(),
        arguments: function.text("arguments")?.to_owned(),
        signature: signature.to_owned(),
    })
}

/// An answer of a tool names its call only; some backends want the tool's name. It is a call of the last turn that made any.
pub(super) fn name_answered_tools(turns: &mut [ChatTurn]) {
    let mut asked: HashMap<&str, &str> = HashMap::new();
    let mut found = Vec::new();
    for (at, turn) in turns.iter().enumerate() {
        if let Some(AnsweredCall { id, name }) = &turn.answers
            && name.is_empty()
            && let Some(name) = asked.get(id.as_str())
        {
            found.push((at, (*name).to_owned()));
        }
        if !turn.tool_calls.is_empty() {
            // Of calls with the same id the first is meant.
            asked = turn.tool_calls.iter().rev().map(|call| (call.id.as_str(), call.name.as_str())).collect();
        }
    }
    for (at, name) in found {
        if let Some(answer) = &mut turns[at].answers {
            answer.name = name;
        }
    }
}
