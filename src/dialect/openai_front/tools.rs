//! Tools and whether they are called: in a chat request within `function`, in one for a response without it.

use serde_json::Value as Json;

use super::{Read, fields::Fields};
use crate::domain::chat::{Tool, ToolChoice};

/// Where a function's own fields stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nesting {
    /// In an object `function`, as chats have it.
    Within,
    /// Beside `type`, as responses have it.
    Beside,
}

/// Reads `tools` and `tool_choice`.
pub(super) fn read(at: &Fields<'_>, nesting: Nesting) -> Read<(Vec<Tool>, ToolChoice)> {
    let tools = at.list("tools")?.unwrap_or_default().iter().enumerate();
    let tools = tools.map(|(place, tool)| self::tool(&at.within(&format!("tools[{place}]"), tool)?, nesting));
    let tools: Vec<Tool> = tools.collect::<Read<_>>()?;
    let choice = choice(at, nesting)?;
    let is_there = |wanted: &String| tools.iter().any(|tool| tool.name == *wanted);
    match &choice {
        ToolChoice::Named(name) if !is_there(name) => {
            Err(at.fault("tool_choice", &format!("names the tool '{}', which is not in 'tools'", Fields::shown(name))))
        }
        ToolChoice::Required if tools.is_empty() => Err(at.fault("tool_choice", "needs 'tools'")),
        _ => Ok((tools, choice)),
    }
}

fn tool(tool: &Fields<'_>, nesting: Nesting) -> Read<Tool> {
    match tool.text("type")? {
        "function" => {}
        "" => return tool.missing("type"),
        kind => {
            let kind = Fields::shown(kind);
            return Err(tool.fault("type", &format!("is '{kind}'; only tools of type 'function' are served here")));
        }
    }
    let function = match nesting {
        Nesting::Beside => None,
        Nesting::Within => match tool.object("function")? {
            None => return tool.missing("function"),
            function => function,
        },
    };
    let at = function.as_ref().unwrap_or(tool);
    let parameters = match at.get("parameters") {
        None => None,
        Some(schema @ Json::Object(_)) => Some(schema.clone()),
        Some(_) => return at.wrong("parameters", "a JSON Schema, which is an object"),
    };
    Ok(Tool {
        name: at.required_text("name")?.to_owned(),
        description: at.text("description")?.to_owned(),
        parameters,
        strict: at.flag("strict")?,
    })
}

fn choice(at: &Fields<'_>, nesting: Nesting) -> Read<ToolChoice> {
    const FORMS: &str = "'auto', 'none', 'required' or an object that names a function";
    match at.get("tool_choice") {
        None => Ok(ToolChoice::Auto),
        Some(Json::String(word)) => match word.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            "required" => Ok(ToolChoice::Required),
            _ => at.wrong("tool_choice", FORMS),
        },
        Some(Json::Object(_)) => {
            let Some(named) = at.object("tool_choice")? else { return Ok(ToolChoice::Auto) };
            if named.text("type")? != "function" {
                return Err(named.fault("type", "must be 'function'; no other choice is served here"));
            }
            let name = match nesting {
                Nesting::Beside => named.required_text("name")?,
                Nesting::Within => match named.object("function")? {
                    None => return named.missing("function"),
                    Some(function) => function.required_text("name")?,
                },
            };
            Ok(ToolChoice::Named(name.to_owned()))
        }
        Some(_) => at.wrong("tool_choice", FORMS),
    }
}
