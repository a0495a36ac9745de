//! Ollama's chat and generate: one object a line, or one object at all.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json as value};

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::Fields,
    clock::rfc3339,
    library::Library,
    model::SimModel,
    ollama::{NDJSON, json, line, model, refused, strict},
    script::Effect,
    speech::{Calling, Form, Speech, ToolCall, words},
};

/// A line of a stream, or the whole answer. Fields that are empty are left out.
#[derive(Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<Vec<Value>>,
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    done_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<[u32; 3]>,
    #[serde(flatten)]
    counters: Option<Counters>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    thinking: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
}

/// Nanoseconds and tokens; a counter of 0 is left out.
#[derive(Serialize)]
struct Counters {
    total_duration: u64,
    load_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    prompt_eval_duration: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_count: u64,
    #[serde(skip_serializing_if = "is_zero")]
    eval_duration: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Counters {
    /// A model that reads ten tokens and writes one in a millisecond.
    fn of(speech: &Speech) -> Self {
        let (prompt, answer) = (speech.prompt_tokens as u64, speech.answer_tokens() as u64);
        let (prompt_eval_duration, eval_duration) = (prompt * 100_000, answer * 1_000_000);
        Self {
            total_duration: 1_200_000 + prompt_eval_duration + eval_duration,
            load_duration: 1_200_000,
            prompt_eval_count: prompt,
            prompt_eval_duration,
            eval_count: answer,
            eval_duration,
        }
    }
}

/// Which of the two routes, and what it puts around the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Chat,
    Generate { raw: bool },
}

impl Wrap {
    fn line<'a>(self, model: &'a str, text: &'a str, thinking: &'a str) -> Line<'a> {
        let chat = self == Self::Chat;
        Line {
            model,
            created_at: rfc3339(SystemTime::now()),
            message: chat.then_some(Message { role: "assistant", content: text, thinking, tool_calls: Vec::new() }),
            response: (!chat).then_some(text),
            thinking: if chat { "" } else { thinking },
            logprobs: None,
            done: false,
            done_reason: None,
            context: None,
            counters: None,
        }
    }

    /// Makes a line the last one.
    fn last<'a>(self, line: Line<'a>, speech: &'a Speech) -> Line<'a> {
        Line {
            done: true,
            done_reason: speech.finish.as_deref(),
            context: (self == Self::Generate { raw: false }).then_some([1, 2, 3]),
            counters: Some(Counters::of(speech)),
            ..line
        }
    }
}

/// `POST /api/chat`.
pub(crate) fn chat(library: &Library, fields: &Fields, effect: &Effect) -> Result<Answer, Answer> {
    let name = fields.model().ok_or_else(|| refused(400, "model is required"))?;
    let model = model(library, name, || format!("model '{name}' not found"))?;
    strict::check(fields).map_err(|words| refused(400, &words))?;
    check(&model, name, fields, "chat")?;
    let silent = fields.messages.as_ref().is_none_or(Vec::is_empty);
    let unloads = leave(library, &model, fields);
    Ok(if silent { touch(name, unloads, Wrap::Chat) } else { speak(name, &model, fields, effect, Wrap::Chat) })
}

/// `POST /api/generate`.
pub(crate) fn generate(library: &Library, fields: &Fields, effect: &Effect) -> Result<Answer, Answer> {
    let name = fields.model().unwrap_or_default();
    let model = model(library, name, || format!("model '{name}' not found"))?;
    strict::check(fields).map_err(|words| refused(400, &words))?;
    check(&model, name, fields, "generate")?;
    let wrap = Wrap::Generate { raw: fields.raw == Some(true) };
    let silent = fields.last_said().is_empty();
    let unloads = leave(library, &model, fields);
    Ok(if silent { touch(name, unloads, wrap) } else { speak(name, &model, fields, effect, wrap) })
}

