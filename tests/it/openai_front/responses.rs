//! `POST /v1/responses`.

use loadtest::sim::{Routes, Rule};
use serde_json::{Value, json};

use super::{data, fault};
use crate::support::one_backend::{KINDS, OneBackend};

const RESPONSES: &str = "/v1/responses";

#[tokio::test]
async fn a_response_is_given_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let body = json!({"model": "chat:1b", "instructions": "Be nice.", "input": "Hi", "metadata": {"a": "b"}, "store": true});
        let answer = front.post(RESPONSES, body).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), front.id, "{kind}");
        let reply = answer.json();
        assert_eq!((&reply["object"], &reply["status"]), (&json!("response"), &json!("completed")), "{kind}");
        assert_eq!((&reply["metadata"], &reply["store"]), (&json!({"a": "b"}), &json!(false)), "{kind}");
        assert_eq!(reply["output"][0]["content"][0]["text"], "Hello", "{kind}");
        assert!(reply["usage"]["total_tokens"].as_u64().unwrap() > 0, "{kind}");
    }
}

#[tokio::test]
async fn a_response_is_streamed_in_numbered_events_over_every_kind_of_backend() {
    for kind in KINDS {
        let front = OneBackend::of(kind).await;
        front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo"]));
        let body = json!({"model": "chat:1b", "input": [{"role": "user", "content": "Hi"}], "stream": true});
        let events = data(&front.post(RESPONSES, body).await.expect(200));
        for (number, event) in events.iter().enumerate() {
            assert_eq!(event["sequence_number"], number, "{kind}");
        }
        let of = |name: &str| events.iter().filter(|event| event["type"] == name).collect::<Vec<&Value>>();
        let text: String =
            of("response.output_text.delta").iter().map(|event| event["delta"].as_str().unwrap()).collect();
        assert_eq!(text, "Hello", "{kind}");
        assert_eq!(
            (&events[0]["type"], &events[1]["type"]),
            (&json!("response.created"), &json!("response.in_progress"))
        );
        let last = events.last().unwrap();
        assert_eq!(
            (&last["type"], &last["response"]["status"]),
            (&json!("response.completed"), &json!("completed")),
            "{kind}"
        );
        assert_eq!(last["response"]["output"], json!([of("response.output_item.done")[0]["item"]]), "{kind}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_told_as_failed() {
    let front = OneBackend::of("vllm").await;
    front.sim.script(Rule::on(Routes::CALLS).reply_chunks(["Hel", "lo", "!"]).cut_after(2));
    let events =
        data(&front.post(RESPONSES, json!({"model": "chat:1b", "input": "Hi", "stream": true})).await.expect(200));
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(
        (&last["response"]["status"], &last["response"]["error"]["code"]),
        (&json!("failed"), &json!("server_error"))
    );
}

#[tokio::test]
async fn what_needs_something_stored_is_refused_with_its_field() {
    let front = OneBackend::of("ollama").await;
    for (name, value) in
        [("previous_response_id", json!("resp_1")), ("conversation", json!("conv_1")), ("background", json!(true))]
    {
        let refused = front.post(RESPONSES, json!({"model": "chat:1b", "input": "Hi", name: value})).await.expect(400);
        let error = fault(&refused);
        assert_eq!(error["param"], name);
        assert!(error["message"].as_str().unwrap().contains("not stored here"), "{error}");
    }
}
