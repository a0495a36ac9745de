//! A conversation as a reply of OpenAI's chat API, for `convert_to_openai_chat_response` (`docs/workflow-spec.md`). Pure.

use serde_json::{Value as Json, json};

use crate::domain::{message::ChatHistory, time::Timestamp, value::Value};

/// The reply that ends with the conversation's last message. `id`: unlike that of any other reply.
pub(crate) fn of(history: &ChatHistory, id: &str, model: Option<&str>, now: Timestamp) -> Value {
    let choices: Vec<Json> = history
        .messages
        .last()
        .map(|said| {
            json!({"index": 0, "message": {"role": said.role, "content": said.content}, "finish_reason": "stop"})
        })
        .into_iter()
        .collect();
    let (prompt, reply) = (history.input_tokens, history.output_tokens);
    Value::OpenaiChatResponse(std::sync::Arc::new(json!({
        "id": id,
        "object": "chat.completion",
        "created": now.as_unix_seconds(),
        "model": model.unwrap_or(&history.model),
        "choices": choices,
        "usage": {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt.saturating_add(reply)},
    })))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{message::ChatMessage, value::DataType};

    const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);

    fn history(contents: &[&str]) -> ChatHistory {
        let messages = contents.iter().map(|text| ChatMessage::new("assistant", *text, Timestamp::ZERO)).collect();
        ChatHistory { messages, model: "qwen3:4b".to_owned(), input_tokens: 11, output_tokens: 2 }
    }

    #[test]
    fn the_last_message_is_the_only_choice() {
        let response = of(&history(&["one", "two"]), "chatcmpl-1", None, NOON).to_json();
        assert_eq!(
            response.to_string(),
            concat!(
                r#"{"id":"chatcmpl-1","object":"chat.completion","created":1754654400,"model":"qwen3:4b","#,
                r#""choices":[{"index":0,"message":{"role":"assistant","content":"two"},"finish_reason":"stop"}],"#,
                r#""usage":{"prompt_tokens":11,"completion_tokens":2,"total_tokens":13}}"#
            )
        );
        let named = of(&history(&["one"]), "chatcmpl-1", Some("gpt"), NOON).to_json();
        assert_eq!(named["model"], "gpt");
        let read = Value::from_json(response, DataType::OpenaiChatResponse, NOON).expect("of that shape");
        assert_eq!(read.data_type(), DataType::OpenaiChatResponse);
    }

    #[test]
    fn a_conversation_without_messages_has_no_choices() {
        let huge = ChatHistory { input_tokens: i64::MAX, ..history(&[]) };
        let response = of(&huge, "chatcmpl-1", None, NOON).to_json();
        assert_eq!(response["choices"], json!([]));
        assert_eq!(response["usage"]["total_tokens"], i64::MAX);
    }
}
