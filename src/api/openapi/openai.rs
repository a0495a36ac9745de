//! Operations of OpenAI's API (`docs/api.md`, OpenAI's API and chat with a stored chain). The schemas are loose: they name the
//! fields that matter here; clients have the whole from their own library.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use super::{
    super::models::{ModelEntry, ModelList},
    chains,
    operation::{Operation, get, post},
    shared::{self, Errors},
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

/// A prompt without a conversation.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct CompletionRequest {
    /// As in a chat.
    #[schema(required = false)]
    model: String,
    /// A text or several.
    #[schema(value_type = serde_json::Value)]
    prompt: Json,
    #[schema(required = false)]
    stream: bool,
    #[schema(required = false)]
    max_tokens: Option<u64>,
}

/// Texts to embed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct EmbeddingRequest {
    /// As in a chat.
    #[schema(required = false)]
    model: String,
    /// A text or several.
    #[schema(value_type = serde_json::Value)]
    input: Json,
    /// `float` or `base64`.
    #[schema(required = false)]
    encoding_format: Option<String>,
    #[schema(required = false)]
    dimensions: Option<u32>,
}

/// Their vectors.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct EmbeddingList {
    /// `list`.
    object: String,
    /// `index` and `embedding`: numbers, or a text in base64.
    #[schema(value_type = Vec<Object>)]
    data: Vec<Json>,
    model: String,
    /// `prompt_tokens`, `total_tokens`.
    #[schema(value_type = Object, required = false)]
    usage: Json,
}

/// One turn of the newer API; its stateless part.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct ResponseRequest {
    /// As in a chat.
    #[schema(required = false)]
    model: String,
    /// A text, or a list of items.
    #[schema(value_type = serde_json::Value)]
    input: Json,
    /// What the model is told first.
    #[schema(required = false)]
    instructions: Option<String>,
    #[schema(required = false)]
    stream: bool,
    /// Functions the model may call.
    #[schema(value_type = Vec<Object>, required = false)]
    tools: Vec<Json>,
    #[schema(required = false)]
    max_output_tokens: Option<u64>,
}

/// Its answer.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct ResponseObject {
    id: String,
    /// `response`.
    object: String,
    /// Unix seconds.
    created_at: u64,
    /// `completed` or `incomplete`.
    status: String,
    model: String,
    /// Messages, reasoning, calls of functions.
    #[schema(value_type = Vec<Object>)]
    output: Vec<Json>,
    #[schema(value_type = Object, required = false)]
    usage: Json,
}

fn completion_of_text() -> Json {
    json!({"id": "cmpl-1", "object": "text_completion", "created": 1_754_654_400, "model": "qwen3:4b",
        "choices": [{"index": 0, "text": "Paris.", "finish_reason": "stop", "logprobs": null}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}})
}

fn response() -> Json {
    json!({"id": "resp_1", "object": "response", "created_at": 1_754_654_400, "status": "completed", "model": "qwen3:4b",
        "output": [{"type": "message", "id": "msg_1", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "Paris.", "annotations": []}]}],
        "usage": {"input_tokens": 14, "output_tokens": 2, "total_tokens": 16}})
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
    let asking = vec![
        chat(post("/v1/chat/completions", "openaiChat", "A chat"))
            .says("A stream that fails ends with an event that holds an error, and without `[DONE]`."),
        post("/v1/completions", "openaiCompletion", "A prompt without a conversation")
            .takes_json::<CompletionRequest>(json!({"model": "qwen3:4b", "prompt": "The capital of France is"}))
            .gives::<ChatCompletion>(200, "The reply", completion_of_text())
            .sends("text/event-stream", "Chunks of the reply", CHUNKS),
        post("/v1/embeddings", "openaiEmbeddings", "Vectors of texts")
            .takes_json::<EmbeddingRequest>(json!({"model": "nomic-embed-text", "input": ["a cat", "a dog"]}))
            .gives::<EmbeddingList>(
                200,
                "A vector for each text, in their order",
                json!({"object": "list", "model": "nomic-embed-text", "data": [{"object": "embedding", "index": 0,
                    "embedding": [0.6, 0.8]}], "usage": {"prompt_tokens": 4, "total_tokens": 4}}),
            ),
        post("/v1/responses", "openaiResponse", "One turn, of which nothing is stored")
            .takes_json::<ResponseRequest>(json!({"model": "qwen3:4b", "input": "What is the capital of France?"}))
            .gives::<ResponseObject>(200, "The answer", response())
            .sends("text/event-stream", "Events of the answer", "event: response.created\ndata: {}\n\n"),
    ];
    let entry = || json!({"id": "qwen3:4b", "object": "model", "created": 1_754_654_400, "owned_by": "ollama"});
    let asking = asking.into_iter().map(|operation| operation.routed(Errors::Openai));
    let others = [
        get("/v1/models", "openaiModels", "Every model that can be asked for")
            .gives::<ModelList>(200, "Models, aliases and chains", json!({"object": "list", "data": [entry()]}))
            .openai_errors(),
        get("/v1/models/{modelName}", "openaiModel", "One model")
            .gives::<ModelEntry>(200, "The model", entry())
            .openai_errors()
            .fails(&[404]),
        chat(chains::versioned(post("/{chainID}/v1/chat/completions", "chatWithChain", "Chat with a stored chain")))
            .says("OpenAI's chat API with the chain in place of a model: the base URL of a client is `/{chainID}/v1`.")
            .asks("stackTrace", "Adds the steps of the run", shared::flag())
            .served()
            .either_error(),
    ];
    asking.chain(others).map(|operation| operation.of("openai")).collect()
}
