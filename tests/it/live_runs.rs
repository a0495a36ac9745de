//! Hands on live work: the runs that are active, ending one, and taking a backend out of work while it works
//! (`docs/api.md`, runs; `docs/operations.md`, maintenance).

use loadtest::sim::{Route, Rule, SimBackend};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, Client, Scene, TestServer,
    dialects::{Front, same_dialect},
    eventually, in_background,
    shape::assert_keys,
    soon,
};

/// Two steps, of which the second asks a model.
fn chain() -> Value {
    json!({"id": "two", "tasks": [
        {"id": "first", "handler": "noop", "prompt_template": "one", "transition": {"branches": [{"goto": "second"}]}},
        {"id": "second", "handler": "raw_string", "prompt_template": "two", "transition": {"branches": [{"goto": "end"}]}}]})
}

async fn active(client: &Client) -> Vec<Value> {
    client.get("/runs/active").await.expect(200).json().as_array().unwrap().clone()
}

/// The only run, once it waits for its model.
async fn asking(client: &Client) -> Value {
    eventually("a run that asks", || async {
        match active(client).await.as_slice() {
            [run] if run["modelCalls"] == 1 => Ok(run.clone()),
            others => Err(format!("{others:?}")),
        }
    })
    .await
}

async fn cancel(client: &Client, run: &Value) -> Answer {
    client.post(&format!("/runs/{}/cancel", run["id"].as_str().unwrap()), Value::Null).await
}

fn tasks_later(
    server: &TestServer,
    chain: Value,
    headers: &'static [(&'static str, &'static str)],
) -> tokio::task::JoinHandle<Answer> {
    let client = (**server).clone();
    let body = json!({"input": "x", "chain": chain}).to_string();
    in_background(async move {
        let request = client.request(Method::POST, "/tasks").header("content-type", "application/json");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        client.send(request.body(body)).await
    })
}

