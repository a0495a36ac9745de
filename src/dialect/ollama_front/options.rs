//! `options`: how the reply is drawn. What only Ollama's runner knows (`num_ctx`, `num_gpu`, `mirostat` …) is ignored, a
//! known option of the wrong type is an error in Ollama's words.

use serde_json::Value as Json;

use super::{Read, fields::Fields};
use crate::domain::chat::Sampling;

/// Reads the field `options` of a request.
pub(super) fn read(at: &Fields<'_>) -> Read<Sampling> {
    let Some(options) = at.object("options")? else { return Ok(Sampling::default()) };
    let number = |name| number(&options, name);
    let whole = |name| whole(&options, name);
    // Numbers below 1 mean "no bound" there.
    let bound = |value: i64| u32::try_from(value).ok().filter(|bound| *bound > 0);
    Ok(Sampling {
        temperature: number("temperature")?,
        top_p: number("top_p")?,
        top_k: whole("top_k")?.and_then(bound),
        min_p: number("min_p")?,
        max_tokens: whole("num_predict")?.and_then(bound),
        stop: stop(&options)?,
        // -1 is a new one each time.
        seed: whole("seed")?.filter(|seed| *seed >= 0),
        presence_penalty: number("presence_penalty")?,
        frequency_penalty: number("frequency_penalty")?,
        repeat_penalty: number("repeat_penalty")?,
    })
}

fn wrong<T>(name: &str, wanted: &str) -> Read<T> {
    Err(format!("option \"{name}\" must be of type {wanted}"))
}

fn number(options: &Fields<'_>, name: &str) -> Read<Option<f64>> {
    match options.get(name).map(Json::as_f64) {
        None => Ok(None),
        Some(Some(number)) => Ok(Some(number)),
        Some(None) => wrong(name, "float32"),
    }
}

/// A fraction is cut off, as it is there.
fn whole(options: &Fields<'_>, name: &str) -> Read<Option<i64>> {
    match options.get(name) {
        None => Ok(None),
        Some(Json::Number(number)) => Ok(number.as_i64().or(number.as_f64().map(|number| number as i64))),
        Some(_) => wrong(name, "integer"),
    }
}

fn stop(options: &Fields<'_>) -> Read<Vec<String>> {
    match options.get("stop") {
        None => Ok(Vec::new()),
        Some(Json::Array(texts)) => {
            let text = |text: &Json| text.as_str().map(str::to_owned);
            let texts: Option<Vec<String>> = texts.iter().map(text).collect();
            texts.map_or_else(|| wrong("stop", "array of strings"), Ok)
        }
        Some(_) => wrong("stop", "array"),
    }
}
