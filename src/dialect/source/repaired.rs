//! Places of a repaired YAML text as places of the text as it was written (`dialect::yaml`: the same lines, some values in
//! quotes).

use std::ops::Range;

/// One line that is longer in the repaired text.
#[derive(Debug)]
struct Longer {
    /// Of the line, in the repaired text.
    line: Range<usize>,
    /// Of the line, in the written text, its end without blanks.
    written: Range<usize>,
    /// How far what follows is shifted.
    shift: usize,
}

/// The lines that differ.
#[derive(Debug, Default)]
pub(super) struct Repairs(Vec<Longer>);

impl Repairs {
    /// Compares both texts.
    pub(super) fn between(written: &str, repaired: &str) -> Self {
        let (mut from, mut to, mut longer) = (0, 0, Vec::new());
        for (old, new) in written.split_inclusive('\n').zip(repaired.split_inclusive('\n')) {
            if old.len() != new.len() {
                let (line, written) = (to..to + new.len(), from..from + old.trim_end().len());
                longer.push(Longer { line, written, shift: (to + new.len()) - (from + old.len()) });
            }
            from += old.len();
            to += new.len();
        }
        Self(longer)
    }

    /// The byte of the written text that a byte of the repaired one stands for.
    pub(super) fn written(&self, at: usize) -> usize {
        let line = self.0.partition_point(|longer| longer.line.start <= at);
        match line.checked_sub(1).and_then(|line| self.0.get(line)) {
            None => at,
            // Before the quote nothing moved; behind it only the end is of interest.
            Some(longer) if at < longer.line.end => {
                (longer.written.start + (at - longer.line.start)).min(longer.written.end)
            }
            Some(longer) => at - longer.shift,
        }
    }
}
