//! What goes out: replies and errors as HTTP.

use std::borrow::Cow;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::{
    HeaderMap, Response, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use serde_json::{Map, Value, json};

use super::{events::EventBody, live, streamed::StreamedBody};
use crate::{
    api::{Reply, ReplyBody, docs_page::WebFile, reply::EVENT_STREAM, stream::NDJSON},
    domain::{ids::RequestId, message::Served},
    error::{Error, ErrorCode},
    shutdown::Drain,
};

/// A whole body, live events, or a reply that is still being made.
pub(super) type Outgoing = Either<Full<Bytes>, Either<EventBody, StreamedBody>>;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_WARNING: HeaderName = HeaderName::from_static("x-penstock-warning");
const X_REASON: HeaderName = HeaderName::from_static("x-penstock-reason");
const X_BACKEND: HeaderName = HeaderName::from_static("x-penstock-backend");
const X_POOL: HeaderName = HeaderName::from_static("x-penstock-pool");
const X_MODEL: HeaderName = HeaderName::from_static("x-penstock-model");
const X_ATTEMPTS: HeaderName = HeaderName::from_static("x-penstock-attempts");
const X_SHARED: HeaderName = HeaderName::from_static("x-penstock-shared");
const X_CACHE: HeaderName = HeaderName::from_static("x-penstock-cache");
const X_RUN: HeaderName = HeaderName::from_static("x-penstock-run");

/// Warnings of one answer, and the characters of each.
const MAX_WARNINGS: usize = 10;
const MAX_HEADER_CHARS: usize = 500;

/// The status of an error, from the one table (`docs/api.md`, errors).
pub(super) fn status(code: ErrorCode) -> StatusCode {
    StatusCode::from_u16(code.meaning().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer of a handler. What is still being made ends as `drain` says.
pub(super) fn reply(reply: Reply, warnings: &[String], id: &RequestId, drain: &Drain) -> Response<Outgoing> {
    let mut relayed_type = HeaderValue::from_static("");
    let (content_type, body) = match reply.body {
        ReplyBody::Empty => (None, Either::Left(Full::default())),
        ReplyBody::Json(json) => (Some("application/json"), Either::Left(Full::new(Bytes::from(json)))),
        ReplyBody::Text(content_type, text) => (Some(content_type), Either::Left(Full::new(Bytes::from(text)))),
        ReplyBody::File(file) => return web_file(file, id),
        ReplyBody::Events(events) => {
            (Some(EVENT_STREAM), Either::Right(Either::Left(EventBody::downloads(events, drain))))
        }
        ReplyBody::Happenings(happenings) => {
            (Some(EVENT_STREAM), Either::Right(Either::Left(EventBody::happenings(happenings, drain))))
        }
        // It ends with its run, for which a stop waits.
        ReplyBody::Run(run) => {
            let events = live::events(run, drain.clone());
            (Some(EVENT_STREAM), Either::Right(Either::Left(EventBody::new(events, None))))
        }
        ReplyBody::Stream(stream) => {
            (Some(stream.content_type), Either::Right(Either::Right(StreamedBody::new(stream, drain.clone()))))
        }
        ReplyBody::Relayed(relayed) => {
            relayed_type = printable(&relayed.content_type);
            (None, Either::Left(Full::new(relayed.bytes)))
        }
    };
    let is_stream = matches!(content_type, Some(EVENT_STREAM | NDJSON));
    let mut response = Response::new(body);
    *response.status_mut() = if reply.created { StatusCode::CREATED } else { StatusCode::OK };
    let headers = response.headers_mut();
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    } else if !relayed_type.is_empty() {
        headers.insert(header::CONTENT_TYPE, relayed_type);
    }
    if is_stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        // Proxies of the nginx family hold events back otherwise.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    }
    if let Some(served) = &reply.served {
        name_server(headers, served);
    }
    if let Some(run) = &reply.run {
        headers.insert(X_RUN, printable(run.as_str()));
    }
    warn(headers, warnings.iter().chain(&reply.warnings));
    headers.insert(X_REQUEST_ID, printable(id.as_str()));
    response
}

/// What a page of ours may load and whom it may ask: nobody but this server. Swagger UI writes styles into its elements.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file that a browser loads.
fn web_file(file: WebFile, id: &RequestId) -> Response<Outgoing> {
    let mut response = Response::new(Either::Left(Full::new(file.bytes)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if file.is_gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(X_REQUEST_ID, printable(id.as_str()));
    response
}

/// In which form an error's text is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ErrorShape {
    /// Ours: the text itself.
    Text,
    /// That of OpenAI's API, whose client libraries show the message of no other.
    Openai,
    /// That of Ollama's API: a text, in its words.
    Ollama,
}

/// The body of an error.
pub(super) fn error_body(error: &Error, shape: ErrorShape) -> Value {
    let mut body = Map::new();
    body.insert(
        "error".to_owned(),
        match shape {
            ErrorShape::Text => json!(error.message()),
            ErrorShape::Openai => error.openai_object(),
            ErrorShape::Ollama => json!(error.ollama_text()),
        },
    );
    body.extend(error.fields().iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Value::Object(body)
}

/// The answer to a failed request.
pub(super) fn error(error: &Error, shape: ErrorShape, warnings: &[String], id: &RequestId) -> Response<Outgoing> {
    let body = error_body(error, shape);
    let mut response = Response::new(Either::Left(Full::new(Bytes::from(format!("{body}\n")))));
    *response.status_mut() = status(error.code());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_REQUEST_ID, printable(id.as_str()));
    if let Some(served) = error.served() {
        name_server(headers, served);
    }
    if let Some(run) = error.run() {
        headers.insert(X_RUN, printable(run.as_str()));
    }
    warn(headers, warnings.iter());
    if let Some(reason) = error.reason() {
        headers.insert(X_REASON, HeaderValue::from_static(reason.as_str()));
    }
    if let Some(seconds) = error.retry_after_seconds() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if shape == ErrorShape::Openai
        && let Some(should_retry) = error.code().meaning().should_retry
    {
        headers.insert("x-should-retry", HeaderValue::from_static(if should_retry { "true" } else { "false" }));
    }
    match error.code() {
        ErrorCode::Unauthorized => {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The rest of the body is still on its way; nothing sensible can follow it on this connection.
        ErrorCode::BodyTooLarge | ErrorCode::RequestTimeout => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// The 405 for a path that knows only these methods.
pub(super) fn method_not_allowed(allow: &str, shape: ErrorShape, id: &RequestId) -> Response<Outgoing> {
    let wrong = Error::new(ErrorCode::MethodNotAllowed, format!("method not allowed here; the path takes {allow}"));
    let mut response = error(&wrong, shape, &[], id);
    response.headers_mut().insert(header::ALLOW, printable(allow));
    response
}

fn warn<'a>(headers: &mut HeaderMap, warnings: impl Iterator<Item = &'a String>) {
    for warning in warnings.take(MAX_WARNINGS) {
        headers.append(X_WARNING, printable(warning));
    }
}

fn name_server(headers: &mut HeaderMap, served: &Served) {
    headers.insert(X_BACKEND, printable(served.backend.as_str()));
    headers.insert(X_POOL, printable(served.pool.as_str()));
    headers.insert(X_MODEL, printable(&served.model));
    headers.insert(X_ATTEMPTS, HeaderValue::from(served.attempts));
    if served.is_shared {
        headers.insert(X_SHARED, HeaderValue::from_static("true"));
    }
    if let Some(was_kept) = served.was_kept {
        headers.insert(X_CACHE, HeaderValue::from_static(if was_kept { "hit" } else { "miss" }));
    }
}

/// A text as a header value: what a header cannot hold becomes `?`.
fn printable(text: &str) -> HeaderValue {
    let safe = match text.len() <= MAX_HEADER_CHARS && text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        true => Cow::Borrowed(text),
        false => text.chars().take(MAX_HEADER_CHARS).map(|c| if matches!(c, ' '..='~') { c } else { '?' }).collect(),
    };
    HeaderValue::from_str(&safe).unwrap_or_else(|_| HeaderValue::from_static("?"))
}
