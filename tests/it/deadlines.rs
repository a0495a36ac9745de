//! Who goes first when slots are scarce, and what is not wanted any more (`docs/api.md`, priorities and deadlines).

use loadtest::sim::{Route, Rule};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::{
    choosing::post,
    support::{
        Answer, README_CHAIN, Scene, TASKS, TestServer,
        dialects::{Front, same_dialect},
        in_background,
    },
};

const DEADLINE: &str = "x-penstock-deadline-ms";

/// Asks with a header, without waiting for the answer.
fn execute_as(server: &TestServer, prompt: &str, header: (&'static str, &str)) -> JoinHandle<Answer> {
    let request = server.request(reqwest::Method::POST, "/execute").header("content-type", "application/json");
    let request = request.header(header.0, header.1).body(json!({"prompt": prompt}).to_string());
    let client = (**server).clone();
    in_background(async move { client.send(request).await })
}

#[tokio::test]
async fn the_urgent_go_first_and_the_oldest_of_them() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let mut running = vec![server.execute_later("runs")];
    gate.wait_for_arrivals(1).await.unwrap();
    for (at, class) in ["batch", "standard", "", "Interactive", "batch", "interactive"].into_iter().enumerate() {
        let prompt = format!("{at} {class}");
        running.push(match class {
            "" => server.execute_later(&prompt),
            class => execute_as(&server, &prompt, ("x-penstock-priority", class)),
        });
        server.wait_for_waiters(&id, u32::try_from(at).unwrap() + 1).await;
    }
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
    let record = sim.record();
    let prompts: Vec<_> =
        record.of(Route::Generate).iter().map(|call| call.json()["prompt"].as_str().unwrap().to_owned()).collect();
    let in_order = ["runs", "3 Interactive", "5 interactive", "1 standard", "2 ", "0 batch", "4 batch"];
    assert_eq!(prompts, in_order);
}

#[tokio::test]
async fn a_flood_of_batch_work_leaves_room_in_the_queue_for_what_is_urgent() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    server.put(&format!("/pools/{TASKS}"), json!({"queue": {"capacity": 4}})).await.expect(200);
    let gate = sim.hold();
    let mut running = vec![server.execute_later("runs")];
    gate.wait_for_arrivals(1).await.unwrap();
    let as_class = |class| execute_as(&server, class, ("x-penstock-priority", class));
    running.extend([as_class("batch"), as_class("batch")]);
    server.wait_for_waiters(&id, 2).await;
    let refused = as_class("batch").await.unwrap().expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "queue_full");
    assert!(refused.error().contains("batch"), "{}", refused.text);
    running.push(as_class("interactive"));
    server.wait_for_waiters(&id, 3).await;
    gate.release_all();
    for answer in running {
        answer.await.unwrap().expect(200);
    }
}

#[tokio::test]
async fn a_deadline_that_passes_in_the_queue_is_a_refusal_and_nobody_is_asked() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    let refused = execute_as(&server, "late", (DEADLINE, "100")).await.unwrap().expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "deadline");
    assert!(refused.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0));
    assert_eq!(refused.header("x-penstock-backend"), "");
    let refused = post(&server, "/v1/chat/completions", Front::Openai.question("late", true), &[(DEADLINE, "100")]);
    let refused = refused.await.expect(503);
    assert_eq!(refused.json()["error"]["code"], "deadline");
    gate.release_all();
    running.await.unwrap().expect(200);
    server.wait_until_idle(&id).await;
    assert_eq!(sim.record().of(Route::Generate).len() + sim.record().of(Route::Chat).len(), 1);
}

