//! A server with backends of which each has its part, and one turn of all that is done to it.
//!
//! - `main`, an Ollama, and `second`, a vLLM: two slots each, in the two default pools, where most of the work is
//! - `bad`, without a fixed limit, which refuses, breaks off and answers, in the pool `bad`
//! - `narrow`, one slot, in the pool `narrow`, where nobody may wait long
//! - `other`, in the pool `other`: nothing that breaks may be noticed there

use std::{
    cell::{Cell, RefCell},
    sync::Arc,
    time::Duration,
};

use loadtest::sim::{Routes, Rule, SimBackend, SimModel};
use penstock::{
    domain::{
        chain::Chain,
        ids::{BackendId, PoolId, RequestId, RunId},
        route::RouteScope,
        time::Timestamp,
        value::Value as Input,
    },
    engine::{self, RunInfo},
    faults::{Kind, Set},
    runtime::run::RunSpec,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    support::{Client, EMBED, TASKS, TestServer, dialects::Front, eventually, in_background},
    turn::{Stake, Told, Work, json as request},
};

const SLOTS: usize = 2;
/// What most calls take, so that there are always some that wait.
const CALL: Duration = Duration::from_millis(8);
/// A call that is given up before it is answered.
const SLOW: Duration = Duration::from_millis(500);
/// After this time a client leaves.
const IMPATIENCE: Duration = Duration::from_millis(5);

/// See the module.
pub struct World {
    pub server: TestServer,
    pub main_sim: SimBackend,
    /// The id of `main`.
    pub main: String,
    sims: Vec<(SimBackend, usize)>,
    ids: Vec<String>,
    turns: Cell<u32>,
    /// While the store cannot be read.
    unreadable: RefCell<Option<Set>>,
}

impl World {
    pub async fn start() -> Self {
        let server = TestServer::start(&[]).await;
        server
            .put(&format!("/pools/{EMBED}"), json!({"batching": {"windowMs": 2.0, "maxInputs": 16}}))
            .await
            .expect(200);
        let main_sim = SimBackend::ollama().model("chat:1b").model("embed:1b").start().await.unwrap();
        let second = SimBackend::vllm().model("chat:1b").start().await.unwrap();
        let body = json!({"name": "main", "baseUrl": main_sim.url(), "type": "ollama", "maxConcurrency": SLOTS});
        let main = server.register_as(body, &[TASKS, EMBED]).await;
        let body = json!({"name": "second", "baseUrl": second.url(), "type": "vllm", "maxConcurrency": SLOTS});
        let mut ids = vec![main.clone(), server.register_as(body, &[TASKS]).await];
        let mut sims = vec![(second, SLOTS)];
        for (name, slots, settings) in [
            ("bad", None, json!({})),
            ("narrow", Some(1), json!({"queue": {"maxWaitMs": 20}})),
            ("other", Some(8), json!({})),
            ("sharing", Some(SLOTS), json!({"singleFlight": true})),
        ] {
            let sim = SimBackend::vllm().model("chat:1b").start().await.unwrap();
            let mut pool = settings;
            pool["name"] = json!(name);
            let pool = server.post("/pools", pool).await.expect(201).json()["id"].as_str().unwrap().to_owned();
            server.post(&format!("/model-associations/{pool}/models/chat:1b"), Value::Null).await.expect(200);
            let mut body = json!({"name": name, "baseUrl": sim.url(), "type": "vllm"});
            if let Some(slots) = slots {
                body["maxConcurrency"] = json!(slots);
            }
            let id = server.register_as(body, &[&pool]).await;
            server.wait_for_model(&id, "chat:1b").await;
            server.wait_for_member(&pool, &id).await;
            if name == "bad" {
                sim.script(Rule::on(Routes::CALLS).containing("refuse").status(503).header("retry-after", "0.02"));
                sim.script(Rule::on(Routes::CALLS).containing("cut").close_before_headers());
            }
            sim.script(Rule::on(Routes::CALLS).delay(if name == "narrow" { 10 * CALL } else { CALL }));
            sims.push((sim, slots.unwrap_or(usize::MAX)));
            ids.push(id);
        }
        for sim in [&main_sim, &sims[0].0] {
            sim.script(Rule::on(Routes::CALLS).containing("slow").delay(SLOW));
            sim.script(Rule::on(Routes::CALLS).delay(CALL));
        }
        for id in &ids {
            server.wait_for_model(id, "chat:1b").await;
        }
        Self { server, main_sim, main, sims, ids, turns: Cell::new(0), unreadable: RefCell::new(None) }
    }

    /// Why a server does not start.
    pub async fn refused_start() -> String {
        let folder = tempfile::tempdir().unwrap();
        TestServer::try_start_in(folder.path(), &[]).await.err().expect("it started").to_string()
    }

    pub fn crash_main(&self) {
        self.server.runtime.directory.backend(&BackendId::new(&*self.main)).unwrap().crash();
    }

