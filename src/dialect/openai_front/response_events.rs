//! A reply as the events of a response. Each tells its type, as event and as data, and its number. Items open as the model
//! begins them: what it thinks and says closes when it goes over to the other, calls of tools close when all is said.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::{
    chunks::ErrorWords,
    reply::call_id,
    response::{Frame, Status, call_item, logprobs_of, message_item, reasoning_item, reasoning_part, text_part},
    sse,
};
use crate::{
    dialect::stream::ReplyEncoder,
    domain::{
        chat::{Finish, ReplyEvent, ToolCall, Usage},
        failure::Failure,
    },
};

/// Writes the events of a response.
pub struct ResponseEvents {
    frame: Frame,
    error_words: ErrorWords,
    has_begun: bool,
    next_number: u64,
    items: Vec<Item>,
    /// The item that what is thought or said is added to.
    open: Option<usize>,
    /// Where the calls are, by their number.
    calls: BTreeMap<u32, usize>,
    finish: Option<Finish>,
    usage: Usage,
}

/// One item of the output.
struct Item {
    id: String,
    content: Content,
}

enum Content {
    Thought(String),
    Said { text: String, logprobs: Vec<Json> },
    Call { call_id: String, call: ToolCall },
}

impl Item {
    fn whole(&self, status: &str) -> Json {
        match &self.content {
            Content::Thought(text) => reasoning_item(&self.id, text),
            Content::Said { text, logprobs } => message_item(&self.id, status, vec![text_part(text, logprobs)]),
            Content::Call { call_id, call } => call_item(&self.id, status, call_id, call),
        }
    }

    /// Before anything stands in it.
    fn begun(&self) -> Json {
        match &self.content {
            Content::Thought(_) => json!({"id": self.id, "type": "reasoning", "summary": [], "content": []}),
            Content::Said { .. } => message_item(&self.id, "in_progress", Vec::new()),
            Content::Call { call_id, call } => {
                let silent = ToolCall { arguments: String::new(), ..call.clone() };
                call_item(&self.id, "in_progress", call_id, &silent)
            }
        }
    }

    /// The only part of its content, as far as it has come.
    fn part(&self) -> Option<Json> {
        match &self.content {
            Content::Thought(text) => Some(reasoning_part(text)),
            Content::Said { text, logprobs } => Some(text_part(text, logprobs)),
            Content::Call { .. } => None,
        }
    }
}

impl ResponseEvents {
    /// For a response of this frame.
    pub fn new(frame: Frame, error_words: ErrorWords) -> Self {
        Self {
            frame,
            error_words,
            has_begun: false,
            next_number: 0,
            items: Vec::new(),
            open: None,
            calls: BTreeMap::new(),
            finish: None,
            usage: Usage::default(),
        }
    }

    fn send(&mut self, name: &str, members: Json, out: &mut Vec<u8>) {
        let mut event = Map::new();
        event.insert("type".to_owned(), json!(name));
        event.insert("sequence_number".to_owned(), json!(self.next_number));
        if let Json::Object(members) = members {
            event.extend(members);
        }
        self.next_number += 1;
        sse::write_named(name, &event, out);
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.has_begun {
            self.has_begun = true;
            let response = self.frame.object(Status::Running, Vec::new(), None, Json::Null);
            self.send("response.created", json!({"response": response}), out);
            self.send("response.in_progress", json!({"response": response}), out);
        }
    }

    /// Opens an item and tells of it; its place.
    fn add(&mut self, kind: &str, content: Content, out: &mut Vec<u8>) -> usize {
        let place = self.items.len();
        let item = Item { id: self.frame.item_id(kind, place), content };
        self.send("response.output_item.added", json!({"output_index": place, "item": item.begun()}), out);
        if let Some(part) = item.part() {
            let members = json!({"item_id": item.id, "output_index": place, "content_index": 0, "part": part});
            self.send("response.content_part.added", members, out);
        }
        self.items.push(item);
        place
    }

    /// The open item of this kind, or a new one.
    fn open(&mut self, kind: &str, content: Content, out: &mut Vec<u8>) -> usize {
        let is_such = |item: &Item| std::mem::discriminant(&item.content) == std::mem::discriminant(&content);
        match self.open {
            Some(place) if self.items.get(place).is_some_and(is_such) => place,
            _ => {
                self.close_open(out);
                let place = self.add(kind, content, out);
                self.open = Some(place);
                place
            }
        }
    }

    fn close_open(&mut self, out: &mut Vec<u8>) {
        if let Some(place) = self.open.take() {
            self.close(place, out);
        }
    }

