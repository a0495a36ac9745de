//! OpenAI's protocol, and the servers that speak it with an accent (`docs/backends.md`).

mod chat;
mod embed;
mod flavour;
mod format;
mod models;
mod shape;
mod strict;
mod tokenize;

pub use flavour::Flavour;

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Method, header::AUTHORIZATION};
use serde::Serialize;

use crate::sim::{
    answer::{Answer, json_line},
    call::{Call, Fields},
    capacity::Capacity,
    dialect::Dialect,
    library::Library,
    model::SimModel,
    route::Route,
    script::Effect,
};

/// A simulated OpenAI-compatible server.
pub(crate) struct OpenAi {
    library: Arc<Library>,
    flavour: Flavour,
    /// The key every call must bring, if one is set.
    key: Option<String>,
    capacity: Arc<Capacity>,
}

/// The content type of streams.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Paths all flavours have, with the one method they take.
const ROUTES: &[(&str, Method, Route)] = &[
    ("/v1/models", Method::GET, Route::List),
    ("/v1/chat/completions", Method::POST, Route::Chat),
    ("/v1/completions", Method::POST, Route::Generate),
    ("/v1/embeddings", Method::POST, Route::Embed),
];

impl OpenAi {
    pub(crate) fn new(library: Arc<Library>, flavour: Flavour, key: Option<String>, capacity: Arc<Capacity>) -> Self {
        Self { library, flavour, key, capacity }
    }

    fn served(&self, call: &Call, effect: &Effect) -> Result<Answer, Answer> {
        match call.route {
            Route::Health => return Ok(self.flavour.health()),
            Route::Version => return Ok(models::version()),
            Route::Props => return Ok(models::props(&self.library)),
            Route::Load => return Ok(models::load(&self.capacity, self.flavour)),
            Route::List => return Ok(models::list(&self.library, self.flavour)),
            Route::Show => return models::one(&self.library, self.flavour, &call.path),
            Route::WrongMethod => return Err(self.flavour.wrong_method(call)),
            Route::Chat | Route::Generate | Route::Embed | Route::Tokenize => {}
            _ => return Err(self.flavour.unknown_path(call)),
        }
        let fields = call.fields.as_ref().map_err(|words| self.flavour.unreadable(words))?;
        let (name, model) = self.model(fields)?;
        let wanted = match call.route {
            Route::Embed => "embedding",
            Route::Chat | Route::Generate => "completion",
            _ => "",
        };
        if let Some(refusal) = self.flavour.wrong_kind().filter(|_| !wanted.is_empty() && !model.can(wanted)) {
            return Err(refusal);
        }
        match call.route {
            Route::Embed => embed::embed(&name, &model, fields, self.flavour),
            Route::Tokenize => tokenize::tokenize(&model, fields, self.flavour),
            Route::Generate => chat::complete(&name, &model, fields, effect, self.flavour),
            _ => {
                strict::check_chat(&call.body, fields, &model, self.flavour)?;
                chat::chat(&name, &model, fields, effect, self.flavour)
            }
        }
    }

    /// The model that answers, and the name it answers under.
    fn model(&self, fields: &Fields) -> Result<(String, Arc<SimModel>), Answer> {
        let asked = fields.model().unwrap_or_default();
        if asked.is_empty() && self.flavour != Flavour::LlamaCpp {
            return Err(self.flavour.refused(400, "invalid_request_error", "you must provide a model parameter"));
        }
        let model = self.library.find(asked).ok_or_else(|| self.flavour.unknown_model(asked))?;
        // llama.cpp serves every name and answers under its own.
        let name = if self.flavour == Flavour::LlamaCpp { model.name.clone() } else { asked.to_owned() };
        Ok((name, model))
    }
}

impl Dialect for OpenAi {
    fn route(&self, method: &Method, path: &str) -> Route {
        let own = self.flavour.routes().iter().chain(ROUTES).find(|(own, ..)| *own == path);
        match own {
            Some((_, own, route)) if own == method => *route,
            Some(_) => Route::WrongMethod,
            None if path.starts_with("/v1/models/") && *method == Method::GET => Route::Show,
            None => Route::Unknown,
        }
    }

    fn refusal(&self, call: &Call) -> Option<Answer> {
        let key = self.key.as_deref()?;
        let public = self.flavour.is_public(call.route);
        let sent = call.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let sent = sent.and_then(|value| value.strip_prefix("Bearer "));
        (!public && sent != Some(key)).then(|| self.flavour.unauthorized(sent))
    }

    fn answer(&self, call: &Call, effect: &Effect) -> Answer {
        let answer = self.served(call, effect).unwrap_or_else(|error| error);
        self.flavour.signed(answer)
    }

    fn error(&self, _call: &Call, status: u16, message: &str) -> Answer {
        self.flavour.signed(self.flavour.refused(status, error_type(status), message))
    }

    fn stream_type(&self, _call: &Call) -> &'static str {
        EVENT_STREAM
    }

    fn error_frame(&self, _call: &Call, message: &str) -> Bytes {
        event(&self.flavour.error_value(500, "server_error", message))
    }
}

/// The type a status goes with.
fn error_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        404 => "not_found_error",
        429 => "rate_limit_exceeded",
        503 => "unavailable_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    }
}

/// One event of a stream.
fn event(value: &impl Serialize) -> Bytes {
    let json = json_line(value);
    let mut bytes = Vec::with_capacity(json.len() + 8);
    bytes.extend_from_slice(b"data: ");
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(b"\n\n");
    bytes.into()
}
