//! A Valkey server of our own, or Redis where that is what the system has.

use std::{ffi::OsString, io, path::PathBuf, process::Command, sync::OnceLock};

use super::{Guarded, free_port, is_there, program};

/// The password of the server.
pub const PASSWORD: &str = "sluice-gate-3";

/// A server that keeps nothing on the disk.
pub struct Valkey {
    server: Option<Guarded>,
    folder: PathBuf,
    port: u16,
}

impl Valkey {
    /// Whether it is installed.
    ///
    /// # Panics
    /// When it is not, and tests are told to require it.
    pub fn is_installed() -> bool {
        is_there(find(), "Valkey (Debian: redis-server)")
    }

    /// One server for the whole process, which ends with it; `None` where it is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Valkey>> = OnceLock::new();
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        let start = || Self::start().unwrap_or_else(|error| panic!("Valkey: {error}"));
        SHARED.get_or_init(|| Self::is_installed().then(start)).as_ref()
    }

    /// Starts a server of its own.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-valkey-").tempdir()?.keep();
        let mut valkey = Self { server: None, folder, port: free_port()? };
        valkey.resume()?;
        Ok(valkey)
    }

    /// Starts the server again after [`Valkey::stop`], empty, on the same port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "Valkey is not installed (Debian: redis-server)");
        let mut command = vec![find().ok_or_else(missing)?.into_os_string()];
        let port = self.port.to_string();
        let settings = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--requirepass", PASSWORD, "--dir"];
        command.extend(settings.map(OsString::from));
        command.push(self.folder.clone().into_os_string());
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

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs a command with the server's own client; what it prints.
    ///
    /// # Errors
    /// When there is no client.
    pub fn command(&self, words: &[&str]) -> io::Result<String> {
        let client = program(&["valkey-cli", "redis-cli"], &[]);
        let client = client.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "valkey-cli is not installed"))?;
        let port = self.port.to_string();
        let done =
            Command::new(client).args(["-p", &port, "-a", PASSWORD, "--no-auth-warning"]).args(words).output()?;
        Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
    }
}

fn find() -> Option<PathBuf> {
    program(&["valkey-server", "redis-server"], &[])
}
