//! Requests as large as a body may be take time in proportion to their size.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::dialect::{
    openai::{Server, chat_body},
    openai_front::{decode, read_chat, read_response},
};

const CALLS: usize = 60_000;
/// Many times what it takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn countless_calls_of_tools_are_matched_with_their_answers_in_one_pass() {
    let began = Instant::now();
    let call =
        |number: usize| json!({"type": "function_call", "call_id": format!("c{number}"), "name": "f", "arguments": ""});
    let stray = |number: usize| json!({"type": "function_call_output", "call_id": format!("d{number}"), "output": ""});
    let items: Vec<_> = (0..CALLS).map(call).chain((0..CALLS).map(stray)).collect();
    let call = read_response(&json!({"model": "m", "input": items})).unwrap().call;
    let sent = decode(&chat_body("m", &call, Server::Vllm, false)).unwrap();
    assert_eq!(sent["messages"].as_array().unwrap().len(), CALLS + 1);
    assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
}

#[test]
fn countless_answers_to_no_call_are_read_in_one_pass() {
    let began = Instant::now();
    let answer = json!({"role": "tool", "tool_call_id": "y", "content": ""});
    let read = read_chat(&json!({"model": "m", "messages": vec![answer; 2 * CALLS]})).unwrap();
    assert_eq!(read.call.messages.len(), 2 * CALLS);
    assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
}