    /// How often the actor of `main` has begun to live.
    pub fn lives(&self) -> u64 {
        self.server.runtime.directory.backend(&BackendId::new(&*self.main)).unwrap().view().generation
    }

    pub async fn wait_for_life(&self, life: u64) {
        self.server.wait_for_backend(&self.main, "another life", |view| view.generation >= life).await;
    }

    /// Does all of this once, and some of what has nothing to do with it.
    pub fn turn(&self, works: &[Work]) -> Vec<JoinHandle<Told>> {
        self.turns.set(self.turns.get() + 1);
        let mut asked: Vec<JoinHandle<Told>> =
            (0..2).map(|_| self.execute("in another pool", Stake::None, "other", "hi")).collect();
        asked.push(self.chat(Front::Openai, Stake::None, "other", "hi", true));
        for work in works {
            self.add(*work, &mut asked);
        }
        asked
    }

    fn add(&self, work: Work, asked: &mut Vec<JoinHandle<Told>>) {
        let client = || Client::clone(&self.server);
        match work {
            Work::Calls => {
                asked.extend((0..6).map(|_| self.execute("a prompt", Stake::Some, "", "hi")));
                for front in Front::ALL {
                    asked.extend([true, true, false].map(|stream| self.chat(front, Stake::Some, "", "hi", stream)));
                }
            }
            Work::Leave => {
                let request =
                    request(&client(), Method::POST, "/execute", "", &json!({"prompt": "hi"})).timeout(IMPATIENCE);
                asked.push(in_background(async move {
                    // Whoever leaves hears nothing.
                    drop(request.send().await);
                    Told::nothing()
                }));
            }
            Work::Expire => {
                asked.extend((0..3).map(|_| {
                    let request = request(&client(), Method::POST, "/execute", "narrow", &json!({"prompt": "hi"}));
                    in_background(async move { Told::of("in a narrow pool", Stake::Refusable, request).await })
                }));
            }
            Work::Embed => {
                asked.extend((0..6).map(|at| {
                    let request =
                        request(&client(), Method::POST, "/embed", "", &json!({"text": format!("text {at}")}));
                    in_background(async move { Told::of("an embedding", Stake::Some, request).await })
                }));
            }
            Work::Share => {
                let words = format!("turn {}", self.turns.get());
                for stream in [true, true, false, false] {
                    let mut body = Front::Openai.question(&words, stream);
                    body["temperature"] = json!(0);
                    let request = request(&client(), Method::POST, Front::Openai.chat(), "sharing", &body);
                    asked.push(in_background(async move { Told::of("a shared call", Stake::Some, request).await }));
                }
            }
            Work::Runs => self.add_runs(asked),
            Work::Snapshot => {
                let runs = self.server.runtime.runs.clone();
                asked.push(in_background(async move {
                    // Nobody hears of it but we.
                    if let Ok(run) = runs.start(endless()).await {
                        drop(run.snapshot().await);
                    }
                    Told::nothing()
                }));
            }
            Work::Change | Work::FailToRead => {
                let weight = 1 + self.turns.get() % 2;
                let body = json!({"name": "main", "baseUrl": self.main_sim.url(), "type": "ollama", "maxConcurrency": SLOTS, "weight": weight});
                let request = request(&client(), Method::PUT, &format!("/backends/{}", self.main), "", &body);
                if work == Work::FailToRead {
                    self.unreadable.replace(Some(Set::at("reconcile.read", "", Kind::Error, 0, 1)));
                }
                asked.push(in_background(async move { Told::of("a change", Stake::Some, request).await }));
            }
            Work::Download => {
                // One that failed would rest for a while.
                let model = format!("extra-{}:1b", self.turns.get());
                self.main_sim.add_to_catalog(SimModel::new(&*model).size(1_000));
                let declare = request(&client(), Method::POST, "/models", "", &json!({"model": model}));
                let assign = format!("/model-associations/{TASKS}/models/{model}");
                let assign = request(&client(), Method::POST, &assign, "", &Value::Null);
                asked.push(in_background(async move {
                    Told::of("a declaration", Stake::Some, declare).await.is_well().unwrap();
                    Told::of("an assignment", Stake::Some, assign).await
                }));
                let cancel = request(&client(), Method::DELETE, "/queue/cancel?model=unwanted:1b", "", &Value::Null);
                asked.push(in_background(async move { Told::of("a cancelled download", Stake::Some, cancel).await }));
            }
            Work::Listen => {
                let request = client().request(Method::GET, "/queue/inProgress").timeout(Duration::from_millis(40));
                asked.push(in_background(async move {
                    // It does not end by itself.
                    if let Ok(listening) = request.send().await {
                        drop(listening.text().await);
                    }
                    Told::nothing()
                }));
            }
            Work::Trouble => {
                for words in ["refuse", "cut", "hi", "hi"] {
                    asked.push(self.execute(words, Stake::Refusable, "bad", words));
                }
            }
            Work::CrashBackend => self.crash_main(),
            Work::CrashPool => self.server.runtime.directory.pool(&PoolId::new(TASKS)).unwrap().crash(),
            Work::Crash(which) => self.server.runtime.crash(which),
        }
    }

