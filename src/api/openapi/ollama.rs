//! Operations of Ollama's API (`docs/api.md`, Ollama's API). The schemas are loose: they name the fields that matter here;
//! clients have the whole from their own library.

use serde_json::{Value as Json, json};
use utoipa::ToSchema;

use super::{
    operation::{Operation, delete, get, post},
    shared::Errors,
};

const NDJSON: &str = "application/x-ndjson";

/// A conversation. Without messages the model is loaded, or unloaded with `"keep_alive": 0`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaChatRequest {
    /// A model's name, an alias, `pool/<name>/<model>` or `chain/<id>`.
    model: String,
    /// Oldest first: `role`, `content`, `images`, `thinking`, `tool_calls`, `tool_name`.
    #[schema(value_type = Vec<Object>, required = false)]
    messages: Vec<Json>,
    /// Functions the model may call.
    #[schema(value_type = Vec<Object>, required = false)]
    tools: Vec<Json>,
    /// `false` for one object; a stream otherwise.
    #[schema(required = false)]
    stream: bool,
    /// `"json"` or a JSON Schema.
    #[schema(value_type = serde_json::Value, required = false)]
    format: Json,
    /// Whether it thinks, or how hard.
    #[schema(value_type = serde_json::Value, required = false)]
    think: Json,
    /// `temperature`, `num_predict`, `stop`, `seed` and others.
    #[schema(value_type = Object, required = false)]
    options: Json,
    /// How long the model stays loaded.
    #[schema(value_type = serde_json::Value, required = false)]
    keep_alive: Json,
}

/// One prompt. Without it the model is loaded, or unloaded with `"keep_alive": 0`.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaGenerateRequest {
    /// As in a chat.
    model: String,
    /// What is asked.
    #[schema(required = false)]
    prompt: String,
    /// What the model is told first.
    #[schema(required = false)]
    system: String,
    /// Pictures in base64.
    #[schema(required = false)]
    images: Vec<String>,
    /// `false` for one object; a stream otherwise.
    #[schema(required = false)]
    stream: bool,
    /// `"json"` or a JSON Schema.
    #[schema(value_type = serde_json::Value, required = false)]
    format: Json,
    /// As in a chat.
    #[schema(value_type = Object, required = false)]
    options: Json,
}

/// An answer, or one line of a stream of them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaReply {
    model: String,
    created_at: String,
    /// Of a chat: `role`, `content`, `thinking`, `tool_calls`.
    #[schema(value_type = Object, required = false)]
    message: Json,
    /// Of a prompt.
    #[schema(required = false)]
    response: String,
    /// Whether it is the last.
    done: bool,
    /// `stop`, `length`, `load`, `unload`.
    #[schema(required = false)]
    done_reason: String,
    /// Tokens of the prompt.
    #[schema(required = false)]
    prompt_eval_count: u64,
    /// Tokens of the answer.
    #[schema(required = false)]
    eval_count: u64,
}

/// Texts to embed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaEmbedRequest {
    model: String,
    /// A text or several.
    #[schema(value_type = serde_json::Value, required = false)]
    input: Json,
    /// How long the vectors shall be.
    #[schema(required = false)]
    dimensions: u32,
}

/// Their vectors.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaEmbedReply {
    model: String,
    embeddings: Vec<Vec<f64>>,
}

/// The older form of an embedding.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaEmbeddingsRequest {
    model: String,
    #[schema(required = false)]
    prompt: String,
}

/// Its vector.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaEmbeddingsReply {
    embedding: Vec<f64>,
}

/// Models by name.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaModels {
    /// `name`, `model`, `modified_at`, `size`, `digest`, `details`.
    #[schema(value_type = Vec<Object>)]
    models: Vec<Json>,
}

/// Which model.
#[derive(ToSchema)]
#[expect(dead_code, reason = "stands for another API's type, in the description only")]
struct OllamaModelName {
    #[schema(required = false)]
    model: String,
    /// The older spelling of `model`.
    #[schema(required = false)]
    name: String,
}

fn line() -> Json {
    json!({"model": "qwen3:4b", "created_at": "2025-08-08T12:00:00.005000Z",
        "message": {"role": "assistant", "content": "Blue"}, "done": true, "done_reason": "stop",
        "prompt_eval_count": 14, "eval_count": 2})
}

