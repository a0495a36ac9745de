//! A call as the body of `POST /chat/completions`, in the words of the server that gets it (`docs/backends.md`, what a call
//! becomes).

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    messages::{MessageBody, messages},
    response_format::response_format,
    server::Server,
};
use crate::{
    dialect::vllm::structured_outputs,
    domain::{
        chat::{ChatCall, Sampling, Thinking, Tool, ToolChoice},
        message::Constraint,
    },
};

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(flatten)]
    drawn: Drawn<'a>,
    #[serde(flatten)]
    forced: Forced,
    #[serde(flatten)]
    tools: Tools<'a>,
    #[serde(flatten)]
    thinking: Thoughts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(flatten)]
    streamed: Streamed,
}

/// How the reply is drawn, in every request of the protocol.
#[derive(Serialize, Default)]
pub(in crate::dialect) struct Drawn<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    /// OpenAI's newer name, which its newer models want; the older name is what all others know.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    /// llama.cpp's and LM Studio's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f64>,
    /// vLLM's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f64>,
}

impl<'a> Drawn<'a> {
    /// The server's words for it; what the server or this model of it refuses is left out.
    pub(in crate::dialect) fn of(sampling: &'a Sampling, model: &str, server: Server) -> Self {
        let bound = Self { stop: &sampling.stop, seed: sampling.seed, ..Self::default() };
        let bound = match server {
            Server::Openai => Self { max_completion_tokens: sampling.max_tokens, ..bound },
            _ => Self { max_tokens: sampling.max_tokens, ..bound },
        };
        if server.draws_by_itself(model) {
            return bound;
        }
        let more = server.takes_more();
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k.filter(|_| more),
            min_p: sampling.min_p.filter(|_| more),
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            repeat_penalty: sampling.repeat_penalty.filter(|_| more && server != Server::Vllm),
            repetition_penalty: sampling.repeat_penalty.filter(|_| server == Server::Vllm),
            ..bound
        }
    }
}

/// The fields that force a reply into a form.
#[derive(Serialize, Default)]
pub(in crate::dialect) struct Forced {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::dialect) response_format: Option<Value>,
    /// vLLM's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::dialect) structured_outputs: Option<Value>,
}

impl Forced {
    /// A form in the server's words.
    pub(in crate::dialect) fn of(constraint: Option<&Constraint>, server: Server) -> Self {
        let Some(constraint) = constraint else { return Self::default() };
        match Some(server).filter(|server| *server == Server::Vllm).and_then(|_| structured_outputs(constraint)) {
            Some(own) => Self { structured_outputs: Some(own), response_format: None },
            None => Self { response_format: Some(response_format(constraint, server)), structured_outputs: None },
        }
    }
}

#[derive(Serialize, Default)]
struct Tools<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
}

#[derive(Serialize)]
struct ToolBody<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

impl<'a> Tools<'a> {
    fn of(call: &'a ChatCall, server: Server) -> Self {
        // What is said about tools without any is refused by OpenAI.
        if call.tools.is_empty() {
            return Self::default();
        }
        // llama.cpp's server takes words only and would read an object as `auto`: the one tool there is, and one must be
        // called, is the same.
        let only = match &call.tool_choice {
            ToolChoice::Named(name) if server == Server::LlamaCpp => Some(name),
            _ => None,
        };
        let offered = call.tools.iter().filter(|tool| only.is_none_or(|name| tool.name == *name));
        let tool_choice = match &call.tool_choice {
            ToolChoice::Auto => None,
            ToolChoice::None => Some(json!("none")),
            ToolChoice::Named(_) if only.is_some() => Some(json!("required")),
            ToolChoice::Required => Some(json!("required")),
            ToolChoice::Named(name) => Some(json!({"type": "function", "function": {"name": name}})),
        };
        Self { tools: offered.map(tool).collect(), tool_choice, parallel_tool_calls: call.parallel_tool_calls }
    }
}

fn tool(tool: &Tool) -> ToolBody<'_> {
    let Tool { name, description, parameters, strict } = tool;
    ToolBody {
        kind: "function",
        function: FunctionBody { name, description, parameters: parameters.as_ref(), strict: *strict },
    }
}

/// Whether and how hard the model thinks.
#[derive(Serialize, Default)]
struct Thoughts<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'a str>,
    /// What the chat templates of open models look at: some at the one name, some at the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    chat_template_kwargs: Option<Value>,
}

impl<'a> Thoughts<'a> {
    fn of(thinking: Option<&'a Thinking>, model: &str, server: Server) -> Self {
        let Some(thinking) = thinking else { return Self::default() };
        let effort = match thinking {
            // "As it does" is what it does unasked.
            Thinking::On => None,
            Thinking::Off => Some("none"),
            Thinking::Effort(effort) => Some(match effort.as_str() {
                // Ollama's word for as hard as it can; this is the highest that all of these know.
                "max" => "high",
                effort => effort,
            }),
        };
        let is_on = effort != Some("none");
        let switches = json!({"enable_thinking": is_on, "thinking": is_on});
        match server {
            // It does not think, as it was told.
            Server::Openai if !is_on && server.never_thinks(model) => Self::default(),
            Server::Openai | Server::Hosted => Self { reasoning_effort: effort, chat_template_kwargs: None },
            Server::Local => Self { reasoning_effort: effort, chat_template_kwargs: Some(switches) },
            // Its own field knows levels only.
            Server::Vllm => Self { reasoning_effort: effort.filter(|_| is_on), chat_template_kwargs: Some(switches) },
            // No field but the template's.
            Server::LlamaCpp => {
                let mut kwargs = switches;
                if let Some(effort) = effort.filter(|_| is_on) {
                    kwargs["reasoning_effort"] = json!(effort);
                }
                Self { reasoning_effort: None, chat_template_kwargs: Some(kwargs) }
            }
        }
    }
}

/// Whether the reply comes in pieces, with its tokens at the end.
#[derive(Serialize, Default)]
pub(in crate::dialect) struct Streamed {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<Value>,
}

impl Streamed {
    pub(in crate::dialect) fn of(wants_stream: bool) -> Self {
        Self {
            stream: wants_stream.then_some(true),
            stream_options: wants_stream.then(|| json!({"include_usage": true})),
        }
    }
}

/// The body of `POST /chat/completions`.
pub fn chat_body(model: &str, call: &ChatCall, server: Server, wants_stream: bool) -> Vec<u8> {
    let body = ChatBody {
        model,
        messages: messages(&call.messages, server),
        drawn: Drawn::of(&call.sampling, model, server),
        forced: Forced::of(call.constraint.as_ref(), server),
        tools: Tools::of(call, server),
        thinking: Thoughts::of(call.thinking.as_ref(), model, server),
        logprobs: call.logprobs.map(|_| true),
        top_logprobs: call.logprobs.filter(|others| *others > 0),
        n: (call.choices > 1).then_some(call.choices),
        streamed: Streamed::of(wants_stream),
    };
    serde_json::to_vec(&body).unwrap_or_default()
}
