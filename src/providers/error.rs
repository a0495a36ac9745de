//! How a call to a backend fails, classified once by phase and status (`docs/backends.md`, failures).

use std::time::Duration;

use crate::{
    dialect::{
        error_body::{ErrorBody, parse_error},
        reply::ReplyError,
        unsayable::Unsayable,
    },
    domain::failure::{Failure, FailureClass, ToldFault},
};

/// What a failure means for whoever chooses the next step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// The call itself was wrong (4xx); another backend would say the same.
    Caller,
    /// The backend asked to slow down (429).
    RateLimited,
    /// What the key may spend is spent (429 with a code of its own): waiting does not help, another key may.
    Quota,
    /// The prompt does not fit the model.
    ContextLength,
    /// The key was missing or refused (401, 403).
    Auth,
    /// Passing trouble (502, 503, 504, and the like of a hosted server's front).
    Transient,
    /// The backend failed on this call (500 and other 5xx).
    Server,
    /// No connection.
    Connect,
    /// The connection broke, or the reply stopped, after it had begun.
    Cut,
    /// No connection or no first byte in time.
    Timeout,
    /// The answer had begun and took too long.
    Stalled,
    /// A reply that cannot be used: malformed, empty or withheld.
    Reply,
}

/// One failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What it means.
    pub kind: ProviderErrorKind,
    /// Short, for the caller: no key, no prompt, little of the upstream's words.
    pub message: String,
    /// The status the backend answered with, if it did.
    pub status: Option<u16>,
    /// How long the backend asks us to wait.
    pub retry_after: Option<Duration>,
    /// Whether the backend said why in the error format of its protocol. A 404 without that is an unknown path.
    pub is_explained: bool,
    /// What it told of a fault of the caller's, for the caller's own library.
    pub told: Option<Box<ToldFault>>,
}

/// Characters of a backend's own words that are shown to a caller.
const SHOWN_WORDS: usize = 200;
/// Characters of a code or of a field's name that are handed on.
const SHOWN_CODE: usize = 80;

/// Faults that servers have no code for: the status they come with, words they always hold, and what they mean.
const KNOWN_WORDS: [(u16, &str, ProviderErrorKind); 8] = [
    // llama.cpp, of a text to embed that is longer than what it reads at once.
    (500, "too large to process", ProviderErrorKind::ContextLength),
    // llama.cpp, of a picture for a model that sees none.
    (500, "image input is not supported", ProviderErrorKind::Caller),
    // Ollama, of a text to embed that may not be cut.
    (400, "exceeds maximum context length", ProviderErrorKind::ContextLength),
    (400, "exceeds the context length", ProviderErrorKind::ContextLength),
    // Ollama, of a model that does not fit beside what runs there now. Nothing of the call was looked at.
    (500, "requires more system memory", ProviderErrorKind::Transient),
    // Gemini.
    (400, "exceeds the maximum number of tokens", ProviderErrorKind::ContextLength),
    // Gemini, of a key that is none, where its details are missing.
    (400, "API key not valid", ProviderErrorKind::Auth),
    (400, "API key expired", ProviderErrorKind::Auth),
];

