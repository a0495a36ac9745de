//! What vLLM adds to OpenAI's wire format: structured outputs beyond JSON, and text completions for models that cannot
//! chat (`docs/backends.md`, vLLM). Its token counts are those of [`tokenizer`](super::tokenizer).

use serde::Serialize;
use serde_json::{Value, json};

use super::{
    constraint::RANGE,
    openai::{Drawn, Forced, Server, Streamed},
};
use crate::domain::{
    chat::{ChatCall, ChatTurn, Part},
    message::Constraint,
};

/// Texts and patterns in vLLM's own words, which any vocabulary can be held to and which cost no quotes. `None` for JSON,
/// which is asked for in OpenAI's words: all its versions know them.
pub(super) fn structured_outputs(constraint: &Constraint) -> Option<Value> {
    match constraint {
        Constraint::OneOf(texts) => Some(json!({ "choice": texts })),
        Constraint::Range => Some(json!({ "regex": RANGE })),
        Constraint::Integer | Constraint::Number | Constraint::Json | Constraint::Schema(_) => None,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(flatten)]
    streamed: Streamed,
}

/// The body of `POST /v1/completions` for a single prompt: the instruction, if any, in a paragraph before it. `None` for
/// what only a chat can be asked: a conversation, pictures, tools, probabilities in the form of chats.
pub fn completion_body(model: &str, call: &ChatCall, wants_stream: bool) -> Option<Vec<u8>> {
    let is_text = |turn: &ChatTurn| turn.parts.iter().all(|part| matches!(part, Part::Text(_)));
    if !call.single_prompt || !call.tools.is_empty() || call.logprobs.is_some() || !call.messages.iter().all(is_text) {
        return None;
    }
    let paragraphs: Vec<_> = call.messages.iter().map(ChatTurn::joined_text).collect();
    let body = CompletionBody {
        model,
        prompt: paragraphs.join("\n\n"),
        drawn: Drawn::of(&call.sampling, model, Server::Vllm),
        forced: Forced::of(call.constraint.as_ref(), Server::Vllm),
        n: (call.choices > 1).then_some(call.choices),
        streamed: Streamed::of(wants_stream),
    };
    serde_json::to_vec(&body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::{Sampling, Tool};

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
            String::from_utf8(completion_body("m", &prompt, false).unwrap()).unwrap(),
            r#"{"model":"m","prompt":"Be brief\n\nHi","temperature":0.0,"max_tokens":9,"structured_outputs":{"choice":["a"]}}"#
        );
        assert_eq!(completion_body("m", &call(&[("user", "Hi")], false), false), None);
        let with_tools = ChatCall {
            tools: vec![Tool { name: "f".to_owned(), description: String::new(), parameters: None, strict: None }],
            ..prompt
        };
        assert_eq!(completion_body("m", &with_tools, false), None);
    }
}
