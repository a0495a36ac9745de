//! A reply that arrives line by line.

use super::reply::LineReader;
use crate::{
    dialect::{ndjson::Lines, reply::ReplyError, stream::ReplyDecoder},
    domain::chat::ReplyEvent,
};

/// Reads the stream of `/api/generate` or `/api/chat`. It ends with the line that says `done`; without it, it was cut.
#[derive(Debug, Default)]
pub struct LineDecoder {
    lines: Lines,
    reader: LineReader,
}

impl ReplyDecoder for LineDecoder {
    fn push(&mut self, piece: &[u8], events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        if self.reader.is_done {
            return Ok(());
        }
        self.lines.push(piece).map_err(|error| ReplyError::Malformed(error.to_string()))?;
        while !self.reader.is_done {
            let Some(line) = self.lines.next_line() else { return Ok(()) };
            self.reader.read(&line, events)?;
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.reader.is_done
    }

    fn end(&mut self, events: &mut Vec<ReplyEvent>) -> Result<(), ReplyError> {
        let rest = std::mem::take(&mut self.lines).rest();
        if let Some(line) = rest.filter(|_| !self.reader.is_done) {
            match self.reader.read(&line, events) {
                // Half a line is no line; that the stream was cut is told below.
                Err(ReplyError::Malformed(_)) => {}
                other => other?,
            }
        }
        if self.reader.is_done { Ok(()) } else { Err(ReplyError::Cut) }
    }
}
