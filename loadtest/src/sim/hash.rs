//! Numbers that depend on a text only, so that the same text gets the same digest and the same vector in every run.

/// A splitmix64 stream whose seed is the FNV-1a hash of a text.
pub(crate) struct Stream(u64);

impl Stream {
    /// The stream of this text.
    pub(crate) fn of(text: &str) -> Self {
        Self(
            text.bytes()
                .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
        )
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// 64 hex digits, in the shape of a SHA-256 (it is none).
pub(crate) fn digest(text: &str) -> String {
    let mut stream = Stream::of(text);
    (0..4).map(|_| format!("{:016x}", stream.next())).collect()
}
