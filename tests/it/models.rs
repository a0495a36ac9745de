//! `/models` and `/internal/models`: declared models and the two defaults (`docs/api.md`, models).

use loadtest::sim::{SimBackend, SimModel};
use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, assert_new, assert_rewritten, column},
};

const MODEL: &str = "id model contextLength canChat canEmbed canPrompt canStream createdAt updatedAt";

/// The four capabilities: chat, embed, prompt, stream.
fn capabilities(model: &Value) -> [bool; 4] {
    ["canChat", "canEmbed", "canPrompt", "canStream"].map(|name| model[name].as_bool().unwrap())
}

#[tokio::test]
async fn a_model_is_declared_by_its_name_alone_which_becomes_its_id() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/models", json!({"id": "other", "model": "qwen3:8b"})).await.expect(201).json();
    assert_keys(&made, MODEL);
    assert_new(&made);
    assert_eq!((&made["id"], &made["model"]), (&json!("qwen3:8b"), &json!("qwen3:8b")));
    assert_eq!(made["contextLength"], 0, "unknown");
    assert_eq!(capabilities(&made), [true, false, true, true]);
    let embeds = server.post("/models", json!({"model": "nomic-embed-text"})).await.expect(201).json();
    assert_eq!(capabilities(&embeds), [false, true, false, false]);
}

#[tokio::test]
async fn an_id_in_the_body_of_a_new_model_is_ignored_whatever_it_is() {
    let server = TestServer::start(&[]).await;
    let sent = json!({"id": 5, "createdAt": {}, "updatedAt": [], "model": "m"});
    assert_eq!(server.post("/models", sent).await.expect(201).json()["id"], "m");
}

#[tokio::test]
async fn what_a_model_can_do_is_shown_as_declared_and_else_as_observed() {
    let server = TestServer::start(&[]).await;
    let sent = json!({"model": "m1", "contextLength": 4096, "canEmbed": true});
    let made = server.post("/models", sent).await.expect(201).json();
    assert_eq!((capabilities(&made), &made["contextLength"]), ([false, true, false, false], &json!(4096)));

    let model = SimModel::new("seen:1b").capabilities(["embedding"]).context_length(777);
    let sim = SimBackend::ollama().model(model).model("chat:1b").start().await.unwrap();
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "seen:1b").await;
    let seen = server.post("/models", json!({"model": "seen:1b"})).await.expect(201).json();
    assert_eq!((capabilities(&seen), &seen["contextLength"]), ([false, true, false, false], &json!(777)));
}

#[tokio::test]
async fn the_public_list_has_the_form_of_openai_and_the_internal_one_is_an_array() {
    let server = TestServer::start(&[]).await;
    server.post("/models", json!({"model": "third:1b"})).await.expect(201);
    let public = server.get("/models").await.expect(200).json();
    assert_keys(&public, "object data");
    assert_eq!(public["object"], "list");
    let internal = server.get("/internal/models").await.expect(200).json();
    assert_eq!(column(&public["data"], "id"), column(&internal, "model"));
    assert_eq!(column(&internal, "id")[0], "third:1b", "newest first");
    for (entry, model) in public["data"].as_array().unwrap().iter().zip(internal.as_array().unwrap()) {
        assert_keys(entry, "id object created owned_by");
        assert_keys(model, MODEL);
        assert_eq!((&entry["object"], &entry["owned_by"]), (&json!("model"), &json!("system")));
        assert!(entry["created"].as_i64().unwrap() > 1_700_000_000, "{entry}");
    }
}