impl ProviderError {
    /// A failure without a status.
    pub fn new(kind: ProviderErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), status: None, retry_after: None, is_explained: false, told: None }
    }

    /// From an answer that is no success; `retry_after` is what its headers say.
    pub(super) fn from_status(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Self {
        Self::explained(status, retry_after, parse_error(body))
    }

    /// From an error in place of a reply that had begun well: what it would be if it had come with a status.
    pub(super) fn reported(error: ErrorBody) -> Self {
        let says = |words: &[&str]| error.codes.iter().any(|code| words.contains(&code.as_str()));
        let status = match error.status {
            Some(status) => status,
            None if says(&["invalid_request_error", "BadRequestError", "context_length_exceeded"]) => 400,
            None if says(&["rate_limit_exceeded", "rate_limit_error", "insufficient_quota"]) => 429,
            // Nothing says that the call is at fault; before the first words another backend may take it.
            None => 503,
        };
        Self::explained(status, None, error)
    }

    fn explained(status: u16, retry_after: Option<Duration>, error: ErrorBody) -> Self {
        let kind = kind_of(status, &error);
        let retry_after = retry_after.or(error.retry_after);
        let words = match kind {
            // Some servers repeat the key they refuse.
            ProviderErrorKind::Auth => "check the API key",
            _ => error.message.as_str(),
        };
        let words: String = words.chars().take(SHOWN_WORDS).collect();
        let message = match words.trim() {
            "" => format!("the backend answered {status}"),
            words => format!("the backend answered {status}: {words}"),
        };
        let short = |text: &str| text.chars().take(SHOWN_CODE).collect::<String>();
        let is_the_callers = matches!(kind, ProviderErrorKind::Caller | ProviderErrorKind::ContextLength);
        let told = ToldFault { param: short(&error.param), code: short(&error.code) };
        let told = (is_the_callers && told != ToldFault::default()).then(|| Box::new(told));
        Self { kind, message, status: Some(status), retry_after, is_explained: error.is_protocol, told }
    }

    /// The same of an answer of which nothing has come but its head: as good as none, so that another backend may be tried.
    pub(super) fn before_the_first_word(self) -> Self {
        let (kind, message) = match self.kind {
            ProviderErrorKind::Cut => (ProviderErrorKind::Connect, "the backend broke off before it had said anything"),
            ProviderErrorKind::Stalled => (ProviderErrorKind::Timeout, "the backend said nothing in time"),
            _ => return self,
        };
        Self { kind, message: message.to_owned(), ..self }
    }

    /// Whether the server does not have the route: a 404 or 405 that is not explained in its protocol.
    pub(super) const fn is_unknown_route(&self) -> bool {
        matches!(self.status, Some(404 | 405)) && !self.is_explained
    }

    /// Whether another backend may be tried for the same call: nothing of it can have been answered yet.
    pub const fn may_fail_over(&self) -> bool {
        use ProviderErrorKind::{
            Auth, Caller, Connect, ContextLength, Cut, Quota, RateLimited, Reply, Server, Stalled, Timeout, Transient,
        };
        match self.kind {
            RateLimited | Quota | Transient | Connect | Timeout => true,
            Caller | ContextLength | Auth | Server | Cut | Stalled | Reply => false,
        }
    }
}

/// What a status and the codes beside it mean.
fn kind_of(status: u16, error: &ErrorBody) -> ProviderErrorKind {
    let says = |word: &str| error.codes.iter().any(|code| code == word);
    let known = KNOWN_WORDS.iter().find(|(with, words, _)| *with == status && error.message.contains(words));
    // vLLM has no code for it, but names what is wrong: the input, or so many tokens of a reply that it leaves none for
    // it. A bound that is wrong by itself has the same name.
    let is_too_long_for_vllm = match error.param.as_str() {
        "input_tokens" => true,
        "max_tokens" | "max_completion_tokens" => {
            says("BadRequestError") && error.message.contains("maximum context length")
        }
        _ => false,
    };
    match status {
        _ if says("context_length_exceeded") || says("exceed_context_size_error") => ProviderErrorKind::ContextLength,
        400 if is_too_long_for_vllm => ProviderErrorKind::ContextLength,
        // Gemini's answer to a key that is none.
        400 if says("API_KEY_INVALID") => ProviderErrorKind::Auth,
        _ if says("insufficient_quota") || says("billing_hard_limit_reached") => ProviderErrorKind::Quota,
        // Gemini names the quotas that are spent; one of a day is no matter of waiting, whatever wait it tells.
        429 if error.codes.iter().any(|code| code.contains("PerDay")) => ProviderErrorKind::Quota,
        _ if known.is_some() => known.map_or(ProviderErrorKind::Caller, |(_, _, kind)| *kind),
        402 => ProviderErrorKind::Quota,
        429 => ProviderErrorKind::RateLimited,
        401 | 403 => ProviderErrorKind::Auth,
        // Ollama and its fronts: whoever asked has left. That was not us, who would not read this.
        499 => ProviderErrorKind::Transient,
        // The last four: of fronts of hosted servers, which cannot reach the server, or have too much to do.
        502..=504 | 521..=523 | 529 => ProviderErrorKind::Transient,
        500.. => ProviderErrorKind::Server,
        _ => ProviderErrorKind::Caller,
    }
}

