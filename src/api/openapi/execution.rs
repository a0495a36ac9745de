//! Operations of `docs/api.md`, execution.

use serde_json::json;

use super::{
    super::{
        embed::{EmbedInput, EmbedReply},
        execute::{ExecuteInput, ExecuteReply},
        tasks::{TasksInput, TasksReply},
    },
    operation::{Operation, post},
};

const STEPS: &str = "event: task.started\ndata: {\"task\":\"greet\",\"handler\":\"noop\",\"attempt\":1}\n\n";

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/execute", "execute", "Run a prompt")
            .says("On the default model, or on the one that is named, wherever it runs.")
            .takes::<ExecuteInput>(json!({"prompt": "What is the capital of France?"}))
            .gives::<ExecuteReply>(
                200,
                "The answer",
                json!({"id": "6f1c1d0e-8f2b-4d3a-9b2e-0a7c1c1f5a11", "response": "Paris."}),
            ),
        post("/embed", "embed", "Embed a text")
            .takes::<EmbedInput>(json!({"text": "a text"}))
            .gives::<EmbedReply>(200, "Its vector, of the default embedding model", json!({"vector": [0.01, -0.2, 0.7]})),
        post("/tasks", "runChain", "Run a chain")
            .says(
                "With `Accept: text/event-stream` the answer is a stream of events while the chain runs: task.started, \
                 task.retrying, task.completed, task.failed, warning, and at last result or error. The run ends when the \
                 client goes.",
            )
            .takes::<TasksInput>(json!({"input": "Ada", "inputType": "string", "chain": super::chains::greeting()}))
            .gives::<TasksReply>(
                200,
                "The output, and every step of the run",
                json!({"output": "Hello Ada", "outputType": "string", "state": [{"taskID": "greet", "taskHandler": "noop",
                    "attempt": 1, "inputType": "string", "outputType": "string", "transition": "Hello Ada",
                    "duration": 0.08, "error": {"error": ""}, "input": "", "output": ""}]}),
            )
            .sends("text/event-stream", "The steps", STEPS),
    ];
    operations.into_iter().map(|operation| operation.of("execution").served()).collect()
}