fn line_of_prompt() -> Json {
    json!({"model": "qwen3:4b", "created_at": "2025-08-08T12:00:00.005000Z", "response": "Blue", "done": true,
        "done_reason": "stop", "prompt_eval_count": 14, "eval_count": 2})
}

fn asking() -> Vec<Operation> {
    let messages = json!([{"role": "user", "content": "Name one colour."}]);
    vec![
        post("/api/chat", "ollamaChat", "A conversation")
            .says("A stream of lines unless `\"stream\": false`; one that fails ends with a line `{\"error\": \"…\"}`.")
            .takes_json::<OllamaChatRequest>(json!({"model": "qwen3:4b", "messages": messages, "stream": false}))
            .gives::<OllamaReply>(200, "The reply", line())
            .sends(NDJSON, "Lines", &format!("{}\n", line())),
        post("/api/generate", "ollamaGenerate", "One prompt")
            .takes_json::<OllamaGenerateRequest>(
                json!({"model": "qwen3:4b", "prompt": "Name one colour.", "stream": false}),
            )
            .gives::<OllamaReply>(200, "The reply", line_of_prompt())
            .sends(NDJSON, "Lines", &format!("{}\n", line_of_prompt())),
        post("/api/embed", "ollamaEmbed", "Vectors of texts")
            .takes_json::<OllamaEmbedRequest>(json!({"model": "nomic-embed-text", "input": ["a cat", "a dog"]}))
            .gives::<OllamaEmbedReply>(
                200,
                "A vector for each text, in their order",
                json!({"model": "nomic-embed-text", "embeddings": [[0.6, 0.8], [0.8, 0.6]]}),
            ),
        post("/api/embeddings", "ollamaEmbeddings", "The vector of one text, in the older form")
            .takes_json::<OllamaEmbeddingsRequest>(json!({"model": "nomic-embed-text", "prompt": "a cat"}))
            .gives::<OllamaEmbeddingsReply>(200, "The vector", json!({"embedding": [0.6, 0.8]})),
    ]
}

fn managing() -> Vec<Operation> {
    let refused = "Models are not managed here: the answer is a 403 that says what to do instead.";
    let refuse = |operation: Operation| operation.says(refused).fails(&[403]);
    vec![
        post("/api/pull", "ollamaPull", "Is a model here")
            .says("Of a model that is here the answer is a success; models are downloaded when they are declared.")
            .takes_json::<OllamaModelName>(json!({"model": "qwen3:4b"}))
            .any("It is", json!({"status": "success"}))
            .fails(&[403]),
        refuse(delete("/api/delete", "ollamaDelete", "Refused")),
        refuse(post("/api/create", "ollamaCreate", "Refused")),
        refuse(post("/api/copy", "ollamaCopy", "Refused")),
        refuse(post("/api/push", "ollamaPush", "Refused")),
    ]
}

pub(super) fn operations() -> Vec<Operation> {
    let details = json!({"parent_model": "", "format": "gguf", "family": "qwen3", "families": ["qwen3"],
        "parameter_size": "4.0B", "quantization_level": "Q4_K_M"});
    let model = json!({"name": "qwen3:4b", "model": "qwen3:4b", "modified_at": "2025-08-01T08:00:00Z",
        "size": 2_497_293_931_u64, "digest": "359d7dd4bcda", "details": details});
    let models = vec![
        get("/api/tags", "ollamaTags", "Every model that can be asked for").gives::<OllamaModels>(
            200,
            "Models, chains and aliases",
            json!({"models": [model]}),
        ),
        post("/api/show", "ollamaShow", "One model")
            .takes_json::<OllamaModelName>(json!({"model": "qwen3:4b"}))
            .any("What is known of it", json!({"details": details, "capabilities": ["completion", "tools"]}))
            .fails(&[404]),
        get("/api/ps", "ollamaRunning", "Models in memory").gives::<OllamaModels>(
            200,
            "Models",
            json!({"models": [model]}),
        ),
        get("/api/version", "ollamaVersion", "The version of Ollama whose API this is")
            .any("That version, and Penstock's own", json!({"version": "0.30.1", "penstock": "0.1.0"})),
        get("/", "ollamaHome", "Does anybody answer").sends(
            "text/plain; charset=utf-8",
            "Somebody does",
            "Ollama is running",
        ),
    ];
    let asking = asking().into_iter().map(|operation| operation.routed(Errors::Text));
    asking.chain(models).chain(managing()).map(|operation| operation.of("ollama")).collect()
}
