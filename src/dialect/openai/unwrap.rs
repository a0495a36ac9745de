//! Takes a reply out of the object it was asked for in (`response_format`), whole or piece by piece: what a client reads is
//! the form it asked for, and nothing around it.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::response_format::FIELD;

/// The value of a wrapped text. A server that ignored the wrapping leaves the text as it is; one that was cut within it
/// leaves what there is of the value.
pub(super) fn unwrapped(text: String) -> String {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        answer: &'a RawValue,
    }
    let said = match text.trim_start().strip_prefix(THINK).and_then(|thoughts| thoughts.split_once(THOUGHT)) {
        Some((_, after)) => after,
        None => &text,
    };
    match serde_json::from_str::<Wrapped<'_>>(said) {
        // serde reads a list as an object without names, too.
        Ok(wrapped) if said.trim_start().starts_with('{') => wrapped.answer.get().to_owned(),
        _ => {
            let (mut unwrapper, mut value) = (Unwrapper::default(), String::new());
            unwrapper.push(&text, &mut value);
            if unwrapper.is_within_value() { value } else { text }
        }
    }
}

const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";
/// Text that is held back while it is undecided whether it is wrapped.
const MAX_HELD_BYTES: usize = 1 << 20;

/// Lets the value of a wrapped text through while it arrives.
#[derive(Debug, Default)]
pub(super) struct Unwrapper {
    state: State,
    /// Said so far and not let through: the wrapping, if it is one.
    held: String,
}

#[derive(Debug, Default)]
enum State {
    /// What was said so far may be the beginning of the wrapping.
    #[default]
    Before,
    Within(Scanner),
    /// Behind the value only the end of the wrapping is left.
    After,
    /// The server does not wrap.
    Bare,
}

impl Unwrapper {
    /// Takes the next piece of the text and adds what of it can go out.
    pub(super) fn push(&mut self, piece: &str, out: &mut String) {
        match &mut self.state {
            State::Bare => out.push_str(piece),
            State::After => {}
            State::Within(scanner) => {
                let (end, is_over) = scanner.scan(piece);
                out.push_str(&piece[..end]);
                if is_over {
                    self.state = State::After;
                }
            }
            State::Before => {
                self.held.push_str(piece);
                match opening(&self.held) {
                    Opening::Behind(start) => {
                        let held = std::mem::take(&mut self.held);
                        self.state = State::Within(Scanner::default());
                        self.push(&held[start..], out);
                    }
                    Opening::Open if self.held.len() <= MAX_HELD_BYTES => {}
                    Opening::Open | Opening::None => {
                        self.state = State::Bare;
                        out.push_str(&std::mem::take(&mut self.held));
                    }
                }
            }
        }
    }

    /// The text is over: what never became a wrapping goes out.
    pub(super) fn end(&mut self, out: &mut String) {
        out.push_str(&std::mem::take(&mut self.held));
        self.state = State::After;
    }

    /// Whether the text has ended in the middle of the value.
    fn is_within_value(&self) -> bool {
        matches!(self.state, State::Within(_))
    }
}

enum Opening {
    /// The value starts here.
    Behind(usize),
    /// Not told yet.
    Open,
    /// It is none.
    None,
}

/// Reads `{"answer":` at the start of a text, behind thoughts where there are any.
fn opening(text: &str) -> Opening {
    let mut rest = text.trim_ascii_start();
    if rest.starts_with(THINK) {
        match rest.split_once(THOUGHT) {
            Some((_, after)) => rest = after,
            None => return Opening::Open,
        }
    } else if THINK.starts_with(rest) {
        return Opening::Open;
    }
    for wanted in ["{", "\"", FIELD, "\"", ":"] {
        // No space within the name.
        rest = if matches!(wanted, "{" | ":") || wanted == "\"" { rest.trim_ascii_start() } else { rest };
        match rest.strip_prefix(wanted) {
            Some(after) => rest = after,
            None if wanted.starts_with(rest) => return Opening::Open,
            None => return Opening::None,
        }
    }
    rest = rest.trim_ascii_start();
    if rest.is_empty() { Opening::Open } else { Opening::Behind(text.len() - rest.len()) }
}

