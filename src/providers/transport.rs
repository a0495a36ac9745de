//! HTTP to backends and hooks: a timeout for each phase, answers of bounded size. Plain HTTP goes over connections of our own
//! (`direct`), everything else through one reqwest client.

mod answer;
mod direct;
mod pieces;
mod spliced;

use std::{error::Error, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Body, Client, Method, Url, header};

pub(super) use self::{answer::Answer, pieces::Pieces};
use self::{answer::NoAnswer, direct::DirectClient, pieces::Deadline, spliced::Spliced};
use super::{ProviderError, ProviderErrorKind};
use crate::{domain::backend::ApiKey, telemetry::stages};

/// Longest reply that is collected in memory.
const MAX_REPLY_BYTES: usize = 64 << 20;
/// Bytes of an error body that are looked at.
const MAX_ERROR_BYTES: usize = 64 << 10;
/// Shorter than the five seconds after which uvicorn and llama.cpp close an idle connection, so that we never send
/// into a connection the server is just closing.
const POOL_IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one server.
const POOL_IDLE_CONNECTIONS: usize = 256;
const USER_AGENT: &str = concat!("penstock/", env!("CARGO_PKG_VERSION"));

/// Timeouts by phase (`docs/operations.md`, defaults).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportConfig {
    /// Until a connection stands.
    pub connect: Duration,
    /// From sending until the answer begins.
    pub first_byte: Duration,
    /// Between two pieces of an answer.
    pub idle: Duration,
    /// For everything.
    pub total: Duration,
}

/// Where a backend is and what opens it.
#[derive(Clone)]
pub struct Target {
    /// Without trailing slashes.
    pub base_url: String,
    /// Sent as a bearer token, or as the kind of backend wants it.
    pub api_key: Option<ApiKey>,
}

/// The client all backends share; cheap to clone.
#[derive(Clone)]
pub struct Transport {
    client: Client,
    direct: DirectClient,
    config: TransportConfig,
}

/// How a call proves that it may be made. A key goes into a header, never into a URL.
#[derive(Clone, Copy)]
pub(crate) enum Credential<'a> {
    None,
    /// `Authorization: Bearer`.
    Bearer(&'a ApiKey),
    /// Google's own header.
    GoogleKey(&'a ApiKey),
}

impl Target {
    /// The key as most servers take it.
    pub(super) fn bearer(&self) -> Credential<'_> {
        self.api_key.as_ref().map_or(Credential::None, Credential::Bearer)
    }

    /// The key as Google takes it.
    pub(super) fn google_key(&self) -> Credential<'_> {
        self.api_key.as_ref().map_or(Credential::None, Credential::GoogleKey)
    }
}

/// One request to be sent.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: &'a Url,
    pub(crate) credential: Credential<'a>,
    /// JSON; none for GET.
    pub(crate) body: Option<Vec<u8>>,
}

