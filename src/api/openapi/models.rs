//! Operations of `docs/api.md`, models, and of their associations with pools.

use serde_json::{Value as Json, json};

use super::{
    super::models::{ModelInput, ModelList, ModelView},
    operation::{Operation, delete, get, post, put},
    shared,
};
use crate::domain::pool::Pool;

fn model() -> Json {
    json!({"id": "qwen3:4b", "model": "qwen3:4b", "contextLength": 40_960, "canChat": true, "canEmbed": false,
        "canPrompt": true, "canStream": true, "createdAt": "2025-08-08T12:00:00.123456Z",
        "updatedAt": "2025-08-08T12:00:00.123456Z"})
}

fn sent() -> Json {
    json!({"model": "qwen3:4b", "contextLength": 40_960, "canChat": true, "canPrompt": true})
}

pub(super) fn operations() -> Vec<Operation> {
    let purge = "Ends its downloads, too";
    let operations = vec![
        post("/models", "declareModel", "Declare a model")
            .says("By itself it does nothing; in a pool, it is what the pool's Ollama backends download.")
            .takes::<ModelInput>(sent())
            .gives::<ModelView>(201, "The model", model())
            .fails(&[409, 422, 429]),
        get("/models", "listModels", "Declared models in OpenAI's form").paged().gives::<ModelList>(
            200,
            "Models, newest first",
            json!({"object": "list", "data": [{"id": "qwen3:4b", "object": "model", "created": 1_754_654_400,
                "owned_by": "system"}]}),
        ),
        get("/internal/models", "listDeclaredModels", "Declared models, newest first")
            .paged()
            .lists::<ModelView>("Models with the best that is known of them", json!([model()])),
        put("/models/{id}", "updateModel", "Change a declared model")
            .takes::<ModelInput>(sent())
            .gives::<ModelView>(200, "The model", model())
            .fails(&[403, 404, 409, 422]),
        delete("/models/{id}", "deleteModel", "Withdraw a declared model")
            .asks("purge", purge, shared::flag())
            .confirms(200, "model removed")
            .fails(&[403, 404]),
        post("/model-associations/{poolID}/models/{modelID}", "assignModel", "Put a model into a pool")
            .confirms(200, "model assigned")
            .fails(&[404, 409]),
        delete("/model-associations/{poolID}/models/{modelID}", "unassignModel", "Take a model out of a pool")
            .confirms(200, "model removed")
            .fails(&[403, 404]),
        get("/model-associations/{poolID}/models", "listModelsOfPool", "Models of a pool")
            .lists::<ModelView>("The latest assignment first; empty for an unknown id", json!([model()])),
        get("/model-associations/{modelID}/pools", "listPoolsOfModel", "Pools of a model")
            .lists::<Pool>("The latest assignment first; empty for an unknown id", json!([super::pools::pool()])),
    ];
    operations.into_iter().map(|operation| operation.of("models")).collect()
}
