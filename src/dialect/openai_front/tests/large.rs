//! Requests as large as a body may be take time in proportion to their size. What is counted is the processor's time of the
//! test's own thread, which other work of the machine does not lengthen.

use std::{fs, time::Duration};

use serde_json::json;

use crate::dialect::{
    openai::{Server, chat_body},
    openai_front::{decode, read_chat, read_response},
};

const CALLS: usize = 60_000;
/// Many times what it takes; a second look at everything for each of them takes a hundred times as long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What this thread has worked so far.
fn worked() -> Duration {
    let counted = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(counted.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn countless_calls_of_tools_are_matched_with_their_answers_in_one_pass() {
    let began = worked();
    let call =
        |number: usize| json!({"type": "function_call", "call_id": format!("c{number}"), "name": "f", "arguments": ""});
    let stray = |number: usize| json!({"type": "function_call_output", "call_id": format!("d{number}"), "output": ""});
    let items: Vec<_> = (0..CALLS).map(call).chain((0..CALLS).map(stray)).collect();
    let call = read_response(&json!({"model": "m", "input": items})).unwrap().call;
    let sent = decode(&chat_body("m", &call, Server::Vllm, false)).unwrap();
    assert_eq!(sent["messages"].as_array().unwrap().len(), CALLS + 1);
    assert!(worked() - began < PATIENCE, "it took {:?}", worked() - began);
}

#[test]
fn countless_answers_to_no_call_are_read_in_one_pass() {
    let began = worked();
    let answer = json!({"role": "tool", "tool_call_id": "y", "content": ""});
    let read = read_chat(&json!({"model": "m", "messages": vec![answer; 2 * CALLS]})).unwrap();
    assert_eq!(read.call.messages.len(), 2 * CALLS);
    assert!(worked() - began < PATIENCE, "it took {:?}", worked() - began);
}
