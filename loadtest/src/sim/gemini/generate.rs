//! `:generateContent` and `:streamGenerateContent`: candidates, and what they cost.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::{Fields, GenerationConfig, token_count},
    model::SimModel,
    script::Effect,
    speech::{Calling, Form, Speech},
};

/// How an answer is sent: whoever asks for a stream without `alt=sse` gets an array of its pieces.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    Whole,
    Array,
    Events,
}

/// Replies so far: each has an id of its own.
static REPLIES: AtomicU64 = AtomicU64::new(1);

/// The answer of a model that is there.
pub(super) fn generate(model: &SimModel, fields: &Fields, effect: &Effect, framing: Framing) -> Result<Answer, Answer> {
    let config = fields.generation_config.as_ref();
    let own = config.and_then(|config| config.response_schema.as_ref()).map(in_lower_case);
    let form = match config {
        Some(GenerationConfig { response_json_schema: Some(schema), .. }) => Form::Schema(schema),
        Some(GenerationConfig { response_mime_type: Some(mime), .. }) if mime == "application/json" => {
            own.as_ref().map_or(Form::Json, Form::Schema)
        }
        _ => Form::Free,
    };
    let mut speech = Speech::compose(fields, &form, effect).with_calls(fields, calling(fields), effect);
    let thinking = config.and_then(|config| config.thinking_config.as_ref());
    if thinking.and_then(|thinking| thinking.get("includeThoughts")) != Some(&Value::Bool(true)) {
        speech.thinking.clear();
    }
    if speech.prompt_tokens > model.context_length {
        let words = format!(
            "The input token count ({}) exceeds the maximum number of tokens allowed ({}).",
            speech.prompt_tokens, model.context_length
        );
        return Err(super::refused(400, &words));
    }
    let candidates = config.and_then(|config| config.candidate_count).unwrap_or(1).clamp(1, 8);
    let logprobs = config.filter(|config| config.response_logprobs == Some(true));
    let logprobs = logprobs.map(|config| config.logprobs.unwrap_or(0));
    let reply = format!("r{}", REPLIES.fetch_add(1, Ordering::Relaxed));
    let talk = Talk { speech, model: &model.name, candidates, logprobs, reply };
    Ok(match framing {
        Framing::Whole => Answer::json(200, &talk.whole()),
        Framing::Array => Answer::json(200, &talk.pieces().into_iter().map(|(piece, _)| piece).collect::<Value>()),
        Framing::Events => {
            let frame = |(piece, is_last)| match is_last {
                true => Frame::marker(event(&piece)),
                false => Frame::chunk(event(&piece)),
            };
            Answer::new(200, "text/event-stream", Payload::Frames(talk.pieces().into_iter().map(frame).collect()))
        }
    })
}

/// What the request says about functions.
fn calling(fields: &Fields) -> Calling<'_> {
    let config = fields.tool_config.as_ref().and_then(|config| config.get("functionCallingConfig"));
    let allowed = config.and_then(|config| config.pointer("/allowedFunctionNames/0")).and_then(Value::as_str);
    match config.and_then(|config| config.get("mode")).and_then(Value::as_str) {
        Some("NONE") => Calling::Never,
        Some("ANY") => allowed.map_or(Calling::Always, Calling::Only),
        _ => Calling::Freely,
    }
}

/// One event of a stream; the real service ends its lines with CR LF.
pub(super) fn event(value: &impl Serialize) -> Bytes {
    format!("data: {}\r\n\r\n", serde_json::to_string(value).unwrap_or_default()).into()
}

struct Talk<'a> {
    speech: Speech,
    model: &'a str,
    candidates: u32,
    /// Likeliest other tokens to be told with each; none when no probabilities are.
    logprobs: Option<usize>,
    reply: String,
}

