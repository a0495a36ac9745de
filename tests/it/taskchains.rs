//! `/taskchains`: chains kept under their id, with all their versions (`docs/api.md`, stored chains).

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TestServer,
    shape::{assert_keys, assert_new, assert_rewritten, assert_time, column},
};

/// A chain that says this.
fn chain(id: &str, text: &str) -> Value {
    let task = json!({"id": "say", "handler": "noop", "prompt_template": text, "transition": {"branches": [{}]}});
    json!({"id": id, "tasks": [task]})
}

/// A chain that cannot run.
fn broken(id: &str) -> Value {
    json!({"id": id, "tasks": [{"id": "t", "handler": "no_such_handler", "transition": {"branches": [{"goto": "x"}]}}]})
}

fn warnings(answer: &Answer) -> Vec<String> {
    answer.headers.get_all("x-penstock-warning").iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_chain_is_created_read_listed_and_deleted() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.get("/taskchains").await.expect(200).json(), json!([]));
    let made = server.post("/taskchains", chain("greet", "Hello")).await.expect(201).json();
    assert_keys(&made, "id description debug tasks token_limit routing_strategy version createdAt updatedAt");
    assert_keys(&made["tasks"][0], "id description handler prompt_template transition");
    assert_keys(&made["tasks"][0]["transition"], "on_failure branches");
    assert_new(&made);
    assert_eq!((&made["id"], &made["version"]), (&json!("greet"), &json!(1)));
    assert_eq!(server.get("/taskchains/greet").await.expect(200).json(), made);
    assert_eq!(server.get("/taskchains").await.expect(200).json(), json!([made]));
    let deleted = server.delete("/taskchains/greet").await.expect(200);
    assert_eq!(deleted.json(), "task chain greet deleted");
    assert_eq!(server.get("/taskchains").await.expect(200).json(), json!([]));
    for answer in [
        server.get("/taskchains/greet").await,
        server.get("/taskchains/greet?version=1").await,
        server.get("/taskchains/greet/versions").await,
        server.get("/taskchains/greet/graph").await,
        server.put("/taskchains/greet", chain("greet", "Hello")).await,
        server.delete("/taskchains/greet").await,
    ] {
        assert!(answer.expect(404).error().contains("'greet' not found"));
    }
    // A version number that somebody holds on to never means another chain.
    let again = server.post("/taskchains", chain("greet", "Bonjour")).await.expect(201).json();
    assert_eq!(again["version"], 2);
    server.get("/taskchains/greet?version=1").await.expect(404);
}

