//! Diagnostics of chains: `POST /taskchains/validate`, and what `POST /tasks` says of a chain it refuses (`docs/api.md`,
//! diagnostics).

use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Answer, README_CHAIN, Scene, TestServer};

const WRONG: &str = "\
# two slips and a wrong type
id: c
tasks:
  - id: first
    handler: noop
    promt_template: \"{{.input}}\"
    timeout: 5
    transition:
      branches:
        - {operator: default, goto: secnd}
  - id: second
    handler: rawstring
    transition:
      branches:
        - goto: end
";

/// Severity, code, path, line and column of all diagnostics.
fn told(answer: &Answer) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let line = |found: &Value| {
        let parts = ["severity", "code", "path", "line", "column"].map(|name| text(&found[name]));
        parts.join(" ")
    };
    answer.json()["diagnostics"].as_array().expect("diagnostics").iter().map(line).collect()
}

/// What there is to say about it.
const EXPECTED: [&str; 4] = [
    "warning UNKNOWN_FIELD /tasks/0/promt_template 6 5",
    "error WRONG_TYPE /tasks/0/timeout 7 14",
    "error UNKNOWN_GOTO /tasks/0/transition/branches/0/goto 10 37",
    "error UNKNOWN_HANDLER /tasks/1/handler 12 14",
];

#[tokio::test]
async fn all_findings_are_told_at_once_each_with_its_place_in_yaml_and_in_json() {
    let server = TestServer::start(&[]).await;
    let answer = server.post_as("/taskchains/validate", "application/yaml", WRONG).await.expect(200);
    assert_eq!(answer.json()["result"], "FAIL");
    assert_eq!(told(&answer), EXPECTED);
    let first = answer.json()["diagnostics"][0].clone();
    assert_eq!((&first["hint"], &first["task"]), (&json!("did you mean 'prompt_template'?"), &json!("first")));
    let packed = base64::engine::general_purpose::STANDARD.encode(WRONG);
    let packed = server.post_as("/taskchains/validate", "application/x-yaml-base64", packed).await.expect(200);
    assert_eq!(told(&packed), EXPECTED, "places are those of the decoded text");
    let json = "{\"input\": 1,\n \"Chain\": {\"tasks\": [{\"id\": \"é\", \"handlr\": \"noop\", \"Handler\": 7}]}}";
    let answer = server.post_as("/taskchains/validate", "application/json", json).await.expect(200);
    let expected = [
        "error MISSING_FIELD /Chain/tasks/0 2 22",
        "warning UNKNOWN_FIELD /Chain/tasks/0/handlr 2 34",
        "error WRONG_TYPE /Chain/tasks/0/Handler 2 63",
    ];
    assert_eq!(told(&answer), expected);
}

#[tokio::test]
async fn a_good_chain_is_ok_alone_and_in_a_request_and_warnings_count_only_when_strict() {
    let server = TestServer::start(&[]).await;
    let chain = json!({"id": "c", "tasks": [
        {"id": "a", "handler": "noop", "transition": {"branches": [{"operator": "default", "goto": "end"}]}}
    ]});
    for body in [chain.clone(), json!({"input": "x", "inputType": "string", "chain": chain.clone()})] {
        let answer = server.post("/taskchains/validate?strict=true", body).await.expect(200);
        assert_eq!(answer.json(), json!({"result": "OK", "diagnostics": []}));
    }
    let mut odd = chain;
    odd["owner"] = json!("me");
    assert_eq!(server.post("/taskchains/validate", odd.clone()).await.expect(200).json()["result"], "OK");
    let strict = server.post("/taskchains/validate?strict=true", odd).await.expect(200);
    assert_eq!(strict.json()["result"], "FAIL");
    assert_eq!(told(&strict), ["warning UNKNOWN_FIELD /owner 1 113"]);
}

#[tokio::test]
async fn the_readmes_chain_is_ok_and_its_two_unquoted_values_are_told_with_the_quoted_form() {
    let server = TestServer::start(&[]).await;
    let answer = server.post_as("/taskchains/validate", "application/json", README_CHAIN).await.expect(200);
    assert_eq!(answer.json()["result"], "OK", "{}", answer.text);
    let colons: Vec<Value> = answer.json()["diagnostics"].as_array().unwrap().clone();
    assert_eq!(colons.len(), 2, "{}", answer.text);
    assert_eq!((&colons[0]["code"], &colons[0]["line"]), (&json!("UNQUOTED_COLON"), &json!(24)));
    assert_eq!(colons[0]["hint"], "write it as 'Answer this question: {{.input}}'");
}

#[tokio::test]
async fn a_body_that_cannot_be_read_is_an_answer_and_a_wrong_media_type_is_not() {
    let server = TestServer::start(&[("MAX_BODY_BYTES", "2000")]).await;
    for (content_type, body, place) in [
        ("application/json", "{\"tasks\": [}", "error SYNTAX  1 12"),
        ("application/yaml", "tasks:\n  - id: [a\n", "error SYNTAX  2 9"),
        ("application/yaml", "tasks: []\ntasks: []\n", "error DUPLICATE_FIELD  2 1"),
        ("application/json", " ", "error SYNTAX  null null"),
        ("application/x-yaml-base64", "%%", "error SYNTAX  null null"),
    ] {
        let answer = server.post_as("/taskchains/validate", content_type, body).await.expect(200);
        assert_eq!((told(&answer), answer.json()["result"].clone()), (vec![place.to_owned()], json!("FAIL")));
    }
    server.post_as("/taskchains/validate", "text/csv", "a,b").await.expect(415);
    server.post_as("/taskchains/validate", "application/json", "x".repeat(3_000)).await.expect(413);
}

