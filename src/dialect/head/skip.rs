//! Walks over JSON without decoding it: no tree, no recursion, and long texts by searching for their closing quote.
//!
//! Checked is what the walk rests on: brackets that match, strings that end, commas and colons of the top level. The
//! insides of nested values are the backend's to judge.

use std::ops::Range;

/// Nesting that is still walked, as in every other body (`docs/api.md`, request bodies). One bit of a number each.
const MAX_DEPTH: u32 = 128;
/// Bytes of a conversation's beginning that tell it from others.
const OPENING_BYTES: usize = 1024;

/// Bytes that are no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SkipError {
    /// A byte that cannot stand where it stands.
    #[error("not JSON at byte {0}")]
    Unexpected(usize),
    /// Something is not closed.
    #[error("the JSON ends in the middle")]
    Unfinished,
    /// Brackets are nested too deeply.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Something follows the value.
    #[error("something follows the JSON at byte {0}")]
    Trailing(usize),
}

/// The places of a key, quotes included, and of its value.
pub(in crate::dialect) type Member = (Range<usize>, Range<usize>);

/// The members of one object, one after the other.
pub(in crate::dialect) struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
    is_first: bool,
}

impl<'a> Members<'a> {
    /// The object that a text is, from `start` on; `None` when it is a value of another kind.
    pub(in crate::dialect) fn of_document(bytes: &'a [u8], start: usize) -> Result<Option<Self>, SkipError> {
        let at = skip_blanks(bytes, start);
        match bytes.get(at) {
            Some(b'{') => Ok(Some(Self { bytes, at: at + 1, is_first: true })),
            Some(b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => Ok(None),
            Some(_) => Err(SkipError::Unexpected(at)),
            None => Err(SkipError::Unfinished),
        }
    }

    /// Where the walk is: before the first member, behind the opening bracket.
    pub(in crate::dialect) const fn at(&self) -> usize {
        self.at
    }

    /// The next one; `None` behind the last.
    pub(in crate::dialect) fn next(&mut self) -> Result<Option<Member>, SkipError> {
        let mut at = skip_blanks(self.bytes, self.at);
        match self.bytes.get(at) {
            Some(b'}') => {
                self.at = at + 1;
                return Ok(None);
            }
            Some(b',') if !self.is_first => at = skip_blanks(self.bytes, at + 1),
            Some(_) if self.is_first => {}
            Some(_) => return Err(SkipError::Unexpected(at)),
            None => return Err(SkipError::Unfinished),
        }
        self.is_first = false;
        match self.bytes.get(at) {
            Some(b'"') => {}
            Some(_) => return Err(SkipError::Unexpected(at)),
            None => return Err(SkipError::Unfinished),
        }
        let key = at..string_end(self.bytes, at)?;
        at = skip_blanks(self.bytes, key.end);
        match self.bytes.get(at) {
            Some(b':') => at = skip_blanks(self.bytes, at + 1),
            Some(_) => return Err(SkipError::Unexpected(at)),
            None => return Err(SkipError::Unfinished),
        }
        let value = at..value_end(self.bytes, at)?;
        self.at = value.end;
        Ok(Some((key, value)))
    }

    /// Nothing but blanks may follow the object.
    pub(in crate::dialect) fn end_of_document(&self) -> Result<(), SkipError> {
        match skip_blanks(self.bytes, self.at) {
            at if at == self.bytes.len() => Ok(()),
            at => Err(SkipError::Trailing(at)),
        }
    }
}

fn skip_blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// Where a value ends that starts here.
fn value_end(bytes: &[u8], at: usize) -> Result<usize, SkipError> {
    let literal = |text: &[u8]| {
        if bytes[at..].starts_with(text) { Ok(at + text.len()) } else { Err(SkipError::Unexpected(at)) }
    };
    match bytes.get(at) {
        Some(b'"') => string_end(bytes, at),
        Some(b'{' | b'[') => nested_end(bytes, at),
        Some(b't') => literal(b"true"),
        Some(b'f') => literal(b"false"),
        Some(b'n') => literal(b"null"),
        Some(b'-' | b'0'..=b'9') => {
            let is_of_number = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
            Ok(at + bytes[at..].iter().take_while(|byte| is_of_number(byte)).count())
        }
        Some(_) => Err(SkipError::Unexpected(at)),
        None => Err(SkipError::Unfinished),
    }
}

/// Where a string ends, its quote included, whose opening quote stands here.
pub(in crate::dialect) fn string_end(bytes: &[u8], open: usize) -> Result<usize, SkipError> {
    let start = open + 1;
    // Keys and roles are over before a block would be.
    let mut at = (start + SHORT).min(bytes.len());
    if let Some(end) = closing_quote(bytes, start, start..at) {
        return Ok(end);
    }
    while at < bytes.len() {
        at = skip_blocks(bytes, at);
        let block = at..(at + BLOCK).min(bytes.len());
        at = block.end;
        if let Some(end) = closing_quote(bytes, start, block) {
            return Ok(end);
        }
    }
    Err(SkipError::Unfinished)
}

/// Bytes of a string that are looked at one by one, and then in blocks.
const SHORT: usize = 16;
const BLOCK: usize = 64;

/// Skips blocks of a string in which it cannot end. A quote behind a backslash is an escaped one, of which long texts are
/// full, unless that backslash is itself behind another: what is left over is for [`closing_quote`] to decide. No
/// branches within a block: this compiles to vector instructions.
fn skip_blocks(bytes: &[u8], mut at: usize) -> usize {
    while let (Some(earlier), Some(before), Some(now)) = (block(bytes, at - 2), block(bytes, at - 1), block(bytes, at))
    {
        let may_end = |i: usize| (now[i] == b'"') & ((before[i] != b'\\') | (earlier[i] == b'\\'));
        if (0..BLOCK).fold(false, |found, i| found | may_end(i)) {
            break;
        }
        at += BLOCK;
    }
    at
}

fn block(bytes: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    bytes.get(at..)?.first_chunk()
}

/// Behind the first quote of a part of a string that is not escaped. Each backslash is counted once at most, because runs
/// of them before two quotes never overlap.
fn closing_quote(bytes: &[u8], start: usize, part: Range<usize>) -> Option<usize> {
    let is_closing = |quote: &usize| {
        let escapes = bytes[start..*quote].iter().rev().take_while(|byte| **byte == b'\\').count();
        escapes.is_multiple_of(2)
    };
    part.into_iter().find(|at| bytes[*at] == b'"' && is_closing(at)).map(|quote| quote + 1)
}

/// Where an object or array ends that starts here.
fn nested_end(bytes: &[u8], start: usize) -> Result<usize, SkipError> {
    // Which kind of bracket is open at each level, the innermost in the lowest bit.
    let (mut kinds, mut depth, mut at) = (0u128, 0u32, start);
    loop {
        at = next_mark(bytes, at).ok_or(SkipError::Unfinished)?;
        match bytes[at] {
            b'"' => at = string_end(bytes, at)?,
            open @ (b'{' | b'[') => {
                depth += 1;
                // One level is the object that this is a value of.
                if depth >= MAX_DEPTH {
                    return Err(SkipError::TooDeep);
                }
                kinds = kinds << 1 | u128::from(open == b'{');
                at += 1;
            }
            close => {
                if (kinds & 1 == 1) != (close == b'}') {
                    return Err(SkipError::Unexpected(at));
                }
                kinds >>= 1;
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
        }
    }
}

/// The next quote or bracket from here on.
fn next_mark(bytes: &[u8], mut at: usize) -> Option<usize> {
    let is_mark = |byte: u8| matches!(byte, b'"' | b'{' | b'}' | b'[' | b']');
    // Sixteen at a time and without branches, which compiles to vector instructions: lists of numbers are long.
    while let Some(block) = bytes[at..].first_chunk::<16>() {
        if block.iter().fold(false, |found, byte| found | is_mark(*byte)) {
            break;
        }
        at += 16;
    }
    bytes[at..].iter().position(|byte| is_mark(*byte)).map(|found| at + found)
}

/// What a value of `messages`, `prompt` or `input` begins with: of messages, all up to the first of the role `user`, which
/// every later turn of the conversation sends again.
pub fn opening(words: &[u8]) -> &[u8] {
    let bounded = &words[..words.len().min(OPENING_BYTES)];
    if bounded.first() != Some(&b'[') {
        return bounded;
    }
    let mut at = 1;
    loop {
        at = skip_blanks(bounded, at);
        if bounded.get(at) == Some(&b',') {
            at = skip_blanks(bounded, at + 1);
        }
        // What is cut off by the bound counts as it is.
        let Ok(end) = value_end(bounded, at) else { return bounded };
        if super::has_member(&bounded[at..end], "role", b"\"user\"") {
            return &bounded[..end];
        }
        at = end;
    }
}
