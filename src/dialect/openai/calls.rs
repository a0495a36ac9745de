//! The calls of tools of one reply: which piece belongs to which, however a server numbers them.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    dialect::call_id,
    domain::chat::{ReplyEvent, ToolCall},
};

#[derive(Deserialize)]
pub(super) struct CallBody {
    #[serde(default)]
    index: Option<u32>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    function: Option<FunctionBody>,
}

#[derive(Deserialize, Default)]
struct FunctionBody {
    #[serde(default)]
    name: Option<String>,
    /// JSON text; some servers send the JSON itself.
    #[serde(default)]
    arguments: Option<Value>,
}

/// Where a piece came from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    /// What the server tells the reply from others by; may be empty.
    pub(super) reply: &'a str,
    /// The bytes it came in.
    pub(super) body: &'a [u8],
    /// Which reply of several.
    pub(super) choice: u32,
}

/// Calls of tools that have begun, in their order.
#[derive(Default)]
pub(super) struct Calls(Vec<Begun>);

struct Begun {
    /// The number the server gave it.
    told: Option<u32>,
    /// Empty where the server gave none.
    id: String,
}

/// Calls that are told apart: more than that are nonsense.
const MAX_CALLS: usize = 1024;

impl Calls {
    /// Reads a piece: numbered by the order in which the calls have begun.
    pub(super) fn read(&mut self, from: Origin<'_>, body: CallBody) -> ReplyEvent {
        let function = body.function.unwrap_or_default();
        let (mut id, name) = (body.id.unwrap_or_default(), function.name.unwrap_or_default());
        let at = match self.position(body.index, &id, &name) {
            Some(at) => at,
            None => {
                self.0.push(Begun { told: body.index, id: id.clone() });
                let at = self.0.len() - 1;
                // Clients answer a call by its id.
                if id.is_empty() {
                    id = call_id::made(Some(from.reply), from.body, from.choice, number(at));
                }
                at
            }
        };
        let arguments = match function.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text,
            Some(json) => json.to_string(),
        };
        let piece = ToolCall { id, name, arguments, signature: String::new() };
        ReplyEvent::ToolCall { choice: from.choice, index: number(at), piece }
    }

    /// The call that a piece goes on with; `None` where it begins one.
    fn position(&self, told: Option<u32>, id: &str, name: &str) -> Option<usize> {
        let last = self.0.len().checked_sub(1);
        let known = match told {
            Some(_) => self.0.iter().rposition(|call| call.told == told),
            // A server that does not number its calls begins each with its name.
            None => last.filter(|_| name.is_empty()),
        };
        // Some servers give all calls one number, and Ollama is among them: a name with another id is another call.
        let is_other = |at: usize| {
            let own = self.0.get(at).map_or("", |call| &call.id);
            !name.is_empty() && !id.is_empty() && !own.is_empty() && own != id
        };
        known.filter(|at| !is_other(*at)).or_else(|| last.filter(|_| self.0.len() >= MAX_CALLS))
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::json;

    /// Number, id, name and arguments of each piece.
    fn read(pieces: &[&str]) -> Vec<(u32, String, String, String)> {
        let mut calls = Calls::default();
        let read = |piece: &&str| {
            let from = Origin { reply: "", body: piece.as_bytes(), choice: 0 };
            match calls.read(from, json::decode(piece.as_bytes()).unwrap()) {
                ReplyEvent::ToolCall { index, piece, .. } => (index, piece.id, piece.name, piece.arguments),
                other => panic!("{other:?}"),
            }
        };
        pieces.iter().map(read).collect()
    }

    #[test]
    fn calls_that_all_have_one_number_are_told_apart_by_their_ids() {
        let begins = |id: &str| format!(r#"{{"index":0,"id":"{id}","function":{{"name":"f","arguments":"{{\"a\""}}}}"#);
        let more = r#"{"index":0,"function":{"arguments":":1}"}}"#;
        let seen = read(&[&begins("x"), more, &begins("x"), &begins("y"), more]);
        let numbers: Vec<u32> = seen.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, [0, 0, 0, 1, 1], "the same id goes on with its call: {seen:?}");
    }

    #[test]
    fn calls_are_numbered_in_their_order_whatever_the_server_counts_from() {
        let seen = read(&[
            r#"{"index":1,"id":"x","function":{"name":"f"}}"#,
            r#"{"index":2,"id":"y","function":{"name":"g"}}"#,
            r#"{"index":1,"function":{"arguments":"{}"}}"#,
        ]);
        let numbers: Vec<u32> = seen.iter().map(|(number, ..)| *number).collect();
        assert_eq!(numbers, [0, 1, 0]);
    }

    #[test]
    fn a_call_without_an_id_gets_one_of_the_bytes_it_came_in_where_the_reply_has_none() {
        let call = |arguments: &str| format!(r#"{{"function":{{"name":"f","arguments":"{arguments}"}}}}"#);
        let id = |arguments: &str| read(&[&call(arguments)]).remove(0).1;
        assert!(id("1").starts_with("call_") && id("1") == id("1"));
        assert_ne!(id("1"), id("2"), "the same tool called in another turn is another call");
    }

    #[test]
    fn no_more_than_a_bound_is_told_apart() {
        let many: Vec<String> = (0..MAX_CALLS + 3).map(|at| format!(r#"{{"index":{at},"id":"c{at}"}}"#)).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(read(&many).last().unwrap().0, u32::try_from(MAX_CALLS - 1).unwrap());
    }
}
