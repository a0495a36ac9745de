//! `:generateContent` and `:streamGenerateContent`: one candidate, and what it cost.

use bytes::Bytes;
use serde_json::{Value, json as value};

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::{Fields, GenerationConfig},
    model::SimModel,
    script::Effect,
    speech::{Form, Speech},
};

/// What a model that is there says.
fn speech(model: &SimModel, fields: &Fields, effect: &Effect) -> Result<Speech, Answer> {
    let config = fields.generation_config.as_ref();
    let own = config.and_then(|config| config.response_schema.as_ref()).map(in_lower_case);
    let form = match config {
        Some(GenerationConfig { response_json_schema: Some(schema), .. }) => Form::Schema(schema),
        Some(GenerationConfig { response_mime_type: Some(mime), .. }) if mime == "application/json" => {
            own.as_ref().map_or(Form::Json, Form::Schema)
        }
        _ => Form::Free,
    };
    let speech = Speech::compose(fields, &form, effect);
    if speech.prompt_tokens > model.context_length {
        let words = format!(
            "The input token count ({}) exceeds the maximum number of tokens allowed ({}).",
            speech.prompt_tokens, model.context_length
        );
        return Err(super::refused(400, &words));
    }
    Ok(speech)
}

/// The answer, whole.
pub(super) fn generate(model: &SimModel, fields: &Fields, effect: &Effect) -> Result<Answer, Answer> {
    let speech = speech(model, fields, effect)?;
    Ok(Answer::json(200, &body(model, &speech, parts(&speech), speech.chunks.len(), true)))
}

/// The answer as events, a token each; the last one says why it ended. There is no end mark.
pub(super) fn streamed(model: &SimModel, fields: &Fields, effect: &Effect) -> Result<Answer, Answer> {
    let speech = speech(model, fields, effect)?;
    let event = |parts: Vec<Value>, said: usize, is_last: bool| {
        Bytes::from(format!("data: {}\r\n\r\n", body(model, &speech, parts, said, is_last)))
    };
    let mut frames = Vec::new();
    if !speech.thinking.is_empty() {
        frames.push(Frame::marker(event(vec![value!({ "text": speech.thinking, "thought": true })], 0, false)));
    }
    for (at, chunk) in speech.chunks.iter().enumerate() {
        frames.push(Frame::chunk(event(vec![value!({ "text": chunk })], at + 1, at + 1 == speech.chunks.len())));
    }
    if speech.chunks.is_empty() {
        frames.push(Frame::marker(event(Vec::new(), 0, true)));
    }
    Ok(Answer::new(200, "text/event-stream", Payload::Frames(frames)))
}

fn body(model: &SimModel, speech: &Speech, parts: Vec<Value>, answer: usize, is_last: bool) -> Value {
    let prompt = speech.prompt_tokens;
    let mut candidate = value!({ "content": { "role": "model", "parts": parts }, "index": 0 });
    if let Some(finish) = speech.finish.as_ref().filter(|_| is_last) {
        candidate["finishReason"] = match finish.as_str() {
            "stop" => "STOP".into(),
            "length" => "MAX_TOKENS".into(),
            scripted => scripted.into(),
        };
    }
    let usage =
        value!({ "promptTokenCount": prompt, "candidatesTokenCount": answer, "totalTokenCount": prompt + answer });
    value!({ "candidates": [candidate], "usageMetadata": usage, "modelVersion": model.name, "responseId": "r1" })
}

/// A text in two parts, because the real service cuts where it likes; thoughts before it.
fn parts(speech: &Speech) -> Vec<Value> {
    let (first, rest) = speech.chunks.split_at(speech.chunks.len().min(1));
    let thought = (!speech.thinking.is_empty()).then(|| value!({ "text": speech.thinking, "thought": true }));
    let texts = [first, rest].into_iter().filter(|chunks| !chunks.is_empty());
    thought.into_iter().chain(texts.map(|chunks| value!({ "text": chunks.concat() }))).collect()
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
