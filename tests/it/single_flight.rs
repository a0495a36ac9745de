//! Identical deterministic calls made once (`docs/api.md`, single flight): opt-in, everybody gets all of the answer, and
//! nobody's leaving, slowness or failure is another's.

mod leaving;

use loadtest::sim::{Flavour, Route, Routes, Rule, SimBackend, embedding};
use penstock::domain::ids::{BackendId, PoolId};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, EMBED, TASKS, TestServer, dialects::Front, eventually, in_background, one_backend::OneBackend,
    raw::RawClient,
};

const CROWD: usize = 100;

/// A way through the server.
#[derive(Debug, Clone, Copy)]
struct Road {
    front: Front,
    behind: Front,
    stream: bool,
}

fn roads() -> Vec<Road> {
    let mut roads = Vec::new();
    for front in Front::ALL {
        for behind in Front::ALL {
            roads.extend([true, false].map(|stream| Road { front, behind, stream }));
        }
    }
    roads
}

impl Road {
    /// A question that is always answered alike.
    fn question(self, words: &str) -> Value {
        cold(self.front, self.front.question(words, self.stream))
    }

    /// An answer in so many pieces, on its way to a client of this road.
    fn pieces(self, count: usize, words: &str) -> Rule {
        let pieces = (0..count).map(|at| self.behind.piece(&format!("{words}{at} ")));
        Rule::on(Route::Chat).raw_frames(pieces.chain([self.behind.end()]).collect::<Vec<_>>())
    }
}

/// The same question at temperature 0.
fn cold(front: Front, mut question: Value) -> Value {
    match front {
        Front::Openai => question["temperature"] = json!(0),
        Front::Ollama => question["options"] = json!({"temperature": 0}),
    }
    question
}

struct Scene {
    server: TestServer,
    sim: SimBackend,
    id: String,
}

impl Scene {
    async fn start(behind: Front, shares: bool) -> Self {
        let server = TestServer::start(&[]).await;
        set_sharing(&server, TASKS, shares).await;
        let sim = behind.sim().await;
        let body = json!({"name": "a", "baseUrl": sim.url(), "type": behind.kind(), "maxConcurrency": 32});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
        Self { server, sim, id }
    }

    /// Asks so often at once that all but one share a call.
    async fn crowd(&self, path: &'static str, question: &Value) -> Vec<tokio::task::JoinHandle<Answer>> {
        let ask = |_| {
            let (client, question) = (Client::clone(&self.server), question.clone());
            in_background(async move { client.post(path, question).await })
        };
        let asked = (0..CROWD).map(ask).collect();
        wait_for_sharing(&self.server, TASKS, CROWD - 1).await;
        asked
    }

    async fn wait_until_idle(&self) {
        self.server.wait_until_idle(&self.id).await;
        wait_for_sharing(&self.server, TASKS, 0).await;
    }

    fn calls(&self) -> usize {
        self.sim.record().of(Route::Chat).len()
    }
}

