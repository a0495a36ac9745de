//! The turns of a conversation as OpenAI's `messages`.

use std::borrow::Cow;

use serde::Serialize;

use super::server::Server;
use crate::{
    dialect::{media_type::media_type_of, open_calls::OpenCalls},
    domain::chat::{AnsweredCall, ChatTurn, Image, Part, ToolCall},
};

#[derive(Serialize)]
pub(super) struct MessageBody<'a> {
    role: &'a str,
    /// Null in a turn that only calls tools.
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    /// What llama.cpp's templates read; others look away.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<&'a str>,
    /// vLLM's name for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<CallBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<PartBody<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum PartBody<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct CallBody<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: FunctionBody<'a>,
}

#[derive(Serialize)]
struct FunctionBody<'a> {
    name: &'a str,
    arguments: &'a str,
}

/// A conversation as the server takes it.
pub(super) fn messages(turns: &[ChatTurn], server: Server) -> Vec<MessageBody<'_>> {
    let mut ids = CallIds::default();
    turns.iter().map(|turn| message(turn, server, &mut ids)).collect()
}

fn message<'a>(turn: &'a ChatTurn, server: Server, ids: &mut CallIds<'a>) -> MessageBody<'a> {
    let role = match turn.role.as_str() {
        // OpenAI's newer word; the chat templates of other servers know the older one.
        "developer" if server != Server::Openai => "system",
        role => role,
    };
    let calls = turn.tool_calls.iter().map(|call| CallBody {
        id: ids.called(call),
        kind: "function",
        function: FunctionBody {
            name: &call.name,
            arguments: if call.arguments.trim().is_empty() { "{}" } else { &call.arguments },
        },
    });
    let tool_calls: Vec<_> = calls.collect();
    let reasoning = Some(turn.reasoning.as_str()).filter(|reasoning| !reasoning.is_empty());
    // OpenAI knows no name in the answer of a tool; templates of other servers use it.
    let own_name = Some(turn.name.as_str()).filter(|name| !name.is_empty());
    let tool_name = turn.answers.as_ref().map(|call| call.name.as_str()).filter(|name| !name.is_empty());
    MessageBody {
        role,
        content: content(turn),
        name: if server == Server::Openai && turn.answers.is_some() { None } else { own_name.or(tool_name) },
        reasoning_content: reasoning.filter(|_| matches!(server, Server::LlamaCpp | Server::Local)),
        reasoning: reasoning.filter(|_| server == Server::Vllm),
        tool_calls,
        tool_call_id: turn.answers.as_ref().map(|call| ids.answered(call)),
    }
}

fn content<'a>(turn: &'a ChatTurn) -> Option<Content<'a>> {
    if turn.parts.is_empty() && !turn.tool_calls.is_empty() {
        return None;
    }
    if turn.parts.iter().all(|part| part.as_text().is_some()) {
        return Some(Content::Text(turn.joined_text()));
    }
    let part = |part: &'a Part| match part {
        Part::Text(text) => PartBody::Text { text },
        Part::Image(Image::Url(url)) => PartBody::ImageUrl { image_url: ImageUrl { url: url.into() } },
        Part::Image(Image::Inline { media_type, data }) => {
            let url = format!("data:{};base64,{data}", media_type_of(media_type, data));
            PartBody::ImageUrl { image_url: ImageUrl { url: url.into() } }
        }
    };
    Some(Content::Parts(turn.parts.iter().map(part).collect()))
}

/// Gives ids to calls of tools whose sender gave none, and to their answers.
#[derive(Default)]
struct CallIds<'a> {
    made: usize,
    calls: OpenCalls<'a>,
    /// That of each call, in their order.
    ids: Vec<String>,
}

impl<'a> CallIds<'a> {
    fn called(&mut self, call: &'a ToolCall) -> String {
        let id = if call.id.is_empty() { self.make() } else { call.id.clone() };
        self.calls.called(call);
        self.ids.push(id.clone());
        id
    }

    fn answered(&mut self, answer: &AnsweredCall) -> String {
        match self.calls.place_of_answered(answer) {
            Some(at) => self.ids[at].clone(),
            None if answer.id.is_empty() => self.make(),
            None => answer.id.clone(),
        }
    }

    /// Nine letters and digits: what the strictest server takes (Mistral's).
    fn make(&mut self) -> String {
        self.made += 1;
        format!("call{:05}", self.made)
    }
}
