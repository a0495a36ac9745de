//! What comes in: path, query and body of one request as typed values, within limits.

use std::{
    num::IntErrorKind,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Either};
use hyper::{Method, body::Body, header, http::request::Parts};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::{admission::bodies::HeldBody, discard, gathered::Gathered, respond::ErrorShape};
use crate::{
    api::{reply::EVENT_STREAM, scope::Scope},
    dialect::{
        document::{self, Document, DocumentError},
        loose,
    },
    domain::{
        ids::RequestId,
        ledger::Spending,
        page::{MAX_LIMIT, Page},
        pool::Policy,
        priority::Priority,
        provider::ProviderKind,
        route::Keeping,
        slip::Slip,
        time::Timestamp,
    },
    error::{Error, ErrorCode},
};

/// Values of one header that chooses where a request goes, and the bytes of each.
const MAX_WISHES: usize = 32;
const MAX_WISH_BYTES: usize = 512;
/// Latest deadline of a request.
const MAX_DEADLINE_MS: u64 = 24 * 60 * 60 * 1000;
/// Larger bodies are decoded aside.
const DECODED_IN_PLACE_BYTES: usize = 64 << 10;

/// Limits of a body.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    pub(super) bytes: usize,
    pub(super) time: Duration,
}

/// One request. `B` is hyper's body, or a test's.
pub(super) struct Request<B> {
    pub(super) id: RequestId,
    /// When its head was read; deadlines count from here.
    pub(super) arrived: Instant,
    pub(super) head: Parts,
    body: Option<B>,
    limits: BodyLimits,
    /// Decoded segments of the path.
    pub(super) path: Vec<String>,
    query: Vec<(String, String)>,
    /// What was read differently from how it was written.
    pub(super) warnings: Vec<String>,
    /// Where it is written down what its calls cost.
    pub(super) spending: Spending,
    /// How long its answer is wanted, where it does not say it.
    pub(super) patience: Option<Duration>,
    /// How long its body took to come.
    pub(super) received: Duration,
    held: HeldBody,
}

