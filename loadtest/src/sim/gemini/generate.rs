//! `:generateContent` and `:streamGenerateContent`: candidates, and what they cost.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json as value};

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::{Fields, GenerationConfig},
    model::SimModel,
    script::Effect,
    speech::{Calling, Form, Speech},
};

/// The answer of a model that is there.
pub(super) fn generate(model: &SimModel, fields: &Fields, effect: &Effect, streams: bool) -> Result<Answer, Answer> {
    let config = fields.generation_config.as_ref();
    let own = config.and_then(|config| config.response_schema.as_ref()).map(in_lower_case);
    let form = match config {
        Some(GenerationConfig { response_json_schema: Some(schema), .. }) => Form::Schema(schema),
        Some(GenerationConfig { response_mime_type: Some(mime), .. }) if mime == "application/json" => {
            own.as_ref().map_or(Form::Json, Form::Schema)
        }
        _ => Form::Free,
    };
    let speech = Speech::compose(fields, &form, effect).with_calls(fields, calling(fields), effect);
    if speech.prompt_tokens > model.context_length {
        let words = format!(
            "The input token count ({}) exceeds the maximum number of tokens allowed ({}).",
            speech.prompt_tokens, model.context_length
        );
        return Err(super::refused(400, &words));
    }
    let candidates = config.and_then(|config| config.candidate_count).unwrap_or(1).clamp(1, 8);
    let talk = Talk { speech, model: &model.name, candidates };
    if streams {
        return Ok(Answer::new(200, "text/event-stream", Payload::Frames(talk.events())));
    }
    Ok(Answer::json(200, &talk.whole()))
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
}

impl Talk<'_> {
    fn whole(&self) -> Value {
        let candidate = |index| self.candidate(index, self.parts(), true);
        self.body((0..self.candidates).map(candidate).collect(), self.speech.chunks.len())
    }

    /// A piece of the text an event, then one that tells why it ended. There is no end mark.
    fn events(&self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for index in 0..self.candidates {
            let said = |parts: Vec<Value>, tokens| event(&self.body(vec![self.candidate(index, parts, false)], tokens));
            frames.extend(self.thought().map(|thought| Frame::chunk(said(vec![thought], 0))));
            let texts = self.speech.chunks.iter().enumerate();
            frames.extend(texts.map(|(at, text)| Frame::chunk(said(vec![value!({ "text": text })], at + 1))));
            frames.extend(self.calls().into_iter().map(|call| Frame::chunk(said(vec![call], 1))));
            let last = self.candidate(index, vec![value!({ "text": "" })], true);
            frames.push(Frame::marker(event(&self.body(vec![last], self.speech.chunks.len()))));
        }
        frames
    }

    fn body(&self, candidates: Vec<Value>, answer: usize) -> Value {
        let prompt = self.speech.prompt_tokens;
        let usage =
            value!({ "promptTokenCount": prompt, "candidatesTokenCount": answer, "totalTokenCount": prompt + answer });
        value!({ "candidates": candidates, "usageMetadata": usage, "modelVersion": self.model, "responseId": "r1" })
    }

    fn candidate(&self, index: u32, parts: Vec<Value>, is_last: bool) -> Value {
        let mut candidate = value!({ "content": { "role": "model", "parts": parts }, "index": index });
        if let Some(finish) = self.speech.finish.as_ref().filter(|_| is_last) {
            candidate["finishReason"] = match finish.as_str() {
                "stop" => "STOP".into(),
                "length" => "MAX_TOKENS".into(),
                scripted => scripted.into(),
            };
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
