//! Embeddings of several requests in one call (`docs/api.md`, batching): opt-in, in order, and nobody pays for another's
//! mistake.

use loadtest::sim::{Flavour, Route, Rule, SimBackend, embedding};
use serde_json::json;

use crate::support::{Answer, Client, EMBED, TestServer, in_background};

/// A server whose embedding pool batches, on a backend with one slot, so that what comes meanwhile is batched.
async fn batching(window_ms: f64) -> (TestServer, SimBackend, String) {
    let sim = SimBackend::openai().flavour(Flavour::Vllm).model("embed:1b").start().await.unwrap();
    let server = TestServer::start(&[("EMBED_MODEL", "embed:1b")]).await;
    let settings = json!({"batching": {"windowMs": window_ms, "maxInputs": 16}});
    server.put(&format!("/pools/{EMBED}"), settings).await.expect(200);
    let id = server.register("a", "vllm", &sim, &[EMBED]).await;
    server.wait_for_model(&id, "embed:1b").await;
    (server, sim, id)
}

async fn embed_all(server: &TestServer, texts: &[String]) -> Vec<Answer> {
    let ask = |text: &String| {
        let (client, body) = (Client::clone(server), json!({"text": text}));
        in_background(async move { client.post("/embed", body).await })
    };
    let asked: Vec<_> = texts.iter().map(ask).collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap());
    }
    answers
}

fn texts(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("text number {number}")).collect()
}

#[tokio::test]
async fn many_requests_at_once_are_few_calls_and_each_gets_its_own_vector() {
    let (server, sim, _) = batching(2.0).await;
    let texts = texts(200);
    let answers = embed_all(&server, &texts).await;
    for (text, answer) in texts.iter().zip(answers) {
        let vector: Vec<f64> = serde_json::from_value(answer.expect(200).json()["vector"].clone()).unwrap();
        let wanted = embedding(text, vector.len());
        assert!(vector.iter().zip(wanted).all(|(a, b)| (a - f64::from(b)).abs() < 1e-6), "{text}");
    }
    let calls = sim.record().of(Route::Embed).len();
    assert!(calls < 120, "{calls} calls for 200 requests");
}

#[tokio::test]
async fn without_the_setting_nothing_is_batched() {
    let (server, sim, _) = batching(0.0).await;
    for answer in embed_all(&server, &texts(50)).await {
        answer.expect(200);
    }
    assert_eq!(sim.record().of(Route::Embed).len(), 50);
}

#[tokio::test]
async fn a_text_that_is_refused_fails_alone() {
    let (server, sim, _) = batching(2.0).await;
    sim.script(Rule::on(Route::Embed).containing("forbidden").status(400));
    let mut texts = texts(60);
    texts[30] = "forbidden".to_owned();
    let answers = embed_all(&server, &texts).await;
    for (at, answer) in answers.into_iter().enumerate() {
        let wanted = if at == 30 { 500 } else { 200 };
        answer.expect(wanted);
    }
}
