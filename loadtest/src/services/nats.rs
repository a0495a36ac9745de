//! A NATS server of our own.

use std::{ffi::OsString, io, path::PathBuf, sync::OnceLock};

use super::{Guarded, free_port, is_there, program};

/// The user that is let in.
pub const USER: &str = "penstock";
/// The password of that user.
pub const PASSWORD: &str = "spillway-9";

/// A server that keeps nothing.
pub struct Nats {
    server: Option<Guarded>,
    folder: PathBuf,
    port: u16,
}

impl Nats {
    /// Whether it is installed.
    ///
    /// # Panics
    /// When it is not, and tests are told to require it.
    pub fn is_installed() -> bool {
        is_there(find(), "NATS (Debian: nats-server)")
    }

    /// One server for the whole process, which ends with it; `None` where it is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Nats>> = OnceLock::new();
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        let start = || Self::start().unwrap_or_else(|error| panic!("NATS: {error}"));
        SHARED.get_or_init(|| Self::is_installed().then(start)).as_ref()
    }

    /// Starts a server of its own.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-nats-").tempdir()?.keep();
        let mut nats = Self { server: None, folder, port: free_port()? };
        nats.resume()?;
        Ok(nats)
    }

    /// Starts the server again after [`Nats::stop`], on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "NATS is not installed (Debian: nats-server)");
        let mut command = vec![find().ok_or_else(missing)?.into_os_string()];
        let port = self.port.to_string();
        let settings = ["--addr", "127.0.0.1", "--port", &port, "--user", USER, "--pass", PASSWORD];
        command.extend(settings.map(OsString::from));
        self.server = Some(Guarded::start(&command, &self.folder, "KILL", self.port)?);
        Ok(())
    }

    /// Ends the server.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop_and_keep();
        }
    }

    /// The running server.
    pub fn server(&self) -> Option<&Guarded> {
        self.server.as_ref()
    }

    /// Its URL, by way of this port.
    pub fn url_by(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.url_by(self.port)
    }
}

fn find() -> Option<PathBuf> {
    program(&["nats-server"], &["/usr/sbin", "/usr/local/bin"].map(PathBuf::from))
}
