//! A model's reply while it arrives, as what a chain will make of it: whatever was passed on at the end is the text that the
//! step gives (`docs/workflow-spec.md`, streamed steps). Pure.
//!
//! Nothing is passed on before it is certain that the reply holds an answer, so that a reply without one can still fail the
//! attempt as ever.

use crate::engine::reply;

/// How the text of a step is made of the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamedText {
    /// Without leading thoughts and without white space around it, as `raw_string` gives it.
    Answer,
    /// As it came, as `model_execution` keeps it.
    Verbatim,
}

const THINK: &str = "<think>";
const THOUGHT: &str = "</think>";

/// The reply as far as it has come.
#[derive(Debug)]
pub struct AnswerStream {
    text: StreamedText,
    state: State,
}

#[derive(Debug)]
enum State {
    /// There may be nothing but white space and thoughts.
    Held {
        /// All of it.
        reply: String,
        /// Where the answer begins at the earliest.
        from: usize,
        /// Up to where no end of the thoughts was found.
        searched: usize,
    },
    /// The answer has begun.
    Open {
        /// White space that is part of it only if more follows.
        space: String,
    },
}

impl AnswerStream {
    /// Of a reply that has not begun.
    pub fn new(text: StreamedText) -> Self {
        Self { text, state: State::Held { reply: String::new(), from: 0, searched: 0 } }
    }

    /// Takes the next piece of the reply and gives the next of the step's text, which may be nothing.
    pub fn push(&mut self, piece: &str) -> String {
        match (&mut self.state, self.text) {
            (State::Open { .. }, StreamedText::Verbatim) => piece.to_owned(),
            (State::Open { space }, StreamedText::Answer) => without_last_space(space, piece),
            (State::Held { reply, from, searched }, text) => {
                reply.push_str(piece);
                if !has_begun(reply, from, searched) {
                    return String::new();
                }
                let mut space = String::new();
                let begun = match text {
                    StreamedText::Verbatim => std::mem::take(reply),
                    StreamedText::Answer => without_last_space(&mut space, &reply[*from..]),
                };
                self.state = State::Open { space };
                begun
            }
        }
    }

    /// The reply is over: the rest of the step's text. Of a reply without an answer there is none.
    pub fn end(self) -> String {
        match (self.state, self.text) {
            (State::Open { .. }, _) => String::new(),
            (State::Held { reply, .. }, text) => match (reply::answer(&reply), text) {
                (Err(_), _) => String::new(),
                (Ok(answer), StreamedText::Answer) => answer.to_owned(),
                (Ok(_), StreamedText::Verbatim) => reply,
            },
        }
    }
}

/// Moves `from` behind white space and thoughts; whether something stands there that is neither, nor can become it.
fn has_begun(reply: &str, from: &mut usize, searched: &mut usize) -> bool {
    loop {
        let rest = reply[*from..].trim_start();
        *from = reply.len() - rest.len();
        if THINK.starts_with(rest) && rest.len() < THINK.len() {
            return false;
        }
        if !rest.starts_with(THINK) {
            return true;
        }
        let start = (*searched).max(*from + THINK.len());
        match reply[start..].find(THOUGHT) {
            Some(at) => *from = start + at + THOUGHT.len(),
            None => {
                // The mark may be cut in two.
                *searched = reply.floor_char_boundary(reply.len().saturating_sub(THOUGHT.len()));
                return false;
            }
        }
    }
}

/// What stands before the last white space, which is kept for later.
fn without_last_space(space: &mut String, piece: &str) -> String {
    let text = piece.trim_end();
    if text.is_empty() {
        space.push_str(piece);
        return String::new();
    }
    let mut whole = std::mem::replace(space, piece[text.len()..].to_owned());
    whole.push_str(text);
    whole
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: StreamedText, pieces: &[&str]) -> Vec<String> {
        let mut stream = AnswerStream::new(text);
        let mut told: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
        told.push(stream.end());
        told
    }

    #[test]
    fn an_answer_is_told_without_what_stands_around_it() {
        let answer = |pieces: &[&str]| told(StreamedText::Answer, pieces);
        assert_eq!(answer(&[" ", "Hel", "lo \n", "you", "\n", " "]), ["", "Hel", "lo", " \nyou", "", "", ""]);
        assert_eq!(answer(&["<thi", "nk>hm</th", "ink>\n", " yes"]), ["", "", "", "yes", ""]);
        assert_eq!(answer(&["<b>", "x"]), ["<b>", "x", ""]);
        assert_eq!(answer(&["<think>never ", "closed "]), ["", "", "<think>never closed"]);
        assert_eq!(answer(&["<thi"]), ["", "<thi"]);
        assert_eq!(answer(&["yes <think>", "no</think>"]), ["yes <think>", "no</think>", ""]);
    }

    #[test]
    fn a_verbatim_text_is_told_as_it_came_once_it_holds_an_answer() {
        let verbatim = |pieces: &[&str]| told(StreamedText::Verbatim, pieces);
        assert_eq!(verbatim(&[" ", "a ", " "]), ["", " a ", " ", ""]);
        assert_eq!(verbatim(&["<think>hm", "</think>", " a"]), ["", "", "<think>hm</think> a", ""]);
        assert_eq!(verbatim(&["<think>hm</think>", "\n"]), ["", "", ""]);
    }

    #[test]
    fn long_thoughts_in_small_pieces_take_time_in_proportion() {
        let mut stream = AnswerStream::new(StreamedText::Answer);
        assert_eq!(stream.push("<think>"), "");
        for _ in 0..400_000 {
            assert_eq!(stream.push("ä "), "");
        }
        assert_eq!(stream.push("</think>yes"), "yes");
    }

    proptest! {
        #[test]
        fn whatever_the_pieces_what_was_told_is_what_the_step_gives(
            parts in prop::collection::vec(prop::sample::select(vec![
                "<think>", "</think>", " ", "\n", "\u{a0}", "a", "ä", "<", "<th", "ink>", "</thi", "nk>", "yes",
            ]), 0..12),
            cuts in prop::collection::vec(0..40_usize, 0..8),
        ) {
            let reply: String = parts.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| reply.floor_char_boundary(at)).collect();
            cuts.extend([0, reply.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|cut| &reply[cut[0]..cut[1]]).collect();
            let answer = reply::answer(&reply).unwrap_or_default();
            prop_assert_eq!(told(StreamedText::Answer, &pieces).concat(), answer);
            let verbatim = if answer.is_empty() { "" } else { reply.as_str() };
            prop_assert_eq!(told(StreamedText::Verbatim, &pieces).concat(), verbatim);
        }
    }
}
