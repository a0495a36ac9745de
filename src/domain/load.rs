//! What a server says of its own load (`docs/backends.md`, load).

/// How busy a server is, as far as it tells: of all its clients, not of ours alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoadSignal {
    /// Calls it can work on at once.
    pub slots: Option<u16>,
    /// Calls it works on.
    pub running: Option<u32>,
    /// Calls that wait in it.
    pub waiting: Option<u32>,
}
