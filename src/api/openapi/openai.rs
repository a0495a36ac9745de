//! Operations of OpenAI's API (`docs/api.md`, OpenAI's API and chat with a stored chain). The schemas are loose: they name the
//! fields that matter here; clients have the whole from their own library.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use super::{
    chains,
    operation::{Operation, post},
    shared,
};

const CHUNKS: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1754654400,\
     \"model\":\"qwen3:4b\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Paris\"},\"finish_reason\":null}]}\n\ndata: [DONE]\n\n";

/// A chat.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct ChatCompletionRequest {
    /// A model's name, `pool/<name>/<model>`, an alias, or `chain/<id>`.
    #[schema(required = false)]
    model: String,
    /// Oldest first: `role`, `content` (a text or a list of parts), `tool_calls`, `tool_call_id`.
    #[schema(value_type = Vec<Object>, min_items = 1)]
    messages: Vec<Json>,
    /// Server-sent events, ending with `data: [DONE]`.
    #[schema(required = false)]
    stream: bool,
    /// `include_usage`: the last event tells the tokens.
    #[schema(value_type = Object, required = false)]
    stream_options: Json,
    /// Functions the model may call.
    #[schema(value_type = Vec<Object>, required = false)]
    tools: Vec<Json>,
    /// `auto`, `none`, `required`, or one function.
    #[schema(value_type = serde_json::Value, required = false)]
    tool_choice: Json,
    /// `text`, `json_object`, or `json_schema` with a schema.
    #[schema(value_type = Object, required = false)]
    response_format: Json,
    #[schema(required = false)]
    max_tokens: Option<u64>,
    #[schema(required = false)]
    max_completion_tokens: Option<u64>,
    #[schema(required = false)]
    temperature: Option<f64>,
    #[schema(required = false)]
    top_p: Option<f64>,
    /// One text or several that end the reply.
    #[schema(value_type = serde_json::Value, required = false)]
    stop: Json,
    #[schema(required = false)]
    n: Option<u32>,
}

/// A reply.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct ChatCompletion {
    id: String,
    /// `chat.completion`.
    object: String,
    /// Unix seconds.
    created: u64,
    model: String,
    /// `index`, `message`, `finish_reason`, `logprobs`.
    #[schema(value_type = Vec<Object>)]
    choices: Vec<Json>,
    /// `prompt_tokens`, `completion_tokens`, `total_tokens`.
    #[schema(value_type = Object, required = false)]
    usage: Json,
}

fn question() -> Json {
    json!({"model": "qwen3:4b", "messages": [{"role": "user", "content": "What is the capital of France?"}]})
}

fn completion() -> Json {
    json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1_754_654_400, "model": "qwen3:4b",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 14, "completion_tokens": 2, "total_tokens": 16}})
}

pub(super) fn operations() -> Vec<Operation> {
    let chat = |operation: Operation| {
        operation
            .takes_json::<ChatCompletionRequest>(question())
            .gives::<ChatCompletion>(200, "The reply", completion())
            .sends("text/event-stream", "Chunks of the reply", CHUNKS)
    };
    let operations = vec![
        chat(chains::versioned(post("/{chainID}/v1/chat/completions", "chatWithChain", "Chat with a stored chain")))
            .says("OpenAI's chat API with the chain in place of a model: the base URL of a client is `/{chainID}/v1`.")
            .asks("stackTrace", "Adds the steps of the run", shared::flag())
            .served()
            .either_error(),
    ];
    operations.into_iter().map(|operation| operation.of("openai")).collect()
}