impl<B> Request<B>
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    /// Takes a request apart; its path is decoded later.
    pub(super) fn new(id: RequestId, request: hyper::Request<B>, limits: BodyLimits, held: HeldBody) -> Self {
        let (head, body) = request.into_parts();
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self {
            id,
            arrived: tokio::time::Instant::now().into_std(),
            head,
            body: Some(body),
            limits,
            path: Vec::new(),
            query,
            warnings: Vec::new(),
            spending: Spending::UNCOUNTED,
            patience: None,
            received: Duration::ZERO,
            held,
        }
    }

    /// Decodes the path exactly once, segment by segment.
    pub(super) fn decode_path(&mut self) -> Result<(), Error> {
        let decode = |segment: &str| percent_decode_str(segment).decode_utf8().map(std::borrow::Cow::into_owned);
        let path: Result<Vec<String>, _> = self.head.uri.path().split('/').skip(1).map(decode).collect();
        self.path = path.map_err(|_| Error::invalid("the path is not valid UTF-8 after percent-decoding"))?;
        Ok(())
    }

    /// Throws away the body that no handler has read, because the request was refused or takes none. A client that waits
    /// for a `100 Continue` has sent nothing and is not asked to.
    pub(super) async fn discard_rest(&mut self) {
        let Some(body) = self.body.take() else { return };
        if !body.is_end_stream() && !self.head.headers.contains_key(header::EXPECT) {
            discard::all(body, self.limits.bytes).await;
        }
    }

    /// The same for a request that must not cost much: throws away a small body, so that the connection can go on, and
    /// reads nothing of a large one. False when something is left, and the connection must end with the answer.
    pub(super) async fn discard_small(&mut self) -> bool {
        let Some(mut body) = self.body.take() else { return true };
        if body.is_end_stream() {
            return true;
        }
        !self.head.headers.contains_key(header::EXPECT) && discard::small(&mut body).await
    }

    /// The method, with `HEAD` read as `GET`.
    pub(super) fn method(&self) -> Method {
        if self.head.method == Method::HEAD { Method::GET } else { self.head.method.clone() }
    }

    /// The form in which this client reads errors.
    pub(super) fn error_shape(&self) -> ErrorShape {
        let path = self.head.uri.path();
        if path == "/v1" || path.starts_with("/v1/") || self.is_chain_chat_of_openais_client() {
            ErrorShape::Openai
        } else if path.starts_with("/api/") {
            ErrorShape::Ollama
        } else {
            ErrorShape::Text
        }
    }

    /// Whether it is a chat with a chain by one of OpenAI's own client libraries, which all name themselves.
    fn is_chain_chat_of_openais_client(&self) -> bool {
        let named = self.head.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
        self.head.uri.path().ends_with("/v1/chat/completions")
            && (self.head.headers.contains_key("x-stainless-lang")
                || named.is_some_and(|agent| agent.starts_with("OpenAI/") || agent.starts_with("AsyncOpenAI/")))
    }

    /// A segment of the path; the router only asks for those its pattern has.
    pub(super) fn segment(&self, at: usize) -> &str {
        self.path.get(at).map_or("", String::as_str)
    }

    /// A query parameter.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A query parameter that is `true`; its name and its value in any case.
    pub(super) fn flag(&self, name: &str) -> bool {
        let named = self.query.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.is_some_and(|(_, value)| value.eq_ignore_ascii_case("true"))
    }

    /// `version` of a stored chain (`docs/api.md`, stored chains).
    pub(super) fn version(&self) -> Result<Option<u64>, Error> {
        let Some(text) = self.query("version") else { return Ok(None) };
        match text.parse::<u64>() {
            Ok(version @ 1..) => Ok(Some(version)),
            // Beyond 64 bits it is still a number, of a version that does not exist.
            Err(error) if *error.kind() == IntErrorKind::PosOverflow => Ok(Some(u64::MAX)),
            _ => {
                let message = format!("query parameter 'version' must be a whole number from 1 on, not {}", Slip(text));
                Err(Error::unprocessable(message))
            }
        }
    }

    /// The last event that the client has seen, where it goes on with a stream.
    pub(super) fn last_event_id(&self) -> Option<&str> {
        self.head.headers.get("last-event-id").and_then(|value| value.to_str().ok()).filter(|id| !id.is_empty())
    }

    /// Whether the client wants to know where the time went.
    pub(super) fn wants_timing(&self) -> bool {
        self.head.headers.get("x-penstock-timing").is_some_and(|value| value.as_bytes().trim_ascii() == b"1")
    }

    /// Whether the client asks for live events instead of one answer.
    pub(super) fn wants_events(&self) -> bool {
        let accepted = self.head.headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let mut types = accepted.flat_map(|list| list.split(',')).filter_map(|item| item.split(';').next());
        types.any(|media| media.trim().eq_ignore_ascii_case(EVENT_STREAM))
    }

    /// What the headers ask of routing (`docs/api.md`, choosing where a request goes).
    pub(super) fn scope(&self) -> Result<Scope, Error> {
        let pool = self.wish("x-penstock-pool")?;
        let mut scope = Scope { pool, spending: self.spending.clone(), ..Scope::default() };
        scope.session = self.wish("x-penstock-session")?;
        scope.strategy = self.policy()?;
        scope.priority = self.priority()?;
        scope.deadline = self.deadline()?;
        scope.keeping = self.keeping();
        for name in self.wishes("x-penstock-provider")? {
            let kind = ProviderKind::parse(&name).ok_or_else(|| {
                Error::invalid(format!(
                    "header X-Penstock-Provider must name ollama, vllm, openai or gemini, not {}",
                    Slip(&name)
                ))
            })?;
            scope.providers.push(kind);
        }
        for label in self.wishes("x-penstock-require")? {
            let (name, value) = label.split_once('=').unwrap_or_default();
            let (name, value) = (name.trim(), value.trim());
            // A wish that says nothing is a slip, and what it should have forbidden must not be allowed.
            if name.is_empty() || value.is_empty() {
                let message = format!("header X-Penstock-Require must be name=value, not {}", Slip(&label));
                return Err(Error::invalid(message));
            }
            if let Some(other) = scope.require.insert(name.to_owned(), value.to_owned())
                && other != value
            {
                let message = format!("header X-Penstock-Require wants two values of label '{name}'");
                return Err(Error::invalid(message));
            }
        }
        Ok(scope)
    }

    /// What `Cache-Control` says (RFC 9111, 5.2.1); other words in it are for other caches.
    fn keeping(&self) -> Keeping {
        let values =
            self.head.headers.get_all(header::CACHE_CONTROL).into_iter().filter_map(|value| value.to_str().ok());
        let words = values.flat_map(|value| value.split(',')).map(str::trim);
        let meaning = |word: &str| match word {
            _ if word.eq_ignore_ascii_case("no-store") => Keeping::Forbidden,
            _ if word.eq_ignore_ascii_case("no-cache") || word.eq_ignore_ascii_case("max-age=0") => Keeping::Anew,
            _ => Keeping::Allowed,
        };
        words.map(meaning).max().unwrap_or_default()
    }

    fn policy(&self) -> Result<Option<Policy>, Error> {
        let Some(name) = self.wish("x-penstock-policy")? else { return Ok(None) };
        let policy = Policy::parse(&name).ok_or_else(|| {
            let known = Policy::ALL.map(Policy::as_str).join(", ");
            Error::invalid(format!("header X-Penstock-Policy must be one of {known}, not {}", Slip(&name)))
        })?;
        Ok(Some(policy))
    }

    fn priority(&self) -> Result<Option<Priority>, Error> {
        let Some(name) = self.wish("x-penstock-priority")? else { return Ok(None) };
        let class = Priority::parse(&name);
        let class = class.ok_or_else(|| {
            Error::invalid(format!(
                "header X-Penstock-Priority must be interactive, standard or batch, not {}",
                Slip(&name)
            ))
        })?;
        Ok(Some(class))
    }

    /// Counted from the arrival of the request.
    fn deadline(&self) -> Result<Option<Instant>, Error> {
        let Some(text) = self.wish("x-penstock-deadline-ms")? else {
            return Ok(self.patience.map(|patience| self.arrived + patience));
        };
        let time = text.parse::<u64>().ok().filter(|ms| (1..=MAX_DEADLINE_MS).contains(ms));
        let time = time.ok_or_else(|| {
            Error::invalid(format!(
                "header X-Penstock-Deadline-Ms must be whole milliseconds from 1 to {MAX_DEADLINE_MS}, not {}",
                Slip(&text)
            ))
        })?;
        Ok(Some(self.arrived + Duration::from_millis(time)))
    }

    /// A header's only value.
    fn wish(&self, name: &str) -> Result<Option<String>, Error> {
        let mut values = self.head.headers.get_all(name).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = std::str::from_utf8(value.as_bytes()).map(str::trim);
        match text {
            Ok(text) if text.len() > MAX_WISH_BYTES => {
                Err(Error::invalid(format!("header {name} is longer than {MAX_WISH_BYTES} bytes")))
            }
            Ok(text) if !text.is_empty() && values.next().is_none() => Ok(Some(text.to_owned())),
            _ => Err(Error::invalid(format!("header {name} must be sent once, with a value in UTF-8"))),
        }
    }

    /// A header's values, in lists or one by one.
    fn wishes(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut wishes = Vec::new();
        for value in self.head.headers.get_all(name) {
            let text = std::str::from_utf8(value.as_bytes())
                .map_err(|_| Error::invalid(format!("header {name} is not valid UTF-8")))?;
            let items: Vec<&str> = text.split(',').map(str::trim).collect();
            // An empty wish is a slip, and what it should have forbidden must not be allowed.
            if items.iter().any(|item| item.is_empty()) {
                return Err(Error::invalid(format!("header {name} has an empty value")));
            }
            if wishes.len() + items.len() > MAX_WISHES || items.iter().any(|item| item.len() > MAX_WISH_BYTES) {
                let message = format!(
                    "header {name} has more than {MAX_WISHES} values, or one longer than {MAX_WISH_BYTES} bytes"
                );
                return Err(Error::invalid(message));
            }
            wishes.extend(items.into_iter().map(str::to_owned));
        }
        Ok(wishes)
    }

    /// `limit` and `cursor` (`docs/api.md`, pagination).
    pub(super) fn page(&self) -> Result<Page, Error> {
        let mut page = Page::default();
        if let Some(text) = self.query("limit") {
            let limit = match text.parse::<i64>() {
                // Beyond 64 bits it is still a number, and above the maximum.
                Err(error) if *error.kind() == IntErrorKind::PosOverflow => i64::MAX,
                parsed => parsed.map_err(|_| {
                    Error::unprocessable(format!("query parameter 'limit' must be a whole number, not {}", Slip(text)))
                })?,
            };
            page.limit = match usize::try_from(limit) {
                Ok(limit @ 1..=MAX_LIMIT) => limit,
                Ok(limit) if limit > MAX_LIMIT => {
                    let message = format!("query parameter 'limit' must not be above {MAX_LIMIT}, it is {text}");
                    return Err(Error::invalid(message));
                }
                _ => return Err(Error::unprocessable("query parameter 'limit' must be at least 1")),
            };
        }
        if let Some(text) = self.query("cursor") {
            // An offset's `+` that was not percent-encoded arrives as a space.
            let cursor = Timestamp::parse_rounding_up(&text.replace(' ', "+"));
            page.before =
                Some(cursor.map_err(|error| Error::unprocessable(format!("query parameter 'cursor': {error}")))?);
        }
        Ok(page)
    }

    /// The body as a typed value, whatever its format and its spelling of field names.
    pub(super) async fn read<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let value = self.read_exact().await?;
        loose::from_value(value).map_err(|error| Error::invalid(format!("the request body: {error}")))
    }

    /// The body's bytes, for routes that may send them on as they are. Whatever the type says, it must be JSON.
    pub(super) async fn bytes(&mut self) -> Result<Bytes, Error> {
        self.collect().await
    }

    /// The body as it is, for routes that speak somebody else's language.
    pub(super) async fn read_exact(&mut self) -> Result<serde_json::Value, Error> {
        let document = self.document().await?;
        Ok(document.map_err(|error| Error::invalid(error.to_string()))?.value)
    }

    /// The body with its text, for routes that take chains; the inner error is a body that cannot be read.
    pub(super) async fn document(&mut self) -> Result<Result<Document, DocumentError>, Error> {
        let (content_type, body) = self.typed_bytes().await?;
        self.decoded(content_type, body).await
    }

    /// The same, for a route that may know a body of JSON by its bytes, and then need not read it.
    pub(super) async fn document_unless<T>(
        &mut self,
        known: impl FnOnce(&[u8]) -> Option<T>,
    ) -> Result<Either<T, Result<Document, DocumentError>>, Error> {
        let (content_type, body) = self.typed_bytes().await?;
        let is_json = content_type.as_deref().is_none_or(|text| text.eq_ignore_ascii_case("application/json"));
        match if is_json { known(&body) } else { None } {
            Some(known) => Ok(Either::Left(known)),
            None => self.decoded(content_type, body).await.map(Either::Right),
        }
    }

    async fn typed_bytes(&mut self) -> Result<(Option<String>, Bytes), Error> {
        let content_type = match self.head.headers.get(header::CONTENT_TYPE) {
            None => None,
            Some(value) => {
                let text = value.to_str().map_err(|_| Error::invalid("the Content-Type header is not plain ASCII"))?;
                Some(text.to_owned())
            }
        };
        Ok((content_type, self.collect().await?))
    }

    async fn decoded(
        &mut self,
        content_type: Option<String>,
        body: Bytes,
    ) -> Result<Result<Document, DocumentError>, Error> {
        match decode(content_type, body).await? {
            Ok(document) => {
                self.warnings.extend(document.warnings());
                Ok(Ok(document))
            }
            Err(error @ DocumentError::UnsupportedMediaType(_)) => {
                Err(Error::new(ErrorCode::UnsupportedMediaType, error.to_string()))
            }
            Err(error @ DocumentError::BadHeader(_)) => Err(Error::invalid(error.to_string())),
            Err(error @ DocumentError::Malformed { .. }) => Ok(Err(error)),
        }
    }

    /// Refuses a body that is not there as it is.
    fn refuse_encoded(&self) -> Result<(), Error> {
        let encodings = self.head.headers.get_all(header::CONTENT_ENCODING);
        let is_plain =
            |value: &header::HeaderValue| value.is_empty() || value.as_bytes().eq_ignore_ascii_case(b"identity");
        if encodings.iter().all(is_plain) {
            return Ok(());
        }
        let message = "a body with a Content-Encoding is not read; send it as it is, without that header";
        Err(Error::new(ErrorCode::UnsupportedMediaType, message))
    }

    async fn collect(&mut self) -> Result<Bytes, Error> {
        let began = tokio::time::Instant::now();
        let body = self.collect_body().await;
        self.received = began.elapsed();
        body
    }

    async fn collect_body(&mut self) -> Result<Bytes, Error> {
        self.refuse_encoded()?;
        let Some(mut body) = self.body.take() else { return Ok(Bytes::new()) };
        let limit = self.limits.bytes;
        let too_large = || {
            let message = format!("the request body is larger than {limit} bytes (MAX_BODY_BYTES)");
            Error::new(ErrorCode::BodyTooLarge, message)
        };
        if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
            if !self.head.headers.contains_key(header::EXPECT) {
                discard::all(body, limit).await;
            }
            return Err(too_large());
        }
        let announced = body.size_hint().exact();
        if let Err(full) = self.held.expect(announced.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default())
        {
            // Unread: that is for whoever answers.
            self.body = Some(body);
            return Err(full);
        }
        let mut gathered = Gathered::announced(announced);
        let held = &mut self.held;
        let read = async {
            while let Some(frame) = body.frame().await {
                let frame = frame
                    .map_err(|error| Error::invalid("the request body broke off before its end").with_detail(error))?;
                if let Ok(data) = frame.into_data() {
                    if gathered.len() + data.len() > limit {
                        return Err(too_large());
                    }
                    held.grow(gathered.len() + data.len())?;
                    gathered.add(data);
                }
            }
            Ok(())
        };
        let outcome = tokio::time::timeout(self.limits.time, read)
            .await
            .unwrap_or_else(|_| Err(Error::new(ErrorCode::RequestTimeout, "the request body did not arrive in time")));
        if outcome.as_ref().is_err_and(|error| error.code() == ErrorCode::BodyTooLarge) {
            discard::all(body, limit).await;
        } else if outcome.as_ref().is_err_and(|error| error.reason().is_some()) {
            self.body = Some(body);
        }
        outcome.map(|()| gathered.finish())
    }
}