impl From<Unsayable> for ProviderError {
    fn from(error: Unsayable) -> Self {
        Self::new(ProviderErrorKind::Caller, error.to_string())
    }
}

impl From<ReplyError> for ProviderError {
    fn from(error: ReplyError) -> Self {
        let error = match error {
            ReplyError::Cut => return Self::new(ProviderErrorKind::Cut, error.to_string()),
            ReplyError::Explained(body) => return Self::reported(*body),
            error => error,
        };
        let words: String = error.to_string().chars().take(SHOWN_WORDS).collect();
        Self::new(ProviderErrorKind::Reply, words)
    }
}

impl From<ProviderError> for Failure {
    fn from(error: ProviderError) -> Self {
        let class = match error.kind {
            ProviderErrorKind::Caller => FailureClass::InvalidInput,
            ProviderErrorKind::RateLimited => FailureClass::RateLimit,
            ProviderErrorKind::ContextLength => FailureClass::ContextLength,
            // Whoever runs the server must see to the key or to what it may spend; no wait helps.
            ProviderErrorKind::Auth | ProviderErrorKind::Quota => FailureClass::Auth,
            ProviderErrorKind::Transient | ProviderErrorKind::Server => FailureClass::ServerError,
            ProviderErrorKind::Connect | ProviderErrorKind::Cut => FailureClass::Connection,
            ProviderErrorKind::Timeout | ProviderErrorKind::Stalled => FailureClass::Timeout,
            ProviderErrorKind::Reply => FailureClass::InvalidOutput,
        };
        let ProviderError { message, status, retry_after, told, .. } = error;
        Self { class, message, refusal: None, status, retry_after, told }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_decide_the_kind() {
        for (status, kind) in [
            (400, ProviderErrorKind::Caller),
            (401, ProviderErrorKind::Auth),
            (404, ProviderErrorKind::Caller),
            (408, ProviderErrorKind::Caller),
            (429, ProviderErrorKind::RateLimited),
            (500, ProviderErrorKind::Server),
            (501, ProviderErrorKind::Server),
            (503, ProviderErrorKind::Transient),
        ] {
            assert_eq!(ProviderError::from_status(status, None, b"").kind, kind, "{status}");
        }
    }

    #[test]
    fn codes_and_well_known_words_decide_where_the_status_does_not() {
        use ProviderErrorKind::{Auth, Caller, ContextLength, Quota, RateLimited, Server};
        for (status, body, kind) in [
            (
                400,
                r#"{"code":400,"message":"request (3031 tokens)","type":"exceed_context_size_error"}"#,
                ContextLength,
            ),
            (
                400,
                r#"{"message":"x","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}"#,
                ContextLength,
            ),
            (
                400,
                r#"{"message":"at least 2049 input tokens","type":"BadRequestError","param":"input_tokens","code":400}"#,
                ContextLength,
            ),
            (
                400,
                r#"{"message":"'max_tokens' is too large: 9. This model's maximum context length is 8 tokens","type":"BadRequestError","param":"max_tokens","code":400}"#,
                ContextLength,
            ),
            (
                400,
                r#"{"message":"max_tokens must be at least 1","type":"BadRequestError","param":"max_tokens","code":400}"#,
                Caller,
            ),
            (
                500,
                r#"{"code":500,"message":"input (600 tokens) is too large to process. increase the physical batch size","type":"server_error"}"#,
                ContextLength,
            ),
            (
                500,
                r#"{"code":500,"message":"image input is not supported - hint: mmproj","type":"server_error"}"#,
                Caller,
            ),
            (500, r#"{"code":500,"message":"broken","type":"server_error"}"#, Server),
            (
                400,
                r#"{"code":400,"message":"no key","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}"#,
                Auth,
            ),
            (
                429,
                r#"{"message":"no money","type":"insufficient_quota","param":null,"code":"insufficient_quota"}"#,
                Quota,
            ),
            (429, r#"{"message":"slow","type":"requests","param":null,"code":"rate_limit_exceeded"}"#, RateLimited),
        ] {
            let error = ProviderError::from_status(status, None, format!("{{\"error\":{body}}}").as_bytes());
            assert_eq!(error.kind, kind, "{body}");
        }
        let mistral = br#"{"object":"error","message":"too fast","type":"rate_limited","param":null,"code":"1300"}"#;
        let mistral = ProviderError::from_status(429, None, mistral);
        assert!(mistral.is_explained && mistral.message.ends_with("too fast"), "{mistral}");
    }

    #[test]
    fn what_ollama_and_gemini_say_decides_what_it_means() {
        use ProviderErrorKind::{Auth, Caller, ContextLength, Quota, RateLimited, Server, Transient};
        for (status, words, kind) in [
            (400, "registry.ollama.ai/library/smollm2:135m does not support tools", Caller),
            (400, "\"smollm2:135m\" does not support thinking", Caller),
            (400, "\"all-minilm\" does not support chat", Caller),
            (400, "\"all-minilm\" does not support generate", Caller),
            (400, "the input length exceeds the context length", ContextLength),
            (404, "model 'absent' not found", Caller),
            (499, "context canceled", Transient),
            (500, "model requires more system memory (5.6 GiB) than is available (3.9 GiB)", Transient),
            (500, "llama runner process has terminated: exit status 2", Server),
            (503, "server busy, please try again.  maximum pending requests exceeded", Transient),
        ] {
            let body = serde_json::json!({ "error": words }).to_string();
            let error = ProviderError::from_status(status, None, body.as_bytes());
            assert_eq!((error.kind, error.is_explained), (kind, true), "{words}");
        }
        let violated = |quotas: &[&str]| {
            let violations: Vec<_> = quotas.iter().map(|quota| serde_json::json!({ "quotaId": quota })).collect();
            serde_json::json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}])
        };
        let minute = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier";
        let day = "GenerateRequestsPerDayPerProjectPerModel-FreeTier";
        let none = serde_json::json!([]);
        for (status, word, words, details, kind) in [
            (400, "INVALID_ARGUMENT", "Invalid value at 'contents'", none.clone(), Caller),
            (
                400,
                "INVALID_ARGUMENT",
                "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).",
                none.clone(),
                ContextLength,
            ),
            (400, "INVALID_ARGUMENT", "API key expired. Please renew the API key.", none.clone(), Auth),
            (403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.", none.clone(), Auth),
            (404, "NOT_FOUND", "models/absent is not found for API version v1beta", none.clone(), Caller),
            (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", violated(&[minute]), RateLimited),
            (429, "RESOURCE_EXHAUSTED", "You exceeded your current quota", violated(&[minute, day]), Quota),
            (429, "RESOURCE_EXHAUSTED", "Resource has been exhausted", none.clone(), RateLimited),
            (500, "INTERNAL", "An internal error has occurred.", none.clone(), Server),
            (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", none.clone(), Transient),
            (504, "DEADLINE_EXCEEDED", "The request timed out.", none.clone(), Transient),
        ] {
            let error = serde_json::json!({"code": status, "message": words, "status": word, "details": details});
            // A refused stream has it in an array of one, and a stream that had begun in an event.
            let whole = serde_json::json!({ "error": error }).to_string();
            for body in [whole.clone(), format!("[{whole}]")] {
                assert_eq!(ProviderError::from_status(status, None, body.as_bytes()).kind, kind, "{body}");
            }
            let within = ReplyError::Explained(Box::new(parse_error(whole.as_bytes())));
            assert_eq!(ProviderError::from(within).kind, kind, "{whole}");
        }
    }

    #[test]
    fn what_a_server_tells_of_a_callers_fault_is_kept_and_nothing_of_other_failures() {
        let body = br#"{"error":{"message":"x","type":"invalid_request_error","param":"tools[0].type","code":"invalid_value"}}"#;
        let failure = Failure::from(ProviderError::from_status(400, None, body));
        let told = ToldFault { param: "tools[0].type".to_owned(), code: "invalid_value".to_owned() };
        assert_eq!((failure.class, failure.told), (FailureClass::InvalidInput, Some(Box::new(told))));
        for (status, class) in [(401, FailureClass::Auth), (500, FailureClass::ServerError)] {
            let failure = Failure::from(ProviderError::from_status(status, None, body));
            assert_eq!((failure.class, failure.told), (class, None));
        }
        let long = format!(r#"{{"error":{{"message":"x","param":"{}"}}}}"#, "p".repeat(5000));
        let told = ProviderError::from_status(400, None, long.as_bytes()).told.unwrap();
        assert_eq!(told.param.len(), SHOWN_CODE);
    }

    #[test]
    fn an_error_within_a_reply_is_read_as_if_it_had_come_with_a_status() {
        for (body, kind) in [
            (
                r#"{"error":{"message":"x","type":"BadRequestError","param":null,"code":400}}"#,
                ProviderErrorKind::Caller,
            ),
            (r#"{"error":{"message":"x","type":"invalid_request_error","code":null}}"#, ProviderErrorKind::Caller),
            (r#"{"error":{"message":"x","code":"rate_limit_exceeded"}}"#, ProviderErrorKind::RateLimited),
            (r#"{"error":{"message":"x","code":500}}"#, ProviderErrorKind::Server),
            (r#"{"error":"x"}"#, ProviderErrorKind::Transient),
        ] {
            let error = ProviderError::from(ReplyError::Explained(Box::new(parse_error(body.as_bytes()))));
            assert_eq!(error.kind, kind, "{body}");
        }
    }

    #[test]
    fn an_answer_that_ends_before_its_first_word_may_be_had_from_another_backend() {
        use ProviderErrorKind::{Connect, Cut, Reply, Stalled, Timeout};
        for (kind, expected) in [(Cut, Connect), (Stalled, Timeout), (Reply, Reply)] {
            let early = ProviderError::new(kind, "x").before_the_first_word();
            assert_eq!((early.kind, early.may_fail_over()), (expected, expected != Reply));
        }
    }

    #[test]
    fn a_wait_comes_from_the_header_or_the_body_as_it_is_asked_for() {
        let wait = |header: Option<u64>, body: &str| {
            let header = header.map(Duration::from_secs);
            ProviderError::from_status(429, header, body.as_bytes()).retry_after.map(|wait| wait.as_secs())
        };
        let body = r#"{"error":{"status":"RESOURCE_EXHAUSTED","message":"x","details":[{"retryDelay":"7s"}]}}"#;
        assert_eq!((wait(Some(3), body), wait(None, body), wait(None, "")), (Some(3), Some(7), None));
        assert_eq!(wait(Some(86_400), ""), Some(86_400), "whoever waits knows how long is too long");
    }

    #[test]
    fn messages_are_short_and_never_repeat_a_refused_key() {
        let long = format!("{{\"error\":\"{}\"}}", "x".repeat(9000));
        assert!(ProviderError::from_status(500, None, long.as_bytes()).message.len() < 300);
        let refused = ProviderError::from_status(401, None, br#"{"error":{"message":"bad key sk-secret"}}"#);
        assert!(!refused.message.contains("sk-secret"));
    }
}
