//! The input of a request for a response: a text, or items of which a conversation is put together.

use serde_json::Value as Json;

use super::{
    Read,
    fields::Fields,
    messages::{image, name_answered_tools},
};
use crate::domain::chat::{AnsweredCall, ChatTurn, Part, ToolCall};

/// Reads `instructions` and `input`.
pub(super) fn read(at: &Fields<'_>) -> Read<Vec<ChatTurn>> {
    let mut turns = Vec::new();
    match at.text("instructions")? {
        "" => {}
        instructions => turns.push(ChatTurn::text("developer", instructions)),
    }
    match at.get("input") {
        None => return at.missing("input"),
        Some(Json::String(text)) => turns.push(ChatTurn::text("user", text.as_str())),
        Some(Json::Array(items)) if !items.is_empty() => {
            let mut said = Conversation { turns, thought: String::new() };
            for (place, item) in items.iter().enumerate() {
                said.add(&at.within(&format!("input[{place}]"), item)?)?;
            }
            turns = said.finish();
        }
        Some(Json::Array(_)) => return Err(at.fault("input", "must not be empty")),
        Some(_) => return at.wrong("input", "a string or an array of items"),
    }
    name_answered_tools(&mut turns);
    Ok(turns)
}

/// What one answer said stands in several items: they become one turn again.
struct Conversation {
    turns: Vec<ChatTurn>,
    /// Reasoning that belongs to what the assistant says next.
    thought: String,
}

impl Conversation {
    fn add(&mut self, item: &Fields<'_>) -> Read<()> {
        match item.text("type")? {
            "" | "message" => self.message(item),
            "function_call" => self.call(item),
            "function_call_output" => self.output(item),
            "reasoning" => self.reasoning(item),
            "item_reference" => {
                Err(item.fault("type", "is 'item_reference': nothing is stored here, send the item itself"))
            }
            kind => {
                let kind = Fields::shown(kind);
                let served = "messages, function calls with their outputs, and reasoning are read";
                Err(item.fault("type", &format!("is '{kind}'; {served}")))
            }
        }
    }

    fn message(&mut self, item: &Fields<'_>) -> Read<()> {
        let role = item.required_text("role")?;
        let parts = match item.get("content") {
            None => return item.missing("content"),
            Some(Json::String(text)) => vec![Part::Text(text.clone())],
            Some(Json::Array(_)) => parts(item, "content")?,
            Some(_) => return item.wrong("content", "a string or an array of parts"),
        };
        if role == "assistant" {
            self.assistant(true).parts.extend(parts);
        } else {
            self.turns.push(ChatTurn { role: role.to_owned(), parts, ..ChatTurn::default() });
        }
        Ok(())
    }

    fn call(&mut self, item: &Fields<'_>) -> Read<()> {
        let call = ToolCall {
            id: item.required_text("call_id")?.to_owned(),
            name: item.required_text("name")?.to_owned(),
            arguments: item.text("arguments")?.to_owned(),
            signature: String::new(),
        };
        self.assistant(false).tool_calls.push(call);
        Ok(())
    }

    fn output(&mut self, item: &Fields<'_>) -> Read<()> {
        let id = item.required_text("call_id")?.to_owned();
        let parts = match item.get("output") {
            None => return item.missing("output"),
            Some(Json::String(text)) => vec![Part::Text(text.clone())],
            Some(Json::Array(_)) => parts(item, "output")?,
            Some(_) => return item.wrong("output", "a string or an array of parts"),
        };
        let answers = Some(AnsweredCall { id, name: String::new() });
        self.turns.push(ChatTurn { role: "tool".to_owned(), parts, answers, ..ChatTurn::default() });
        Ok(())
    }

    /// What was thought in the open; what is encrypted only its own server can read.
    fn reasoning(&mut self, item: &Fields<'_>) -> Read<()> {
        for (place, part) in item.list("content")?.unwrap_or_default().iter().enumerate() {
            self.thought.push_str(item.within(&format!("content[{place}]"), part)?.text("text")?);
        }
        Ok(())
    }

    /// The assistant's turn that goes on, or a new one: `speaks` begins one where the last has spoken already, or called.
    fn assistant(&mut self, speaks: bool) -> &mut ChatTurn {
        let reasoning = std::mem::take(&mut self.thought);
        let goes_on = self.turns.last().is_some_and(|turn| {
            let has_spoken = !turn.parts.is_empty() || !turn.tool_calls.is_empty();
            turn.role == "assistant" && reasoning.is_empty() && !(speaks && has_spoken)
        });
        if !goes_on {
            self.turns.push(ChatTurn { role: "assistant".to_owned(), reasoning, ..ChatTurn::default() });
        }
        let last = self.turns.len() - 1;
        &mut self.turns[last]
    }

    fn finish(self) -> Vec<ChatTurn> {
        self.turns
    }
}

fn parts(item: &Fields<'_>, name: &str) -> Read<Vec<Part>> {
    let parts = item.list(name)?.unwrap_or_default().iter().enumerate();
    parts.map(|(place, part)| self::part(&item.within(&format!("{name}[{place}]"), part)?)).collect()
}

fn part(part: &Fields<'_>) -> Read<Part> {
    match part.text("type")? {
        "input_text" | "output_text" | "text" => match part.get("text") {
            Some(Json::String(text)) => Ok(Part::Text(text.clone())),
            _ => part.wrong("text", "a string"),
        },
        "refusal" => Ok(Part::Text(part.text("refusal")?.to_owned())),
        "input_image" => match part.text("image_url")? {
            "" => Err(part.fault("image_url", "is required: files are not stored here")),
            url => Ok(Part::Image(image(part, "image_url", url)?)),
        },
        "" => part.missing("type"),
        kind => {
            let kind = Fields::shown(kind);
            Err(part.fault("type", &format!("is '{kind}'; parts of type 'input_text' and 'input_image' are read")))
        }
    }
}
