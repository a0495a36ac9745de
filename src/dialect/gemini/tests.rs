//! What Gemini is sent, and how its answers are taken.

use super::*;
use crate::domain::{chat::Sampling, model::Capabilities};

fn call(messages: &[(&str, &str)]) -> ChatCall {
    ChatCall {
        messages: messages.iter().map(|(role, text)| ChatTurn::text(*role, *text)).collect(),
        sampling: Sampling::default(),
        constraint: None,
        single_prompt: false,
        ..ChatCall::default()
    }
}

fn body(call: &ChatCall) -> Value {
    serde_json::from_slice(&generate_body(call)).unwrap()
}

#[test]
fn a_conversation_has_two_roles_and_its_instruction_apart() {
    let mut talk = call(&[("system", "Be brief"), ("user", "Hi"), ("assistant", "Hello"), ("user", "So?")]);
    talk.sampling = Sampling {
        temperature: Some(0.0),
        top_p: Some(0.5),
        max_tokens: Some(20),
        stop: vec!["END".to_owned()],
        ..Sampling::default()
    };
    let expected = json!({
        "system_instruction": {"parts": [{"text": "Be brief"}]},
        "contents": [{"role": "user", "parts": [{"text": "Hi"}]}, {"role": "model", "parts": [{"text": "Hello"}]},
            {"role": "user", "parts": [{"text": "So?"}]}],
        "generationConfig": {"temperature": 0.0, "topP": 0.5, "maxOutputTokens": 20, "stopSequences": ["END"]},
    });
    assert_eq!(body(&talk), expected);
}

#[test]
fn an_instruction_is_sent_only_when_there_is_one_and_never_alone() {
    assert_eq!(body(&call(&[("user", "Hi")])).get("system_instruction"), None);
    let alone = body(&call(&[("system", "Greet me")]));
    assert_eq!(alone.get("system_instruction"), None);
    assert_eq!(alone["contents"], json!([{"role": "user", "parts": [{"text": "Greet me"}]}]));
}

#[test]
fn the_text_parts_of_the_first_candidate_are_the_reply() {
    let reply = br#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Par"},
        {"inlineData":{}},{"text":"is","thoughtSignature":"x"}]},"finishReason":"MAX_TOKENS","index":0},{"content":{}}],
        "usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":12},
        "modelVersion":"gemini-x","responseId":"r1"}"#;
    let completion = parse_generate(reply).unwrap();
    assert_eq!(
        (completion.text.as_str(), completion.role.as_str(), completion.finish),
        ("Paris", "assistant", Finish::Length)
    );
    assert_eq!(completion.usage, Usage { input_tokens: Some(7), output_tokens: Some(5), ..Usage::default() });
    let bare = parse_generate(br#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#).unwrap();
    assert_eq!((bare.finish, bare.usage), (Finish::Stop, Usage::default()));
}

#[test]
fn blocked_and_broken_replies_are_failures() {
    let blocked = br#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":1}}"#;
    assert_eq!(parse_generate(blocked), Err(ReplyError::Filtered));
    assert_eq!(parse_generate(b"{}"), Err(ReplyError::Empty));
    for reason in ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"] {
        let reply =
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"{reason}"}}]}}"#);
        assert_eq!(parse_generate(reply.as_bytes()), Err(ReplyError::Filtered), "{reason}");
    }
    let odd = parse_generate(br#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#).unwrap_err();
    assert!(odd.to_string().contains("MALFORMED_FUNCTION_CALL"), "{odd}");
    assert_eq!(parse_generate(br#"{"candidates":[{"finishReason":"STOP"}]}"#), Err(ReplyError::Empty));
    assert!(matches!(parse_generate(b"<html>"), Err(ReplyError::Malformed(_))));
}

#[test]
fn models_tell_what_they_can_do() {
    let page = parse_models(
        br#"{"models":[{"name":"models/gemini-x","inputTokenLimit":1048576,"supportedGenerationMethods":["generateContent","countTokens"]},
        {"name":"models/vectors","inputTokenLimit":2048,"supportedGenerationMethods":["embedContent"]},
        {"name":"models/pictures","supportedGenerationMethods":["predict"]}],"nextPageToken":"p2"}"#,
    )
    .unwrap();
    let seen: Vec<_> =
        page.models.iter().map(|model| (model.name.as_str(), model.context_length, model.capabilities)).collect();
    assert_eq!(
        seen,
        [
            ("gemini-x", 1_048_576, Capabilities::GENERATE),
            ("vectors", 2048, Capabilities::EMBED),
            ("pictures", 0, Capabilities::NONE)
        ]
    );
    assert_eq!(page.next.as_deref(), Some("p2"));
    assert_eq!(parse_models(br#"{"nextPageToken":""}"#).unwrap().next, None);
}

#[test]
fn vectors_and_counts_are_read() {
    assert_eq!(
        serde_json::from_slice::<Value>(&embed_body("e", "a")).unwrap(),
        json!({"model": "models/e", "content": {"parts": [{"text": "a"}]}})
    );
    assert_eq!(parse_embedding(br#"{"embedding":{"values":[0.5,-1]}}"#).unwrap(), [0.5, -1.0]);
    assert_eq!(parse_embedding(b"{}"), Err(ReplyError::Empty));
    let texts = ["a".to_owned(), "b".to_owned()];
    assert_eq!(
        serde_json::from_slice::<Value>(&count_body(&texts)).unwrap(),
        json!({"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]})
    );
    assert_eq!(parse_count(br#"{"totalTokens":7}"#).unwrap(), 7);
    assert!(parse_count(b"{}").is_err());
}