/// Refuses what the model cannot do.
fn check(model: &SimModel, name: &str, fields: &Fields, verb: &str) -> Result<(), Answer> {
    if !model.can("completion") {
        return Err(refused(400, &format!("\"{name}\" does not support {verb}")));
    }
    if fields.tools.as_ref().is_some_and(|tools| !tools.is_empty()) && !model.can("tools") {
        return Err(refused(400, &format!("registry.ollama.ai/library/{} does not support tools", model.name)));
    }
    let wants_thoughts = fields.think.as_ref().is_some_and(|think| !matches!(think, Value::Bool(false) | Value::Null));
    if wants_thoughts && !model.can("thinking") {
        return Err(refused(400, &format!("\"{name}\" does not support thinking")));
    }
    Ok(())
}

/// Takes the model out of memory where the call wants that.
fn leave(library: &Library, model: &SimModel, fields: &Fields) -> bool {
    let unloads = fields.keep_alive.as_ref().and_then(Value::as_f64) == Some(0.0);
    if unloads {
        library.unload(&model.name);
    }
    unloads
}

/// A call without a text only loads the model, or unloads it.
fn touch(name: &str, unloads: bool, wrap: Wrap) -> Answer {
    let done_reason = Some(if unloads { "unload" } else { "load" });
    json(200, &Line { done: true, done_reason, ..wrap.line(name, "", "") })
}

/// As sure of every token as of the next; nothing where nobody asked.
fn probabilities(fields: &Fields, tokens: &[String]) -> Option<Vec<Value>> {
    let likely = |token: &str, logprob: f64| value!({ "token": token, "logprob": logprob, "bytes": token.as_bytes() });
    let entry = |token: &String| {
        let mut entry: Value = likely(token, -0.25);
        if let Some(others) = fields.top_logprobs.filter(|others| *others > 0) {
            let others = (0..others).map(|at| likely(&format!("{token}{at}"), -2.0 - at as f64));
            entry["top_logprobs"] = others.collect();
        }
        entry
    };
    (fields.logprobs == Some(Value::Bool(true))).then(|| tokens.iter().map(entry).collect())
}

/// Arguments are an object.
fn function_call(at: usize, call: &ToolCall) -> Value {
    let arguments: Value = serde_json::from_str(&call.arguments).unwrap_or_default();
    value!({ "id": format!("call_{at:08}"), "function": { "index": at, "name": call.name, "arguments": arguments } })
}

fn speak(name: &str, model: &SimModel, fields: &Fields, effect: &Effect, wrap: Wrap) -> Answer {
    let form = match &fields.format {
        Some(schema @ Value::Object(_)) => Form::Schema(schema),
        Some(Value::String(json)) if json == "json" => Form::Json,
        _ => Form::Free,
    };
    let mut speech = Speech::compose(fields, &form, effect);
    if wrap == Wrap::Chat {
        // There is no field to choose a tool, or none: whoever offers some gets calls.
        speech = speech.with_calls(fields, Calling::Freely, effect);
    }
    let calls: Vec<Value> = speech.calls.iter().enumerate().map(|(at, call)| function_call(at, call)).collect();
    if !model.can("thinking") || fields.think == Some(Value::Bool(false)) {
        speech.thinking.clear();
    }
    if fields.stream == Some(false) {
        let text = speech.text();
        let mut whole = wrap.line(name, &text, &speech.thinking);
        whole.logprobs = probabilities(fields, &speech.chunks);
        if let Some(message) = &mut whole.message {
            message.tool_calls = calls;
        }
        return json(200, &wrap.last(whole, &speech));
    }
    let thoughts = words(&speech.thinking);
    let thoughts = thoughts.iter().map(|thought| wrap.line(name, "", thought));
    let pieces = speech.chunks.iter().map(|chunk| Line {
        logprobs: probabilities(fields, std::slice::from_ref(chunk)),
        ..wrap.line(name, chunk, "")
    });
    let mut frames: Vec<Frame> = thoughts.chain(pieces).map(|piece| Frame::chunk(line(&piece))).collect();
    if !calls.is_empty() {
        let mut calling = wrap.line(name, "", "");
        if let Some(message) = &mut calling.message {
            message.tool_calls = calls;
        }
        frames.push(Frame::chunk(line(&calling)));
    }
    frames.push(Frame::marker(line(&wrap.last(wrap.line(name, "", ""), &speech))));
    Answer::new(200, NDJSON, Payload::Frames(frames))
}
