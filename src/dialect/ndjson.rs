//! Newline-delimited JSON: cuts a byte stream into lines, whatever pieces it arrives in.

use bytes::{Bytes, BytesMut};

/// Longest line that is kept while its end has not come.
const MAX_LINE_BYTES: usize = 16 << 20;

/// A line grew beyond any honest size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a line of the stream is longer than {MAX_LINE_BYTES} bytes")]
pub struct LineTooLong;

/// Collects pieces and gives back whole lines, without their line ends and without empty ones.
#[derive(Debug, Default)]
pub struct Lines {
    buffer: BytesMut,
    /// Bytes at the start of `buffer` known to hold no line end.
    scanned: usize,
}

impl Lines {
    /// Adds the next piece of the stream.
    ///
    /// # Errors
    /// When a line is too long; the stream should be given up.
    pub fn push(&mut self, piece: &[u8]) -> Result<(), LineTooLong> {
        self.buffer.extend_from_slice(piece);
        if self.buffer.len() - self.scanned > MAX_LINE_BYTES && !self.buffer[self.scanned..].contains(&b'\n') {
            return Err(LineTooLong);
        }
        Ok(())
    }

    /// The next whole line, if one has arrived.
    pub fn next_line(&mut self) -> Option<Bytes> {
        loop {
            let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.scanned = self.buffer.len();
                return None;
            };
            let mut line = self.buffer.split_to(self.scanned + end + 1).freeze();
            self.scanned = 0;
            line.truncate(line.trim_ascii_end().len());
            if !line.is_empty() {
                return Some(line);
            }
        }
    }

    /// What stands behind the last line end when the stream is over.
    pub fn rest(self) -> Option<Bytes> {
        let rest = self.buffer.freeze();
        (!rest.trim_ascii().is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn carriage_returns_and_empty_lines_disappear() {
        let mut lines = Lines::default();
        lines.push(b"{}\r\n\n{\"a\":1}\nrest").unwrap();
        assert_eq!(lines.next_line().as_deref(), Some(&b"{}"[..]));
        assert_eq!(lines.next_line().as_deref(), Some(&b"{\"a\":1}"[..]));
        assert_eq!(lines.next_line(), None);
        assert_eq!(lines.rest().as_deref(), Some(&b"rest"[..]));
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_its_lines_are_the_same(
            lines in prop::collection::vec("[a-z]{1,9}", 0..9),
            cuts in prop::collection::vec(1usize..5, 0..40),
        ) {
            let whole = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let (mut reader, mut seen, mut rest) = (Lines::default(), Vec::new(), whole.as_bytes());
            for cut in cuts.into_iter().chain(std::iter::repeat(usize::MAX)) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                reader.push(piece).unwrap();
                while let Some(line) = reader.next_line() {
                    seen.push(String::from_utf8(line.to_vec()).unwrap());
                }
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }
}