/// Decodes a body; a large one on a thread of its own, because reading megabytes of YAML takes longer than other requests
/// on this thread should wait.
async fn decode(content_type: Option<String>, body: Bytes) -> Result<Result<Document, DocumentError>, Error> {
    if body.len() <= DECODED_IN_PLACE_BYTES {
        return Ok(document::read(content_type.as_deref(), &body));
    }
    tokio::task::spawn_blocking(move || document::read(content_type.as_deref(), &body))
        .await
        .map_err(|error| Error::new(ErrorCode::Internal, "the request body could not be decoded").with_detail(error))
}

/// The client's own id if it is printable and short, else a new one (`docs/api.md`, answers).
pub(super) fn request_id(headers: &header::HeaderMap) -> RequestId {
    let sent = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let is_usable = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    // It is no secret: randomness of the system's would cost a call of the system for each request.
    let random = || uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid().to_string();
    RequestId::new(sent.filter(is_usable).map_or_else(random, str::to_owned))
}

/// The trace and span ids of a W3C `traceparent` header, for the log.
pub(super) fn trace_parent(headers: &header::HeaderMap) -> Option<(&str, &str)> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut parts = text.split('-').skip(1);
    let (trace, span) = (parts.next()?, parts.next()?);
    let is_hex = |text: &str, length: usize| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_hex(trace, 32) && is_hex(span, 16)).then_some((trace, span))
}

#[cfg(test)]
mod tests;
