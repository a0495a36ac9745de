//! Which failure is which.

use super::*;

#[test]
fn statuses_decide_the_kind() {
    for (status, kind) in [
        (400, ProviderErrorKind::Caller),
        (401, ProviderErrorKind::Auth),
        (404, ProviderErrorKind::Caller),
        (408, ProviderErrorKind::Stalled),
        (429, ProviderErrorKind::RateLimited),
        (500, ProviderErrorKind::Server),
        (301, ProviderErrorKind::Reply),
        (501, ProviderErrorKind::Caller),
        (503, ProviderErrorKind::Transient),
    ] {
        assert_eq!(ProviderError::from_status(status, None, b"").kind, kind, "{status}");
    }
}

#[test]
fn codes_and_well_known_words_decide_where_the_status_does_not() {
    use ProviderErrorKind::{Auth, Caller, ContextLength, Quota, RateLimited, Server};
    for (status, body, kind) in [
        (400, r#"{"code":400,"message":"request (3031 tokens)","type":"exceed_context_size_error"}"#, ContextLength),
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
        (500, r#"{"code":500,"message":"image input is not supported - hint: mmproj","type":"server_error"}"#, Caller),
        (500, r#"{"code":500,"message":"broken","type":"server_error"}"#, Server),
        (500, r#"{"code":500,"message":"tools param requires --jinja flag","type":"server_error"}"#, Caller),
        (
            501,
            r#"{"code":501,"message":"This server does not support embeddings.","type":"not_supported_error"}"#,
            Caller,
        ),
        // OpenAI of a text to embed, vLLM before it named the field, llama.cpp before it had a code, SGLang.
        (
            400,
            r#"{"message":"This model's maximum context length is 8192 tokens, however you requested 9000","type":"invalid_request_error","param":null,"code":null}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"message":"This model's maximum context length is 8 tokens","type":"BadRequestError","param":null,"code":400}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"code":400,"message":"the request exceeds the available context size. try increasing the context size","type":"invalid_request_error"}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"message":"Trying to keep the first 9 tokens when context the overflows. However, the model is loaded with context length of only 8 tokens"}"#,
            ContextLength,
        ),
        (
            422,
            r#"{"message":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8. Given: 9"}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"message":"The input (9 tokens) is longer than the model's context length (8 tokens).","type":"BadRequest","code":400}"#,
            ContextLength,
        ),
        (
            400,
            r#"{"code":400,"message":"no key","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}"#,
            Auth,
        ),
        (429, r#"{"message":"no money","type":"insufficient_quota","param":null,"code":"insufficient_quota"}"#, Quota),
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
        (400, "input length exceeds maximum context length", ContextLength),
        (500, "the input length exceeds the context length", ContextLength),
        (500, "option \"temperature\" must be of type float32", Caller),
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
    let body =
        br#"{"error":{"message":"x","type":"invalid_request_error","param":"tools[0].type","code":"invalid_value"}}"#;
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
        (r#"{"error":{"message":"x","type":"BadRequestError","param":null,"code":400}}"#, ProviderErrorKind::Caller),
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

#[test]
fn a_call_that_was_never_sent_may_be_made_elsewhere_and_a_refused_one_may_not() {
    let unsaid = ProviderError::from(crate::dialect::ollama::ask("m", &two_replies(), false, None).unwrap_err());
    assert_eq!((unsaid.kind, unsaid.may_fail_over()), (ProviderErrorKind::Caller, true));
    assert!(!ProviderError::from_status(400, None, b"").may_fail_over());
}

fn two_replies() -> crate::domain::chat::ChatCall {
    crate::domain::chat::ChatCall { choices: 2, ..Default::default() }
}

#[test]
fn a_server_that_is_somewhere_else_is_told_so() {
    let moved = ProviderError::from_status(308, None, b"<html>https://user:secret@example.com</html>");
    assert!(moved.message.contains("308") && moved.message.contains("base URL"), "{moved}");
    assert!(!moved.message.contains("secret") && !moved.may_fail_over());
}
