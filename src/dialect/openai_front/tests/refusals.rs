//! What is refused, and which field an error names.

use serde_json::{Value as Json, json};

use crate::dialect::openai_front::{self, ReadError};

/// A chat with these fields beside its messages.
fn chat(fields: Json) -> Json {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body
}

fn refused<T: std::fmt::Debug>(read: Result<T, ReadError>, body: &Json) -> (String, String) {
    let error = read.expect_err(&body.to_string());
    (error.param.unwrap_or_default(), error.message)
}

#[test]
fn a_chat_that_is_none_is_refused_with_the_field_at_fault() {
    let message = |message: Json| json!({"messages": [{"role": "user", "content": "Hi"}, message]});
    let allowing = |allowed: Json| {
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        chat(json!({"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}))
    };
    let user = |part: Json| message(json!({"role": "user", "content": [part]}));
    for (body, param) in [
        (json!({}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "Hi"}), "messages"),
        (message(json!("Hi")), "messages[1]"),
        (message(json!({"content": "Hi"})), "messages[1].role"),
        (message(json!({"role": "user"})), "messages[1].content"),
        (message(json!({"role": "user", "content": 7})), "messages[1].content"),
        (user(json!({})), "messages[1].content[0].type"),
        (user(json!({"type": "text"})), "messages[1].content[0].text"),
        (user(json!({"type": "input_audio"})), "messages[1].content[0].type"),
        (user(json!({"type": "image_url"})), "messages[1].content[0].image_url"),
        (
            user(json!({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}})),
            "messages[1].content[0].image_url.url",
        ),
        (
            user(json!({"type": "image_url", "image_url": {"url": "data:image/png,raw"}})),
            "messages[1].content[0].image_url.url",
        ),
        (
            user(json!({"type": "image_url", "image_url": {"url": "дата:image"}})),
            "messages[1].content[0].image_url.url",
        ),
        (message(json!({"role": "assistant", "tool_calls": [{"type": "custom"}]})), "messages[1].tool_calls[0].type"),
        (message(json!({"role": "assistant", "tool_calls": [{}]})), "messages[1].tool_calls[0].function"),
        (
            message(json!({"role": "assistant", "tool_calls": [{"function": {}}]})),
            "messages[1].tool_calls[0].function.name",
        ),
        (chat(json!({"temperature": "warm"})), "temperature"),
        (chat(json!({"max_tokens": 0})), "max_tokens"),
        (chat(json!({"max_completion_tokens": 1.5})), "max_completion_tokens"),
        (chat(json!({"n": 0})), "n"),
        (chat(json!({"n": 129})), "n"),
        (chat(json!({"seed": "x"})), "seed"),
        (chat(json!({"stop": [1]})), "stop"),
        (chat(json!({"stream_options": true})), "stream_options"),
        (chat(json!({"stream_options": {"include_usage": 1}})), "stream_options.include_usage"),
        (chat(json!({"top_logprobs": 2})), "top_logprobs"),
        (chat(json!({"logprobs": true, "top_logprobs": 21})), "top_logprobs"),
        (chat(json!({"response_format": {"type": "grammar"}})), "response_format.type"),
        (chat(json!({"response_format": {"type": "json_schema"}})), "response_format.json_schema"),
        (
            chat(json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}})),
            "response_format.json_schema.schema",
        ),
        (chat(json!({"tools": [{}]})), "tools[0].type"),
        (chat(json!({"tools": [{"type": "web_search"}]})), "tools[0].type"),
        (chat(json!({"tools": [{"type": "function", "function": {}}]})), "tools[0].function.name"),
        (
            chat(json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]})),
            "tools[0].function.parameters",
        ),
        (chat(json!({"tool_choice": "required"})), "tool_choice"),
        (chat(json!({"tool_choice": "maybe"})), "tool_choice"),
        (chat(json!({"tool_choice": {"type": "function", "function": {"name": "g"}}})), "tool_choice"),
        (chat(json!({"tool_choice": {"type": "custom", "custom": {"name": "g"}}})), "tool_choice.type"),
        (chat(json!({"tool_choice": {"type": "allowed_tools"}})), "tool_choice.allowed_tools"),
        (allowing(json!({"mode": "auto"})), "tool_choice.allowed_tools.tools"),
        (allowing(json!({"mode": "auto", "tools": []})), "tool_choice.allowed_tools.tools"),
        (
            allowing(json!({"tools": [{"type": "function", "function": {"name": "f"}}]})),
            "tool_choice.allowed_tools.mode",
        ),
        (allowing(json!({"mode": "none", "tools": []})), "tool_choice.allowed_tools.mode"),
        (allowing(json!({"mode": "auto", "tools": [{"name": "f"}]})), "tool_choice.allowed_tools.tools[0].function"),
        (allowing(json!({"mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]})), "tool_choice"),
        (chat(json!({"functions": []})), "functions"),
        (chat(json!({"modalities": ["text", "audio"]})), "modalities"),
        (chat(json!({"audio": {}})), "audio"),
    ] {
        let (named, words) = refused(openai_front::read_chat(&body), &body);
        assert_eq!(named, param, "{words}");
        assert!(words.contains(&format!("'{param}'")), "{words}");
    }
}

#[test]
fn what_only_a_server_of_the_dialect_can_do_is_refused_with_the_way_there() {
    for (fields, param) in [
        (json!({}), "prompt"),
        (json!({"prompt": []}), "prompt"),
        (json!({"prompt": ["a", "b"]}), "prompt"),
        (json!({"prompt": [1, 2]}), "prompt"),
        (json!({"prompt": [[1, 2]]}), "prompt"),
        (json!({"prompt": "a", "best_of": 2}), "best_of"),
        (json!({"prompt": "a", "logprobs": 0}), "logprobs"),
    ] {
        let (named, words) = refused(openai_front::read_completion(&fields), &fields);
        assert_eq!(named, param, "{words}");
        let is_missing = fields.get("prompt").is_none() || fields["prompt"] == json!([]);
        assert_eq!(words.contains("X-Penstock-Provider: vllm"), !is_missing, "{words}");
    }
    for (input, is_elsewhere) in [
        (json!(null), false),
        (json!(""), false),
        (json!([]), false),
        (json!(["a", ""]), false),
        (json!({}), false),
        (json!(vec!["a"; 2049]), false),
        (json!([1, 2]), true),
        (json!([[1, 2]]), true),
        (json!(["a", 2]), true),
    ] {
        let body = json!({"input": input});
        let (named, words) = refused(openai_front::read_embedding(&body), &body);
        assert_eq!((named.as_str(), words.contains("X-Penstock-Provider")), ("input", is_elsewhere), "{words}");
    }
    for (name, value) in [("echo", json!("yes")), ("suffix", json!(7))] {
        let body = json!({"prompt": "a", name: value});
        assert_eq!(refused(openai_front::read_completion(&body), &body).0, name);
    }
    for (name, value) in [("encoding_format", json!("binary")), ("dimensions", json!(0))] {
        let body = json!({"input": "a", name: value});
        assert_eq!(refused(openai_front::read_embedding(&body), &body).0, name);
    }
}

#[test]
fn a_response_that_needs_something_stored_is_refused() {
    let with = |name: &str, value: Json| json!({"input": "Hi", name: value});
    let item = |item: Json| json!({"input": [item]});
    for (body, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": 7}), "input"),
        (with("previous_response_id", json!("resp_1")), "previous_response_id"),
        (with("conversation", json!("conv_1")), "conversation"),
        (with("prompt", json!({"id": "p"})), "prompt"),
        (with("background", json!(true)), "background"),
        (with("store", json!("yes")), "store"),
        (with("tools", json!([{"type": "web_search"}])), "tools[0].type"),
        (with("tools", json!([{"type": "function"}])), "tools[0].name"),
        (with("text", json!({"format": {"type": "json_schema"}})), "text.format.schema"),
        (with("max_output_tokens", json!(0)), "max_output_tokens"),
        (item(json!("Hi")), "input[0]"),
        (item(json!({"type": "item_reference", "id": "msg_1"})), "input[0].type"),
        (item(json!({"type": "web_search_call"})), "input[0].type"),
        (item(json!({"content": "Hi"})), "input[0].role"),
        (item(json!({"role": "user"})), "input[0].content"),
        (item(json!({"role": "user", "content": [{"type": "input_file"}]})), "input[0].content[0].type"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "file_id": "f"}]})),
            "input[0].content[0].image_url",
        ),
        (item(json!({"type": "function_call", "name": "f"})), "input[0].call_id"),
        (item(json!({"type": "function_call_output", "call_id": "c"})), "input[0].output"),
    ] {
        let (named, words) = refused(openai_front::read_response(&body), &body);
        assert_eq!(named, param, "{words}");
    }
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", " \n", "[]", "7", "{", "{\"a\":}"] {
        assert!(openai_front::decode(body.as_bytes()).is_err(), "{body}");
    }
    assert!(openai_front::decode(b"\xef\xbb\xbf{}").is_ok());
}
