//! A stream that one writes and several read, each from its beginning and at its own pace: the latest pieces, and how far
//! each reader has come. Nothing here waits; who must be woken is told.
//!
//! All pieces are kept, for readers who are still to come, up to a bound on what they weigh together. From then on nobody
//! may join any more, and what all have read makes room. The writer goes on when the first reader has read everything, and
//! rests until then; it is stopped where the slowest reader holds all the room.

use std::collections::VecDeque;

/// See the module. `T`: one piece; `E`: how the stream ends.
#[derive(Debug, Clone)]
pub(super) struct Window<T, E> {
    /// With what each weighs.
    pieces: VecDeque<(T, usize)>,
    /// The number of the first that is kept.
    first: u64,
    weight: usize,
    most: usize,
    readers: Vec<Option<Reader>>,
    is_open: bool,
    end: Option<E>,
    writer: Turn,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// The number of the piece that it reads next.
    At(u64),
    /// It was too slow.
    CutOff,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next<T, E> {
    /// The next piece.
    Piece(T),
    /// There is none yet.
    Nothing,
    /// All has been read, and this is how it ended.
    Over(E),
    /// The pieces that come next are gone, because the reader was so far behind.
    CutOff,
}

/// What the writer may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Write on.
    Write,
    /// Wait: nobody has read everything.
    Rest,
    /// Wait: somebody has, but the slowest reader holds all the room.
    Blocked,
    /// Stop: nobody reads any more, and nobody will.
    Deserted,
}

impl<T: Clone, E: Clone> Window<T, E> {
    /// An empty one, whose pieces may weigh so much together; the last one may go beyond.
    pub(super) fn new(most: usize) -> Self {
        Self {
            pieces: VecDeque::new(),
            first: 0,
            weight: 0,
            most,
            readers: Vec::new(),
            is_open: true,
            end: None,
            writer: Turn::Write,
        }
    }

    /// A new reader, at the beginning; `None` where that is gone, or all readers are.
    pub(super) fn join(&mut self) -> Option<usize> {
        if !self.is_open {
            return None;
        }
        let reader = Some(Reader::At(0));
        if let Some(at) = self.readers.iter().position(Option::is_none) {
            self.readers[at] = reader;
            return Some(at);
        }
        self.readers.push(reader);
        Some(self.readers.len() - 1)
    }

    /// What this reader gets next, and whether the writer must look at its turn again.
    pub(super) fn next(&mut self, reader: usize) -> (Next<T, E>, bool) {
        let Some(Some(Reader::At(at))) = self.readers.get(reader).copied() else { return (Next::CutOff, false) };
        let piece = usize::try_from(at - self.first).ok().and_then(|at| self.pieces.get(at));
        let Some((piece, _)) = piece else {
            return (self.end.clone().map_or(Next::Nothing, Next::Over), false);
        };
        let piece = piece.clone();
        self.readers[reader] = Some(Reader::At(at + 1));
        let wakes = match self.writer {
            Turn::Rest => at + 1 == self.written(),
            // Only those at the first piece hold the room.
            Turn::Blocked => at == self.first,
            Turn::Write | Turn::Deserted => false,
        };
        if wakes {
            self.writer = Turn::Write;
        }
        (Next::Piece(piece), wakes)
    }

    /// This reader reads no more.
    pub(super) fn leave(&mut self, reader: usize) {
        if let Some(place) = self.readers.get_mut(reader) {
            *place = None;
        }
        // What everybody has given up is nobody's to join.
        self.is_open &= !self.is_deserted();
    }

    /// Whether nobody reads.
    pub(super) fn is_deserted(&self) -> bool {
        self.positions().next().is_none()
    }

    /// Whether this reader was too slow.
    pub(super) fn is_cut_off(&self, reader: usize) -> bool {
        matches!(self.readers.get(reader), Some(Some(Reader::CutOff)))
    }

    /// What the writer may do now. What all have read makes room where there is none.
    pub(super) fn turn(&mut self) -> Turn {
        let written = self.written();
        let (slowest, fastest) = (self.positions().min(), self.positions().max());
        self.writer = match (slowest, fastest) {
            (Some(slowest), Some(fastest)) if fastest == written => {
                if self.weight >= self.most {
                    self.forget_before(slowest);
                }
                if self.weight >= self.most { Turn::Blocked } else { Turn::Write }
            }
            (Some(_), _) => Turn::Rest,
            (None, _) => Turn::Deserted,
        };
        self.writer
    }

    /// Adds a piece of this weight.
    pub(super) fn write(&mut self, piece: T, weight: usize) {
        self.pieces.push_back((piece, weight));
        self.weight += weight;
    }

    /// There will be no more; nobody may join what is over.
    pub(super) fn end(&mut self, end: E) {
        self.end.get_or_insert(end);
        self.is_open = false;
    }

    /// Leaves those behind who hold all the room.
    pub(super) fn cut_off_slowest(&mut self) {
        let first = self.first;
        for reader in self.readers.iter_mut().flatten() {
            if *reader == Reader::At(first) {
                *reader = Reader::CutOff;
            }
        }
    }

    /// The number that the next piece will have.
    fn written(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    fn positions(&self) -> impl Iterator<Item = u64> {
        self.readers.iter().filter_map(|reader| match reader {
            Some(Reader::At(at)) => Some(*at),
            Some(Reader::CutOff) | None => None,
        })
    }

    fn forget_before(&mut self, number: u64) {
        while self.first < number
            && let Some((_, weight)) = self.pieces.pop_front()
        {
            self.first += 1;
            self.weight -= weight;
            self.is_open = false;
        }
    }
}

#[cfg(test)]
mod tests;
