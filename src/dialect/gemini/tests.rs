//! What Gemini is sent, and how its answers are taken.

use serde_json::{Value, json};

use super::*;
use crate::{
    dialect::stream::ReplyDecoder,
    domain::{
        chat::{AnsweredCall, ChatCall, ChatReply, ChatTurn, Finish, ReplyEvent, Sampling, ToolCall, Usage},
        embedding::EmbedCall,
        model::Capabilities,
    },
};

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
    serde_json::from_slice(&generate_body("m", call).unwrap()).unwrap()
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
fn answers_to_calls_made_together_stand_together_and_name_the_function() {
    let call_of = |id: &str, name: &str| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: r#"{"city":"Rome"}"#.to_owned(),
        signature: if id == "c1" { "sig".to_owned() } else { String::new() },
    };
    let answer = |id: &str, text: &str| ChatTurn {
        answers: Some(AnsweredCall { id: id.to_owned(), name: String::new() }),
        ..ChatTurn::text("tool", text)
    };
    let mut talk = call(&[("user", "Weather?")]);
    talk.messages.push(ChatTurn {
        role: "assistant".to_owned(),
        tool_calls: vec![call_of("c1", "weather"), call_of("c2", "time")],
        ..ChatTurn::default()
    });
    talk.messages.extend([answer("c1", r#"{"sky":"blue"}"#), answer("c2", "noon"), ChatTurn::text("user", "So?")]);
    let args = json!({"city": "Rome"});
    let expected = json!([
        {"role": "user", "parts": [{"text": "Weather?"}]},
        {"role": "model", "parts": [
            {"functionCall": {"name": "weather", "args": args, "id": "c1"}, "thoughtSignature": "sig"},
            {"functionCall": {"name": "time", "args": args, "id": "c2"}}]},
        {"role": "user", "parts": [
            {"functionResponse": {"name": "weather", "response": {"sky": "blue"}, "id": "c1"}},
            {"functionResponse": {"name": "time", "response": {"result": "noon"}, "id": "c2"}}]},
        {"role": "user", "parts": [{"text": "So?"}]},
    ]);
    assert_eq!(body(&talk)["contents"], expected);
}

#[test]
fn models_that_want_signatures_get_a_word_in_place_of_a_lost_one() {
    let called =
        |signature: &str| ToolCall { name: "f".to_owned(), signature: signature.to_owned(), ..ToolCall::default() };
    let mut talk = call(&[("user", "So?")]);
    for calls in [vec![called(""), called("")], vec![called("own"), called("")]] {
        talk.messages.push(ChatTurn { role: "assistant".to_owned(), tool_calls: calls, ..ChatTurn::default() });
    }
    let signatures = |model: &str| -> Vec<Value> {
        let body: Value = serde_json::from_slice(&generate_body(model, &talk).unwrap()).unwrap();
        let parts = |at: usize| body["contents"][at]["parts"].as_array().unwrap().clone();
        [parts(1), parts(2)].concat().iter().map(|part| part["thoughtSignature"].clone()).collect()
    };
    let lost = json!("skip_thought_signature_validator");
    for model in ["gemini-3-pro-preview", "models/gemini-3.1-flash", "gemini-10", "gemini-flash-latest"] {
        assert_eq!(signatures(model), [lost.clone(), Value::Null, json!("own"), Value::Null], "{model}");
    }
    for model in ["gemini-2.5-pro", "gemma-3-27b-it", "own-gemini-3"] {
        assert_eq!(signatures(model), [Value::Null, Value::Null, json!("own"), Value::Null], "{model}");
    }
}

#[test]
fn an_answer_that_belongs_to_no_call_is_told_before_anything_is_sent() {
    let mut talk = call(&[("user", "So?")]);
    let answers = Some(AnsweredCall { id: "c9".to_owned(), name: String::new() });
    talk.messages.push(ChatTurn { answers, ..ChatTurn::text("tool", "noon") });
    let error = generate_body("m", &talk).unwrap_err().to_string();
    assert!(error.contains("\"c9\"") && error.contains("send the assistant's message"), "{error}");
    // The service asks for no more than the name.
    talk.messages[1].answers = Some(AnsweredCall { id: "c9".to_owned(), name: "time".to_owned() });
    let response = json!({"functionResponse": {"name": "time", "response": {"result": "noon"}, "id": "c9"}});
    assert_eq!(body(&talk)["contents"][1]["parts"], json!([response]));
}

#[test]
fn calls_without_ids_get_some_of_their_reply_and_candidate() {
    let ids = |reply: &str| {
        let call = json!({"functionCall": {"name": "f", "args": {}}});
        let candidate =
            |index: u32| json!({"content": {"parts": [call, call]}, "finishReason": "STOP", "index": index});
        let body = json!({"candidates": [candidate(0), candidate(1)], "responseId": reply}).to_string();
        let choices = parse_generate(body.as_bytes()).unwrap().choices;
        assert!(choices.iter().all(|said| said.finish == Some(Finish::ToolCalls)));
        let ids: Vec<String> = choices.into_iter().flat_map(|said| said.tool_calls).map(|call| call.id).collect();
        ids
    };
    let mut all = [ids("r1"), ids("r2")].concat();
    assert_eq!(ids("r1"), all[..4]);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 8);
}

#[test]
fn thoughts_text_and_tokens_are_told_apart() {
    let reply = br#"{"candidates":[{"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"Par"},
        {"inlineData":{}},{"text":"is","thoughtSignature":"x"}]},"finishReason":"MAX_TOKENS","index":0}],
        "usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":2,"thoughtsTokenCount":3,"totalTokenCount":12},
        "modelVersion":"gemini-x","responseId":"r1"}"#;
    let reply = parse_generate(reply).unwrap();
    let said = &reply.choices[0];
    assert_eq!((said.text.as_str(), said.reasoning.as_str(), said.finish), ("Paris", "hm", Some(Finish::Length)));
    let usage = Usage { input_tokens: Some(7), output_tokens: Some(5), reasoning_tokens: Some(3), ..Usage::default() };
    assert_eq!(reply.usage, usage);
}

