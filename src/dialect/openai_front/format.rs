//! The form a reply is forced into: `response_format` of a chat, `text.format` of a response.

use std::sync::Arc;

use serde_json::Value as Json;

use super::{Read, fields::Fields, tools::Nesting};
use crate::domain::message::Constraint;

/// Reads the object that says it. `nesting`: whether the schema's fields stand in `json_schema` or beside `type`.
pub(super) fn read(at: Option<Fields<'_>>, nesting: Nesting) -> Read<Option<Constraint>> {
    let Some(at) = at else { return Ok(None) };
    match at.required_text("type")? {
        "text" => Ok(None),
        "json_object" => Ok(Some(Constraint::Json)),
        "json_schema" => {
            let within = match nesting {
                Nesting::Beside => None,
                Nesting::Within => match at.object("json_schema")? {
                    None => return at.missing("json_schema"),
                    within => within,
                },
            };
            let at = within.as_ref().unwrap_or(&at);
            match at.get("schema") {
                Some(schema @ Json::Object(_)) => Ok(Some(Constraint::Schema(Arc::new(schema.clone())))),
                Some(_) => at.wrong("schema", "a JSON Schema, which is an object"),
                None => at.missing("schema"),
            }
        }
        _ => at.wrong("type", "'text', 'json_object' or 'json_schema'"),
    }
}