    /// A run that ends, one of many steps, one that is cancelled and one that is left.
    fn add_runs(&self, asked: &mut Vec<JoinHandle<Told>>) {
        let client = || Client::clone(&self.server);
        let ask = |prompt: &str| {
            json!({"input": "x", "chain": {"tasks": [
            {"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "b"}]}},
            {"id": "b", "handler": "raw_string", "prompt_template": prompt, "transition": {"branches": [{"goto": "end"}]}}]}})
        };
        let run = |what: &str, stake: Stake, body: &Value| {
            let (what, request) = (what.to_owned(), request(&client(), Method::POST, "/tasks", "", body));
            in_background(async move { Told::of(what, stake, request).await })
        };
        asked.push(run("a chain", Stake::Some, &ask("hi")));
        let looping = json!({"input": "x", "chain": {"tasks": [
            {"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]}});
        asked.push(run("an endless chain", Stake::Fails(500), &looping));
        let left = request(&client(), Method::POST, "/tasks", "", &ask("slow"));
        let (turn, cancelling) = (self.turns.get(), client());
        asked.push(in_background(async move {
            drop(left.timeout(6 * IMPATIENCE).send().await);
            Told::nothing()
        }));
        let slow = request(&client(), Method::POST, "/tasks", "", &ask("slow"))
            .header("x-request-id", format!("cancel-{turn}"));
        let slow = in_background(async move { Told::of("a cancelled chain", Stake::Fails(409), slow).await });
        asked.push(in_background(async move {
            eventually("a cancelled run", || async {
                if slow.is_finished() {
                    return Ok(());
                }
                let look = request(&cancelling, Method::GET, "/runs/active", "", &Value::Null).send().await;
                let runs = look.map_err(|error| error.to_string())?.text().await.unwrap_or_default();
                let runs: Vec<Value> = serde_json::from_str(&runs).unwrap_or_default();
                if let Some(run) = runs.iter().find(|run| run["requestID"] == format!("cancel-{turn}")) {
                    let path = format!("/runs/{}/cancel", run["id"].as_str().unwrap_or_default());
                    drop(request(&cancelling, Method::POST, &path, "", &Value::Null).send().await);
                }
                Err("it runs".to_owned())
            })
            .await;
            slow.await.unwrap()
        }));
    }

    fn execute(&self, what: &str, stake: Stake, pool: &str, prompt: &str) -> JoinHandle<Told> {
        let (what, request) =
            (what.to_owned(), request(&self.server, Method::POST, "/execute", pool, &json!({"prompt": prompt})));
        in_background(async move { Told::of(what, stake, request).await })
    }

    fn chat(&self, front: Front, stake: Stake, pool: &str, words: &str, stream: bool) -> JoinHandle<Told> {
        let request = request(&self.server, Method::POST, front.chat(), pool, &front.question(words, stream));
        in_background(async move { Told::of(format!("a chat of {front:?}, stream {stream}"), stake, request).await })
    }

    /// Waits until everything goes well that has been done before.
    pub async fn serves_again(&self, stage: &str, works: &[Work]) {
        let calm: Vec<Work> = works
            .iter()
            .copied()
            .filter(|work| !matches!(work, Work::Crash(_) | Work::CrashBackend | Work::CrashPool | Work::FailToRead))
            .collect();
        let what = format!("a turn without a failure after {stage}");
        eventually(&what, || async {
            let mut told = Vec::new();
            for asked in self.turn(&calm) {
                told.push(asked.await.unwrap().is_well());
            }
            told.into_iter().collect::<Result<(), String>>()
        })
        .await;
    }

    /// All slots have come back, and nobody was ever asked for more at once than it has.
    pub async fn rest(&self) {
        for id in &self.ids {
            self.server.wait_until_idle(id).await;
        }
        for (sim, slots) in self.sims.iter().map(|(sim, slots)| (sim, *slots)).chain([(&self.main_sim, SLOTS)]) {
            let most = sim.record().calls.max;
            assert!(most <= slots, "{most} calls at once in {slots} slots");
        }
    }
}

fn endless() -> RunSpec {
    let chain = json!({"tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]});
    let chain: Chain = serde_json::from_value(chain).unwrap();
    RunSpec {
        program: Arc::new(engine::compile(&chain).unwrap()),
        input: Input::Int(1),
        info: RunInfo { run_id: RunId::random(), request_id: RequestId::new("r"), started_at: Timestamp::ZERO },
        scope: RouteScope::default(),
        teller: None,
        chain: None,
        is_stored: false,
    }
}