async fn set_sharing(server: &TestServer, pool: &str, shares: bool) {
    server.put(&format!("/pools/{pool}"), json!({"singleFlight": shares})).await.expect(200);
    eventually("the setting in force", || async {
        let cell = server.runtime.directory.pool(&PoolId::new(pool)).ok_or("no pool")?;
        let is_set = cell.table().pool.calls.single_flight == shares;
        if is_set { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
}

/// Waits until so many requests share a call that is made for another.
async fn wait_for_sharing(server: &TestServer, pool: &str, count: usize) {
    eventually(&format!("{count} requests that share"), || async {
        let sharing = server.runtime.directory.pool(&PoolId::new(pool)).ok_or("no pool")?.snapshot().sharing;
        if sharing == count as u64 { Ok(()) } else { Err(format!("{sharing} share")) }
    })
    .await;
}

/// What a stream says, whatever each client's own id and time.
fn said(front: Front, text: &str) -> String {
    let mut said = String::new();
    for line in text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line)) {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        let piece = match front {
            Front::Openai => &line["choices"][0]["delta"]["content"],
            Front::Ollama => &line["message"]["content"],
        };
        said.push_str(piece.as_str().unwrap_or_default());
    }
    said
}

/// What a whole answer says.
fn whole(front: Front, answer: &Answer) -> String {
    let body = answer.json();
    let words = match front {
        Front::Openai => &body["choices"][0]["message"]["content"],
        Front::Ollama => &body["message"]["content"],
    };
    words.as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_hundred_identical_requests_are_one_call_and_each_gets_all_of_the_answer() {
    for road in roads() {
        let scene = Scene::start(road.behind, true).await;
        scene.sim.script(if road.stream { road.pieces(20, "w") } else { Rule::on(Route::Chat).reply("all of it") });
        let gate = scene.sim.hold();
        let asked = scene.crowd(road.front.chat(), &road.question("hi")).await;
        gate.release_all();
        let expected: String = (0..20).map(|at| format!("w{at} ")).collect();
        let (mut shared, mut texts) = (0, Vec::new());
        for answer in asked {
            let answer = answer.await.unwrap().expect(200);
            shared += usize::from(answer.header("x-penstock-shared") == "true");
            assert_eq!(answer.header("x-penstock-backend"), scene.id);
            match road.stream {
                true => assert_eq!(said(road.front, &answer.text), expected, "{road:?}"),
                false => assert_eq!(whole(road.front, &answer), "all of it", "{road:?}"),
            }
            texts.push(answer.text);
        }
        if road.front == road.behind {
            assert!(texts.iter().all(|text| *text == texts[0]), "{road:?}: the bytes of the backend");
        }
        assert_eq!((scene.calls(), shared), (1, CROWD - 1), "{road:?}");
        scene.wait_until_idle().await;
        let state = scene.server.get("/state").await.expect(200).json();
        assert_eq!(state[0]["sharedCalls"], json!(CROWD - 1));
    }
}

#[tokio::test]
async fn without_the_setting_each_request_is_a_call() {
    let road = roads()[0];
    let scene = Scene::start(road.behind, false).await;
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let (client, question) = (Client::clone(&scene.server), road.question("hi"));
            in_background(async move { client.post(road.front.chat(), question).await })
        })
        .collect();
    for answer in asked {
        assert_eq!(answer.await.unwrap().expect(200).header("x-penstock-shared"), "");
    }
    assert_eq!(scene.calls(), 20);
}

#[tokio::test]
async fn who_comes_while_a_stream_runs_gets_it_from_the_beginning() {
    for road in roads().into_iter().filter(|road| road.stream) {
        let scene = Scene::start(road.behind, true).await;
        let script = scene.sim.script(road.pieces(20, "w").stall_after(10));
        let mut first = RawClient::connect(scene.server.addr).await;
        first.post(road.front.chat(), &road.question("hi").to_string()).await;
        first.until("w9 ").await;
        let (client, question) = (Client::clone(&scene.server), road.question("hi"));
        let second = in_background(async move { client.post(road.front.chat(), question).await });
        wait_for_sharing(&scene.server, TASKS, 1).await;
        script.release();
        let expected: String = (0..20).map(|at| format!("w{at} ")).collect();
        assert_eq!(said(road.front, &second.await.unwrap().expect(200).text), expected, "{road:?}");
        first.until("w19 ").await;
        assert_eq!(scene.calls(), 1);
        scene.wait_until_idle().await;
    }
}

