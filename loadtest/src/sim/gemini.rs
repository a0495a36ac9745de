//! Gemini's REST protocol: routes, keys, errors, and who answers what (`docs/backends.md`).

mod check;
mod generate;
mod models;

use std::sync::Arc;

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json as value};

use self::generate::Framing;
use crate::sim::{
    answer::{Answer, Payload},
    call::{Call, EmbedRequest, Fields, Piece, token_count},
    dialect::Dialect,
    library::Library,
    model::SimModel,
    route::Route,
    script::Effect,
    vector::embedding,
};

/// A simulated Gemini.
pub(crate) struct Gemini {
    library: Arc<Library>,
    /// The key every call must bring, if one is set.
    key: Option<String>,
    /// Models in one page of the list, whatever the client asks for.
    page_size: usize,
}

/// Versions of the API that are served.
const VERSIONS: [&str; 2] = ["/v1beta/models", "/v1/models"];

impl Gemini {
    pub(crate) fn new(library: Arc<Library>, key: Option<String>, page_size: usize) -> Self {
        Self { library, key, page_size }
    }

    fn served<'a>(&self, call: &'a Call) -> Result<(&'a Fields, Arc<SimModel>), Answer> {
        let fields = call.fields.as_ref().map_err(|words| refused(400, words))?;
        let name = fields.model().unwrap_or_default();
        let model = self.library.find(name).ok_or_else(|| unknown_model(name))?;
        let method = method_of(&call.path);
        // What the list names stands for its siblings too.
        let listed = match method {
            "streamGenerateContent" => "generateContent",
            "batchEmbedContents" => "embedContent",
            method => method,
        };
        if !models::methods(&model).contains(&listed) {
            let words = format!("models/{name} is not supported for {method}. Call ListModels to see what is.");
            return Err(refused(404, &words));
        }
        Ok((fields, model))
    }

    fn answered(&self, call: &Call, effect: &Effect) -> Result<Answer, Answer> {
        match call.route {
            Route::List => return Ok(models::list(&self.library, &call.query, self.page_size)),
            Route::Show => return models::one(&self.library, &call.path),
            Route::Chat | Route::Embed | Route::Tokenize => {}
            _ => return Err(refused(404, "Requested entity was not found.")),
        }
        let (fields, model) = self.served(call)?;
        let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
        check::body(call.route, &model.name, &body).map_err(|words| refused(400, &words))?;
        match call.route {
            Route::Embed if fields.requests.is_some() => {
                let vector = |request: &EmbedRequest| {
                    let mut values = embedding(&request.content.text(), model.dimension);
                    values.truncate(request.output_dimensionality.unwrap_or(values.len()));
                    value!({ "values": values })
                };
                let embeddings: Vec<Value> = fields.requests.iter().flatten().map(vector).collect();
                Ok(Answer::json(200, &value!({ "embeddings": embeddings })))
            }
            Route::Embed => {
                let text = fields.content.as_ref().map(Piece::text).unwrap_or_default();
                Ok(Answer::json(200, &value!({ "embedding": { "values": embedding(&text, model.dimension) } })))
            }
            Route::Tokenize => {
                let tokens: usize = fields.texts().map(token_count).sum();
                Ok(Answer::json(200, &value!({ "totalTokens": tokens })))
            }
            _ => {
                let framing = match method_of(&call.path) {
                    "streamGenerateContent" if call.query.split('&').any(|pair| pair == "alt=sse") => Framing::Events,
                    "streamGenerateContent" => Framing::Array,
                    _ => Framing::Whole,
                };
                generate::generate(&model, fields, effect, framing)
            }
        }
    }
}

impl Dialect for Gemini {
    fn route(&self, method: &Method, path: &str) -> Route {
        let Some(rest) = VERSIONS.iter().find_map(|version| path.strip_prefix(version)) else { return Route::Unknown };
        let wanted = match (rest, method_of(path)) {
            ("", _) => (Method::GET, Route::List),
            (_, "generateContent" | "streamGenerateContent") => (Method::POST, Route::Chat),
            (_, "embedContent" | "batchEmbedContents") => (Method::POST, Route::Embed),
            (_, "countTokens") => (Method::POST, Route::Tokenize),
            (rest, "") if rest.starts_with('/') => (Method::GET, Route::Show),
            _ => return Route::Unknown,
        };
        if wanted.0 == *method { wanted.1 } else { Route::WrongMethod }
    }

    fn refusal(&self, call: &Call) -> Option<Answer> {
        let key = self.key.as_deref()?;
        let refused = match call.headers.get("x-goog-api-key").map(|sent| sent.as_bytes()) {
            Some(sent) if sent == key.as_bytes() => None,
            Some(_) => {
                let detail = value!({ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID",
                    "domain": "googleapis.com" });
                Some(error(400, "API key not valid. Please pass a valid API key.", vec![detail]))
            }
            None => Some(refused(403, "Method doesn't allow unregistered callers.")),
        };
        refused.map(|refused| in_an_array(call, refused))
    }

    fn answer(&self, call: &Call, effect: &Effect) -> Answer {
        self.answered(call, effect).unwrap_or_else(|error| in_an_array(call, error))
    }

    /// A scripted 429 asks for seven seconds, as the real service does in the body alone.
    fn error(&self, call: &Call, status: u16, message: &str) -> Answer {
        let wait = value!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s" });
        in_an_array(call, error(status, message, if status == 429 { vec![wait] } else { Vec::new() }))
    }

    fn stream_type(&self, _call: &Call) -> &'static str {
        "text/event-stream"
    }

    fn error_frame(&self, _call: &Call, message: &str) -> Bytes {
        generate::event(&error_value(500, message, Vec::new()))
    }
}

/// What stands behind the last colon of a path: names may have colons of their own.
fn method_of(path: &str) -> &str {
    path.rsplit('/').next().and_then(|last| last.rsplit_once(':')).map_or("", |(_, method)| method)
}

fn refused(status: u16, message: &str) -> Answer {
    error(status, message, Vec::new())
}

/// A refused stream has its error in an array of one.
fn in_an_array(call: &Call, refusal: Answer) -> Answer {
    match refusal.payload {
        Payload::Plain(body) if method_of(&call.path) == "streamGenerateContent" => {
            let array = [b"[", &body[..], b"]"].concat();
            Answer { payload: Payload::Plain(array.into()), ..refusal }
        }
        payload => Answer { payload, ..refusal },
    }
}

fn unknown_model(name: &str) -> Answer {
    refused(404, &format!("models/{name} is not found for API version v1beta."))
}

fn error(status: u16, message: &str, details: Vec<Value>) -> Answer {
    Answer::json(status, &error_value(status, message, details))
}

fn error_value(status: u16, message: &str, details: Vec<Value>) -> Value {
    let word = match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "UNKNOWN",
    };
    let mut error = value!({ "code": status, "message": message, "status": word });
    if !details.is_empty() {
        error["details"] = Value::Array(details);
    }
    value!({ "error": error })
}
