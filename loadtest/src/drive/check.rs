//! Whether an answer is the right one: its number is that of the request, all of its words are there, and it ends as it should.
//!
//! Answers are looked through as they come and not kept.

use memchr::memmem;

use crate::{
    drive::ask::{Ask, Number},
    scenario::Kind,
};

/// What every word of a simulated answer is, but for the last, which is the request's number.
const WORD: &[u8] = b"word";

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As it should.
    Answered,
    /// With a status that is allowed.
    Refused,
    /// In an error that the server told of.
    Failed(String),
    /// The client hung up, as it was to.
    Left,
    /// In any other way.
    Wrong(String),
}

/// Looks for something in a text that comes in pieces.
struct Search {
    needle: Vec<u8>,
    /// The end of what has come, shorter than the needle.
    carry: Vec<u8>,
    found: usize,
}

impl Search {
    fn new(needle: impl Into<Vec<u8>>) -> Self {
        Self { needle: needle.into(), carry: Vec::new(), found: 0 }
    }

    fn push(&mut self, piece: &[u8]) {
        let overlap = self.needle.len() - 1;
        if !self.carry.is_empty() {
            let mut seam = std::mem::take(&mut self.carry);
            seam.extend_from_slice(&piece[..piece.len().min(overlap)]);
            self.found += memmem::find_iter(&seam, &self.needle).count();
            self.carry = seam;
        }
        self.found += memmem::find_iter(piece, &self.needle).count();
        if piece.len() >= overlap {
            self.carry.clear();
            self.carry.extend_from_slice(&piece[piece.len() - overlap..]);
        } else {
            let surplus = self.carry.len().saturating_sub(overlap);
            if self.carry.is_empty() {
                self.carry.extend_from_slice(piece);
            }
            self.carry.drain(..surplus);
        }
    }
}

/// Hears one answer.
pub(crate) struct Check {
    /// Any answer will do, as of servers that are not simulated.
    any: bool,
    words: Option<usize>,
    word: Search,
    number: Search,
    /// What a stream ends in; whole answers end with their body.
    end: Option<Search>,
    error: Search,
    bytes: usize,
}

impl Check {
    pub(crate) fn new(ask: &Ask, number: Number) -> Self {
        let end: Option<&[u8]> = match ask.kind {
            Kind::ChatStream => Some(b"data: [DONE]"),
            Kind::OllamaChatStream => Some(b"\"done\":true"),
            Kind::Chat | Kind::OllamaChat | Kind::Embeddings | Kind::Prompt | Kind::Chain => None,
        };
        Self {
            any: ask.words.is_none(),
            words: ask.words.filter(|_| !matches!(ask.kind, Kind::Embeddings | Kind::Chain)),
            word: Search::new(WORD),
            number: Search::new(ask.sign(number)),
            end: end.map(Search::new),
            error: Search::new("\"error\""),
            bytes: 0,
        }
    }

    /// Takes a piece; says how many words came with it.
    pub(crate) fn push(&mut self, piece: &[u8]) -> usize {
        if piece.is_empty() {
            return 0;
        }
        let before = self.words_so_far();
        self.bytes += piece.len();
        self.word.push(piece);
        self.number.push(piece);
        if let Some(end) = &mut self.end {
            end.push(piece);
            self.error.push(piece);
        }
        if self.any { 1 } else { self.words_so_far() - before }
    }

    fn words_so_far(&self) -> usize {
        self.word.found + usize::from(self.number.found > 0)
    }

    /// The body is at its end; `lost` says why it could not be read any further.
    pub(crate) fn verdict(self, lost: Option<String>) -> Verdict {
        if let Some(lost) = lost {
            return Verdict::Failed(format!("the connection was lost: {lost}"));
        }
        let ended = self.end.as_ref().is_none_or(|end| end.found > 0);
        if !ended && self.error.found > 0 {
            return Verdict::Failed("the stream ended in an error".to_owned());
        }
        let (words, bytes) = (self.words_so_far(), self.bytes);
        if !ended {
            Verdict::Wrong(format!("the stream ended after {words} words without its end or an error"))
        } else if bytes == 0 {
            Verdict::Wrong("the answer is empty".to_owned())
        } else if self.any {
            Verdict::Answered
        } else if self.number.found == 0 {
            Verdict::Wrong(format!("the answer of {bytes} bytes is to another request: it has not this one's number"))
        } else if let Some(wanted) = self.words.filter(|wanted| *wanted != words) {
            Verdict::Wrong(format!("the answer has {words} words of {wanted}"))
        } else {
            Verdict::Answered
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(needle: &str, pieces: &[&str]) -> usize {
        let mut search = Search::new(needle);
        pieces.iter().filter(|piece| !piece.is_empty()).for_each(|piece| search.push(piece.as_bytes()));
        search.found
    }

    #[test]
    fn a_text_is_found_wherever_it_is_cut() {
        let text = "a word, words and wowordrd, wor word";
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let pieces = [&text[..first], &text[first..second], &text[second..]];
                assert_eq!(found("word", &pieces), 4, "{pieces:?}");
            }
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(found("word", &letters), 4);
        assert_eq!(found("~10000001", &["~1000", "000", "1"]), 1);
    }
}
