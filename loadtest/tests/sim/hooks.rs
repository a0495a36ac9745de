//! The simulated hook server.

use hyper::Method;
use loadtest::sim::{Route, Rule, SimHook};
use serde_json::json;

use crate::client::{post, send};

#[tokio::test]
async fn a_hook_repeats_its_input_unless_it_is_told_otherwise() {
    let hook = SimHook::start().await.unwrap();
    let call = json!({"startingTime": "t", "input": {"a": [1, 2]}, "dataType": "json", "transition": "",
        "args": {"name": "h", "args": {"k": "v"}}});
    let echo = post(hook.addr(), "/any/path", call.clone()).await.unwrap();
    assert_eq!(echo.json(), json!({"output": {"a": [1, 2]}, "dataType": "json", "transition": "ok"}));

    hook.script(Rule::on(Route::Hook).containing("\"k\":\"v\"").times(1).status(502));
    assert_eq!(post(hook.addr(), "/", call.clone()).await.unwrap().status, 502);
    hook.script(Rule::on(Route::Hook).times(1).body("not json"));
    assert_eq!(post(hook.addr(), "/", call.clone()).await.unwrap().text(), "not json");
    let reply = hook.reply(7, "int", "done");
    let put = send(hook.addr(), Method::PUT, "/", call.to_string()).await.unwrap();
    assert_eq!(put.json(), json!({"output": 7, "dataType": "int", "transition": "done"}));
    assert_eq!(reply.hits(), 1);
    assert_eq!(hook.record().requests[3].json(), call);
}

#[tokio::test]
async fn a_hook_can_answer_too_much() {
    let hook = SimHook::start().await.unwrap();
    hook.reply_oversized(100_000);
    assert!(post(hook.addr(), "/", json!({})).await.unwrap().body.len() > 100_000);
}