#[tokio::test]
async fn a_refused_chain_of_a_run_carries_all_diagnostics_with_places_in_the_body() {
    let server = TestServer::start(&[]).await;
    let indented: String = WRONG.lines().skip(1).map(|line| format!("  {line}\n")).collect();
    let body = format!("input: hi\nchain:\n{indented}");
    let answer = server.post_as("/tasks", "application/yaml", body.as_str()).await.expect(400);
    assert!(answer.error().contains("chain.tasks[0].timeout"), "{}", answer.text);
    let expected = [
        "warning UNKNOWN_FIELD /chain/tasks/0/promt_template 7 7",
        "error WRONG_TYPE /chain/tasks/0/timeout 8 16",
        "error UNKNOWN_GOTO /chain/tasks/0/transition/branches/0/goto 11 39",
        "error UNKNOWN_HANDLER /chain/tasks/1/handler 13 16",
    ];
    assert_eq!(told(&answer), expected);
    let untimed = body.replace("timeout: 5", "timeout: 5s");
    let answer = server.post_as("/tasks", "application/yaml", untimed).await.expect(400);
    assert!(answer.error().starts_with("invalid chain: task first: branch 1: goto"), "{}", answer.text);
    assert_eq!(told(&answer), [expected[0], expected[2], expected[3]]);
    let bare = server.post_as("/tasks", "application/yaml", WRONG).await.expect(400);
    assert_eq!(bare.error(), "field 'chain' is required");
    assert!(bare.text.contains("put the whole chain under 'chain'"), "{}", bare.text);
    let broken = server.post_as("/tasks", "application/yaml", "input: [\n").await.expect(400);
    assert_eq!(told(&broken).len(), 1);
}

#[tokio::test]
async fn a_run_names_the_fields_it_ignored_in_a_warning() {
    let server = TestServer::start(&[]).await;
    let task = json!({"id": "a", "handler": "noop", "promt_template": "x",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}});
    let body = |task: Value| json!({"input": "hi", "chain": {"tasks": [task], "triggers": []}});
    let answer = server.post("/tasks", body(task.clone())).await.expect(200);
    let warning = answer.header("x-penstock-warning");
    for part in ["task a", "'promt_template'", "did you mean 'prompt_template'?", "line 1, column"] {
        assert!(warning.contains(part), "{part} is missing: {warning}");
    }
    let mut known = task;
    known.as_object_mut().unwrap().remove("promt_template");
    let answer = server.post("/tasks", body(known)).await.expect(200);
    assert!(answer.headers.get("x-penstock-warning").is_none());
}

#[tokio::test]
async fn an_answer_shows_at_most_two_hundred_and_says_how_many_there_are_besides() {
    let server = TestServer::start(&[]).await;
    let tasks: Vec<Value> = (0..400).map(|at| json!({"id": format!("t{at}"), "handler": "noop", "odd": 1})).collect();
    let answer = server.post("/taskchains/validate", json!({"tasks": tasks})).await.expect(200).json();
    let shown = answer["diagnostics"].as_array().unwrap();
    assert_eq!(shown.len(), 200);
    assert!(shown.iter().all(|found| found["severity"] == "error"), "errors come first");
    assert!(answer["moreDiagnostics"].as_u64().unwrap() >= 600, "{}", answer["moreDiagnostics"]);
}

#[tokio::test]
async fn hooks_and_models_that_the_server_does_not_have_are_warnings() {
    let Scene { server, sim: _sim, .. } = Scene::start(&[]).await;
    server
        .post(
            "/hooks/remote",
            json!({"name": "lookup", "endpointUrl": "http://127.0.0.1:1/", "method": "POST", "timeoutMs": 100}),
        )
        .await
        .expect(201);
    let ways = json!({"branches": [{"operator": "default", "goto": "end"}]});
    let body = |hook: &str, model: &str, provider: &str| {
        json!({"tasks": [
            {"id": "a", "handler": "hook", "hook": {"Name": hook}, "transition": {"branches": [{"operator": "default", "goto": "b"}]}},
            {"id": "b", "handler": "raw_string", "executeConfig": {"model": "chat:1b", "models": [model], "provider": provider},
                "transition": ways},
        ]})
    };
    let good = server.post("/taskchains/validate", body("lookup", "chat:1b", "")).await.expect(200);
    assert_eq!(told(&good), Vec::<String>::new());
    let odd = server.post("/taskchains/validate", body("lookp", "chatt:1b", "")).await.expect(200);
    let codes: Vec<(Value, Value, Value)> = odd.json()["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|found| (found["code"].clone(), found["path"].clone(), found["hint"].clone()))
        .collect();
    let expected = [
        ("UNKNOWN_HOOK", "/tasks/0/hook/Name", "did you mean 'lookup'?"),
        ("UNKNOWN_MODEL", "/tasks/1/executeConfig/models/0", "did you mean 'chat:1b'?"),
    ];
    assert_eq!(codes, expected.map(|(code, path, hint)| (json!(code), json!(path), json!(hint))));
    assert_eq!(odd.json()["result"], "OK");
    let cloud = server.post("/taskchains/validate", body("lookup", "chat:1b", "openai")).await.expect(200);
    assert_eq!(told(&cloud).len(), 2, "the model is there, but on no backend of that kind: {}", cloud.text);
    let mut stored = body("lookp", "chat:1b", "");
    stored["id"] = json!("c");
    let stored = server.post("/taskchains", stored).await.expect(201);
    assert!(stored.header("x-penstock-warning").contains("no hook named 'lookp'"), "{:?}", stored.headers);
}
