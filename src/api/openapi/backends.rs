//! Operations of `docs/api.md`, backends, and of their associations with pools.

use serde_json::{Value as Json, json};

use super::{
    super::backends::{BackendInput, BackendWithModels},
    operation::{Operation, delete, get, post, put},
};
use crate::domain::{backend::Backend, pool::Pool};

fn backend() -> Json {
    json!({"id": "b3c1a9f2-5b1e-4c39-8d6e-7f0a1b2c3d4e", "name": "spare", "baseUrl": "http://127.0.0.1:11434",
        "type": "ollama", "apiKeySet": false, "maxConcurrency": 4, "weight": 1, "tier": 0, "enabled": true,
        "labels": {"zone": "on-prem"}, "createdAt": "2025-08-08T12:00:00.123456Z",
        "updatedAt": "2025-08-08T12:00:00.123456Z"})
}

fn observed() -> Json {
    json!({"name": "qwen3:4b", "model": "qwen3:4b", "modified_at": "2025-08-01T08:00:00.000000Z",
        "modifiedAt": "2025-08-01T08:00:00.000000Z", "size": 2_497_293_931_u64, "digest": "359d7dd4bcda",
        "details": {"parent_model": "", "format": "gguf", "family": "qwen3", "families": ["qwen3"],
            "parameter_size": "4.0B", "quantization_level": "Q4_K_M", "parentModel": "", "parameterSize": "4.0B",
            "quantizationLevel": "Q4_K_M"},
        "contextLength": 40_960, "canChat": true, "canEmbed": false, "canPrompt": true, "canStream": true})
}

fn view() -> Json {
    let mut view = backend();
    view["models"] = json!(["qwen3:4b"]);
    view["pulledModels"] = json!([observed()]);
    view
}

/// What `GET /state` says of one backend.
pub(super) fn state() -> Json {
    let backend = backend();
    json!({"id": backend["id"], "name": backend["name"], "models": ["qwen3:4b"], "pulledModels": [observed()],
        "backend": backend, "generation": 1, "slots": {"limit": 4, "inUse": 1, "settling": 0, "waiters": 0},
        "breaker": {"state": "open", "opened": 1, "retryAt": "2025-08-08T12:00:01.000000Z"},
        "restsUntil": "2025-08-08T12:00:07.000000Z", "latencyMs": 412.5, "sharedCalls": 0, "instance": "9f2c41d0",
        "seenBy": [{"instance": "51b7a3ee", "limit": 4, "inUse": 1, "waiters": 0}]})
}

fn sent() -> Json {
    json!({"name": "spare", "baseUrl": "http://127.0.0.1:11434", "type": "ollama", "maxConcurrency": 4})
}

pub(super) fn operations() -> Vec<Operation> {
    let operations =
        vec![
        post("/backends", "createBackend", "Register a backend")
            .says("It serves nothing before it is assigned to a pool.")
            .takes::<BackendInput>(sent())
            .gives::<Backend>(201, "The backend", backend())
            .fails(&[409, 422, 429]),
        get("/backends", "listBackends", "Backends, newest first")
            .paged()
            .lists::<BackendWithModels>("Backends with what was observed there", json!([view()])),
        get("/backends/{id}", "getBackend", "One backend")
            .gives::<BackendWithModels>(200, "The backend with what was observed there", view())
            .fails(&[404]),
        put("/backends/{id}", "updateBackend", "Change a backend")
            .says("Optional fields that are left out keep their stored value; a key does not follow to another server.")
            .takes::<BackendInput>(sent())
            .gives::<Backend>(200, "The backend", backend())
            .fails(&[404, 409, 422]),
        delete("/backends/{id}", "deleteBackend", "Forget a backend").confirms(200, "backend removed").fails(&[404]),
        post("/backends/{id}/breaker/reset", "resetBreaker", "Let calls go to a backend again")
            .says("Closes its breaker, ends its rest and forgets how long it took to answer.")
            .confirms(200, "breaker reset")
            .fails(&[404]),
        post("/backend-associations/{poolID}/backends/{backendID}", "assignBackend", "Put a backend into a pool")
            .confirms(201, "backend assigned")
            .fails(&[404, 409]),
        delete("/backend-associations/{poolID}/backends/{backendID}", "unassignBackend", "Take a backend out of a pool")
            .confirms(200, "backend removed")
            .fails(&[404]),
        get("/backend-associations/{poolID}/backends", "listBackendsOfPool", "Backends of a pool")
            .lists::<Backend>("The latest assignment first; empty for an unknown id", json!([backend()])),
        get("/backend-associations/{backendID}/pools", "listPoolsOfBackend", "Pools of a backend")
            .lists::<Pool>("The latest assignment first; empty for an unknown id", json!([super::pools::pool()])),
    ];
    operations.into_iter().map(|operation| operation.of("backends")).collect()
}