    fn close(&mut self, place: usize, out: &mut Vec<u8>) {
        let Some(item) = self.items.get(place) else { return };
        let (id, whole, part) = (item.id.clone(), item.whole("completed"), item.part());
        let (name, mut members) = match &item.content {
            Content::Thought(text) => ("response.reasoning_text.done", json!({"content_index": 0, "text": text})),
            Content::Said { text, logprobs } => {
                ("response.output_text.done", json!({"content_index": 0, "text": text, "logprobs": logprobs}))
            }
            Content::Call { call, .. } => {
                ("response.function_call_arguments.done", json!({"name": call.name, "arguments": call.arguments}))
            }
        };
        members["item_id"] = json!(id);
        members["output_index"] = json!(place);
        self.send(name, members, out);
        if let Some(part) = part {
            let members = json!({"item_id": id, "output_index": place, "content_index": 0, "part": part});
            self.send("response.content_part.done", members, out);
        }
        self.send("response.output_item.done", json!({"output_index": place, "item": whole}), out);
    }

    fn delta(&mut self, name: &str, place: usize, delta: &str, mut members: Json, out: &mut Vec<u8>) {
        members["item_id"] = json!(self.items.get(place).map(|item| item.id.as_str()));
        members["output_index"] = json!(place);
        members["delta"] = json!(delta);
        self.send(name, members, out);
    }

    fn thought(&mut self, piece: &str, out: &mut Vec<u8>) {
        let place = self.open("rs", Content::Thought(String::new()), out);
        if let Some(Item { content: Content::Thought(text), .. }) = self.items.get_mut(place) {
            text.push_str(piece);
        }
        self.delta("response.reasoning_text.delta", place, piece, json!({"content_index": 0}), out);
    }

    fn said(&mut self, piece: &str, out: &mut Vec<u8>) {
        let place = self.open("msg", Content::Said { text: String::new(), logprobs: Vec::new() }, out);
        if let Some(Item { content: Content::Said { text, .. }, .. }) = self.items.get_mut(place) {
            text.push_str(piece);
        }
        let members = json!({"content_index": 0, "logprobs": []});
        self.delta("response.output_text.delta", place, piece, members, out);
    }

    fn called(&mut self, index: u32, piece: ToolCall, out: &mut Vec<u8>) {
        let arguments = piece.arguments.clone();
        let place = match self.calls.get(&index) {
            Some(place) => {
                let place = *place;
                if let Some(Item { content: Content::Call { call, .. }, .. }) = self.items.get_mut(place) {
                    call.arguments.push_str(&arguments);
                }
                place
            }
            None => {
                self.close_open(out);
                let call_id = call_id(&piece.id, &self.frame.stamp, 0, index);
                let place = self.add("fc", Content::Call { call_id, call: piece }, out);
                self.calls.insert(index, place);
                place
            }
        };
        if !arguments.is_empty() {
            self.delta("response.function_call_arguments.delta", place, &arguments, json!({}), out);
        }
    }

    /// Closes what is open; the output as it is then.
    fn output(&mut self, out: &mut Vec<u8>) -> Vec<Json> {
        self.close_open(out);
        for place in std::mem::take(&mut self.calls).into_values() {
            self.close(place, out);
        }
        self.items.iter().map(|item| item.whole("completed")).collect()
    }
}

impl ReplyEncoder for ResponseEvents {
    fn event(&mut self, event: ReplyEvent, out: &mut Vec<u8>) {
        self.begin(out);
        match event {
            ReplyEvent::Text { choice: 0, text } if !text.is_empty() => self.said(&text, out),
            ReplyEvent::Reasoning { choice: 0, text } if !text.is_empty() => self.thought(&text, out),
            ReplyEvent::ToolCall { choice: 0, index, piece } => self.called(index, piece, out),
            ReplyEvent::Logprobs { choice: 0, logprobs } => {
                let last = self.items.iter_mut().rev().find_map(|item| match &mut item.content {
                    Content::Said { logprobs, .. } => Some(logprobs),
                    _ => None,
                });
                if let Some(known) = last {
                    known.extend(logprobs_of(&logprobs));
                }
            }
            ReplyEvent::Finish { choice: 0, reason } => self.finish = Some(reason),
            ReplyEvent::Usage(usage) => self.usage = usage,
            // One reply is asked for.
            _ => {}
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        let says_nothing = |item: &Item| matches!(item.content, Content::Thought(_));
        if self.items.iter().all(says_nothing) {
            self.said("", out);
        }
        let output = self.output(out);
        let response = self.frame.object(Status::Ended(self.finish), output, Some(self.usage), Json::Null);
        let is_cut = matches!(self.finish, Some(Finish::Length | Finish::ContentFilter));
        let name = if is_cut { "response.incomplete" } else { "response.completed" };
        self.send(name, json!({"response": response}), out);
    }

    /// What has come stays as it is: unfinished items are not told to be whole.
    fn failed(&mut self, failure: &Failure, out: &mut Vec<u8>) {
        self.begin(out);
        let words = (self.error_words)(failure);
        // The codes of this object are a set of their own.
        let code = if words["code"] == "rate_limit_exceeded" { "rate_limit_exceeded" } else { "server_error" };
        let error = json!({"code": code, "message": words["message"]});
        let output = self.items.iter().map(|item| item.whole("incomplete")).collect();
        let response = self.frame.object(Status::Failed, output, None, error);
        self.send("response.failed", json!({"response": response}), out);
    }
}
