//! Answers that are kept and given again (`docs/api.md`, kept answers), on a real Valkey.

use loadtest::{
    services::valkey::{PASSWORD, Valkey},
    sim::{Route, SimBackend},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, TASKS, TestServer, dialects::Front, eventually};

struct Scene {
    server: TestServer,
    sim: SimBackend,
}

impl Scene {
    /// A server that keeps the answers of its pools for so long.
    async fn start(valkey: &Valkey, behind: Front, cache: Value) -> Self {
        let host = format!("127.0.0.1:{}", valkey.port());
        let server = TestServer::start(&[("KV_HOST", &host), ("KV_PASSWORD", PASSWORD)]).await;
        let builder = if behind == Front::Openai { SimBackend::vllm() } else { SimBackend::ollama() };
        let sim = builder.model("chat:1b").model("embed:1b").start().await.unwrap();
        let id = server.register("a", behind.kind(), &sim, &[TASKS, EMBED]).await;
        for model in ["chat:1b", "embed:1b"] {
            server.wait_for_model(&id, model).await;
        }
        for pool in [TASKS, EMBED] {
            let answer = server.put(&format!("/pools/{pool}"), json!({"cache": cache})).await.expect(200);
            assert!(!answer.headers.contains_key("x-penstock-warning"), "{:?}", answer.headers);
        }
        Self { server, sim }
    }

    async fn ask(&self, path: &str, body: &Value, control: &str) -> Answer {
        let request = self.server.request(Method::POST, path).header("content-type", "application/json");
        let request = if control.is_empty() { request } else { request.header("cache-control", control) };
        self.server.send(request.body(body.to_string())).await.expect(200)
    }

    /// Asks until the answer was kept.
    async fn hit(&self, path: &str, body: &Value) -> Answer {
        eventually("a kept answer", || async {
            let answer = self.ask(path, body, "").await;
            if state(&answer) == Some("hit") { Ok(answer) } else { Err(format!("{:?}", answer.headers)) }
        })
        .await
    }

    fn calls(&self) -> usize {
        let record = self.sim.record();
        [Route::Chat, Route::Generate, Route::Embed].map(|route| record.of(route).len()).iter().sum()
    }
}

fn state(answer: &Answer) -> Option<&str> {
    answer.headers.get("x-penstock-cache").map(|value| value.to_str().unwrap())
}

/// The same without what each answer has of its own.
fn said(answer: &Answer) -> Value {
    let mut said = answer.json();
    for own in ["id", "created", "created_at", "total_duration", "eval_duration"] {
        said.as_object_mut().unwrap().remove(own);
    }
    said
}

fn cold(front: Front) -> Value {
    let mut question = front.question("what is kept?", false);
    match front {
        Front::Openai => question["temperature"] = json!(0),
        Front::Ollama => question["options"] = json!({"temperature": 0}),
    }
    question
}

#[tokio::test]
async fn what_is_answered_alike_each_time_is_asked_of_a_backend_once_on_every_road() {
    let Some(valkey) = Valkey::shared() else { return };
    for behind in Front::ALL {
        let scene = Scene::start(valkey, behind, json!({"ttlMs": 600_000})).await;
        let questions = [
            ("/v1/chat/completions", cold(Front::Openai)),
            ("/api/chat", cold(Front::Ollama)),
            ("/v1/completions", json!({"model": "chat:1b", "prompt": "x", "temperature": 0})),
            ("/v1/embeddings", json!({"model": "embed:1b", "input": ["a", "b"]})),
            ("/api/embed", json!({"model": "embed:1b", "input": "a"})),
            ("/embed", json!({"text": "a"})),
        ];
        for (asked, (path, question)) in questions.iter().enumerate() {
            let first = scene.ask(path, question, "").await;
            assert_eq!(state(&first), Some("miss"), "{path} behind {behind:?}");
            let made = scene.calls();
            assert!(made > asked, "{path}");
            let second = scene.hit(path, question).await;
            let (backend, attempts) = (second.header("x-penstock-backend"), second.header("x-penstock-attempts"));
            assert_eq!((backend, attempts), (first.header("x-penstock-backend"), "0"));
            if first.text.starts_with('{') {
                assert_eq!(said(&second), said(&first), "{path} behind {behind:?}");
            } else {
                assert_eq!(second.text, first.text, "{path} behind {behind:?}");
            }
        }
        let own_dialect = scene.hit(behind.chat(), &cold(behind)).await.text;
        assert_eq!(scene.hit(behind.chat(), &cold(behind)).await.text, own_dialect, "byte by byte");
    }
}

