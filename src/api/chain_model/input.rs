//! A client's call as the input of a run: the texts of its conversation, and how it wants its reply drawn.

use std::sync::Arc;

use crate::domain::{
    chat::{ChatCall, ChatTurn, Part, ToolChoice},
    value::{OpenaiChat, OpenaiMessage, Value},
};

/// See the module.
#[derive(Debug)]
pub(super) struct ChainInput {
    pub(super) input: Value,
    /// What was asked for and has no effect.
    pub(super) warnings: Vec<String>,
}

/// Reads a call. The model stays unnamed: what the client named is the chain.
///
/// # Errors
/// What would be lost in a chain and change the answer: pictures, tools, and what stands behind the reply.
pub(super) fn of(call: &ChatCall, wants_stream: bool) -> Result<ChainInput, String> {
    if !call.tools.is_empty() && call.tool_choice != ToolChoice::None {
        return Err("a chain cannot call the client's tools: leave 'tools' out, or name a model".to_owned());
    }
    if !call.suffix.is_empty() {
        return Err("a chain cannot write what stands before a 'suffix': leave it out, or name a model".to_owned());
    }
    let messages = call.messages.iter().enumerate().map(message).collect::<Result<_, String>>()?;
    let sampling = &call.sampling;
    let chat = OpenaiChat {
        model: String::new(),
        messages,
        max_tokens: sampling.max_tokens.unwrap_or(0),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop: sampling.stop.clone(),
        n: call.choices,
        stream: wants_stream,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        user: String::new(),
    };
    let unused = unused(call);
    let unused = (!unused.is_empty()).then(|| format!("a chain does not use: {}", unused.join(", ")));
    let choices = (call.choices > 1).then(|| format!("{} replies were asked for, a chain gives one", call.choices));
    let warnings = unused.into_iter().chain(choices).collect();
    Ok(ChainInput { input: Value::OpenaiChat(Arc::new(chat)), warnings })
}

fn message((place, turn): (usize, &ChatTurn)) -> Result<OpenaiMessage, String> {
    if !turn.parts.iter().all(|part| matches!(part, Part::Text(_))) {
        return Err(format!("message {} holds a picture, a chain takes only text", place + 1));
    }
    if !turn.tool_calls.is_empty() || turn.answers.is_some() {
        return Err(format!("message {} is of a call of a tool, a chain takes only text", place + 1));
    }
    Ok(OpenaiMessage { role: turn.role.clone(), content: turn.joined_text().into_owned() })
}

/// Wishes that a run has no use for.
fn unused(call: &ChatCall) -> Vec<&'static str> {
    let sampling = &call.sampling;
    let wishes = [
        ("the form of the reply", call.constraint.is_some()),
        ("tools", !call.tools.is_empty()),
        ("thinking", call.thinking.is_some()),
        ("logprobs", call.logprobs.is_some()),
        ("top_k", sampling.top_k.is_some()),
        ("min_p", sampling.min_p.is_some()),
        ("seed", sampling.seed.is_some()),
        ("repeat_penalty", sampling.repeat_penalty.is_some()),
    ];
    wishes.into_iter().filter(|(_, wished)| *wished).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        chat::{AnsweredCall, Image, Sampling, Tool, ToolCall},
        message::Constraint,
    };

    fn call(turn: ChatTurn) -> ChatCall {
        ChatCall { messages: vec![turn], ..ChatCall::default() }
    }

    fn hi() -> ChatTurn {
        ChatTurn::text("user", "Hi")
    }

    fn tool() -> Tool {
        Tool { name: "f".to_owned(), description: String::new(), parameters: None, strict: None }
    }

    #[test]
    fn the_texts_of_a_conversation_and_how_the_reply_is_drawn_are_the_input() {
        let parts = vec![Part::Text("How ".to_owned()), Part::Text("are you?".to_owned())];
        let sampling = Sampling { temperature: Some(0.5), max_tokens: Some(9), ..Sampling::default() };
        let asked = ChatTurn { parts, ..hi() };
        let read = of(&ChatCall { sampling, ..call(asked) }, true).unwrap();
        let wanted = serde_json::json!({"messages": [{"role": "user", "content": "How are you?"}], "max_tokens": 9,
            "temperature": 0.5, "stream": true});
        assert_eq!(read.input.to_json(), wanted);
        assert!(read.warnings.is_empty());
    }

    #[test]
    fn pictures_and_tools_are_refused() {
        let picture = ChatTurn { parts: vec![Part::Image(Image::Url("http://x/y.png".to_owned()))], ..hi() };
        assert!(of(&call(picture), false).unwrap_err().contains("message 1 holds a picture"));
        let called = ChatTurn { tool_calls: vec![ToolCall::default()], ..hi() };
        let answered = ChatTurn { answers: Some(AnsweredCall::default()), ..hi() };
        for turn in [called, answered] {
            assert!(of(&call(turn), false).unwrap_err().contains("call of a tool"));
        }
        let with_tools = ChatCall { tools: vec![tool()], ..call(hi()) };
        assert!(of(&with_tools, false).unwrap_err().contains("'tools'"));
        let with_suffix = ChatCall { suffix: "}".to_owned(), ..call(hi()) };
        assert!(of(&with_suffix, false).unwrap_err().contains("'suffix'"));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let forbidden = ChatCall {
            tools: vec![tool()],
            tool_choice: ToolChoice::None,
            constraint: Some(Constraint::Json),
            sampling: Sampling { seed: Some(1), ..Sampling::default() },
            choices: 2,
            ..call(hi())
        };
        let told = of(&forbidden, false).unwrap().warnings;
        assert_eq!(
            told,
            ["a chain does not use: the form of the reply, tools, seed", "2 replies were asked for, a chain gives one"]
        );
    }
}