/// Finds the end of one JSON value.
#[derive(Debug, Default)]
struct Scanner {
    depth: usize,
    has_begun: bool,
    is_text: bool,
    is_escaped: bool,
}

impl Scanner {
    /// Where the value ends in this piece, and whether it does.
    fn scan(&mut self, piece: &str) -> (usize, bool) {
        for (at, byte) in piece.bytes().enumerate() {
            if self.is_text {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.is_text = false;
                        if self.depth == 0 {
                            return (at + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.is_text = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' if self.depth > 0 => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                // A number or a word ends where something else begins.
                b'}' | b',' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 && self.has_begun => return (at, true),
                _ => {}
            }
            self.has_begun = true;
        }
        (piece.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// The text in pieces of these lengths, as far as they are whole characters.
    fn streamed(text: &str, cuts: impl IntoIterator<Item = usize>) -> String {
        let (mut unwrapper, mut out, mut rest) = (Unwrapper::default(), String::new(), text);
        for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(cut));
            unwrapper.push(piece, &mut out);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        unwrapper.end(&mut out);
        out
    }

    #[test]
    fn an_answer_is_taken_out_of_its_wrapping_exactly_as_it_was_written() {
        for (said, text) in [
            (r#"{"answer": [1.50, 12345678901234567890123]}"#, "[1.50, 12345678901234567890123]"),
            ("<think>hm</think>\n{\"answer\":\"a\"}", "\"a\""),
            ("[1]", "[1]"),
            ("<thin", "<thin"),
            (r#"{"answer": [1"#, "[1"),
            (r#"{"answer": "}\"" }"#, r#""}\"""#),
            ("{\"answer\" :\n-1.5e3\n}\n", "-1.5e3"),
            (r#"{"answers": 1}"#, r#"{"answers": 1}"#),
            (r#"{"ans"#, r#"{"ans"#),
            ("", ""),
        ] {
            assert_eq!(unwrapped(said.to_owned()), text);
            assert_eq!(streamed(said, []), text);
            assert_eq!(streamed(said, vec![1; 80]), text, "letter by letter");
        }
    }

    #[test]
    fn a_whole_object_of_the_servers_own_stays_and_a_streamed_one_loses_what_stands_behind() {
        let own = r#"{"answer": 1, "more": 2}"#;
        assert_eq!((unwrapped(own.to_owned()).as_str(), streamed(own, []).as_str()), (own, "1"));
    }

    #[test]
    fn no_more_than_a_bound_is_held_back() {
        let long = format!("<think>{}", "x".repeat(MAX_HELD_BYTES));
        let (mut unwrapper, mut out) = (Unwrapper::default(), String::new());
        unwrapper.push(&long, &mut out);
        assert_eq!((out.len(), unwrapper.held.len()), (long.len(), 0));
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[a-zäß\"\\\\{}\\[\\], ]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[a-z\"}]{0,3}", inner), 0..4).prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_wrapped_comes_out_as_it_went_in_however_it_is_cut(
            value in any_json(),
            is_pretty in any::<bool>(),
            cuts in prop::collection::vec(1usize..7, 0..60),
        ) {
            let (inner, said) = (value.to_string(), json!({ "answer": value }));
            let (inner, said) = if is_pretty { (None, format!("{said:#}\n")) } else { (Some(inner), said.to_string()) };
            let whole = unwrapped(said.clone());
            prop_assert_eq!(&streamed(&said, cuts), &whole);
            match inner {
                Some(inner) => prop_assert_eq!(whole, inner),
                None => prop_assert_eq!(serde_json::from_str::<Value>(&whole).unwrap(), value),
            }
        }

        #[test]
        fn any_text_goes_through_in_any_pieces(text in "[{}\"a-z:, <>/\\\\ä]{0,40}", cuts in prop::collection::vec(1usize..7, 0..40)) {
            prop_assert_eq!(streamed(&text, cuts), streamed(&text, []));
        }
    }
}