#[tokio::test]
async fn what_may_be_answered_otherwise_or_is_not_to_be_kept_is_made_each_time() {
    let Some(valkey) = Valkey::shared() else { return };
    let scene = Scene::start(valkey, Front::Openai, json!({"ttlMs": 600_000})).await;
    let path = "/v1/chat/completions";
    let warm = Front::Openai.question("x", false);
    let mut stream = cold(Front::Openai);
    stream["stream"] = json!(true);
    for (question, control) in [(&warm, ""), (&stream, ""), (&cold(Front::Openai), "max-age=60, No-Store")] {
        for _ in 0..2 {
            let before = scene.calls();
            assert_eq!(state(&scene.ask(path, question, control).await), None, "{question} {control}");
            assert_eq!(scene.calls(), before + 1);
        }
    }
    let question = cold(Front::Openai);
    assert_eq!(state(&scene.ask(path, &question, "").await), Some("miss"), "no-store has kept nothing");
    scene.hit(path, &question).await;
    let before = scene.calls();
    assert_eq!(state(&scene.ask(path, &question, "no-store").await), None, "nor gives it what was kept");
    assert_eq!(state(&scene.ask(path, &question, "no-cache").await), Some("miss"));
    assert_eq!(state(&scene.ask(path, &question, "max-age=0").await), Some("miss"));
    assert_eq!(scene.calls(), before + 3);
    scene.hit(path, &question).await;
    assert_eq!(scene.calls(), before + 3);
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_one_that_is_too_large_is_not() {
    let Some(valkey) = Valkey::shared() else { return };
    let scene = Scene::start(valkey, Front::Openai, json!({"ttlMs": 300})).await;
    let (path, question) = ("/v1/chat/completions", cold(Front::Openai));
    scene.hit(path, &question).await;
    eventually("the end of its time", || async {
        let answer = scene.ask(path, &question, "").await;
        if state(&answer) == Some("miss") { Ok(()) } else { Err("it is kept".to_owned()) }
    })
    .await;
    let small = json!({"cache": {"ttlMs": 600_000, "maxBytes": 200}});
    scene.server.put(&format!("/pools/{TASKS}"), small).await.expect(200);
    let question = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "y"}], "temperature": 0});
    let kept_elsewhere = json!({"model": "embed:1b", "input": "z"});
    scene.server.put(&format!("/pools/{EMBED}"), json!({"cache": {"ttlMs": 600_000}})).await.expect(200);
    for _ in 0..3 {
        assert_eq!(state(&scene.ask(path, &question, "").await), Some("miss"));
        // One after another: what was asked before this has been kept when this is.
        scene.ask("/v1/embeddings", &kept_elsewhere, "no-cache").await;
        scene.hit("/v1/embeddings", &kept_elsewhere).await;
    }
}

#[tokio::test]
async fn nothing_is_kept_unless_the_pool_wants_it_and_there_is_a_valkey() {
    let server = TestServer::start(&[]).await;
    let sim = Front::Openai.sim().await;
    let id = server.register("a", "vllm", &sim, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let warned = server.put(&format!("/pools/{TASKS}"), json!({"cache": {"ttlMs": 1000}})).await.expect(200);
    assert_eq!(warned.json()["cache"], json!({"ttlMs": 1000, "maxBytes": 262_144}));
    assert!(warned.header("x-penstock-warning").contains("KV_HOST is not set"), "{:?}", warned.headers);
    for _ in 0..2 {
        let answer = server.post("/v1/chat/completions", cold(Front::Openai)).await.expect(200);
        assert_eq!(state(&answer), None);
    }
    assert_eq!(sim.record().of(Route::Chat).len(), 2);

    let Some(valkey) = Valkey::shared() else { return };
    let scene = Scene::start(valkey, Front::Openai, json!({"ttlMs": 0})).await;
    for _ in 0..2 {
        assert_eq!(state(&scene.ask("/v1/chat/completions", &cold(Front::Openai), "").await), None);
    }
    assert_eq!(scene.calls(), 2);
}

#[tokio::test]
async fn while_the_valkey_is_away_answers_are_made() {
    if !Valkey::is_installed() {
        return;
    }
    let valkey = Valkey::start().unwrap();
    let scene = Scene::start(&valkey, Front::Openai, json!({"ttlMs": 600_000})).await;
    let (path, question) = ("/v1/chat/completions", cold(Front::Openai));
    scene.hit(path, &question).await;
    valkey.server().unwrap().freeze();
    for _ in 0..20 {
        assert_eq!(state(&scene.ask(path, &question, "").await), Some("miss"));
    }
    valkey.server().unwrap().thaw();
    scene.hit(path, &question).await;
}
