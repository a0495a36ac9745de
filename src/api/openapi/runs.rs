//! Operations of `docs/api.md`, runs.

use serde_json::json;

use super::{
    super::runs::ActiveRun,
    operation::{Operation, get, post},
};

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        get("/runs/active", "listActiveRuns", "Chains that run now").lists::<ActiveRun>(
            "All of this process, the oldest first",
            json!([{"id": "6f1c1d0e-8f2b-4d3a-9b2e-0a7c1c1f5a11", "chainID": "triage",
                "startedAt": "2025-08-08T12:00:00.123456Z", "currentTask": "classify", "stepsDone": 2, "modelCalls": 1,
                "priority": "standard", "requestID": "9d0f2a52", "instance": "9f2c41d0"}]),
        ),
        post("/runs/{id}/cancel", "cancelRun", "End a run")
            .says("Answers when nothing of the run runs any more. The request that it runs for is answered with 409.")
            .confirms(200, "run cancelled")
            .fails(&[404]),
    ];
    operations.into_iter().map(|operation| operation.of("runs")).collect()
}
