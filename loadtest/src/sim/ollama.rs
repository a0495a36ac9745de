//! Ollama's protocol: routes, errors, and who answers what (`docs/backends.md`).

mod chat;
mod embed;
mod models;
mod strict;

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use serde::Serialize;

use crate::sim::{
    answer::{Answer, Payload, json_line},
    call::{Call, Fields},
    capacity::Capacity,
    dialect::Dialect,
    library::Library,
    model::SimModel,
    openai::{Flavour, OpenAi},
    pull::Puller,
    route::Route,
    script::Effect,
};

/// What the simulated server calls its version.
pub(crate) const VERSION: &str = "0.30.1";

/// A simulated Ollama.
pub(crate) struct Ollama {
    library: Arc<Library>,
    puller: Puller,
    /// What Ollama serves under `/v1`.
    openai: OpenAi,
}

/// Paths with the methods they take.
const ROUTES: &[(&str, &[Method], Route)] = &[
    ("/", &[Method::GET, Method::HEAD], Route::Home),
    ("/api/version", &[Method::GET, Method::HEAD], Route::Version),
    ("/api/tags", &[Method::GET, Method::HEAD], Route::List),
    ("/api/show", &[Method::POST], Route::Show),
    ("/api/ps", &[Method::GET], Route::Running),
    ("/api/pull", &[Method::POST], Route::Pull),
    ("/api/delete", &[Method::DELETE], Route::Delete),
    ("/api/chat", &[Method::POST], Route::Chat),
    ("/api/generate", &[Method::POST], Route::Generate),
    ("/api/embed", &[Method::POST], Route::Embed),
    ("/api/embeddings", &[Method::POST], Route::Embed),
];

impl Ollama {
    pub(crate) fn new(library: Arc<Library>, puller: Puller) -> Self {
        let openai = OpenAi::new(Arc::clone(&library), Flavour::Ollama, None, Capacity::new(None));
        Self { library, puller, openai }
    }

    /// An answer to the fields, or the error in its place.
    fn native(&self, call: &Call, effect: &Effect) -> Result<Answer, Answer> {
        match call.route {
            Route::Home => return Ok(Answer::text(200, "Ollama is running")),
            Route::Version => return Ok(models::version()),
            Route::List => return Ok(models::tags(&self.library)),
            Route::Running => return Ok(models::running(&self.library)),
            Route::WrongMethod => return Ok(Answer::text(405, "405 method not allowed")),
            Route::Unknown => return Ok(Answer::text(404, "404 page not found")),
            _ => {}
        }
        let fields = fields(call)?;
        match call.route {
            Route::Show => models::show(&self.library, fields),
            Route::Delete => models::delete(&self.library, fields),
            Route::Pull => models::pull(&self.puller, fields),
            Route::Chat => chat::chat(&self.library, fields, effect),
            Route::Generate => chat::generate(&self.library, fields, effect),
            Route::Embed if call.path == "/api/embeddings" => embed::old(&self.library, fields),
            _ => embed::embed(&self.library, fields),
        }
    }
}

impl Dialect for Ollama {
    fn route(&self, method: &Method, path: &str) -> Route {
        match ROUTES.iter().find(|(own, ..)| *own == path) {
            Some((_, methods, route)) if methods.contains(method) => *route,
            Some(_) => Route::WrongMethod,
            None => self.openai.route(method, path),
        }
    }

    fn answer(&self, call: &Call, effect: &Effect) -> Answer {
        match speaks_openai(call) && !matches!(call.route, Route::Unknown | Route::WrongMethod) {
            true => self.openai.answer(call, effect),
            false => self.native(call, effect).unwrap_or_else(|error| error),
        }
    }

    fn error(&self, call: &Call, status: u16, message: &str) -> Answer {
        match speaks_openai(call) {
            true => self.openai.error(call, status, message),
            false => refused(status, message),
        }
    }

    fn stream_type(&self, call: &Call) -> &'static str {
        if speaks_openai(call) { self.openai.stream_type(call) } else { NDJSON }
    }

    fn error_frame(&self, call: &Call, message: &str) -> Bytes {
        match speaks_openai(call) {
            true => self.openai.error_frame(call, message),
            false => line(&ErrorBody { error: message }),
        }
    }
}

/// The content type of Ollama's streams.
pub(crate) const NDJSON: &str = "application/x-ndjson";

#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
}

fn speaks_openai(call: &Call) -> bool {
    call.path.starts_with("/v1/")
}

fn fields(call: &Call) -> Result<&Fields, Answer> {
    if call.body.is_empty() {
        return Err(refused(400, "missing request body"));
    }
    call.fields.as_ref().map_err(|words| refused(400, words))
}

/// An error: always this one field.
fn refused(status: u16, message: &str) -> Answer {
    json(status, &ErrorBody { error: message })
}

/// The model of a call, in memory from now on; routes differ in how they say that there is none.
fn model(library: &Library, name: &str, error: impl FnOnce() -> String) -> Result<Arc<SimModel>, Answer> {
    let model = library.find(name).ok_or_else(|| refused(404, &error()))?;
    library.load(&model.name);
    Ok(model)
}

/// A JSON body as Go writes it.
fn json(status: u16, value: &impl Serialize) -> Answer {
    Answer::new(status, "application/json; charset=utf-8", Payload::Plain(go_json(value)))
}

/// One line of a stream.
fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = Vec::from(go_json(value));
    bytes.push(b'\n');
    bytes.into()
}

/// Go's encoder writes `<`, `>` and `&`, which JSON has only inside strings, as escapes.
fn go_json(value: &impl Serialize) -> Bytes {
    let bytes = json_line(value);
    if !bytes.iter().any(|byte| matches!(byte, b'<' | b'>' | b'&')) {
        return bytes;
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 64);
    for &byte in &bytes {
        match byte {
            b'<' => escaped.extend_from_slice(br"\u003c"),
            b'>' => escaped.extend_from_slice(br"\u003e"),
            b'&' => escaped.extend_from_slice(br"\u0026"),
            other => escaped.push(other),
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_written_as_go_writes_it() {
        assert_eq!(go_json(&"a<b>&c"), Bytes::from_static(br#""a\u003cb\u003e\u0026c""#));
        assert_eq!(go_json(&"plain"), Bytes::from_static(br#""plain""#));
    }
}