#[tokio::test]
async fn every_write_makes_a_version_that_can_be_read_again() {
    let server = TestServer::start(&[]).await;
    let first = server.post("/taskchains", chain("c", "one")).await.expect(201).json();
    let second = server.put("/taskchains/c", chain("c", "two")).await.expect(200).json();
    assert_rewritten(&second, &first["createdAt"]);
    // A POST replaces, and the chain keeps its place in the list.
    server.post("/taskchains", chain("later", "x")).await.expect(201);
    let third = server.post("/taskchains", chain("c", "three")).await.expect(201).json();
    assert_rewritten(&third, &first["createdAt"]);
    assert_eq!(column(&server.get("/taskchains").await.json(), "id"), ["later", "c"]);
    for (version, text) in [(1, "one"), (2, "two"), (3, "three")] {
        let seen = server.get(&format!("/taskchains/c?version={version}")).await.expect(200).json();
        assert_eq!((&seen["version"], &seen["tasks"][0]["prompt_template"]), (&json!(version), &json!(text)));
        assert_eq!(seen["createdAt"], first["createdAt"]);
    }
    assert_eq!(server.get("/taskchains/c").await.json(), third);
    let versions = server.get("/taskchains/c/versions").await.expect(200).json();
    let numbers: Vec<u64> = versions.as_array().unwrap().iter().map(|v| v["version"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [3, 2, 1]);
    for version in versions.as_array().unwrap() {
        assert_keys(version, "version draft createdAt");
        assert_time(&version["createdAt"]);
    }
    assert_eq!(versions[0]["createdAt"], third["updatedAt"]);
}

#[tokio::test]
async fn an_unknown_version_is_not_found_and_one_that_is_no_number_is_refused() {
    let server = TestServer::start(&[]).await;
    server.post("/taskchains", chain("c", "one")).await.expect(201);
    for path in ["/taskchains/c", "/taskchains/c/graph"] {
        for version in ["2", "99999999999999999999999"] {
            let answer = server.get(&format!("{path}?version={version}")).await.expect(404);
            assert!(answer.error().contains("not found"), "{}", answer.text);
        }
        for version in ["0", "-1", "one", "1.0", ""] {
            let answer = server.get(&format!("{path}?version={version}")).await.expect(422);
            assert!(answer.error().contains("version"), "{}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_chain_is_answered_in_canonical_spelling_and_can_be_sent_back_unchanged() {
    let server = TestServer::start(&[]).await;
    let loose = json!({"ID": "c", "tokenLimit": 5, "tasks": [{"id": "t", "handler": "condition_key",
        "promptTemplate": "{{.input}}?", "validConditions": ["Yes_", "no", 7], "systemInstruction": "Be brief.",
        "transition": {"onFailure": "f", "branches": [{"when": 7, "goto": "end"}, {"operator": "default"}]},
        "retryOnFailure": 2, "executeConfig": {"maxTokens": 5}},
        {"id": "f", "handler": "noop", "transition": {"branches": [{}]}}]});
    let made = server.post("/taskchains", loose).await.expect(201).json();
    let task = &made["tasks"][0];
    assert_eq!((&made["token_limit"], &task["prompt_template"]), (&json!(5), &json!("{{.input}}?")));
    assert_eq!(task["valid_conditions"], json!({"Yes_": true, "no": true, "7": true}));
    assert_eq!((&task["transition"]["branches"][0]["when"], &task["retry_on_failure"]), (&json!("7"), &json!(2)));
    let back = server.put("/taskchains/c", made.clone()).await.expect(200);
    assert!(warnings(&back).is_empty(), "{:?}", warnings(&back));
    let mut back = back.json();
    assert_eq!(back["version"], 2);
    for member in ["version", "updatedAt"] {
        back[member] = made[member].clone();
    }
    assert_eq!(back, made);
}

#[tokio::test]
async fn a_chain_in_yaml_is_the_same_as_in_json() {
    let server = TestServer::start(&[]).await;
    let yaml = "id: c\ntasks:\n  - id: say\n    handler: noop\n    promptTemplate: Hello\n    transition:\n      branches: [{}]\n";
    let made = server.post_as("/taskchains", "application/yaml", yaml).await.expect(201).json();
    let put = server.put("/taskchains/c", chain("c", "Hello")).await.expect(200).json();
    assert_eq!(made["tasks"], put["tasks"]);
    // The one slip that is forgiven is named.
    let slip = yaml.replace("Hello", "Say: Hello");
    let answer = server.post_as("/taskchains", "application/json", slip).await.expect(201);
    assert_eq!(answer.json()["tasks"][0]["prompt_template"], "Say: Hello");
    assert!(warnings(&answer)[0].contains("line 5"), "{:?}", warnings(&answer));
}

#[tokio::test]
async fn what_is_no_chain_to_store_is_refused_as_a_draft_too() {
    let server = TestServer::start(&[]).await;
    server.post("/taskchains", chain("c", "one")).await.expect(201);
    for draft in ["", "?draft=true"] {
        let path = format!("/taskchains{draft}");
        for (id, word) in [(json!(""), "'id'"), (json!("  "), "'id'"), (json!(null), "'id'"), (json!(".."), "path")] {
            let mut sent = chain("x", "x");
            sent["id"] = id.clone();
            assert!(server.post(&path, sent).await.expect(422).error().contains(word), "{id}");
        }
        server.post(&path, chain(&"x".repeat(256), "x")).await.expect(400);
        server.post(&path, chain(&"x".repeat(255), "x")).await.expect(201);
        for tasks in [json!([]), json!(null)] {
            let none = json!({"id": "none", "tasks": tasks});
            assert!(server.post(&path, none.clone()).await.expect(422).error().contains("'tasks'"));
            let none = json!({"tasks": tasks});
            let put = server.put(&format!("/taskchains/c{draft}"), none).await.expect(422);
            assert!(put.error().contains("'tasks'"), "an update without tasks: {}", put.text);
        }
        let other = server.put(&format!("/taskchains/c{draft}"), chain("other", "x")).await.expect(422);
        assert!(other.error().contains("'other'"), "{}", other.text);
        server.post(&path, json!({"id": "x", "tasks": "none"})).await.expect(400);
        server.post(&path, json!({"id": 5, "tasks": [{}]})).await.expect(400);
        server.post_as(&path, "application/json", "").await.expect(400);
        server.post_as(&path, "text/plain", "id: x").await.expect(415);
    }
    assert_eq!(server.get("/taskchains/c").await.json()["version"], 1, "nothing was written");
    let mut sent = chain("c", "two");
    sent.as_object_mut().unwrap().remove("id");
    assert_eq!(server.put("/taskchains/c", sent).await.expect(200).json()["id"], "c");
}

#[tokio::test]
async fn a_chain_that_cannot_run_is_refused_with_everything_that_is_wrong() {
    let server = TestServer::start(&[]).await;
    server.post("/taskchains", chain("c", "one")).await.expect(201);
    for answer in [server.post("/taskchains", broken("b")).await, server.put("/taskchains/c", broken("c")).await] {
        let refused = answer.expect(422).json();
        assert!(refused["error"].as_str().unwrap().contains("no_such_handler"), "{refused}");
        let codes = column(&refused["diagnostics"], "code");
        assert!(["UNKNOWN_HANDLER", "UNKNOWN_GOTO"].iter().all(|code| codes.iter().any(|c| c == code)), "{refused}");
        let goto = refused["diagnostics"].as_array().unwrap().iter().find(|d| d["code"] == "UNKNOWN_GOTO").unwrap();
        assert_eq!(
            (&goto["path"], &goto["severity"]),
            (&json!("/tasks/0/transition/branches/0/goto"), &json!("error"))
        );
    }
    server.get("/taskchains/b").await.expect(404);
    assert_eq!(server.get("/taskchains/c").await.json()["version"], 1);
}

#[tokio::test]
async fn what_is_wrong_is_shown_where_it_stands_in_the_body_as_sent() {
    let server = TestServer::start(&[]).await;
    let yaml = "id: b\ntasks:\n  - id: t\n    handler: nop\n    transition:\n      branches: [{goto: x}]\n";
    let json = "{\"id\": \"b\",\n\"tasks\": [{\"id\": \"t\", \"handler\": \"nop\",\n \"transition\": {\"branches\": [{\"goto\": \"x\"}]}}]}";
    for (content_type, body, places) in
        [("application/yaml", yaml, [(4, 14), (6, 25)]), ("application/json", json, [(2, 34), (3, 39)])]
    {
        let refused = server.post_as("/taskchains", content_type, body).await.expect(422).json();
        let seen: Vec<(u64, u64)> = refused["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|found| (found["line"].as_u64().unwrap(), found["column"].as_u64().unwrap()))
            .collect();
        assert_eq!(seen, places, "{refused}");
    }
    let mistyped = server.post("/taskchains", json!({"id": "b", "tasks": [{"handler": 5}]})).await.expect(400).json();
    assert!(column(&mistyped["diagnostics"], "code").contains(&"WRONG_TYPE".to_owned()), "{mistyped}");
    let unreadable = server.post_as("/taskchains", "application/yaml", "id: [").await.expect(400).json();
    assert_eq!(unreadable["diagnostics"][0]["code"], "SYNTAX", "{unreadable}");
}

#[tokio::test]
async fn what_can_run_and_is_hardly_meant_so_is_stored_with_warnings() {
    let server = TestServer::start(&[]).await;
    let mut sent = chain("c", "x");
    sent["frobnicate"] = json!(1);
    sent["tasks"][0]["promtTemplate"] = json!("y");
    let answer = server.post("/taskchains", sent.clone()).await.expect(201);
    let told = warnings(&answer);
    assert!(told.iter().any(|line| line.contains("frobnicate")), "{told:?}");
    assert!(told.iter().any(|line| line.contains("did you mean 'prompt_template'?")), "{told:?}");
    assert!(answer.json().get("frobnicate").is_none() && answer.json()["tasks"][0].get("promtTemplate").is_none());
    // Of a draft, too, what is lost is told.
    let draft = warnings(&server.put("/taskchains/c?draft=true", sent).await.expect(200));
    assert!(draft.iter().any(|line| line.contains("frobnicate")), "{draft:?}");
    // A chain full of them is told by how many there are.
    let mut sent = chain("c", "x");
    for at in 0..30 {
        sent[format!("unknown{at}")] = json!(at);
    }
    let told = warnings(&server.put("/taskchains/c", sent).await.expect(200));
    assert!(told.len() == 10 && told[9].contains("21 more"), "{told:?}");
}

#[tokio::test]
async fn a_draft_is_stored_unchecked_and_checked_when_it_is_to_run() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/taskchains?draft=true", broken("b")).await.expect(201).json();
    assert_eq!((&made["draft"], &made["version"]), (&json!(true), &json!(1)));
    assert_eq!(server.get("/taskchains/b").await.expect(200).json(), made);
    let body = json!({"messages": [{"role": "user", "content": "hi"}]});
    let refused = server.post("/b/v1/chat/completions", body).await.expect(400).json();
    assert!(refused["error"].as_str().unwrap().contains("no_such_handler"), "{refused}");
    assert!(!refused["diagnostics"].as_array().unwrap().is_empty());
    server.put("/taskchains/b?draft=TRUE", broken("b")).await.expect(200);
    let whole = server.put("/taskchains/b", chain("b", "x")).await.expect(200).json();
    assert!(whole.get("draft").is_none());
    let versions = server.get("/taskchains/b/versions").await.json();
    assert_eq!(
        versions.as_array().unwrap().iter().map(|v| v["draft"].clone()).collect::<Vec<_>>(),
        [false, true, true]
    );
}

#[tokio::test]
async fn ids_may_be_anything_a_path_can_name() {
    let server = TestServer::start(&[]).await;
    for (id, path) in [
        ("org/team/chain", "org%2Fteam%2Fchain"),
        ("two words", "two%20words"),
        ("grüße 你好", "gr%C3%BC%C3%9Fe%20%E4%BD%A0%E5%A5%BD"),
        ("100%25", "100%2525"),
        ("v1", "v1"),
        ("validate", "validate"),
        ("versions", "versions"),
        ("taskchains", "taskchains"),
        ("a\"b\\c'; DROP TABLE chains; --", "a%22b%5Cc'%3B%20DROP%20TABLE%20chains%3B%20--"),
        ("...", "..."),
    ] {
        let made = server.post("/taskchains", chain(id, "x")).await.expect(201).json();
        assert_eq!(made["id"], id);
        assert_eq!(server.get(&format!("/taskchains/{path}")).await.expect(200).json(), made, "{id}");
        server.get(&format!("/taskchains/{path}/versions")).await.expect(200);
        server.get(&format!("/taskchains/{path}/graph")).await.expect(200);
        assert_eq!(server.put(&format!("/taskchains/{path}"), made).await.expect(200).json()["version"], 2);
        // Its chat is there, too: it runs, and ends in another type.
        let chat = json!({"messages": [{"role": "user", "content": "hi"}]});
        server.post(&format!("/{path}/v1/chat/completions"), chat).await.expect(500);
        let deleted = server.delete(&format!("/taskchains/{path}")).await.expect(200);
        assert_eq!(deleted.json(), format!("task chain {id} deleted"));
    }
}

#[tokio::test]
async fn paths_know_their_methods() {
    let server = TestServer::start(&[]).await;
    for (method, path, allow) in [
        (Method::DELETE, "/taskchains", "GET, POST, HEAD"),
        (Method::PATCH, "/taskchains/c", "GET, PUT, DELETE, HEAD"),
        (Method::POST, "/taskchains/c/versions", "GET, HEAD"),
        (Method::POST, "/taskchains/c/graph", "GET, HEAD"),
        (Method::GET, "/c/v1/chat/completions", "POST"),
    ] {
        let answer = server.send(server.request(method, path)).await.expect(405);
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
    for path in ["/taskchains/", "/taskchains/c/", "/taskchains/c/other", "//v1/chat/completions"] {
        server.get(path).await.expect(404);
    }
}

#[tokio::test]
async fn a_chain_is_drawn_in_any_of_its_versions() {
    let server = TestServer::start(&[]).await;
    server.post("/taskchains", chain("c", "one")).await.expect(201);
    server.post("/taskchains?draft=true", broken("c")).await.expect(201);
    for query in ["?version=1", "?version=1&format=mermaid"] {
        let drawn = server.get(&format!("/taskchains/c/graph{query}")).await.expect(200);
        assert_eq!(drawn.header("content-type"), "text/plain; charset=utf-8");
        assert!(drawn.text.starts_with("flowchart") && drawn.text.contains("say"), "{}", drawn.text);
    }
    let latest = server.get("/taskchains/c/graph").await.expect(200);
    assert!(latest.text.contains("no_such_handler") || latest.text.contains("\"t"), "{}", latest.text);
    let refused = server.get("/taskchains/c/graph?format=svg").await.expect(400);
    assert!(refused.error().contains("mermaid") && refused.error().contains("svg"), "{}", refused.text);
}

#[tokio::test]
async fn concurrent_writes_leave_no_gap_and_lose_nothing() {
    let server = TestServer::start(&[]).await;
    server.post("/taskchains", chain("c", "first")).await.expect(201);
    let puts = (0..40).map(|at| {
        let server = &server;
        async move { server.put("/taskchains/c", chain("c", &format!("text {at}"))).await.expect(200).json() }
    });
    let mut written = join_all(puts).await;
    written.sort_by_key(|chain| chain["version"].as_u64());
    let numbers: Vec<u64> = written.iter().map(|chain| chain["version"].as_u64().unwrap()).collect();
    assert!(numbers.into_iter().eq(2..=41));
    for chain in &written {
        let version = &chain["version"];
        assert_eq!(server.get(&format!("/taskchains/c?version={version}")).await.expect(200).json(), *chain);
    }
    assert_eq!(server.get("/taskchains/c").await.json(), *written.last().unwrap());
}

#[tokio::test]
async fn the_latest_hundred_versions_are_kept() {
    let server = TestServer::start(&[]).await;
    for at in 0..102 {
        server.post("/taskchains", chain("c", &at.to_string())).await.expect(201);
    }
    let versions = server.get("/taskchains/c/versions").await.expect(200).json();
    let versions = versions.as_array().unwrap();
    assert_eq!((versions.len(), &versions[99]["version"]), (100, &json!(3)));
    server.get("/taskchains/c?version=2").await.expect(404);
}

#[tokio::test]
async fn large_and_deep_chains_are_taken_or_refused_and_harm_nobody() {
    let server = TestServer::start(&[]).await;
    let long = |count: usize| {
        let task = |at: usize| {
            let goto = if at + 1 == count { "end".to_owned() } else { format!("t{}", at + 1) };
            json!({"id": format!("t{at}"), "handler": "noop", "transition": {"branches": [{"goto": goto}]}})
        };
        json!({"id": "long", "tasks": (0..count).map(task).collect::<Vec<Value>>()})
    };
    let refused = server.post("/taskchains", long(1001)).await.expect(422);
    assert!(refused.error().contains("the most is 1000"), "{}", refused.text);
    let long = long(1000);
    server.post("/taskchains", long).await.expect(201);
    assert_eq!(server.get("/taskchains/long").await.expect(200).json()["tasks"].as_array().unwrap().len(), 1000);

    let start = "{\"id\": \"large\", \"tasks\": [{\"id\": \"t\", \"handler\": \"raise_error\", \"prompt_template\": \"";
    let body = |bytes: usize| format!("{start}{}\"}}]}}", "x".repeat(bytes - start.len() - 4));
    let limit = 10 * 1024 * 1024;
    server.post_as("/taskchains", "application/json", body(limit)).await.expect(201);
    server.post_as("/taskchains", "application/json", body(limit + 1)).await.expect(413);
    assert_eq!(server.get("/taskchains/large").await.expect(200).json()["version"], 1);

    let deep = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    let with_schema = |levels: usize| {
        format!(
            "{{\"id\": \"deep\", \"input_schema\": {{\"const\": {}}}, \"tasks\": [{{\"id\": \"t\", \"handler\": \"raise_error\"}}]}}",
            deep(levels)
        )
    };
    server.post_as("/taskchains", "application/json", with_schema(200)).await.expect(400);
    // What is taken can be read again, from the store too.
    let taken = server.post_as("/taskchains?draft=true", "application/json", with_schema(120)).await.expect(201).json();
    assert_eq!(server.get("/taskchains/deep").await.expect(200).json(), taken);
    server.get("/health").await.expect(200);
}

#[tokio::test]
async fn stored_chains_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_in(folder.path(), &[]).await;
    server.post("/taskchains", chain("kept", "one")).await.expect(201);
    let kept = server.post("/taskchains?draft=true", broken("kept")).await.expect(201).json();
    server.post("/taskchains", chain("gone", "one")).await.expect(201);
    server.delete("/taskchains/gone").await.expect(200);
    server.stop().await;
    let server = TestServer::start_in(folder.path(), &[]).await;
    assert_eq!(server.get("/taskchains").await.expect(200).json(), json!([kept]));
    assert_eq!(server.get("/taskchains/kept?version=1").await.expect(200).json()["version"], 1);
    assert_eq!(server.post("/taskchains", chain("gone", "two")).await.expect(201).json()["version"], 2);
}