#[tokio::test]
async fn a_request_that_names_no_deadline_has_that_of_its_route() {
    let settings = [("CHAT_DEADLINE", "100ms"), ("EMBED_DEADLINE", "120ms"), ("TASKS_DEADLINE", "140ms")];
    let Scene { server, sim, id } = Scene::with(&settings, json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    // Prompts have none.
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(1).await.unwrap();
    for front in Front::ALL {
        let refused = server.post(front.chat(), front.question("late", false)).await.expect(503);
        assert_eq!(refused.header("x-penstock-reason"), "deadline");
    }
    for (path, body) in [
        ("/embed", json!({"text": "late"})),
        ("/v1/embeddings", json!({"model": "embed:1b", "input": "late"})),
        ("/api/embed", json!({"model": "embed:1b", "input": "late"})),
    ] {
        assert_eq!(server.post(path, body).await.expect(503).header("x-penstock-reason"), "deadline", "{path}");
    }
    let refused = server.post_as("/tasks", "application/yaml", README_CHAIN).await.expect(503);
    assert_eq!(refused.header("x-penstock-reason"), "deadline");
    // What a request says itself counts.
    let client = (*server).clone();
    let own = in_background(async move {
        post(&client, Front::Openai.chat(), Front::Openai.question("own", false), &[(DEADLINE, "60000")]).await
    });
    server.wait_for_waiters(&id, 1).await;
    gate.release_all();
    for answer in [running, own] {
        answer.await.unwrap().expect(200);
    }
    server.wait_until_idle(&id).await;
}

#[tokio::test]
async fn a_call_is_given_up_and_aborted_at_its_deadline() {
    for (front, behind) in
        [(Front::Openai, Front::Openai), (Front::Ollama, Front::Openai), (Front::Openai, Front::Ollama)]
    {
        for stream in [true, false] {
            let (server, sim, id) = same_dialect(behind, &[]).await;
            let gate = sim.hold();
            let question = front.question("slow", stream);
            let answer = post(&server, front.chat(), question, &[(DEADLINE, "150")]).await.expect(504);
            assert!(answer.text.contains("deadline"), "{}", answer.text);
            if front == Front::Openai {
                assert_eq!(answer.json()["error"]["code"], "upstream_timeout");
            }
            assert_eq!((answer.header("x-penstock-backend"), answer.header("x-penstock-attempts")), (id.as_str(), "1"));
            sim.wait_for_aborts(1).await.unwrap();
            gate.release_all();
            server.wait_until_idle(&id).await;
            // It was no fault of the backend.
            server.post(front.chat(), front.question("next", false)).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_stream_that_has_begun_is_not_cut_at_its_deadline() {
    let (server, sim, _id) = same_dialect(Front::Openai, &[]).await;
    let front = Front::Openai;
    let pieces = (0..20).map(|_| front.piece("word ")).chain([front.end()]);
    let delay = std::time::Duration::from_millis(20);
    sim.script(Rule::on(Route::Chat).raw_frames(pieces.collect::<Vec<_>>()).chunk_delay(delay));
    let answer = post(&server, front.chat(), front.question("long", true), &[(DEADLINE, "150")]).await.expect(200);
    assert!(answer.text.ends_with(&front.end()), "{}", answer.text);
}

#[tokio::test]
async fn a_deadline_holds_for_the_tasks_of_a_chain() {
    let Scene { server, sim, id } = Scene::with(&[], json!({"maxConcurrency": 1})).await;
    let gate = sim.hold();
    let chain: Value = json!({"input": "x", "chain": {"tasks": [{"id": "t", "handler": "raw_string",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]}});
    let answer = post(&server, "/tasks", chain.clone(), &[(DEADLINE, "150")]).await.expect(500);
    assert!(answer.error().contains("deadline"), "{}", answer.text);
    sim.wait_for_aborts(1).await.unwrap();
    server.wait_until_idle(&id).await;
    let running = server.execute_later("runs");
    gate.wait_for_arrivals(2).await.unwrap();
    let answer = post(&server, "/tasks", chain, &[(DEADLINE, "150")]).await.expect(503);
    assert_eq!(answer.header("x-penstock-reason"), "deadline");
    gate.release_all();
    running.await.unwrap().expect(200);
    server.post_as("/tasks", "application/yaml", README_CHAIN).await.expect(200);
}
