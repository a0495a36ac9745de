//! The body of a request in one piece, with as little copying as its arrival allows.

use bytes::{Bytes, BytesMut};

/// Memory that is set aside for a body before it has come.
const RESERVED_BYTES: usize = 1 << 20;

/// The pieces of a body put together; a body of one piece is that piece and no copy.
#[derive(Default)]
pub(super) struct Gathered {
    announced: usize,
    first: Bytes,
    /// All pieces, once there are several.
    whole: BytesMut,
}

impl Gathered {
    /// For a body that announces its length. Memory is set aside for that, within reason: whoever announces much and sends
    /// little must not cost much.
    pub(super) fn announced(length: Option<u64>) -> Self {
        let announced = length.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
        Self { announced: announced.min(RESERVED_BYTES), ..Self::default() }
    }

    /// Bytes so far.
    pub(super) fn len(&self) -> usize {
        self.first.len() + self.whole.len()
    }

    /// Adds the next piece.
    pub(super) fn add(&mut self, piece: Bytes) {
        if self.len() == 0 {
            self.first = piece;
            return;
        }
        if self.whole.is_empty() {
            let first = std::mem::take(&mut self.first);
            self.whole.reserve(self.announced.max(first.len() + piece.len()));
            self.whole.extend_from_slice(&first);
        }
        self.whole.extend_from_slice(&piece);
    }

    /// All of them.
    pub(super) fn finish(self) -> Bytes {
        if self.whole.is_empty() { self.first } else { self.whole.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_one_piece_is_not_copied_and_one_of_several_is_put_together() {
        let piece = Bytes::from_static(b"whole");
        let mut gathered = Gathered::announced(Some(5));
        gathered.add(piece.clone());
        assert_eq!(gathered.finish().as_ptr(), piece.as_ptr());
        let mut gathered = Gathered::announced(Some(7));
        for (piece, length) in [("a", 1), ("bc", 3), ("", 3), ("defg", 7), ("more than announced", 26)] {
            gathered.add(Bytes::from_static(piece.as_bytes()));
            assert_eq!(gathered.len(), length);
        }
        assert_eq!(gathered.finish(), "abcdefgmore than announced");
        assert_eq!(Gathered::default().finish(), "");
    }
}
