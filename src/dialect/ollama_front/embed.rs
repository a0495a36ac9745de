//! `POST /api/embed` and the older `POST /api/embeddings`.

use serde_json::Value as Json;

use super::{ReadError, Wish, fields::Fields, keep_alive};
use crate::domain::embedding::EmbedCall;

pub(super) fn read(at: &Fields<'_>) -> Result<Wish<EmbedCall>, ReadError> {
    at.flag("truncate")?;
    at.object("options")?;
    let inputs = match at.get("input") {
        None => Vec::new(),
        // One empty text is no input; inside a list it is a text like any other.
        Some(Json::String(text)) if text.is_empty() => Vec::new(),
        Some(Json::String(text)) => vec![text.clone()],
        Some(Json::Array(texts)) => {
            let texts: Option<Vec<String>> = texts.iter().map(|text| text.as_str().map(str::to_owned)).collect();
            texts.map_or_else(|| at.wrong("input", "a string or an array of strings"), Ok)?
        }
        Some(_) => return Ok(at.wrong("input", "a string or an array of strings")?),
    };
    let dimensions = at.count("dimensions")?.filter(|dimensions| *dimensions > 0);
    wish(at, EmbedCall { inputs, dimensions })
}

pub(super) fn read_old(at: &Fields<'_>) -> Result<Wish<EmbedCall>, ReadError> {
    at.object("options")?;
    let prompt = at.text("prompt")?;
    let inputs = if prompt.is_empty() { Vec::new() } else { vec![prompt.to_owned()] };
    wish(at, EmbedCall { inputs, dimensions: None })
}

fn wish(at: &Fields<'_>, call: EmbedCall) -> Result<Wish<EmbedCall>, ReadError> {
    Ok(match (call.inputs.is_empty(), keep_alive::is_none(at)?) {
        (false, _) => Wish::Ask(call),
        (true, false) => Wish::Load,
        (true, true) => Wish::Unload,
    })
}
