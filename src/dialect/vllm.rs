//! What vLLM adds to OpenAI's wire format: structured outputs beyond JSON, and text completions for models that cannot
//! chat (`docs/backends.md`, vLLM). Its token counts are those of [`tokenizer`](super::tokenizer).

use serde::Serialize;
use serde_json::json;

use super::{
    constraint::RANGE,
    openai::{self, Drawn, Forced, Server},
    reply::ReplyError,
};
use crate::domain::{
    chat::{ChatCall, ChatTurn},
    message::{Completion, Constraint},
};

/// The body of `POST /v1/chat/completions`.
pub fn chat_body(model: &str, call: &ChatCall) -> Vec<u8> {
    openai::body_with(model, call, forced(call))
}

/// Reads the answer of `POST /v1/chat/completions` and of `POST /v1/completions`.
///
/// # Errors
/// No text, a filtered answer, or a body that is none.
pub fn parse_answer(body: &[u8]) -> Result<Completion, ReplyError> {
    // Nothing is wrapped for vLLM.
    openai::parse_chat(body, None, Server::Openai)
}

/// Texts and patterns in vLLM's own words, which any vocabulary can be held to and which cost no quotes; JSON in
/// OpenAI's, which all its versions know.
fn forced(call: &ChatCall) -> Forced {
    let structured = |value| Forced { structured_outputs: Some(value), ..Forced::default() };
    match &call.constraint {
        None => Forced::default(),
        Some(Constraint::OneOf(texts)) => structured(json!({ "choice": texts })),
        Some(Constraint::Range) => structured(json!({ "regex": RANGE })),
        Some(Constraint::Integer | Constraint::Number | Constraint::Json | Constraint::Schema(_)) => {
            // Any root will do, as for llama.cpp.
            openai::forced(call.constraint.as_ref(), Server::LlamaCpp)
        }
    }
}

#[derive(Serialize)]
struct CompletionBody<'a> {
    model: &'a str,
    prompt: String,
    #[serde(flatten)]
    drawn: Drawn<'a>,
    #[serde(flatten)]
    forced: Forced,
}

/// The body of `POST /v1/completions` for a single prompt: the instruction, if any, in a paragraph before it. `None` for a
/// conversation, which only a chat template can write down.
pub fn completion_body(model: &str, call: &ChatCall) -> Option<Vec<u8>> {
    if !call.single_prompt {
        return None;
    }
    let paragraphs: Vec<_> = call.messages.iter().map(ChatTurn::joined_text).collect();
    let body = CompletionBody {
        model,
        prompt: paragraphs.join("\n\n"),
        drawn: Drawn::of(&call.sampling),
        forced: forced(call),
    };
    serde_json::to_vec(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::Sampling;

    fn call(messages: &[(&str, &str)], single_prompt: bool) -> ChatCall {
        ChatCall {
            messages: messages.iter().map(|(role, text)| ChatTurn::text(*role, *text)).collect(),
            sampling: Sampling { temperature: Some(0.0), max_tokens: Some(9), ..Sampling::default() },
            constraint: Some(Constraint::OneOf(vec!["a".to_owned()])),
            single_prompt,
            ..ChatCall::default()
        }
    }

    #[test]
    fn a_prompt_can_be_completed_and_a_conversation_cannot() {
        let prompt = call(&[("system", "Be brief"), ("user", "Hi")], true);
        assert_eq!(
            String::from_utf8(completion_body("m", &prompt).unwrap()).unwrap(),
            r#"{"model":"m","prompt":"Be brief\n\nHi","temperature":0.0,"max_tokens":9,"structured_outputs":{"choice":["a"]}}"#
        );
        assert_eq!(completion_body("m", &call(&[("user", "Hi")], false)), None);
    }

    #[test]
    fn a_completion_is_read_as_a_chat_is() {
        let body = br#"{"choices":[{"index":0,"text":" Paris","finish_reason":"length"}],"usage":{"prompt_tokens":5}}"#;
        assert_eq!(parse_answer(body).unwrap().text, " Paris");
    }
}
