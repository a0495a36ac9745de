//! A call in Gemini's words, for `:generateContent` and `:streamGenerateContent`.

use serde::Serialize;
use serde_json::{Value, json};

use super::contents::{ContentBody, contents};
use crate::{
    dialect::{constraint::RANGE, unsayable::Unsayable},
    domain::{
        chat::{ChatCall, Thinking, ToolChoice},
        message::Constraint,
    },
};

#[derive(Serialize)]
struct GenerateBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<ContentBody<'a>>,
    contents: Vec<ContentBody<'a>>,
    #[serde(rename = "generationConfig")]
    generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tools: Option<Value>,
    #[serde(rename = "toolConfig", skip_serializing_if = "Option::is_none")]
    tool_config: Option<Value>,
}

#[derive(Serialize, Default)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_schema: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<Value>,
}

/// The body of `:generateContent` and `:streamGenerateContent`.
///
/// # Errors
/// Pictures that the server would have to fetch from somewhere, and answers to calls that nobody made.
pub fn generate_body(model: &str, call: &ChatCall) -> Result<Vec<u8>, Unsayable> {
    let (system_instruction, contents) = contents(&call.messages, wants_signatures(model))?;
    let sampling = &call.sampling;
    let mut config = GenerationConfig {
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        max_output_tokens: sampling.max_tokens,
        stop_sequences: &sampling.stop,
        seed: sampling.seed.map(small_seed),
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        candidate_count: (call.choices > 1).then_some(call.choices),
        response_logprobs: call.logprobs.map(|_| true),
        logprobs: call.logprobs.filter(|others| *others > 0),
        thinking_config: call.thinking.as_ref().map(thinking),
        ..GenerationConfig::default()
    };
    if let Some(constraint) = &call.constraint {
        config.response_mime_type = Some("application/json");
        match constraint {
            // A schema of the user's in its own language, of which the other field knows only a part.
            Constraint::Schema(schema) => config.response_json_schema = Some(schema),
            form => config.response_schema = own_schema(form),
        }
    }
    let (tools, tool_config) = tools(call);
    let body = GenerateBody { system_instruction, contents, generation_config: config, tools, tool_config };
    Ok(serde_json::to_vec(&body).unwrap_or_default())
}

/// Whether a model refuses calls of tools without their signatures, as its name tells: those of Google's third generation
/// (`gemini-3-pro`) and later do, and a name without a number (`gemini-flash-latest`) is that of the newest.
fn wants_signatures(model: &str) -> bool {
    let Some(name) = model.strip_prefix("models/").unwrap_or(model).strip_prefix("gemini-") else { return false };
    let number = name.split(|character: char| !character.is_ascii_digit()).next().unwrap_or_default();
    number.parse().map_or(true, |generation: u32| generation >= 3)
}

/// The service's seeds have 32 bits and other servers' 64: a larger one becomes one of its own, the same each time.
fn small_seed(seed: i64) -> i32 {
    i32::try_from(seed).unwrap_or_else(|_| {
        let [a, b, c, d, e, f, g, h] = seed.to_le_bytes();
        i32::from_le_bytes([a ^ e, b ^ f, c ^ g, d ^ h])
    })
}

/// A form as Gemini's own kind of schema, whose types are upper case.
fn own_schema(constraint: &Constraint) -> Option<Value> {
    match constraint {
        Constraint::OneOf(texts) => Some(json!({"type": "STRING", "enum": texts})),
        Constraint::Integer => Some(json!({"type": "INTEGER"})),
        Constraint::Number => Some(json!({"type": "NUMBER"})),
        Constraint::Range => Some(json!({"type": "STRING", "pattern": format!("^{RANGE}$")})),
        Constraint::Json | Constraint::Schema(_) => None,
    }
}

fn tools(call: &ChatCall) -> (Option<Value>, Option<Value>) {
    if call.tools.is_empty() {
        return (None, None);
    }
    let declarations: Vec<Value> = call
        .tools
        .iter()
        .map(|tool| {
            let mut declaration = json!({"name": tool.name, "description": tool.description});
            if let Some(parameters) = &tool.parameters {
                // In its own language, of which `parameters` knows only a part.
                declaration["parametersJsonSchema"] = parameters.clone();
            }
            declaration
        })
        .collect();
    let mode = match &call.tool_choice {
        ToolChoice::Auto => None,
        ToolChoice::None => Some(json!({"mode": "NONE"})),
        ToolChoice::Required => Some(json!({"mode": "ANY"})),
        ToolChoice::Named(name) => Some(json!({"mode": "ANY", "allowedFunctionNames": [name]})),
    };
    let config = mode.map(|mode| json!({ "functionCallingConfig": mode }));
    (Some(json!([{ "functionDeclarations": declarations }])), config)
}

/// Levels as budgets of tokens, those that Google gives them on its own OpenAI routes.
fn thinking(thinking: &Thinking) -> Value {
    let budget = |tokens: u32| json!({"includeThoughts": true, "thinkingBudget": tokens});
    match thinking {
        Thinking::Off => json!({"thinkingBudget": 0}),
        Thinking::On => json!({"includeThoughts": true}),
        Thinking::Effort(effort) => match effort.as_str() {
            "none" => json!({"thinkingBudget": 0}),
            "minimal" | "low" => budget(1024),
            "medium" => budget(8192),
            _ => budget(24_576),
        },
    }
}
