//! `/pools` and the two look-ups, with the two pools that are always there (`docs/api.md`, pools).

use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_keys, assert_new, assert_rewritten, column},
};

const POOL: &str = "id name purposeType policy queue requireLabels retryBudget hedging batching singleFlight cache createdAt updatedAt";

#[tokio::test]
async fn the_two_default_pools_are_there_from_the_start() {
    let server = TestServer::start(&[]).await;
    let pools = server.get("/pools").await.expect(200).json();
    assert_eq!(pools.as_array().unwrap().len(), 2);
    for (id, name, purpose) in
        [("internal_embed_pool", "Embedder", "Internal Embeddings"), ("internal_tasks_pool", "Tasks", "Internal Tasks")]
    {
        let pool = server.get(&format!("/pools/{id}")).await.expect(200).json();
        assert_keys(&pool, POOL);
        assert_eq!((&pool["id"], &pool["name"], &pool["purposeType"]), (&json!(id), &json!(name), &json!(purpose)));
        let encoded = purpose.replace(' ', "%20");
        assert_eq!(server.get(&format!("/pool-by-purpose/{encoded}")).await.expect(200).json(), json!([pool]));
        assert_eq!(server.get(&format!("/pool-by-name/{name}")).await.expect(200).json(), pool);
    }
}

#[tokio::test]
async fn a_pool_is_created_with_a_new_id_and_its_defaults() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/pools", json!({"id": 7, "name": "night shift"})).await.expect(201).json();
    assert_keys(&made, POOL);
    assert_new(&made);
    assert_eq!(made["id"].as_str().unwrap().len(), 36);
    assert_eq!((&made["purposeType"], &made["policy"]), (&json!(""), &json!("least-loaded")));
    assert_eq!((&made["queue"], &made["requireLabels"]), (&json!({"capacity": 1024, "maxWaitMs": 30000}), &json!({})));
    assert_eq!(server.get("/pool-by-name/night%20shift").await.expect(200).json(), made);
    assert_eq!(column(&server.get("/pools").await.json(), "name")[0], "night shift", "newest first");
}

#[tokio::test]
async fn a_put_keeps_what_it_leaves_out() {
    let server = TestServer::start(&[]).await;
    let sent = json!({"name": "a", "purposeType": "batch", "policy": "Round-Robin", "queue": {"capacity": 5},
        "requireLabels": {"Zone": "x"}});
    let made = server.post("/pools", sent).await.expect(201).json();
    assert_eq!((&made["policy"], &made["queue"]["maxWaitMs"]), (&json!("round-robin"), &json!(30000)));
    let path = format!("/pools/{}", made["id"].as_str().unwrap());
    let changed = server.put(&path, json!({"name": "b", "queue": {"maxWaitMs": 10}})).await.expect(200).json();
    assert_rewritten(&changed, &made["createdAt"]);
    assert_eq!((&changed["id"], &changed["name"]), (&made["id"], &json!("b")));
    for kept in ["purposeType", "policy", "requireLabels"] {
        assert_eq!(changed[kept], made[kept], "{kept}");
    }
    assert_eq!(changed["queue"], json!({"capacity": 5, "maxWaitMs": 10}));
}

#[tokio::test]
async fn what_is_no_valid_pool_is_refused() {
    let server = TestServer::start(&[]).await;
    let made = server.post("/pools", json!({"name": "a"})).await.expect(201).json();
    let path = format!("/pools/{}", made["id"].as_str().unwrap());
    let wrong = [
        json!({}),
        json!({"name": ""}),
        json!({"name": "b", "policy": "guess"}),
        json!({"name": "b", "queue": {"capacity": -1}}),
        json!({"name": "b", "queue": {"maxWaitMs": 0}}),
    ];
    for sent in wrong {
        server.post("/pools", sent.clone()).await.expect(422);
        server.put(&path, sent).await.expect(422);
    }
    server.post("/pools", json!({"name": "Tasks"})).await.expect(409);
    server.put(&path, json!({"name": "Tasks"})).await.expect(409);
    server.put(&path, json!({"name": "a"})).await.expect(200);
}

#[tokio::test]
async fn default_pools_keep_name_and_purpose_and_cannot_be_deleted() {
    let server = TestServer::start(&[]).await;
    for id in ["internal_embed_pool", "internal_tasks_pool"] {
        let path = format!("/pools/{id}");
        server.delete(&path).await.expect(403);
        server.put(&path, json!({"name": "Other"})).await.expect(403);
        server.put(&path, json!({"purposeType": "Other"})).await.expect(403);
        let before = server.get(&path).await.json();
        let sent = json!({"policy": "random", "queue": {"capacity": 7}, "requireLabels": {"gpu": "yes"}});
        let free = server.put(&path, sent).await.expect(200).json();
        assert_eq!((&free["name"], &free["purposeType"]), (&before["name"], &before["purposeType"]));
        assert_eq!((&free["policy"], &free["queue"]["capacity"]), (&json!("random"), &json!(7)));
        let same = json!({"name": before["name"], "purposeType": before["purposeType"]});
        server.put(&path, same).await.expect(200);
    }
}

#[tokio::test]
async fn a_deleted_pool_takes_its_assignments_and_leaves_backends_and_models() {
    let server = TestServer::start(&[]).await;
    let pool = server.post("/pools", json!({"name": "a"})).await.expect(201).json();
    let pool = pool["id"].as_str().unwrap();
    let body = json!({"name": "b", "baseUrl": "http://b.local", "type": "ollama"});
    let backend = server.register_as(body, &[pool]).await;
    server.post(&format!("/model-associations/{pool}/models/chat:1b"), Value::Null).await.expect(200);
    assert_eq!(server.delete(&format!("/pools/{pool}")).await.expect(200).text.trim(), "\"deleted\"");
    assert_eq!(server.get(&format!("/backend-associations/{backend}/pools")).await.expect(200).json(), json!([]));
    let pools = server.get("/model-associations/chat:1b/pools").await.expect(200).json();
    assert_eq!(column(&pools, "id"), ["internal_tasks_pool"]);
    server.get(&format!("/backends/{backend}")).await.expect(200);
    for answer in [
        server.get(&format!("/pools/{pool}")).await,
        server.put(&format!("/pools/{pool}"), json!({"name": "a"})).await,
        server.delete(&format!("/pools/{pool}")).await,
        server.get("/pool-by-name/a").await,
    ] {
        assert!(answer.expect(404).error().contains("not found"));
    }
}

#[tokio::test]
async fn names_in_paths_are_decoded_exactly_once() {
    let server = TestServer::start(&[]).await;
    let names = [("a/b c", "a%2Fb%20c"), ("100%25", "100%2525"), ("Küche", "K%C3%BCche"), ("a+b", "a+b")];
    for (name, encoded) in names {
        let made = server.post("/pools", json!({"name": name, "purposeType": name})).await.expect(201).json();
        assert_eq!(server.get(&format!("/pool-by-name/{encoded}")).await.expect(200).json(), made, "{name}");
        assert_eq!(server.get(&format!("/pool-by-purpose/{encoded}")).await.expect(200).json(), json!([made]));
    }
    assert_eq!(server.get("/pool-by-purpose/internal%20tasks").await.expect(200).json(), json!([]), "exact match");
    assert_eq!(server.get("/pool-by-purpose/nobody").await.expect(200).json(), json!([]));
}