impl Transport {
    /// Builds the client. TLS needs a process-wide provider to be installed before (`main`, test set-up).
    ///
    /// # Errors
    /// When the platform's certificate store or resolver cannot be set up.
    pub fn new(config: TransportConfig) -> Result<Self, reqwest::Error> {
        let client = Client::builder()
            .connect_timeout(config.connect)
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS)
            .tcp_nodelay(true)
            // Retries are the runtime's decision, and a redirect could carry a prompt where nobody sent it.
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(USER_AGENT)
            .build()?;
        Ok(Self { client, direct: DirectClient::new(config.connect), config })
    }

    /// The client itself, for callers with rules of their own (`hooks`).
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// When a call that begins now must be over.
    fn deadline(&self) -> Deadline {
        Deadline::within(self.config.total)
    }

    /// Sends a request and collects the whole body of a successful answer.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Bytes, ProviderError> {
        let exchange = async {
            let mut answer = self.open(call).await?;
            self.whole(&mut answer).await
        };
        self.deadline().hold(exchange).await
    }

    /// The body of a successful answer. Its first byte may come long after its headers, when all of it has been made.
    async fn whole(&self, answer: &mut Answer) -> Result<Bytes, ProviderError> {
        collect(answer, self.config.first_byte, self.config.idle, MAX_REPLY_BYTES).await
    }

    /// Sends a request and returns as soon as a successful answer begins; its pieces are waited for by phase.
    pub(super) async fn stream(&self, call: Call<'_>) -> Result<Pieces, ProviderError> {
        let end = self.deadline();
        let answer = end.hold(self.open(call)).await?;
        Ok(self.pieces(answer, end))
    }

    fn pieces(&self, answer: Answer, end: Deadline) -> Pieces {
        Pieces::new(answer, self.config.first_byte, self.config.idle, end)
    }

    /// Posts the bytes of a client as they are and collects the answer, with its media type.
    pub(super) async fn send_pieces(
        &self,
        url: &Url,
        credential: Credential<'_>,
        body: [Bytes; 3],
    ) -> Result<(String, Bytes), ProviderError> {
        let exchange = async {
            let mut answer = self.open_body(Method::POST, url, credential, Some(Spliced::of(body))).await?;
            let content_type = answer.content_type().to_owned();
            Ok((content_type, self.whole(&mut answer).await?))
        };
        self.deadline().hold(exchange).await
    }

    /// Posts the bytes of a client as they are and returns as soon as a successful answer begins.
    pub(super) async fn stream_pieces(
        &self,
        url: &Url,
        credential: Credential<'_>,
        body: [Bytes; 3],
    ) -> Result<Pieces, ProviderError> {
        let end = self.deadline();
        let answer = end.hold(self.open_body(Method::POST, url, credential, Some(Spliced::of(body)))).await?;
        Ok(self.pieces(answer, end))
    }

    /// Sends a request and returns as soon as a successful answer begins; the caller reads its pieces.
    pub(super) async fn open(&self, call: Call<'_>) -> Result<Answer, ProviderError> {
        let body = call.body.map(|body| Spliced::of([body.into(), Bytes::new(), Bytes::new()]));
        self.open_body(call.method, call.url, call.credential, body).await
    }

    async fn open_body(
        &self,
        method: Method,
        url: &Url,
        credential: Credential<'_>,
        body: Option<Spliced>,
    ) -> Result<Answer, ProviderError> {
        let mut headers = header::HeaderMap::new();
        match credential {
            Credential::None => {}
            Credential::Bearer(key) => drop(headers.insert(header::AUTHORIZATION, secret("Bearer ", key)?)),
            Credential::GoogleKey(key) => drop(headers.insert("x-goog-api-key", secret("", key)?)),
        }
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        }
        let mut answer =
            tokio::time::timeout(self.config.first_byte, self.begin(method, url, headers, body)).await.map_err(
                |_| timeout(format!("the backend did not begin to answer within {:?}", self.config.first_byte)),
            )??;
        stages::answered();
        if answer.status.is_success() {
            return Ok(answer);
        }
        let retry_after = retry_after(&answer.headers, jiff::Timestamp::now());
        let idle = self.config.idle;
        let body = collect(&mut answer, idle, idle, MAX_ERROR_BYTES).await.unwrap_or_default();
        Err(ProviderError::from_status(answer.status.as_u16(), retry_after, &body))
    }

    /// Sends a request and waits for the head of its answer, whatever that says.
    async fn begin(
        &self,
        method: Method,
        url: &Url,
        headers: header::HeaderMap,
        body: Option<Spliced>,
    ) -> Result<Answer, ProviderError> {
        if let Some(target) = self.direct.target(url) {
            let sent = self.direct.send(target, method, headers, body.unwrap_or_default()).await;
            return sent.map(Answer::direct).map_err(not_answered);
        }
        let request = self.client.request(method, url.clone()).headers(headers);
        let request = match body {
            Some(body) => request.body(Body::wrap(body)),
            None => request,
        };
        request.send().await.map(Answer::reqwest).map_err(|error| not_answered(reason(&error)))
    }
}

/// The next piece of an answer, `None` at its end.
pub(super) async fn next_piece(answer: &mut Answer, idle: Duration) -> Result<Option<Bytes>, ProviderError> {
    tokio::time::timeout(idle, answer.chunk()).await.map_err(|_| silent(idle))?
}

fn silent(limit: Duration) -> ProviderError {
    stalled(format!("the backend fell silent for {limit:?} in the middle of its answer"))
}

/// All of a body, whose first piece may take as long as `first` and each further one as long as `idle`.
async fn collect(answer: &mut Answer, first: Duration, idle: Duration, limit: usize) -> Result<Bytes, ProviderError> {
    let mut gathered = Gathered::up_to(limit);
    let mut next = next_piece(answer, first).await.map_err(ProviderError::before_the_first_word)?;
    while let Some(piece) = next {
        gathered.add(piece)?;
        next = next_piece(answer, idle).await?;
    }
    Ok(gathered.whole.freeze())
}

/// The pieces of an answer as one. An answer of one piece is that piece and no copy.
struct Gathered {
    whole: BytesMut,
    limit: usize,
}

impl Gathered {
    fn up_to(limit: usize) -> Self {
        Self { whole: BytesMut::new(), limit }
    }

