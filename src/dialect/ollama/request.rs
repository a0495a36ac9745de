//! A call in Ollama's words, for `/api/generate` and `/api/chat`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    dialect::{constraint::schema_of, open_calls::OpenCalls, tool_arguments::object_of, unsayable::Unsayable},
    domain::{
        chat::{ChatCall, ChatTurn, Image, Part, Sampling, Thinking, Tool, ToolCall, ToolChoice},
        message::Constraint,
    },
};

/// A call ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Which of the two routes.
    pub route: &'static str,
    /// JSON.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct GenerateBody<'a> {
    model: &'a str,
    prompt: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    suffix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(flatten)]
    common: Common<'a>,
}

#[derive(Serialize)]
struct ChatBody<'a> {
    model: &'a str,
    messages: Vec<MessageBody<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<ToolBody<'a>>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// What both routes take.
#[derive(Serialize)]
struct Common<'a> {
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
    options: Options<'a>,
}

#[derive(Serialize)]
struct MessageBody<'a> {
    role: &'a str,
    content: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    tool_call_id: &'a str,
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
    description: &'a str,
    parameters: Cow<'a, Value>,
}

#[derive(Serialize)]
struct Options<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    num_predict: Option<u32>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f64>,
}

impl<'a> From<&'a Sampling> for Options<'a> {
    fn from(sampling: &'a Sampling) -> Self {
        Self {
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: sampling.top_k,
            min_p: sampling.min_p,
            num_predict: sampling.max_tokens,
            stop: &sampling.stop,
            seed: sampling.seed,
            presence_penalty: sampling.presence_penalty,
            frequency_penalty: sampling.frequency_penalty,
            repeat_penalty: sampling.repeat_penalty,
        }
    }
}

/// The route of a generating call and its body: `/api/generate` for a single prompt, else `/api/chat`. `thinks`: whether the
/// model thinks where the call does not say; `None` leaves it to the model.
///
/// # Errors
/// Several replies to one call, and pictures that the server would have to fetch: it does neither.
pub fn ask(model: &str, call: &ChatCall, stream: bool, thinks: Option<bool>) -> Result<Asked, Unsayable> {
    if call.choices > 1 {
        return Err(Unsayable::new("Ollama gives one reply to a call: 'n' must be 1 for this model"));
    }
    let common = Common {
        stream,
        think: call.thinking.as_ref().map(thinking).or(thinks.map(Value::Bool)),
        format: call.constraint.as_ref().map(format),
        logprobs: call.logprobs.map(|_| true),
        top_logprobs: call.logprobs.filter(|others| *others > 0),
        options: Options::from(&call.sampling),
    };
    let single = match call.messages.as_slice() {
        _ if !call.tools.is_empty() => None,
        [user] if call.single_prompt && user.role == "user" => Some((None, user)),
        [system, user] if call.single_prompt && system.role == "system" && user.role == "user" => {
            Some((Some(system.joined_text()), user))
        }
        _ => None,
    };
    let (route, body) = match single {
        Some((system, user)) => {
            let (prompt, suffix) = (user.joined_text(), call.suffix.as_str());
            let body = GenerateBody { model, prompt, suffix, system, images: images(user)?, common };
            ("/api/generate", serde_json::to_vec(&body))
        }
        None => {
            let mut calls = OpenCalls::default();
            let messages = call.messages.iter().map(|turn| message(turn, &mut calls)).collect::<Result<_, _>>()?;
            ("/api/chat", serde_json::to_vec(&ChatBody { model, messages, tools: tools(call), common }))
        }
    };
    Ok(Asked { route, body: body.unwrap_or_default() })
}

/// The answer of a tool names both its call and the tool, whichever the sender gave: templates of models print the name.
fn message<'a>(turn: &'a ChatTurn, calls: &mut OpenCalls<'a>) -> Result<MessageBody<'a>, Unsayable> {
    turn.tool_calls.iter().for_each(|call| calls.called(call));
    let (tool_name, tool_call_id) = match &turn.answers {
        Some(answer) => {
            let call = calls.answered(answer);
            let or = |own: &'a str, of: fn(&'a ToolCall) -> &'a str| match own {
                "" => call.map(of).unwrap_or_default(),
                own => own,
            };
            (or(&answer.name, |call| &call.name), or(&answer.id, |call| &call.id))
        }
        None => ("", ""),
    };
    Ok(MessageBody {
        role: if turn.role == "developer" { "system" } else { &turn.role },
        content: turn.joined_text(),
        thinking: &turn.reasoning,
        images: images(turn)?,
        tool_calls: turn.tool_calls.iter().map(tool_call).collect(),
        tool_name,
        tool_call_id,
    })
}

fn images(turn: &ChatTurn) -> Result<Vec<&str>, Unsayable> {
    turn.parts.iter().filter_map(picture).collect()
}

/// The data of a picture; nothing of words.
fn picture(part: &Part) -> Option<Result<&str, Unsayable>> {
    match part {
        Part::Text(_) => None,
        Part::Image(Image::Inline { data, .. }) => Some(Ok(data)),
        Part::Image(Image::Url(_)) => Some(Err(Unsayable::new(
            "Ollama takes pictures only in the request itself: send a data: URL in place of one to be fetched",
        ))),
    }
}

fn tool_call(call: &ToolCall) -> Value {
    let function = json!({"name": call.name, "arguments": object_of(&call.arguments)});
    if call.id.is_empty() { json!({"function": function}) } else { json!({"id": call.id, "function": function}) }
}

/// Ollama cannot be made to call a tool, only be offered the one that is wanted (`docs/backends.md`, Ollama).
fn tools(call: &ChatCall) -> Vec<ToolBody<'_>> {
    let offered = |tool: &&Tool| match &call.tool_choice {
        ToolChoice::None => false,
        ToolChoice::Named(name) => tool.name == *name,
        ToolChoice::Auto | ToolChoice::Required => true,
    };
    call.tools.iter().filter(offered).map(tool_body).collect()
}

fn tool_body(tool: &Tool) -> ToolBody<'_> {
    let parameters = match &tool.parameters {
        Some(parameters) => Cow::Borrowed(parameters),
        None => Cow::Owned(json!({"type": "object", "properties": {}})),
    };
    let function = FunctionBody { name: &tool.name, description: &tool.description, parameters };
    ToolBody { kind: "function", function }
}

fn format(constraint: &Constraint) -> Value {
    match constraint {
        Constraint::Json => json!("json"),
        form => schema_of(form),
    }
}

fn thinking(thinking: &Thinking) -> Value {
    match thinking {
        Thinking::Off => json!(false),
        Thinking::On => json!(true),
        Thinking::Effort(effort) => match effort.as_str() {
            "none" => json!(false),
            "minimal" => json!("low"),
            "xhigh" => json!("max"),
            effort => json!(effort),
        },
    }
}
