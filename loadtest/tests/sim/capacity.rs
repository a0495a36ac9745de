//! Slots: a server that works on so many calls at once lets the others wait, and tells it.

use loadtest::sim::{Flavour, Route, Rule, SimBackend};
use serde_json::json;
use tokio_util::task::TaskTracker;

use crate::client::{get, post};

fn body(text: &str) -> serde_json::Value {
    json!({"model": "m", "messages": [{"role": "user", "content": text}]})
}

#[tokio::test]
async fn a_call_waits_for_a_slot_and_metrics_tell_it() {
    let sim = SimBackend::vllm().model("m").slots(1).start().await.unwrap();
    let long = sim.script(Rule::on(Route::Chat).containing("long").hang_before_headers());
    let addr = sim.addr();
    let first = TaskTracker::new().spawn(post(addr, "/v1/chat/completions", body("long")));
    sim.wait_until("the first call", |record| record.calls.now == 1).await.unwrap();
    let second = TaskTracker::new().spawn(post(addr, "/v1/chat/completions", body("short")));
    sim.wait_until("the second call", |record| record.calls.now == 2).await.unwrap();
    let told = loop {
        let text = get(addr, "/metrics").await.unwrap().text();
        if text.contains("num_requests_waiting{engine=\"0\",model_name=\"sim\"} 1.0") {
            break text;
        }
        tokio::task::yield_now().await;
    };
    assert!(told.contains("num_requests_running{engine=\"0\",model_name=\"sim\"} 1.0"), "{told}");
    assert_eq!(sim.record().answered, sim.record().arrived - 2);
    long.release();
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    assert_eq!(second.await.unwrap().unwrap().status, 200);
    let told = get(addr, "/metrics").await.unwrap().text();
    assert!(told.contains("num_requests_running{engine=\"0\",model_name=\"sim\"} 0.0"), "{told}");
}

#[tokio::test]
async fn a_waiting_call_that_is_hung_up_leaves_its_place() {
    let sim = SimBackend::vllm().model("m").slots(1).start().await.unwrap();
    let long = sim.script(Rule::on(Route::Chat).containing("long").hang_before_headers());
    let addr = sim.addr();
    let first = TaskTracker::new().spawn(post(addr, "/v1/chat/completions", body("long")));
    sim.wait_until("the first call", |record| record.calls.now == 1).await.unwrap();
    let second = TaskTracker::new().spawn(post(addr, "/v1/chat/completions", body("short")));
    sim.wait_until("the second call", |record| record.calls.now == 2).await.unwrap();
    second.abort();
    sim.wait_for_aborts(1).await.unwrap();
    long.release();
    assert_eq!(first.await.unwrap().unwrap().status, 200);
    let told = get(addr, "/metrics").await.unwrap().text();
    assert!(told.contains("num_requests_waiting{engine=\"0\",model_name=\"sim\"} 0.0"), "{told}");
}

#[tokio::test]
async fn llama_cpp_lists_its_slots_only_where_they_are_counted() {
    let sim = SimBackend::openai().flavour(Flavour::LlamaCpp).model("m").slots(3).start().await.unwrap();
    let slots = get(sim.addr(), "/slots").await.unwrap();
    assert_eq!(slots.status, 200);
    assert_eq!(slots.json().as_array().unwrap().len(), 3);
    let without = SimBackend::openai().flavour(Flavour::LlamaCpp).model("m").start().await.unwrap();
    assert_eq!(get(without.addr(), "/slots").await.unwrap().status, 501);
}
