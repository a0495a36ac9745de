//! The tokenizer service, as `docs/operations.md` has it.

use loadtest::sim::{Route, SimTokenizer};
use serde_json::json;

use crate::client::{get, post};

#[tokio::test]
async fn texts_are_counted_by_their_length_unless_the_script_says_otherwise() {
    let sim = SimTokenizer::start().await.unwrap();
    sim.count("long", 3);
    for (prompt, count) in [("12345678", 2), ("a long one", 3)] {
        let reply = post(sim.addr(), "/tokenize", json!({"model": "m", "prompt": prompt})).await.unwrap().json();
        assert_eq!((&reply["count"], reply["tokens"].as_array().unwrap().len()), (&json!(count), count));
    }
    assert_eq!(get(sim.addr(), "/healthz").await.unwrap().status.as_u16(), 200);
    assert_eq!(post(sim.addr(), "/tokenize", json!({"prompt": "a"})).await.unwrap().status.as_u16(), 400);
    assert_eq!(get(sim.addr(), "/tokenize").await.unwrap().status.as_u16(), 405);
    assert_eq!(sim.record().of(Route::Tokenize).len(), 3);
}