#[tokio::test]
async fn what_differs_in_anything_is_not_shared() {
    let front = Front::Openai;
    let scene = Scene::start(front, true).await;
    let same = cold(front, front.question("hi", true));
    let with = |name: &str, value: Value| {
        let mut question = same.clone();
        question[name] = value;
        question
    };
    let warm = front.question("hi", true);
    let warmer = with("temperature", json!(0.1));
    let several = with("n", json!(2));
    let bodies = [
        same.clone(),
        cold(front, front.question("ho", true)),
        cold(front, front.question("hi", false)),
        with("seed", json!(1)),
        with("seed", json!(2)),
        with("max_tokens", json!(9)),
        // Never shared, not even with themselves.
        warm.clone(),
        warm,
        warmer.clone(),
        warmer,
        several.clone(),
        several,
    ];
    let gate = scene.sim.hold();
    let mut asked = Vec::new();
    for body in &bodies {
        let request = scene.server.request(Method::POST, front.chat()).body(body.to_string());
        let client = Client::clone(&scene.server);
        asked.push(in_background(async move { client.send(request).await }));
    }
    for (header, value) in [("x-penstock-priority", "batch"), ("x-penstock-priority", "interactive")] {
        let request = scene.server.request(Method::POST, front.chat()).header(header, value).body(same.to_string());
        let client = Client::clone(&scene.server);
        asked.push(in_background(async move { client.send(request).await }));
    }
    gate.wait_for_arrivals(asked.len()).await.unwrap();
    wait_for_sharing(&scene.server, TASKS, 0).await;
    gate.release_all();
    for answer in asked {
        answer.await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn labels_that_a_request_wants_are_kept() {
    let front = Front::Openai;
    let server = TestServer::start(&[]).await;
    set_sharing(&server, TASKS, true).await;
    let (anywhere, here) = (front.sim().await, front.sim().await);
    let register = async |name: &str, sim: &SimBackend, tier: u32, labels: Value| {
        let body = json!({"name": name, "baseUrl": sim.url(), "type": "vllm", "tier": tier, "labels": labels});
        let id = server.register_as(body, &[TASKS]).await;
        server.wait_for_model(&id, "chat:1b").await;
    };
    register("anywhere", &anywhere, 0, json!({})).await;
    register("here", &here, 1, json!({"zone": "here"})).await;
    let gates = [anywhere.hold(), here.hold()];
    let question = cold(front, front.question("hi", false)).to_string();
    let ask = |zone: Option<&str>| {
        let mut request = server.request(Method::POST, front.chat()).body(question.clone());
        if let Some(zone) = zone {
            request = request.header("x-penstock-require", format!("zone={zone}"));
        }
        let client = Client::clone(&server);
        in_background(async move { client.send(request).await })
    };
    let open = ask(None);
    gates[0].wait_for_arrivals(1).await.unwrap();
    let held = ask(Some("here"));
    gates[1].wait_for_arrivals(1).await.unwrap();
    gates.iter().for_each(|gate| gate.release_all());
    for answer in [open, held] {
        assert_eq!(answer.await.unwrap().expect(200).header("x-penstock-shared"), "");
    }
}

#[tokio::test]
async fn a_failure_before_the_first_byte_is_told_to_each_once() {
    for road in roads() {
        let scene = Scene::start(road.behind, true).await;
        scene.sim.script(Rule::on(Route::Chat).status(400).body(r#"{"error":{"message":"no such thing"}}"#));
        let gate = scene.sim.hold();
        let asked = scene.crowd(road.front.chat(), &road.question("hi")).await;
        gate.release_all();
        for answer in asked {
            let answer = answer.await.unwrap().expect(400);
            assert!(answer.text.contains("no such thing"), "{road:?}: {}", answer.text);
        }
        assert_eq!(scene.calls(), 1);
        scene.wait_until_idle().await;
    }
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_once_for_each() {
    for road in roads().into_iter().filter(|road| road.stream) {
        let scene = Scene::start(road.behind, true).await;
        scene.sim.script(road.pieces(20, "w").cut_after(10));
        let gate = scene.sim.hold();
        let asked = scene.crowd(road.front.chat(), &road.question("hi")).await;
        gate.release_all();
        let expected: String = (0..10).map(|at| format!("w{at} ")).collect();
        for answer in asked {
            let answer = answer.await.unwrap().expect(200);
            assert_eq!(said(road.front, &answer.text), expected, "{road:?}");
            let errors = answer.text.lines().filter(|line| line.contains("\"error\"")).count();
            assert_eq!((errors, answer.text.contains("[DONE]")), (1, false), "{road:?}: {}", answer.text);
        }
        assert_eq!(scene.calls(), 1);
        scene.wait_until_idle().await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_harms_nobody_else() {
    const PIECES: usize = 4_000;
    for road in roads().into_iter().filter(|road| road.stream) {
        let scene = Scene::start(road.behind, true).await;
        let words = "x".repeat(4_000);
        // Far more than all buffers on the way hold.
        scene.sim.script(road.pieces(PIECES, &words));
        let gate = scene.sim.hold();
        let mut lazy = RawClient::connect_slow(scene.server.addr).await;
        let (path, question) = (road.front.chat(), road.question("hi").to_string());
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n");
        lazy.send_whole(format!("{head}content-length: {}\r\n\r\n{question}", question.len())).await;
        gate.wait_for_arrivals(1).await.unwrap();
        let (client, question) = (Client::clone(&scene.server), road.question("hi"));
        let reader = in_background(async move { client.post(road.front.chat(), question).await });
        wait_for_sharing(&scene.server, TASKS, 1).await;
        gate.release_all();
        let answer = reader.await.unwrap().expect(200);
        let said = said(road.front, &answer.text);
        let expected: usize = (0..PIECES).map(|at| words.len() + format!("{at} ").len()).sum();
        assert_eq!(said.len(), expected, "{road:?}");
        assert!(said.ends_with(&format!("{} ", PIECES - 1)));
        assert_eq!(scene.calls(), 1);
        // The slot is free although somebody has read next to nothing.
        scene.server.wait_until_idle(&scene.id).await;
        // Whoever was left behind is told so, in the words of its dialect.
        let all = lazy.rest().await;
        assert_eq!(all.matches("no longer kept").count(), 1, "{road:?}: {}", &all[all.len().saturating_sub(500)..]);
        assert!(all.len() < said.len() / 2, "{road:?}: {} bytes", all.len());
        scene.wait_until_idle().await;
    }
}

#[tokio::test]
async fn prompts_completions_responses_and_vectors_are_shared_too() {
    for kind in ["ollama", "vllm", "gemini"] {
        let OneBackend { server, sim, id, .. } = &OneBackend::of(kind).await;
        for pool in [TASKS, EMBED] {
            set_sharing(server, pool, true).await;
        }
        for (path, body, pool) in [
            ("/execute", json!({"prompt": "hi", "model_provider": kind}), TASKS),
            ("/embed", json!({"text": "hi"}), EMBED),
            ("/v1/completions", json!({"model": "chat:1b", "prompt": "hi", "temperature": 0.0}), TASKS),
            ("/v1/responses", json!({"model": "chat:1b", "input": "hi", "temperature": 0}), TASKS),
            ("/v1/embeddings", json!({"model": "embed:1b", "input": ["hi", "ho"]}), EMBED),
            ("/v1/embeddings", json!({"model": "embed:1b", "input": "hi", "encoding_format": "base64"}), EMBED),
            (
                "/api/generate",
                json!({"model": "chat:1b", "prompt": "hi", "stream": false, "options": {"temperature": 0}}),
                TASKS,
            ),
            ("/api/embed", json!({"model": "embed:1b", "input": "hi"}), EMBED),
        ] {
            if kind == "gemini" && path == "/embed" {
                continue;
            }
            let (gate, calls) = (sim.hold(), sim.record().of(Routes::CALLS).len());
            let ask = || {
                let mut request = server.request(Method::POST, path).header("content-type", "application/json");
                if kind == "gemini" {
                    request = request.header("x-penstock-provider", "gemini");
                }
                let (client, request) = (Client::clone(server), request.body(body.to_string()));
                in_background(async move { client.send(request).await })
            };
            let asked: Vec<_> = (0..5).map(|_| ask()).collect();
            wait_for_sharing(server, pool, 4).await;
            gate.release_all();
            let mut answers = Vec::new();
            for answer in asked {
                answers.push(answer.await.unwrap().expect(200));
            }
            assert_eq!(sim.record().of(Routes::CALLS).len(), calls + 1, "{kind} {path}");
            let lengths: Vec<usize> = answers.iter().map(|answer| said_anywhere(&answer.json())).collect();
            assert!(lengths.iter().all(|length| *length == lengths[0] && *length > 0), "{kind} {path}: {answers:?}");
            server.wait_until_idle(id).await;
        }
    }
}

/// How much an answer says, whatever each client's own ids and times.
fn said_anywhere(body: &Value) -> usize {
    let parts = ["response", "vector", "choices", "output", "data", "embeddings"];
    let whole: String = parts.iter().map(|part| body[part].to_string()).collect();
    whole.len()
}

#[tokio::test]
async fn steps_of_two_runs_of_a_chain_that_ask_the_same_share_their_calls() {
    let scene = Scene::start(Front::Ollama, true).await;
    let gate = scene.sim.hold();
    let step = |id: &str, goto: &str| json!({"id": id, "handler": "raw_string", "transition": {"branches": [{"operator": "default", "goto": goto}]}});
    let chain = json!({"id": "twice", "tasks": [step("first", "second"), step("second", "end")]});
    let ask = |_| {
        let (client, body) = (Client::clone(&scene.server), json!({"input": "hi", "chain": chain}));
        in_background(async move { client.post("/tasks", body).await })
    };
    let runs: Vec<_> = (0..2).map(ask).collect();
    for at in 1..=2 {
        gate.wait_for_arrivals(at).await.unwrap();
        // The answer of the step before is there for both.
        eventually("the step before", || async {
            let backend = scene.server.runtime.directory.backend(&BackendId::new(&*scene.id)).ok_or("no backend")?;
            let shared = backend.shared_calls();
            if shared == at as u64 - 1 { Ok(()) } else { Err(format!("{shared} have shared")) }
        })
        .await;
        wait_for_sharing(&scene.server, TASKS, 1).await;
        gate.release(1);
    }
    let mut outputs = Vec::new();
    for run in runs {
        outputs.push(run.await.unwrap().expect(200).json()["output"].clone());
    }
    assert!(outputs[0] == outputs[1] && outputs[0].is_string(), "{outputs:?}");
    assert_eq!(scene.sim.record().of(Routes::CALLS).len(), 2, "each step is one call for both runs");
    scene.wait_until_idle().await;
}

#[tokio::test]
async fn a_shared_embedding_is_part_of_a_batch_all_the_same() {
    let server = TestServer::start(&[]).await;
    server.put(&format!("/pools/{EMBED}"), json!({"batching": {"windowMs": 2.0, "maxInputs": 16}})).await.expect(200);
    set_sharing(&server, EMBED, true).await;
    let sim = SimBackend::openai().flavour(Flavour::Vllm).model("embed:1b").start().await.unwrap();
    let id = server.register("a", "vllm", &sim, &[EMBED]).await;
    server.wait_for_model(&id, "embed:1b").await;
    let gate = sim.hold();
    let ask = |number: usize| {
        let (client, body) = (Client::clone(&server), json!({"text": format!("text number {}", number / 2)}));
        in_background(async move { client.post("/embed", body).await })
    };
    let asked: Vec<_> = (0..2 * CROWD).map(ask).collect();
    wait_for_sharing(&server, EMBED, CROWD).await;
    gate.release_all();
    for (at, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().expect(200);
        let vector: Vec<f64> = serde_json::from_value(answer.json()["vector"].clone()).unwrap();
        let wanted = embedding(&format!("text number {}", at / 2), vector.len());
        assert!(vector.iter().zip(wanted).all(|(a, b)| (a - f64::from(b)).abs() < 1e-6), "{at}");
    }
    let calls = sim.record().of(Route::Embed).len();
    assert!(calls < CROWD, "{calls} calls for {CROWD} texts that two each wanted");
}

#[tokio::test]
async fn each_caller_pays_for_the_whole_answer() {
    let server = TestServer::start(&[("RATE_LIMIT_TPM", "1000")]).await;
    set_sharing(&server, TASKS, true).await;
    let sim = Front::Openai.sim().await;
    server.ready("a", "vllm", &sim).await;
    let usage = json!({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150});
    let message = json!({"role": "assistant", "content": "hi"});
    let body = json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": usage});
    sim.script(Rule::on(Route::Chat).body(body.to_string()));
    let gate = sim.hold();
    let question = cold(Front::Openai, Front::Openai.question("hi", false));
    let ask = |_| {
        let (client, question) = (Client::clone(&server), question.clone());
        in_background(async move { client.post(Front::Openai.chat(), question).await })
    };
    let asked: Vec<_> = (0..4).map(ask).collect();
    wait_for_sharing(&server, TASKS, 3).await;
    gate.release_all();
    for answer in asked {
        answer.await.unwrap().expect(200);
    }
    // Four answers have cost 600 of a thousand, and this one 150; some have come in meanwhile.
    let answer = server.post(Front::Openai.chat(), question).await.expect(200);
    let left: u64 = answer.header("x-ratelimit-remaining-tokens").parse().unwrap();
    assert!((250..330).contains(&left), "{left} tokens are left");
}