#[tokio::test]
async fn the_defaults_are_declared_in_their_pools_with_what_they_must_be_able_to_do() {
    let server = TestServer::start(&[]).await;
    let task = server.get("/model-associations/internal_tasks_pool/models").await.expect(200).json();
    assert_eq!((column(&task, "id"), capabilities(&task[0])), (vec!["chat:1b".to_owned()], [true, false, true, true]));
    let embed = server.get("/model-associations/internal_embed_pool/models").await.expect(200).json();
    assert_eq!(column(&embed, "id"), ["embed:1b"]);
    assert!(capabilities(&embed[0])[1]);

    let both = TestServer::start(&[("TASK_MODEL", "one:1b"), ("EMBED_MODEL", "one:1b")]).await;
    let all = both.get("/internal/models").await.expect(200).json();
    assert_eq!((column(&all, "id"), capabilities(&all[0])), (vec!["one:1b".to_owned()], [true; 4]));
    let pools = both.get("/model-associations/one:1b/pools").await.expect(200).json();
    assert_eq!(pools.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_context_of_the_default_models_is_a_setting() {
    let settings = [("TASK_MODEL_CONTEXT_LENGTH", "4096"), ("embed_model_context_length", "256")];
    let server = TestServer::start(&settings).await;
    let all = server.get("/internal/models").await.expect(200).json();
    let told = |id: &str| {
        let model = all.as_array().unwrap().iter().find(|model| model["id"] == id).unwrap();
        model["contextLength"].as_u64().unwrap()
    };
    assert_eq!((told("chat:1b"), told("embed:1b")), (4096, 256));
}

#[tokio::test]
async fn default_models_stay_and_their_capabilities_may_change() {
    let server = TestServer::start(&[]).await;
    for name in ["chat:1b", "embed:1b"] {
        assert!(server.delete(&format!("/models/{name}")).await.expect(403).error().contains("default"));
    }
    let changed = server.put("/models/chat:1b", json!({"canStream": false, "contextLength": 9})).await.expect(200);
    assert_eq!(capabilities(&changed.json()), [true, false, true, false]);
}

#[tokio::test]
async fn a_put_changes_what_it_names_and_never_the_id() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/models", json!({"model": "m", "canChat": true, "contextLength": 5})).await.json();
    let changed = server.put("/models/m", json!({"id": "m", "model": "n", "canPrompt": true})).await.expect(200).json();
    assert_keys(&changed, MODEL);
    assert_rewritten(&changed, &made["createdAt"]);
    assert_eq!((&changed["id"], &changed["model"], &changed["contextLength"]), (&json!("m"), &json!("n"), &json!(5)));
    assert_eq!(capabilities(&changed), [true, false, true, false]);
    let by_name = server.put("/models/n", json!({"contextLength": 6})).await.expect(200).json();
    assert_eq!((&by_name["id"], &by_name["contextLength"]), (&json!("m"), &json!(6)));
}

#[tokio::test]
async fn what_is_no_valid_model_is_refused() {
    let server = TestServer::start(&[]).await;
    for sent in [json!({}), json!({"model": ""}), json!({"model": " "}), json!({"model": "m", "contextLength": -1})] {
        server.post("/models", sent).await.expect(422);
    }
    server.post("/models", json!({"model": "m"})).await.expect(201);
    server.post("/models", json!({"model": "m"})).await.expect(409);
    let none = json!({"canChat": false, "canEmbed": false, "canPrompt": false, "canStream": false});
    for sent in [json!({"id": "n"}), json!({"id": 5}), json!({"model": ""}), json!({"contextLength": -1}), none] {
        server.put("/models/m", sent).await.expect(422);
    }
    server.put("/models/m", json!({"model": "chat:1b"})).await.expect(409);
    assert!(server.put("/models/unknown", json!({"canChat": true})).await.expect(404).error().contains("not found"));
}

#[tokio::test]
async fn a_model_is_removed_by_a_name_that_may_hold_slashes_with_its_assignments() {
    let server = TestServer::start(&[]).await;
    server.post("/models", json!({"model": "hf.co/org/name:tag"})).await.expect(201);
    let assign = "/model-associations/internal_tasks_pool/models/hf.co%2Forg%2Fname:tag";
    server.post(assign, Value::Null).await.expect(200);
    let removed = server.delete("/models/hf.co%2Forg%2Fname:tag").await.expect(200);
    assert_eq!(removed.text.trim(), "\"model removed\"");
    let left = server.get("/model-associations/internal_tasks_pool/models").await.json();
    assert_eq!(column(&left, "id"), ["chat:1b"]);
    assert!(server.delete("/models/hf.co%2Forg%2Fname:tag").await.expect(404).error().contains("not found"));
    server.post("/models", json!({"model": "x"})).await.expect(201);
    server.delete("/models/x?purge=true").await.expect(200);
}
