//! What each server refuses before its model sees it (`docs/backends.md`, OpenAI-compatible servers).

use serde_json::{Map, Value};

use crate::sim::{
    answer::Answer,
    call::{Fields, Message},
    model::SimModel,
    openai::flavour::Flavour,
};

/// The arguments of OpenAI's chat completions; it refuses all others.
const CHAT_ARGUMENTS: [&str; 35] = [
    "model",
    "messages",
    "audio",
    "frequency_penalty",
    "function_call",
    "functions",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "metadata",
    "modalities",
    "n",
    "parallel_tool_calls",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_retention",
    "reasoning_effort",
    "response_format",
    "safety_identifier",
    "seed",
    "service_tier",
    "stop",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "user",
    "verbosity",
    "web_search_options",
];

const ROLES: [&str; 6] = ["system", "assistant", "user", "function", "tool", "developer"];

/// One fault of a request: the field, the server's word for it, and its sentence.
struct Fault {
    param: String,
    code: Option<&'static str>,
    message: String,
}

fn fault(param: &str, code: Option<&'static str>, message: impl Into<String>) -> Result<(), Fault> {
    Err(Fault { param: param.to_owned(), code, message: message.into() })
}

/// Refuses a chat that this server would not take.
pub(crate) fn check_chat(body: &[u8], fields: &Fields, model: &SimModel, flavour: Flavour) -> Result<(), Answer> {
    let body: Map<String, Value> = serde_json::from_slice(body).unwrap_or_default();
    let checked = match flavour {
        Flavour::OpenAi => openai(&body, fields, model),
        Flavour::Vllm => vllm(&body),
        Flavour::LlamaCpp | Flavour::Ollama => Ok(()),
    };
    checked.map_err(|Fault { param, code, message }| flavour.faulty(&param, code, &message))?;
    if fields.images() > 0 && !model.can("vision") {
        return Err(flavour.blind(&model.name));
    }
    Ok(())
}

fn openai(body: &Map<String, Value>, fields: &Fields, model: &SimModel) -> Result<(), Fault> {
    let has = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if let Some(unknown) = body.keys().find(|name| !CHAT_ARGUMENTS.contains(&name.as_str())) {
        return fault("", None, format!("Unrecognized request argument supplied: {unknown}"));
    }
    if has("stream_options") && fields.stream != Some(true) {
        return fault(
            "stream_options",
            None,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
        );
    }
    for name in ["tool_choice", "parallel_tool_calls"] {
        if has(name) && fields.offered().is_empty() {
            return fault(name, None, format!("'{name}' is only allowed when 'tools' are specified."));
        }
    }
    if has("top_logprobs") && fields.logprobs != Some(Value::Bool(true)) {
        return fault("top_logprobs", None, "'top_logprobs' is only allowed when 'logprobs' is true.");
    }
    let thinks = ["o1", "o3", "o4", "gpt-5"].iter().any(|family| model.name.starts_with(family));
    if thinks && has("max_tokens") {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.";
        return fault("max_tokens", Some("unsupported_parameter"), message);
    }
    if thinks && body.get("temperature").and_then(Value::as_f64).is_some_and(|temperature| temperature != 1.0) {
        let message = "Unsupported value: 'temperature' does not support this value with this model. Only the default (1) value is supported.";
        return fault("temperature", Some("unsupported_value"), message);
    }
    if !thinks && has("reasoning_effort") {
        return fault("", None, "Unrecognized request argument supplied: reasoning_effort");
    }
    messages(fields.messages.as_deref().unwrap_or_default())
}

/// Calls have ids, and each answer of a tool names one of them.
fn messages(messages: &[Message]) -> Result<(), Fault> {
    let mut open: Vec<&str> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        if !ROLES.contains(&message.role.as_str()) {
            let wrong = format!("Invalid value: '{}'. Supported values are: {ROLES:?}.", message.role);
            return fault(&format!("messages[{at}].role"), Some("invalid_value"), wrong);
        }
        for (number, call) in message.tool_calls.iter().flatten().enumerate() {
            let param = format!("messages[{at}].tool_calls[{number}].id");
            match call.get("id").and_then(Value::as_str).filter(|id| !id.is_empty()) {
                Some(id) => open.push(id),
                None => {
                    return fault(
                        &param,
                        Some("missing_required_parameter"),
                        format!("Missing required parameter: '{param}'."),
                    );
                }
            }
        }
        let answered = message.tool_call_id.as_deref().unwrap_or_default();
        if message.role == "tool" && !open.contains(&answered) {
            let message = "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.";
            return fault(&format!("messages.[{at}].role"), None, message);
        }
    }
    Ok(())
}

fn vllm(body: &Map<String, Value>) -> Result<(), Fault> {
    let has = |name: &str| body.get(name).is_some_and(|value| !value.is_null());
    if has("stream_options") && body.get("stream") != Some(&Value::Bool(true)) {
        return fault("stream_options", None, "Stream options can only be defined when `stream=True`.");
    }
    if has("tool_choice") && !has("tools") && body["tool_choice"] != "none" {
        return fault("tool_choice", None, "When using `tool_choice`, `tools` must be set.");
    }
    let effort = body.get("reasoning_effort").and_then(Value::as_str);
    if effort.is_some_and(|effort| !["none", "minimal", "low", "medium", "high"].contains(&effort)) {
        return fault("reasoning_effort", None, "Input should be 'none', 'minimal', 'low', 'medium' or 'high'");
    }
    Ok(())
}
