//! Operations of `docs/api.md`, pools.

use serde_json::{Value as Json, json};

use super::{
    super::pools::PoolInput,
    operation::{Operation, delete, get, post, put},
};
use crate::domain::pool::Pool;

/// A pool as it is answered.
pub(super) fn pool() -> Json {
    json!({"id": "2f5d1c7e-9d0b-4a60-9b6e-6a4f0f0c1a22", "name": "night shift", "purposeType": "batch",
        "policy": "round-robin", "queue": {"capacity": 1024, "maxWaitMs": 30_000}, "requireLabels": {"zone": "on-prem"},
        "createdAt": "2025-08-08T12:00:00.123456Z", "updatedAt": "2025-08-08T12:00:00.123456Z"})
}

fn sent() -> Json {
    json!({"name": "night shift", "purposeType": "batch", "policy": "round-robin"})
}

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/pools", "createPool", "Make a pool")
            .takes::<PoolInput>(sent())
            .gives::<Pool>(201, "The pool", pool())
            .fails(&[409, 422, 429]),
        get("/pools", "listPools", "All pools").lists::<Pool>("Pools, newest first", json!([pool()])),
        get("/pools/{id}", "getPool", "One pool").gives::<Pool>(200, "The pool", pool()).fails(&[404]),
        put("/pools/{id}", "updatePool", "Change a pool")
            .says("Fields other than `name` keep their stored value when they are left out.")
            .takes::<PoolInput>(sent())
            .gives::<Pool>(200, "The pool", pool())
            .fails(&[403, 404, 409, 422]),
        delete("/pools/{id}", "deletePool", "Delete a pool").confirms(200, "deleted").fails(&[403, 404]),
        get("/pool-by-name/{name}", "getPoolByName", "The pool of a name")
            .gives::<Pool>(200, "The pool", pool())
            .fails(&[404]),
        get("/pool-by-purpose/{purpose}", "listPoolsByPurpose", "Pools of a purpose")
            .paged()
            .lists::<Pool>("Pools, newest first", json!([pool()])),
    ];
    operations.into_iter().map(|operation| operation.of("pools")).collect()
}
