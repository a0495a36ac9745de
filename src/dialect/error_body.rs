//! What a server says when it refuses a call, whichever server it is (`docs/backends.md`, failures): OpenAI's object and
//! that of its relatives, Gemini's object with a status word and details, Ollama's and vLLM's plain text.

use std::time::Duration;

use serde_json::{Value, json};

use super::json as decoding;

/// An error body, as far as classes are decided by it. All fields are empty when the bytes are none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ErrorBody {
    /// The server's words; may hold anything, shorten before showing.
    pub message: String,
    /// The server's own word for it, where it has one: OpenAI's `code`, Gemini's `status`.
    pub code: String,
    /// The status it says it is, where the code is a number.
    pub status: Option<u16>,
    /// The words a class can be decided by: `code` and `type` of OpenAI and its relatives, `status`, the `reason` of each
    /// detail and the `quotaId` of each quota that is spent of Gemini.
    pub codes: Vec<String>,
    /// The field of the request it is about, where the server names one.
    pub param: String,
    /// How long the server asks us to wait (Gemini has no header for it).
    pub retry_after: Option<Duration>,
    /// Whether it is an error of the protocol. Web frameworks answer an unknown path with words of their own, such as
    /// `{"detail": "Not Found"}`.
    pub is_protocol: bool,
}

/// Reads an error body, or an error inside a stream.
pub fn parse_error(body: &[u8]) -> ErrorBody {
    let Ok(value) = decoding::decode::<Value>(body) else { return ErrorBody::default() };
    // A refused stream of Gemini comes as an array of one.
    let value = value.get(0).unwrap_or(&value);
    // Mistral's and older vLLM's errors stand by themselves.
    let own = value.get("error").or_else(|| Some(value).filter(|value| value.get("object") == Some(&json!("error"))));
    let error = own.or_else(|| value.get("detail")).unwrap_or(value);
    let text = |name: &str| error.get(name).and_then(Value::as_str);
    let details = error.get("details").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let reasons = details.iter().filter_map(|detail| detail.get("reason")?.as_str());
    let violations = details.iter().filter_map(|detail| detail.get("violations")?.as_array()).flatten();
    let quotas = violations.filter_map(|violation| violation.get("quotaId")?.as_str());
    let codes = ["code", "type", "status"].into_iter().filter_map(text).chain(reasons).chain(quotas);
    // Gateways that pass an error on write its status as a text.
    let number = |code: &Value| code.as_u64().or_else(|| code.as_str()?.parse().ok());
    let status = error.get("code").and_then(number).and_then(|code| u16::try_from(code).ok());
    let message = error_words(error);
    ErrorBody {
        code: text("code").or_else(|| text("status")).unwrap_or_default().to_owned(),
        codes: codes.map(str::to_owned).collect(),
        status: status.filter(|status| (400..600).contains(status)),
        param: text("param").unwrap_or_default().to_owned(),
        retry_after: details.iter().find_map(|detail| protobuf_seconds(detail.get("retryDelay")?.as_str()?)),
        is_protocol: own.is_some() && !message.is_empty(),
        message,
    }
}

/// The words of an error: its `message`, that of the first of several, or itself.
fn error_words(error: &Value) -> String {
    let words = words_of(error);
    // Mistral's web framework explains what is wrong with a body within the message.
    let words = words.get("detail").map_or(words, words_of);
    words.as_str().unwrap_or_default().to_owned()
}

fn words_of(error: &Value) -> &Value {
    let error = error.get(0).unwrap_or(error);
    error.get("message").or_else(|| error.get("msg")).unwrap_or(error)
}

/// A duration as Google's JSON writes it: `45.837906927s`.
fn protobuf_seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_openai_and_its_relatives_are_read() {
        let openai = parse_error(
            br#"{"error":{"message":"long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
        );
        assert_eq!((openai.message.as_str(), openai.param.as_str()), ("long", "messages"));
        assert_eq!(openai.codes, ["context_length_exceeded", "invalid_request_error"]);
        let vllm = parse_error(br#"{"error":{"message":"x","type":"NotFoundError","param":null,"code":404}}"#);
        assert_eq!((vllm.codes, vllm.is_protocol), (vec!["NotFoundError".to_owned()], true));
        let plain = parse_error(br#"{"error":"Unauthorized"}"#);
        assert_eq!((plain.message.as_str(), plain.is_protocol), ("Unauthorized", true));
        assert_eq!(parse_error(b"<html>"), ErrorBody::default());
        assert_eq!(parse_error(b"[]"), ErrorBody::default());
    }

    #[test]
    fn errors_that_were_passed_on_and_those_within_errors_are_read() {
        let passed_on = parse_error(br#"{"error":{"message":"slow","type":"None","param":"None","code":"429"}}"#);
        assert_eq!((passed_on.status, passed_on.message.as_str()), (Some(429), "slow"));
        assert_eq!(parse_error(br#"{"error":{"message":"x","code":"1300"}}"#).status, None);
        let mistral = parse_error(
            br#"{"object":"error","message":{"detail":[{"type":"missing","loc":["body","model"],"msg":"Field required"}]},
            "type":"invalid_request_error","param":null,"code":null}"#,
        );
        assert_eq!((mistral.message.as_str(), mistral.is_protocol), ("Field required", true));
        let deep = parse_error(br#"{"error":{"message":{"detail":{"detail":"x"}}}}"#);
        assert_eq!((deep.message.as_str(), deep.is_protocol), ("", false));
    }

    #[test]
    fn words_of_a_web_framework_are_no_error_of_the_protocol() {
        let unknown_path = parse_error(br#"{"detail":"Not Found"}"#);
        assert_eq!((unknown_path.message.as_str(), unknown_path.is_protocol), ("Not Found", false));
    }

    #[test]
    fn geminis_status_reasons_and_wait_are_read_also_in_an_array() {
        let body = r#"{"error":{"code":429,"message":"slow","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"45.5s"}]}}"#;
        for body in [body.to_owned(), format!("[{body}]")] {
            let error = parse_error(body.as_bytes());
            assert_eq!(error.codes, ["RESOURCE_EXHAUSTED", "RATE_LIMIT_EXCEEDED"]);
            assert_eq!(error.retry_after, Some(Duration::from_millis(45_500)));
        }
        let odd = parse_error(br#"{"error":{"message":"x","details":[{"retryDelay":"-1s"},{"retryDelay":7}]}}"#);
        assert_eq!(odd.retry_after, None);
    }
}
