//! Which call of a conversation the answer of a tool belongs to. Clients of OpenAI's API name it by its id, old clients of
//! Ollama's by the function or not at all; backends want the one, the other, or both.

use std::collections::{HashMap, VecDeque};

use crate::domain::chat::{AnsweredCall, ToolCall};

/// The calls of a conversation so far, as it is read from its beginning.
#[derive(Default)]
pub(super) struct OpenCalls<'a> {
    calls: Vec<(&'a ToolCall, bool)>,
    by_id: HashMap<&'a str, usize>,
    /// The open ones in their order, those answered otherwise among them: they are skipped when they come up.
    by_name: HashMap<&'a str, VecDeque<usize>>,
    in_order: VecDeque<usize>,
}

impl<'a> OpenCalls<'a> {
    /// A tool was called.
    pub(super) fn called(&mut self, call: &'a ToolCall) {
        let at = self.calls.len();
        self.calls.push((call, false));
        if !call.id.is_empty() {
            self.by_id.insert(&call.id, at);
        }
        self.by_name.entry(&call.name).or_default().push_back(at);
        self.in_order.push_back(at);
    }

    /// A tool answers: the call with its id, else the oldest open one of its name, else the oldest open one.
    pub(super) fn answered(&mut self, answer: &AnsweredCall) -> Option<&'a ToolCall> {
        self.place_of_answered(answer).map(|at| self.calls[at].0)
    }

    /// The same by the call's place among all calls of the conversation.
    pub(super) fn place_of_answered(&mut self, answer: &AnsweredCall) -> Option<usize> {
        let open = match (answer.id.as_str(), answer.name.as_str()) {
            ("", "") => Some(&mut self.in_order),
            ("", name) => self.by_name.get_mut(name),
            (id, _) => {
                let at = *self.by_id.get(id)?;
                self.calls[at].1 = true;
                return Some(at);
            }
        };
        let open = open?;
        while let Some(at) = open.pop_front() {
            if !std::mem::replace(&mut self.calls[at].1, true) {
                return Some(at);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_finds_its_call_by_id_by_name_or_by_order() {
        let call = |id: &str, name: &str, arguments: &str| ToolCall {
            id: id.to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
            signature: String::new(),
        };
        let made = [call("a", "f", "1"), call("", "f", "2"), call("c", "g", "3"), call("", "h", "4")];
        let mut calls = OpenCalls::default();
        made.iter().for_each(|call| calls.called(call));
        for (id, name, found) in [
            ("c", "", Some("3")),
            ("c", "", Some("3")),
            ("x", "f", None),
            ("", "f", Some("1")),
            ("", "", Some("2")),
            ("", "f", None),
            ("", "", Some("4")),
            ("", "", None),
        ] {
            let answer = AnsweredCall { id: id.to_owned(), name: name.to_owned() };
            let seen = calls.answered(&answer).map(|call| call.arguments.as_str());
            assert_eq!(seen, found, "id {id:?}, name {name:?}");
        }
    }
}
