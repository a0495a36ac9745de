//! Tools and whether they are called: in a chat request within `function`, in one for a response without it.

use std::collections::HashSet;

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

/// What `tool_choice` says.
struct Choice {
    choice: ToolChoice,
    /// The only tools that may be called; `None` for all.
    allowed: Option<Vec<String>>,
}

impl Choice {
    const fn of_all(choice: ToolChoice) -> Self {
        Self { choice, allowed: None }
    }
}

/// Reads `tools` and `tool_choice`. Tools that may not be called are left out.
pub(super) fn read(at: &Fields<'_>, nesting: Nesting) -> Read<(Vec<Tool>, ToolChoice)> {
    let tools = at.list("tools")?.unwrap_or_default().iter().enumerate();
    let tools = tools.map(|(place, tool)| self::tool(&at.within(&format!("tools[{place}]"), tool)?, nesting));
    let mut tools: Vec<Tool> = tools.collect::<Read<_>>()?;
    let Choice { choice, allowed } = choice(at, nesting)?;
    let names: HashSet<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
    let named = if let ToolChoice::Named(name) = &choice { Some(name) } else { None };
    let mut wanted = allowed.iter().flatten().chain(named);
    if let Some(name) = wanted.find(|name| !names.contains(name.as_str())) {
        let name = Fields::shown(name);
        return Err(at.fault("tool_choice", &format!("names the tool '{name}', which is not in 'tools'")));
    }
    if let Some(allowed) = allowed {
        let allowed: HashSet<String> = allowed.into_iter().collect();
        tools.retain(|tool| allowed.contains(&tool.name));
    }
    match choice {
        ToolChoice::Required if tools.is_empty() => Err(at.fault("tool_choice", "needs 'tools'")),
        choice => Ok((tools, choice)),
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

fn choice(at: &Fields<'_>, nesting: Nesting) -> Read<Choice> {
    const FORMS: &str = "'auto', 'none', 'required' or an object that names functions";
    match at.get("tool_choice") {
        None => Ok(Choice::of_all(ToolChoice::Auto)),
        Some(Json::String(word)) => match word.as_str() {
            "auto" => Ok(Choice::of_all(ToolChoice::Auto)),
            "none" => Ok(Choice::of_all(ToolChoice::None)),
            "required" => Ok(Choice::of_all(ToolChoice::Required)),
            _ => at.wrong("tool_choice", FORMS),
        },
        Some(object @ Json::Object(_)) => {
            let chosen = at.within("tool_choice", object)?;
            match chosen.text("type")? {
                "function" => Ok(Choice::of_all(ToolChoice::Named(named(&chosen, nesting)?))),
                "allowed_tools" => match nesting {
                    Nesting::Beside => allowed(&chosen, nesting),
                    Nesting::Within => match chosen.object("allowed_tools")? {
                        None => chosen.missing("allowed_tools"),
                        Some(within) => allowed(&within, nesting),
                    },
                },
                _ => Err(chosen.fault("type", "must be 'function' or 'allowed_tools'; no other choice is served here")),
            }
        }
        Some(_) => at.wrong("tool_choice", FORMS),
    }
}

/// The name of a function that an object names.
fn named(object: &Fields<'_>, nesting: Nesting) -> Read<String> {
    let name = match nesting {
        Nesting::Beside => object.required_text("name")?,
        Nesting::Within => match object.object("function")? {
            None => return object.missing("function"),
            Some(function) => function.required_text("name")?,
        },
    };
    Ok(name.to_owned())
}

/// A choice among some of the tools.
fn allowed(at: &Fields<'_>, nesting: Nesting) -> Read<Choice> {
    let choice = match at.text("mode")? {
        "auto" => ToolChoice::Auto,
        "required" => ToolChoice::Required,
        "" => return at.missing("mode"),
        _ => return at.wrong("mode", "'auto' or 'required'"),
    };
    let tools = at.list("tools")?.unwrap_or_default();
    if tools.is_empty() {
        return Err(at.fault("tools", "is required and must not be empty"));
    }
    let name = |(place, tool): (usize, &Json)| named(&at.within(&format!("tools[{place}]"), tool)?, nesting);
    let allowed = tools.iter().enumerate().map(name).collect::<Read<_>>()?;
    Ok(Choice { choice, allowed: Some(allowed) })
}
