//! What the three dialects look like on the wire: the same chat, answered in one piece and as a stream.

use serde_json::{Value as Json, json};

/// A word of the answer, about a token.
const WORD: &str = "blue \"sky\" ";

/// A chat of 1 KB as a client of OpenAI's API asks for it.
pub(crate) fn openai_request() -> Vec<u8> {
    body(&json!({"model": "qwen3:4b", "temperature": 0.2, "max_tokens": 256, "messages": messages()}))
}

/// The same as a client of Ollama's does.
pub(crate) fn ollama_request() -> Vec<u8> {
    let options = json!({"temperature": 0.2, "num_predict": 256});
    body(&json!({"model": "qwen3:4b", "options": options, "stream": false, "messages": messages()}))
}

fn messages() -> Json {
    let prompt = "Why is the sky blue?\nSay it as if to a \"child\". ".repeat(20);
    json!([{"role": "system", "content": "Be brief."}, {"role": "user", "content": prompt}])
}

/// The whole answer of a server of this dialect.
pub(crate) fn openai_reply() -> Vec<u8> {
    body(&json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": WORD.repeat(100)}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 300, "total_tokens": 312}}))
}

/// See [`openai_reply`].
pub(crate) fn ollama_reply() -> Vec<u8> {
    body(&json!({"model": "m", "created_at": "2025-01-01T00:00:00Z",
        "message": {"role": "assistant", "content": WORD.repeat(100)}, "done": true, "done_reason": "stop",
        "total_duration": 1_000_000, "prompt_eval_count": 12, "eval_count": 300}))
}

/// See [`openai_reply`].
pub(crate) fn gemini_reply() -> Vec<u8> {
    body(&json!({"candidates": [{"index": 0, "finishReason": "STOP",
            "content": {"role": "model", "parts": [{"text": WORD.repeat(100)}]}}],
        "usageMetadata": {"promptTokenCount": 12, "candidatesTokenCount": 300, "totalTokenCount": 312}}))
}

/// Its stream of so many words, one chunk each; the last one ends it.
pub(crate) fn openai_stream(words: usize) -> Vec<Vec<u8>> {
    let chunk = |delta: Json, finish: Json| {
        event(&json!({"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}))
    };
    let mut chunks: Vec<_> = (0..words).map(|_| chunk(json!({"content": WORD}), Json::Null)).collect();
    chunks.push([chunk(json!({}), json!("stop")), b"data: [DONE]\n\n".to_vec()].concat());
    chunks
}

/// See [`openai_stream`].
pub(crate) fn ollama_stream(words: usize) -> Vec<Vec<u8>> {
    let line = |words: &str, is_done: bool| {
        let mut line = json!({"model": "m", "created_at": "2025-01-01T00:00:00Z",
            "message": {"role": "assistant", "content": words}, "done": is_done});
        if is_done {
            line["done_reason"] = json!("stop");
            line["eval_count"] = json!(300);
        }
        [body(&line), b"\n".to_vec()].concat()
    };
    (0..words).map(|_| line(WORD, false)).chain([line("", true)]).collect()
}

/// See [`openai_stream`].
pub(crate) fn gemini_stream(words: usize) -> Vec<Vec<u8>> {
    let piece = |finish: Option<&str>| {
        let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": [{"text": WORD}]}});
        if let Some(finish) = finish {
            candidate["finishReason"] = json!(finish);
        }
        event(&json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 12}}))
    };
    (0..words).map(|_| piece(None)).chain([piece(Some("STOP"))]).collect()
}

fn event(data: &Json) -> Vec<u8> {
    format!("data: {data}\n\n").into_bytes()
}

fn body(json: &Json) -> Vec<u8> {
    json.to_string().into_bytes()
}