#[tokio::test]
async fn active_runs_show_where_they_are_and_for_whom() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    assert_eq!(active(&server).await, Vec::<Value>::new());
    let gate = sim.hold();
    let first = tasks_later(&server, chain(), &[("x-request-id", "mine"), ("x-penstock-priority", "batch")]);
    let run = asking(&server).await;
    assert_keys(&run, "id chainID startedAt currentTask stepsDone modelCalls priority requestID instance");
    assert_eq!((&run["chainID"], &run["currentTask"], &run["stepsDone"]), (&json!("two"), &json!("second"), &json!(1)));
    assert_eq!((&run["priority"], &run["requestID"]), (&json!("batch"), &json!("mine")));
    let mut nameless = chain();
    nameless.as_object_mut().unwrap().remove("id");
    let second = tasks_later(&server, nameless, &[]);
    gate.wait_for_waiting(2).await.unwrap();
    let both = active(&server).await;
    assert_eq!(both[0]["id"], run["id"], "the oldest first");
    assert_eq!((&both[1]["chainID"], &both[1]["priority"]), (&Value::Null, &json!("standard")));
    gate.release_all();
    let ids = [first.await.unwrap().expect(200), second.await.unwrap().expect(200)]
        .map(|answer| answer.header("x-penstock-run").to_owned());
    assert_eq!(ids.each_ref().map(String::as_str), [0, 1].map(|at| both[at]["id"].as_str().unwrap()));
    eventually("no run", || async {
        let runs = active(&server).await;
        if runs.is_empty() { Ok(()) } else { Err(format!("{runs:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_run_has_stopped_by_the_time_of_the_answer_and_its_client_is_told() {
    let Scene { server, sim, id } = Scene::start(&[]).await;
    let _gate = sim.hold();
    let running = tasks_later(&server, chain(), &[]);
    let run = asking(&server).await;
    assert_eq!(cancel(&server, &run).await.expect(200).json(), "run cancelled");
    let slots = server.slots(&id);
    assert_eq!((slots.in_use - slots.settling, slots.waiters), (0, 0), "its call has been given up");
    sim.wait_for_aborts(1).await.unwrap();
    let told = running.await.unwrap().expect(409);
    assert_eq!(told.error(), "task second: the run was cancelled");
    assert_eq!(told.header("x-penstock-run"), run["id"].as_str().unwrap());
    let state = told.json()["state"].clone();
    assert_eq!((state.as_array().unwrap().len(), &state[0]["taskID"]), (1, &json!("first")));
    cancel(&server, &run).await.expect(404);
    server.post("/runs/none/cancel", Value::Null).await.expect(404);
    assert_eq!(sim.record().of(Route::Generate).len(), 1);
}

#[tokio::test]
async fn a_run_that_would_go_on_after_a_failure_does_not_after_a_cancellation() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    let mut sturdy = chain();
    sturdy["tasks"][1]["transition"] = json!({"on_failure": "first", "branches": [{"goto": "end"}]});
    sturdy["tasks"][1]["retry_on_failure"] = json!(5);
    let _gate = sim.hold();
    let running = tasks_later(&server, sturdy, &[]);
    let run = asking(&server).await;
    cancel(&server, &run).await.expect(200);
    running.await.unwrap().expect(409);
    assert_eq!(sim.record().of(Route::Generate).len(), 1, "it was not asked again");
}

#[tokio::test]
async fn a_run_that_waits_before_its_next_attempt_or_for_a_slot_is_cancelled_at_once() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    sim.script(Rule::on(Route::Generate).containing("two").times(1).status(500));
    let mut patient = chain();
    patient["tasks"][1]["retry_policy"] = json!({"max_attempts": 3, "initial_backoff": "5m", "max_backoff": "5m"});
    let running = tasks_later(&server, patient, &[]);
    let run = eventually("a run that waits", || async {
        let runs = active(&server).await;
        runs.first().filter(|run| run["stepsDone"] == 2).cloned().ok_or_else(|| format!("{runs:?}"))
    })
    .await;
    assert_eq!((&run["modelCalls"], &run["currentTask"]), (&json!(0), &json!("second")));
    soon("the end of the run", cancel(&server, &run)).await.expect(200);
    assert_eq!(running.await.unwrap().expect(409).json()["state"].as_array().unwrap().len(), 2);

    let gate = sim.hold();
    let first = server.execute_later("takes the slot");
    gate.wait_for_arrivals(1).await.unwrap();
    let waiting = tasks_later(&server, chain(), &[]);
    let run = asking(&server).await;
    server.wait_for_waiters(&id, 1).await;
    cancel(&server, &run).await.expect(200);
    waiting.await.unwrap().expect(409);
    assert_eq!(server.slots(&id).waiters, 0);
    gate.release_all();
    first.await.unwrap().expect(200);
}

#[tokio::test]
async fn streams_of_a_cancelled_run_end_with_a_typed_error() {
    let (server, sim, _) = same_dialect(Front::Openai, &[]).await;
    server.post("/taskchains", chain()).await.expect(201);
    for front in Front::ALL {
        let words = ["w0 ", "w1 "].map(|words| Front::Openai.piece(words));
        sim.clear_script();
        let _kept = sim.script(Rule::on(Route::Chat).raw_frames(words).stall_after(1));
        let mut question = front.question("hi", true);
        question["model"] = json!("chain/two");
        let request = server.request(Method::POST, front.chat()).body(question.to_string());
        let mut response = soon("the headers", request.send()).await.unwrap();
        let mut stream = String::new();
        while !stream.contains("w0") {
            stream.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        }
        let run = asking(&server).await;
        assert_eq!(response.headers()["x-penstock-run"].to_str().unwrap(), run["id"].as_str().unwrap());
        cancel(&server, &run).await.expect(200);
        stream.push_str(&soon("the end", response.text()).await.expect("a proper end"));
        let last = stream.trim_end().lines().last().unwrap();
        match front {
            Front::Openai => {
                let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
                assert_eq!(error["error"]["code"], "cancelled", "{stream}");
            }
            Front::Ollama => {
                let error: Value = serde_json::from_str(last).unwrap();
                assert!(error["error"].as_str().unwrap().contains("cancelled"), "{stream}");
            }
        }
    }
    sim.clear_script();
    let _gate = sim.hold();
    let watched = tasks_later(&server, chain(), &[("accept", "text/event-stream")]);
    let run = asking(&server).await;
    cancel(&server, &run).await.expect(200);
    let told = watched.await.unwrap().expect(200);
    assert_eq!(told.header("x-penstock-run"), run["id"].as_str().unwrap());
    let (_, error) = told.text.split_once("event: error\ndata: ").unwrap_or_else(|| panic!("{}", told.text));
    let error: Value = serde_json::from_str(error.trim_end()).unwrap();
    assert_eq!((&error["status"], error["body"]["state"].as_array().map(Vec::len)), (&json!(409), Some(1)));
}

#[tokio::test]
async fn every_answer_of_a_chain_names_its_run() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    server.post("/taskchains", chain()).await.expect(201);
    let failing = json!({"tasks": [{"id": "no", "handler": "raise_error", "prompt_template": "no",
        "transition": {"branches": [{"goto": "end"}]}}]});
    let refused = server.post("/tasks", json!({"input": "x", "chain": failing})).await.expect(500);
    assert_eq!(refused.header("x-penstock-run").len(), 36);
    sim.script(Rule::on(Route::Generate).reply("fine"));
    for front in Front::ALL {
        for stream in [true, false] {
            let mut question = front.question("hi", stream);
            question["model"] = json!("chain/two");
            let answer = server.post(front.chat(), question).await.expect(200);
            assert_eq!(answer.header("x-penstock-run").len(), 36, "{front:?} {stream}");
        }
    }
    let response = json!({"model": "chain/two", "input": "hi"});
    assert_eq!(server.post("/v1/responses", response).await.expect(200).header("x-penstock-run").len(), 36);
    assert_eq!(server.post("/execute", json!({"prompt": "hi"})).await.expect(200).header("x-penstock-run"), "");
}

#[tokio::test]
async fn a_cordoned_backend_finishes_its_work_and_new_work_goes_elsewhere() {
    let Scene { server, sim: old, id } = Scene::start(&[]).await;
    let gate = old.hold();
    let running = server.execute_later("the last one here");
    gate.wait_for_arrivals(1).await.unwrap();
    let cordoned = json!({"name": "a", "baseUrl": old.url(), "type": "ollama", "enabled": false});
    server.put(&format!("/backends/{id}"), cordoned).await.expect(200);
    server.wait_for_backend(&id, "cordoned", |view| !view.backend.enabled).await;
    let nobody = server.post("/execute", json!({"prompt": "hi"})).await.expect(503);
    assert_eq!(nobody.header("x-penstock-reason"), "no_backend");
    let new = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    let other = server.ready("b", "ollama", &new).await;
    for _ in 0..5 {
        let answer = server.post("/execute", json!({"prompt": "hi"})).await.expect(200);
        assert_eq!(answer.header("x-penstock-backend"), other);
    }
    assert_eq!(server.slots(&id).in_use, 1, "what runs there goes on");
    gate.release_all();
    assert_eq!(running.await.unwrap().expect(200).header("x-penstock-backend"), id);
    server.wait_until_idle(&id).await;
    assert_eq!((old.record().of(Route::Generate).len(), old.record().aborted), (1, 0));
}
