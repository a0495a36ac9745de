//! Operations of `docs/api.md`, aliases.

use serde_json::{Value as Json, json};

use super::{
    super::aliases::AliasInput,
    operation::{Operation, delete, get, post, put},
};
use crate::domain::alias::Alias;

fn sent() -> Json {
    json!({"name": "assistant", "targets": [{"model": "qwen3:4b"}, {"model": "gpt-5-mini", "providers": ["openai"]}]})
}

fn alias() -> Json {
    let mut alias = sent();
    alias["createdAt"] = json!("2025-08-08T12:00:00.123456Z");
    alias["updatedAt"] = json!("2025-08-08T12:00:00.123456Z");
    alias
}

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/aliases", "createAlias", "Make an alias")
            .says("A name of one's own for a model, with further ones to fall back on.")
            .takes::<AliasInput>(sent())
            .gives::<Alias>(201, "The alias", alias())
            .fails(&[409, 422, 429]),
        get("/aliases", "listAliases", "Aliases, newest first").paged().lists::<Alias>("Aliases", json!([alias()])),
        get("/aliases/{name}", "getAlias", "One alias").gives::<Alias>(200, "The alias", alias()).fails(&[404]),
        put("/aliases/{name}", "updateAlias", "Replace an alias")
            .takes::<AliasInput>(sent())
            .gives::<Alias>(200, "The alias", alias())
            .fails(&[404, 409, 422]),
        delete("/aliases/{name}", "deleteAlias", "Delete an alias").confirms(200, "deleted").fails(&[404]),
    ];
    operations.into_iter().map(|operation| operation.of("aliases")).collect()
}
