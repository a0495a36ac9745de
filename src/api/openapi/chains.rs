//! Operations of `docs/api.md`, stored chains and diagnostics. The chat with one is with `openai`.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use super::{
    super::validation::Answer,
    operation::{Operation, delete, get, post, put},
    shared::{self, ChainSchema},
};
use crate::domain::{stored_chain::ChainVersion, time::Timestamp};

/// A stored chain: the fields of a chain in canonical spelling, and these.
#[derive(ToSchema)]
#[schema(as = StoredChain, rename_all = "camelCase")]
#[expect(dead_code, reason = "stands for a chain with its version, in the description only")]
struct StoredChainView {
    /// What it is called.
    id: String,
    /// Its tasks; the fields are those of a chain.
    #[schema(value_type = Vec<Object>)]
    tasks: Vec<Json>,
    /// 1, 2, 3…
    version: u64,
    /// `true` for one that was stored unchecked, else left out.
    #[schema(required = false)]
    draft: bool,
    /// When the chain was created, whatever the version.
    created_at: Timestamp,
    /// When this version was written.
    updated_at: Timestamp,
}

/// The chain of the examples.
pub(super) fn greeting() -> Json {
    json!({"id": "front desk", "tasks": [{"id": "greet", "handler": "noop", "prompt_template": "Hello {{.input}}",
        "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]})
}

fn stored() -> Json {
    let mut chain = greeting();
    chain["version"] = json!(1);
    chain["createdAt"] = json!("2025-08-08T12:00:00.123456Z");
    chain["updatedAt"] = json!("2025-08-08T12:00:00.123456Z");
    chain
}

pub(super) fn operations() -> Vec<Operation> {
    let draft = |operation: Operation| operation.asks("draft", "Stores it without the check", shared::flag());
    let operations = vec![
        draft(post("/taskchains", "createChain", "Store a chain"))
            .says("A new one, or the next version of the one with this id. It is checked first.")
            .takes::<ChainSchema>(greeting())
            .gives::<StoredChainView>(201, "The stored version", stored())
            .fails(&[422, 429]),
        get("/taskchains", "listChains", "Stored chains, newest first")
            .paged()
            .lists::<StoredChainView>("The latest version of each", json!([stored()])),
        versioned(get("/taskchains/{id}", "getChain", "A stored chain"))
            .gives::<StoredChainView>(200, "The latest version, or the one that is asked for", stored()),
        draft(put("/taskchains/{id}", "updateChain", "Store the next version of a chain"))
            .takes::<ChainSchema>(greeting())
            .gives::<StoredChainView>(200, "The stored version", stored())
            .fails(&[404, 422, 429]),
        delete("/taskchains/{id}", "deleteChain", "Delete a chain with all its versions")
            .confirms(200, "task chain front desk deleted")
            .fails(&[404]),
        get("/taskchains/{id}/versions", "listChainVersions", "Versions that are kept")
            .lists::<ChainVersion>(
                "Versions, newest first",
                json!([{"version": 1, "draft": false, "createdAt": "2025-08-08T12:00:00.123456Z"}]),
            )
            .fails(&[404]),
        versioned(get("/taskchains/{id}/graph", "drawChain", "A drawing of a chain"))
            .asks("format", "`mermaid`, the only one", shared::text())
            .sends("text/plain; charset=utf-8", "A Mermaid flowchart", "flowchart TD\n")
            .fails(&[400]),
        post("/taskchains/validate", "validateChain", "What is wrong with a chain")
            .says("Takes a chain, or a request of `POST /tasks`; nothing is run or stored.")
            .asks("strict", "Warnings count, too", shared::flag())
            .takes::<ChainSchema>(greeting())
            .gives::<Answer>(
                200,
                "Diagnostics in the order of the text",
                json!({"result": "FAIL", "diagnostics": [{"severity": "error", "code": "UNKNOWN_GOTO",
                    "message": "branch 1: goto names the task 'anwser', which does not exist",
                    "path": "/tasks/0/transition/branches/0/goto", "line": 9, "column": 15, "hint": "did you mean 'answer'?",
                    "task": "validate"}]}),
            ),
    ];
    operations.into_iter().map(|operation| operation.of("chains")).collect()
}

/// Of one version of a chain.
pub(super) fn versioned(operation: Operation) -> Operation {
    operation.asks("version", "This version instead of the latest", shared::number(1, None, None)).fails(&[404, 422])
}