#[test]
fn blocked_and_broken_replies_are_told() {
    let finish = |body: &str| parse_generate(body.as_bytes()).map(|reply| reply.choices[0].finish);
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":1}}"#;
    assert_eq!(finish(blocked), Ok(Some(Finish::ContentFilter)));
    assert_eq!(finish("{}"), Err(ReplyError::Empty));
    for reason in ["SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY"] {
        let reply =
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"{reason}"}}]}}"#);
        assert_eq!(finish(&reply), Ok(Some(Finish::ContentFilter)), "{reason}");
    }
    for reason in ["MALFORMED_FUNCTION_CALL", "OTHER", "NEVER_HEARD_OF"] {
        let odd = finish(&format!(r#"{{"candidates":[{{"finishReason":"{reason}"}}]}}"#)).unwrap_err();
        assert!(odd.to_string().contains(reason), "{odd}");
    }
    for reason in ["OTHER", "NEVER_HEARD_OF"] {
        let said =
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"a"}}]}},"finishReason":"{reason}"}}]}}"#);
        assert_eq!(finish(&said), Ok(Some(Finish::Stop)), "{reason} behind an answer");
    }
    assert!(matches!(finish("<html>"), Err(ReplyError::Malformed(_))));
    assert_eq!(finish(r#"{"error":{"code":503,"message":"busy"}}"#).unwrap_err().to_string(), "busy");
}

#[test]
fn a_stream_is_whole_when_it_has_told_why_it_ended() {
    let event = |text: &str, rest: &str| {
        format!(
            "data: {{\"candidates\":[{{\"content\":{{\"parts\":[{{\"text\":\"{text}\"}}]}}{rest}}}],\"usageMetadata\":{{\"candidatesTokenCount\":{}}}}}\r\n\r\n",
            text.len()
        )
    };
    let stop = ",\"finishReason\":\"STOP\"";
    for (stream, outcome) in [
        (event("Par", "") + &event("is!", stop), Ok(())),
        // Some versions of the service say so with every piece; a reader must not stop at the first.
        (event("Par", stop) + &event("is!", stop), Ok(())),
        (event("Par", "") + &event("is!", ""), Err(ReplyError::Cut)),
    ] {
        for piece in [1, 7, usize::MAX] {
            let (mut decoder, mut events) = (EventDecoder::default(), Vec::new());
            stream.as_bytes().chunks(piece).for_each(|piece| decoder.push(piece, &mut events).unwrap());
            assert_eq!(decoder.end(&mut events), outcome);
            let finishes = events.iter().filter(|event| matches!(event, ReplyEvent::Finish { .. })).count();
            assert_eq!(finishes, usize::from(outcome == Ok(())), "it is told once");
            let reply = ChatReply::collect(events);
            assert_eq!((reply.choices[0].text.as_str(), reply.usage.output_tokens), ("Paris!", Some(3)));
        }
    }
}

#[test]
fn models_tell_what_they_can_do() {
    let page = parse_models(
        br#"{"models":[{"name":"models/gemini-x","inputTokenLimit":1048576,"supportedGenerationMethods":["generateContent","countTokens"]},
        {"name":"models/vectors","inputTokenLimit":2048,"supportedGenerationMethods":["embedContent"]},
        {"name":"models/pictures","supportedGenerationMethods":["predict"]},
        {"name":"models/untold"},{"name":"models/untold-embed"}],"nextPageToken":"p2"}"#,
    )
    .unwrap();
    let seen: Vec<_> =
        page.models.iter().map(|model| (model.name.as_str(), model.context_length, model.capabilities)).collect();
    assert_eq!(
        seen,
        [
            ("gemini-x", 1_048_576, Capabilities::GENERATE),
            ("vectors", 2048, Capabilities::EMBED),
            ("pictures", 0, Capabilities::NONE),
            ("untold", 0, Capabilities::GENERATE),
            ("untold-embed", 0, Capabilities::EMBED)
        ]
    );
    assert_eq!(page.next.as_deref(), Some("p2"));
    assert_eq!(parse_models(br#"{"nextPageToken":""}"#).unwrap().next, None);
}

#[test]
fn vectors_and_counts_are_read() {
    let call = EmbedCall { inputs: vec!["a".to_owned()], dimensions: Some(2) };
    let request = json!({"model": "models/e", "content": {"parts": [{"text": "a"}]}, "outputDimensionality": 2});
    assert_eq!(
        serde_json::from_slice::<Value>(&embed_body("e", &call, &call.inputs)).unwrap(),
        json!({ "requests": [request] })
    );
    assert_eq!(parse_embeddings(br#"{"embeddings":[{"values":[0.5,-1]}]}"#, 1).unwrap(), [[0.5, -1.0]]);
    assert_eq!(parse_embeddings(b"{}", 1), Err(ReplyError::Empty));
    let texts = ["a".to_owned(), "b".to_owned()];
    assert_eq!(
        serde_json::from_slice::<Value>(&count_body(&texts)).unwrap(),
        json!({"contents": [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}]})
    );
    assert_eq!(parse_count(br#"{"totalTokens":7}"#).unwrap(), 7);
    assert_eq!(parse_count(b"{}").unwrap(), 0, "a zero is left out");
    assert!(parse_count(b"<html>").is_err());
}

#[test]
fn a_seed_is_one_the_service_takes_and_the_same_each_time() {
    let sent = |seed: i64| {
        let mut asked = call(&[("user", "Hi")]);
        asked.sampling.seed = Some(seed);
        body(&asked)["generationConfig"]["seed"].as_i64().unwrap()
    };
    for seed in [0, 7, -1, i64::from(i32::MAX), i64::from(i32::MIN)] {
        assert_eq!(sent(seed), seed);
    }
    for seed in [i64::from(i32::MAX) + 1, 1 << 40, i64::MAX, i64::MIN] {
        assert!(i32::try_from(sent(seed)).is_ok(), "{seed}");
        assert_eq!(sent(seed), sent(seed));
    }
    assert_ne!(sent(1 << 40), sent(1 << 41));
}

#[test]
fn a_reply_of_which_everything_that_may_be_left_out_is_left_out_is_read() {
    let bare =
        br#"{"candidates":[{"index":null,"content":{"parts":[{"text":"a","thought":null}]},"finishReason":"STOP"}],
        "usageMetadata":"none"}"#;
    let reply = parse_generate(bare).unwrap();
    assert_eq!((reply.choices[0].text.as_str(), reply.usage), ("a", Usage::default()));
}

#[test]
fn pieces_that_come_as_one_array_make_a_reply_too() {
    let piece =
        |text: &str, rest: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}{rest}}}]}}"#);
    let (first, last) = (piece("Par", ""), piece("is", r#","finishReason":"STOP""#));
    let read = |body: &str| parse_pieces(body.as_bytes()).map(|reply| reply.choices[0].text.clone());
    assert_eq!(read(&format!("[{first}\n,\r\n{last}]")), Ok("Paris".to_owned()));
    assert_eq!(read(&last), Ok("is".to_owned()), "a whole reply");
    assert_eq!(read(&format!("[{first}]")), Err(ReplyError::Cut));
    assert_eq!(read("[]"), Err(ReplyError::Cut));
    let failed = read(r#"[{"error":{"code":503,"message":"busy","status":"UNAVAILABLE"}}]"#).unwrap_err();
    assert_eq!(failed.to_string(), "busy");
}
