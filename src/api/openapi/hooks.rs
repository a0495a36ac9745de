//! Operations of `docs/api.md`, remote hooks.

use serde_json::{Value as Json, json};

use super::{
    super::hooks::HookInput,
    operation::{Operation, delete, get, post, put},
};
use crate::domain::hook::Hook;

fn hook() -> Json {
    json!({"id": "4b1d2c3e-0f6a-4f5e-8a7b-9c0d1e2f3a4b", "name": "lookup", "endpointUrl": "http://127.0.0.1:9/lookup",
        "method": "POST", "timeoutMs": 2000, "createdAt": "2025-08-08T12:00:00.123456Z",
        "updatedAt": "2025-08-08T12:00:00.123456Z"})
}

fn sent() -> Json {
    json!({"name": "lookup", "endpointUrl": "http://127.0.0.1:9/lookup", "method": "POST", "timeoutMs": 2000})
}

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/hooks/remote", "createHook", "Register a remote hook")
            .takes::<HookInput>(sent())
            .gives::<Hook>(201, "The hook", hook())
            .fails(&[409, 422, 429]),
        get("/hooks/remote", "listHooks", "Remote hooks, newest first").paged().lists::<Hook>("Hooks", json!([hook()])),
        get("/hooks/remote/{id}", "getHook", "One remote hook").gives::<Hook>(200, "The hook", hook()).fails(&[404]),
        put("/hooks/remote/{id}", "updateHook", "Replace a remote hook")
            .takes::<HookInput>(sent())
            .gives::<Hook>(200, "The hook", hook())
            .fails(&[404, 409, 422]),
        delete("/hooks/remote/{id}", "deleteHook", "Forget a remote hook").confirms(200, "deleted").fails(&[404]),
    ];
    operations.into_iter().map(|operation| operation.of("hooks")).collect()
}
