//! Where the tasks of a chain may go: the pool and the labels that a task wants, and those that the whole chain requires
//! (`docs/workflow-spec.md`, where tasks may go).

use serde_json::{Value, json};

use crate::{
    choosing::{Place, calls, post},
    support::Answer,
};

/// A request that runs two tasks, the second of which has this configuration.
fn two_tasks(require: Value, config: Value) -> Value {
    let task = |id: &str, config: Value, goto: &str| {
        json!({"id": id, "handler": "raw_string", "execute_config": config,
            "transition": {"branches": [{"operator": "default", "goto": goto}]}})
    };
    let tasks = [task("first", json!({"model": "m"}), "second"), task("second", config, "end")];
    json!({"input": "hi", "chain": {"tasks": tasks, "require": require}})
}

async fn run(place: &Place, body: &Value, headers: &[(&str, &str)]) -> Answer {
    post(&place.server, "/tasks", body.clone(), headers).await
}

#[tokio::test]
async fn what_a_chain_requires_binds_all_its_tasks_and_their_fallbacks() {
    let place = Place::new().await;
    for _ in 0..4 {
        run(&place, &two_tasks(json!({"zone": "on-prem"}), json!({"model": "m"})), &[]).await.expect(200);
    }
    assert_eq!((calls(&place.prem), calls(&place.rest)), (8, 0));
    // Only others have what the second task wants, and its fallback: nobody else is asked.
    let config = json!({"model": "only-rest", "fallback_models": [{"model": "gpt-x", "provider": "openai"}]});
    let refused = run(&place, &two_tasks(json!({"Zone": "x", "zone": "on-prem"}), config.clone()), &[]).await;
    refused.expect(503);
    let refused = run(&place, &two_tasks(json!({"zone": "on-prem"}), config), &[]).await.expect(503);
    assert!(refused.error().contains("zone=on-prem"), "{}", refused.text);
    assert_eq!((calls(&place.rest), calls(&place.cloud)), (0, 0));
}

#[tokio::test]
async fn a_task_adds_labels_and_chooses_a_pool_by_name_or_id() {
    let place = Place::new().await;
    let id = place.server.get("/pool-by-name/night%2Fshift").await.json()["id"].as_str().unwrap().to_owned();
    let before = calls(&place.prem);
    for config in [
        json!({"model": "m", "require": {"zone": "on-prem"}}),
        json!({"model": "m", "pool": "night/shift"}),
        json!({"model": "m", "pool": id}),
    ] {
        let body = two_tasks(json!({}), config);
        let alone = json!({"input": "hi", "chain": {"tasks": [body["chain"]["tasks"][1]]}});
        for _ in 0..4 {
            run(&place, &alone, &[]).await.expect(200);
        }
    }
    assert_eq!((calls(&place.prem) - before, calls(&place.rest)), (12, 0));
    // The request calls the same pool by the other name; another pool excludes the task.
    let body = two_tasks(json!({}), json!({"model": "m", "pool": "night/shift"}));
    run(&place, &body, &[("X-Penstock-Pool", &id)]).await.expect(200);
    let refused = run(&place, &body, &[("X-Penstock-Pool", "internal_tasks_pool")]).await.expect(500);
    assert!(refused.error().contains("wanted is 'night/shift'"), "{}", refused.text);
}

#[tokio::test]
async fn a_pool_that_does_not_exist_serves_nobody_and_the_pools_are_named() {
    let place = Place::new().await;
    let body = two_tasks(json!({}), json!({"model": "m", "pool": "nigth/shift", "fallback_models": ["m"]}));
    let refused = run(&place, &body, &[]).await.expect(503);
    assert!(refused.error().contains("there is no pool 'nigth/shift'"), "{}", refused.text);
    assert!(refused.error().contains("'night/shift'"), "{}", refused.text);
    assert_eq!(calls(&place.prem) + calls(&place.rest), 1, "the first task alone was made");
    let checked = place.server.post("/taskchains/validate", body["chain"].clone()).await.expect(200).json();
    let found = checked["diagnostics"].as_array().unwrap().iter().find(|found| found["code"] == "UNKNOWN_POOL");
    let found = found.unwrap_or_else(|| panic!("{checked}"));
    assert_eq!(
        (&found["path"], &found["hint"]),
        (&json!("/tasks/1/execute_config/pool"), &json!("did you mean 'night/shift'?"))
    );
}

#[tokio::test]
async fn labels_of_the_request_hold_beside_those_of_the_chain() {
    let place = Place::new().await;
    let body = two_tasks(json!({"zone": "on-prem"}), json!({"model": "m"}));
    run(&place, &body, &[("X-Penstock-Require", "zone=on-prem")]).await.expect(200);
    let nobody = run(&place, &body, &[("X-Penstock-Require", "gpu=h100")]).await.expect(503);
    assert!(nobody.error().contains("gpu=h100, zone=on-prem"), "{}", nobody.text);
    let both = run(&place, &body, &[("X-Penstock-Require", "zone=abroad")]).await.expect(500);
    assert!(both.error().contains("label 'zone' is wanted as 'on-prem' and as 'abroad'"), "{}", both.text);
    assert_eq!((calls(&place.prem), calls(&place.rest)), (2, 0));
}

#[tokio::test]
async fn a_contradiction_and_labels_that_are_none_are_told_with_their_place_and_nobody_is_asked() {
    let place = Place::new().await;
    let yaml = |require: &str, own: &str| {
        format!(
            "input: hi\nchain:\n  require: {require}\n  tasks:\n  - id: a\n    handler: raw_string\n    \
             executeConfig:\n      model: m\n      Require: {own}\n    transition: {{branches: [{{goto: end}}]}}\n"
        )
    };
    for (require, own, code, line, column) in [
        ("{zone: on-prem}", "{gpu: big, zone: abroad}", "CONTRADICTION", 9, 33),
        ("zone=on-prem", "{}", "WRONG_TYPE", 3, 12),
        ("{}", "[zone]", "WRONG_TYPE", 9, 16),
        ("{zone: }", "{}", "WRONG_TYPE", 3, 17),
        ("{}", "{zone: ''}", "MISSING_FIELD", 9, 23),
    ] {
        let request = place.server.request(reqwest::Method::POST, "/tasks").header("content-type", "application/yaml");
        let refused = place.server.send(request.body(yaml(require, own))).await.expect(400);
        let found = &refused.json()["diagnostics"][0];
        assert_eq!(
            (&found["code"], &found["line"], &found["column"]),
            (&json!(code), &json!(line), &json!(column)),
            "{require} {own}: {}",
            refused.text
        );
    }
    assert_eq!(calls(&place.prem) + calls(&place.rest), 0);
}
