//! When to stop: the first SIGTERM or SIGINT drains, a second one ends at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that stop a server.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts to listen; signals from here on are not lost.
    ///
    /// # Errors
    /// When the process may not install handlers.
    pub fn install() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next one and names it.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