    fn add(&mut self, piece: Bytes) -> Result<(), ProviderError> {
        if self.whole.is_empty() {
            self.whole = BytesMut::from(piece);
        } else {
            self.whole.extend_from_slice(&piece);
        }
        if self.whole.len() > self.limit {
            let message = format!("the backend's answer is larger than {} bytes", self.limit);
            return Err(ProviderError::new(ProviderErrorKind::Reply, message));
        }
        Ok(())
    }
}

fn too_long(limit: Duration) -> ProviderError {
    stalled(format!("the call took longer than {limit:?}"))
}

fn timeout(message: String) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Timeout, message)
}

fn stalled(message: String) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Stalled, message)
}

/// What reqwest met.
fn reason(error: &reqwest::Error) -> NoAnswer {
    if error.is_timeout() {
        NoAnswer::ConnectTimeout
    } else if error.is_connect() {
        NoAnswer::Connect(root_cause(error).to_string())
    } else {
        NoAnswer::Closed
    }
}

fn not_answered(error: NoAnswer) -> ProviderError {
    match error {
        NoAnswer::ConnectTimeout => timeout("the backend could not be reached in time".to_owned()),
        NoAnswer::Connect(reason) => {
            ProviderError::new(ProviderErrorKind::Connect, format!("the backend cannot be reached ({reason})"))
        }
        NoAnswer::Closed => {
            ProviderError::new(ProviderErrorKind::Connect, "the backend closed the connection before it answered")
        }
    }
}

/// The innermost error, for example "Connection refused"; it holds no URL and no key.
pub(crate) fn root_cause<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

/// A key as a header value that no debug output shows.
fn secret(scheme: &str, key: &ApiKey) -> Result<header::HeaderValue, ProviderError> {
    let value = header::HeaderValue::try_from(format!("{scheme}{}", key.expose()));
    let mut value = value.map_err(|_| {
        ProviderError::new(ProviderErrorKind::Auth, "the API key has characters that no header can carry")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `retry-after-ms`, else `retry-after` in seconds or as a date; nonsense counts as absent, a date that has passed as now.
pub(crate) fn retry_after(headers: &header::HeaderMap, now: jiff::Timestamp) -> Option<Duration> {
    let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
    let wait = |name: &str, unit: f64| Duration::try_from_secs_f64(text(name)?.parse::<f64>().ok()? * unit).ok();
    let date = || {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text("retry-after")?).ok()?;
        Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
    };
    wait("retry-after-ms", 0.001).or_else(|| wait("retry-after", 1.0)).or_else(date)
}

/// A base URL with a path behind it.
pub(super) fn join(base_url: &str, path: &str) -> Result<Url, ProviderError> {
    Url::parse(&format!("{base_url}{path}"))
        .map_err(|error| ProviderError::new(ProviderErrorKind::Connect, format!("the base URL is unusable: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_read_in_milliseconds_in_seconds_and_as_a_date() {
        let now: jiff::Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (name, value, wait) in [
            ("retry-after-ms", "1500", Some(1500)),
            ("retry-after", "0.5", Some(500)),
            ("retry-after", " 7 ", Some(7000)),
            ("retry-after", "Fri, 02 Jan 2026 03:05:05 GMT", Some(60_000)),
            ("retry-after", "Fri, 02 Jan 2026 03:04:00 GMT", Some(0)),
            ("retry-after", "soon", None),
            ("retry-after", "-1", None),
            ("retry-after", "inf", None),
        ] {
            let headers = header::HeaderMap::from_iter([(
                header::HeaderName::from_static(name),
                header::HeaderValue::from_static(value),
            )]);
            assert_eq!(retry_after(&headers, now).map(|wait| wait.as_millis()), wait, "{value}");
        }
        assert_eq!(retry_after(&header::HeaderMap::new(), now), None);
        let mut both = header::HeaderMap::new();
        both.insert("retry-after-ms", header::HeaderValue::from_static("-1"));
        both.insert("retry-after", header::HeaderValue::from_static("7"));
        assert_eq!(retry_after(&both, now), Some(Duration::from_secs(7)), "nonsense in one does not hide the other");
    }

    #[test]
    fn a_key_is_no_part_of_what_a_header_shows() {
        let value = secret("Bearer ", &ApiKey::new("AIza-secret-0123456789")).ok().unwrap();
        assert!(!format!("{value:?}").contains("secret"));
        assert_eq!(value.to_str().unwrap(), "Bearer AIza-secret-0123456789");
        assert!(secret("", &ApiKey::new("two\nlines")).is_err());
    }
}