impl Talk<'_> {
    fn whole(&self) -> Value {
        let candidate = |index| self.candidate(index, self.parts(), &self.speech.chunks, true);
        self.body((0..self.candidates).map(candidate).collect(), self.speech.chunks.len())
    }

    /// A piece of the text each, then one that tells why it ended, and whether it is that. There is no end mark.
    fn pieces(&self) -> Vec<(Value, bool)> {
        let mut pieces = Vec::new();
        for index in 0..self.candidates {
            let said = |part: Value, text: &[String], tokens| {
                (self.body(vec![self.candidate(index, vec![part], text, false)], tokens), false)
            };
            pieces.extend(self.thought().map(|thought| said(thought, &[], 0)));
            let texts = self.speech.chunks.iter().enumerate();
            pieces.extend(texts.map(|(at, text)| said(value!({ "text": text }), std::slice::from_ref(text), at + 1)));
            pieces.extend(self.calls().into_iter().map(|call| said(call, &[], 1)));
            let last = self.candidate(index, vec![value!({ "text": "" })], &[], true);
            pieces.push((self.body(vec![last], self.speech.chunks.len()), true));
        }
        pieces
    }

    fn body(&self, candidates: Vec<Value>, answer: usize) -> Value {
        let (prompt, thoughts) = (self.speech.prompt_tokens, token_count(&self.speech.thinking));
        let mut usage = value!({ "promptTokenCount": prompt, "totalTokenCount": prompt + answer + thoughts });
        // A zero is left out.
        if answer > 0 {
            usage["candidatesTokenCount"] = answer.into();
        }
        if thoughts > 0 {
            usage["thoughtsTokenCount"] = thoughts.into();
        }
        value!({ "candidates": candidates, "usageMetadata": usage, "modelVersion": self.model,
            "responseId": self.reply })
    }

    fn candidate(&self, index: u32, parts: Vec<Value>, text: &[String], is_last: bool) -> Value {
        let mut candidate = value!({ "content": { "role": "model", "parts": parts }, "index": index });
        if let Some(finish) = self.speech.finish.as_ref().filter(|_| is_last) {
            candidate["finishReason"] = match finish.as_str() {
                "stop" => "STOP".into(),
                "length" => "MAX_TOKENS".into(),
                scripted => scripted.into(),
            };
        }
        if let Some(others) = self.logprobs.filter(|_| !text.is_empty()) {
            candidate["logprobsResult"] = probabilities(text, others);
        }
        candidate
    }

    fn thought(&self) -> Option<Value> {
        let thinking = &self.speech.thinking;
        (!thinking.is_empty()).then(|| value!({ "text": thinking, "thought": true }))
    }

    /// Without ids, as most versions of the service call.
    fn calls(&self) -> Vec<Value> {
        let call = |call: &crate::sim::speech::ToolCall| {
            let args = serde_json::from_str(&call.arguments).unwrap_or_else(|_| value!({}));
            let function: Value = value!({ "name": call.name, "args": Value::clone(&args) });
            value!({ "functionCall": function, "thoughtSignature": "c2ln" })
        };
        self.speech.calls.iter().map(call).collect()
    }

    /// A text in two parts, because the real service cuts where it likes; thoughts before it, calls behind it.
    fn parts(&self) -> Vec<Value> {
        let chunks = &self.speech.chunks;
        let (first, rest) = chunks.split_at(chunks.len().min(1));
        let texts = [first, rest].into_iter().filter(|chunks| !chunks.is_empty());
        let texts = texts.map(|chunks| value!({ "text": chunks.concat() }));
        self.thought().into_iter().chain(texts).chain(self.calls()).collect()
    }
}

/// As sure of every token as of the next.
fn probabilities(tokens: &[String], others: usize) -> Value {
    let likely = |token: &str, logprob: f64| value!({ "token": token, "tokenId": 7, "logProbability": logprob });
    let chosen: Vec<Value> = tokens.iter().map(|token| likely(token, -0.25)).collect();
    let top = |token: &String| -> Value {
        let others = (0..others).map(|at| likely(&format!("{token}{at}"), -2.0 - at as f64));
        value!({ "candidates": others.collect::<Value>() })
    };
    match others {
        0 => value!({ "chosenCandidates": chosen }),
        _ => value!({ "chosenCandidates": chosen, "topCandidates": tokens.iter().map(top).collect::<Value>() }),
    }
}

/// Gemini's own kind of schema as a JSON Schema.
fn in_lower_case(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let lower = |(name, value): (&String, &Value)| {
                let value = match value.as_str() {
                    Some(kind) if name == "type" => Value::from(kind.to_lowercase()),
                    _ => in_lower_case(value),
                };
                (name.clone(), value)
            };
            Value::Object(fields.iter().map(lower).collect())
        }
        Value::Array(values) => values.iter().map(in_lower_case).collect(),
        other => other.clone(),
    }
}
