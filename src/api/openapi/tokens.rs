//! Operations of `docs/api.md`, tokens.

use serde_json::{Value as Json, json};

use super::{
    super::tokens::{NewToken, TokenInput},
    operation::{Operation, delete, get, post, put},
};
use crate::domain::token::Token;

fn sent() -> Json {
    json!({"name": "ci", "scopes": ["run", "read"], "expiresAt": "2035-01-01T00:00:00Z", "requestsPerMinute": 60})
}

fn token() -> Json {
    json!({"id": "3f0c2a1e-8d5b-4b8e-9c35-0a6f5d1f2b47", "name": "ci", "scopes": ["run", "read"],
        "requestsPerMinute": 60, "hint": "Zm9v", "expiresAt": "2035-01-01T00:00:00.000000Z",
        "createdAt": "2025-08-08T12:00:00.123456Z", "updatedAt": "2025-08-08T12:00:00.123456Z"})
}

fn new_token() -> Json {
    let mut token = token();
    token["token"] = json!("psk_7Jq0mC1vXo4bZr2kT9yLwE5sH8dNf3aGuPiVhRxZm9v");
    token
}

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/tokens", "createToken", "Make an API token")
            .says("The answer holds the token, this once: only its hash is kept.")
            .takes::<TokenInput>(sent())
            .gives::<NewToken>(201, "The token", new_token())
            .fails(&[409, 422, 429]),
        get("/tokens", "listTokens", "API tokens, newest first").paged().lists::<Token>("Tokens", json!([token()])),
        get("/tokens/{id}", "getToken", "One API token").gives::<Token>(200, "The token", token()).fails(&[404]),
        put("/tokens/{id}", "updateToken", "Say something else of an API token")
            .says("The token itself stays.")
            .takes::<TokenInput>(sent())
            .gives::<Token>(200, "The token", token())
            .fails(&[404, 409, 422]),
        delete("/tokens/{id}", "revokeToken", "Make an API token open nothing any more")
            .confirms(200, "token revoked")
            .fails(&[404]),
    ];
    operations.into_iter().map(|operation| operation.of("tokens")).collect()
}
