//! A PostgreSQL server of our own.

use std::{
    ffi::OsString,
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use super::{Guarded, free_port, is_there, program};

/// A server with an empty database; whoever comes from this machine is let in as `penstock` with [`PASSWORD`].
pub struct Postgres {
    server: Option<Guarded>,
    folder: PathBuf,
    port: u16,
    databases: AtomicU32,
}

/// The password of the only user.
pub const PASSWORD: &str = "turbine-hall-7";

/// What durability costs is not what most tests are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A commit is on the disk when it is answered.
    Full,
    /// It may be lost with the machine.
    None,
}

impl Postgres {
    /// Whether the server's programs are installed.
    ///
    /// # Panics
    /// When it is not, and tests are told to require it.
    pub fn is_installed() -> bool {
        is_there(find("postgres"), "PostgreSQL (Debian: postgresql)")
    }

    /// One server for the whole process, which ends with it; `None` where PostgreSQL is not installed.
    ///
    /// # Panics
    /// When it is installed and does not start.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        #[expect(clippy::panic, reason = "a test fails by panicking")]
        let start = || Self::start(Durability::None).unwrap_or_else(|error| panic!("PostgreSQL: {error}"));
        SHARED.get_or_init(|| Self::is_installed().then(start)).as_ref()
    }

    /// Starts a server of its own.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start(durability: Durability) -> io::Result<Self> {
        Self::start_with(durability, &[])
    }

    /// The same with lines of its configuration files, and files beside them that they name. In `pg_hba.conf` they come first,
    /// for there the first line that fits counts.
    ///
    /// # Errors
    /// When it is not installed or does not start.
    pub fn start_with(durability: Durability, files: &[(&str, &str)]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-postgres-").tempdir()?.keep();
        let user = user(&folder)?;
        let data = folder.join("data");
        let password = folder.join("password");
        std::fs::write(&password, PASSWORD)?;
        std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o644))?;
        let made = Command::new(&user[0])
            .args(&user[1..])
            .arg(find("initdb").ok_or_else(missing)?)
            .args(["--username=penstock", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C"])
            .arg(format!("--pwfile={}", password.display()))
            .arg("--pgdata")
            .arg(&data)
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        if durability == Durability::None {
            let settings = "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n";
            append(&data.join("postgresql.auto.conf"), settings)?;
        }
        append(&data.join("postgresql.auto.conf"), "max_connections = 400\n")?;
        for (name, text) in files {
            let there = std::fs::read_to_string(data.join(name)).unwrap_or_default();
            let whole = if *name == "pg_hba.conf" { format!("{text}{there}") } else { format!("{there}{text}") };
            std::fs::write(data.join(name), whole)?;
            // What is new is the caller's, and a key is no key if others may read it.
            let owner = std::fs::metadata(&data)?;
            std::os::unix::fs::chown(data.join(name), Some(owner.uid()), Some(owner.gid()))?;
            std::fs::set_permissions(data.join(name), std::fs::Permissions::from_mode(0o600))?;
        }
        let port = free_port()?;
        let mut postgres = Self { server: None, folder, port, databases: AtomicU32::new(0) };
        postgres.resume()?;
        Ok(postgres)
    }

    /// Starts the server again after [`Postgres::stop`], on the same data and port.
    ///
    /// # Errors
    /// When it does not start.
    pub fn resume(&mut self) -> io::Result<()> {
        let mut command: Vec<OsString> = user(&self.folder)?;
        command.push(find("postgres").ok_or_else(missing)?.into());
        let settings = [
            format!("-p{}", self.port),
            "-clisten_addresses=127.0.0.1".to_owned(),
            format!("-cunix_socket_directories={}", self.folder.display()),
            format!("-D{}", self.folder.join("data").display()),
        ];
        command.extend(settings.map(OsString::from));
        self.server = Some(Guarded::start(&command, &self.folder, "QUIT", self.port)?);
        Ok(())
    }

    /// Ends the server at once, as its machine's end would; its data stay.
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

    /// The URL of one of its databases, by way of this port.
    pub fn url_by(&self, port: u16, database: &str) -> String {
        format!("postgres://penstock:{PASSWORD}@127.0.0.1:{port}/{database}?sslmode=disable")
    }

    /// A new, empty database.
    ///
    /// # Errors
    /// When the server does not make it.
    pub fn database(&self) -> io::Result<String> {
        let name = format!("d{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"))?;
        Ok(name)
    }

    /// The URL of a new, empty database.
    ///
    /// # Errors
    /// When the server does not make it.
    pub fn database_url(&self) -> io::Result<String> {
        Ok(self.url_by(self.port, &self.database()?))
    }

    /// Runs a statement with the server's own client; what it prints, without decoration.
    ///
    /// # Errors
    /// What the client says.
    pub fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        let done = Command::new(find("psql").ok_or_else(missing)?)
            .args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1", "--command", sql])
            .arg(self.url_by(self.port, database))
            .output()?;
        if done.status.success() {
            Ok(String::from_utf8_lossy(&done.stdout).trim().to_owned())
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&done.stderr).into_owned()))
        }
    }
}

fn missing() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "PostgreSQL is not installed (Debian: postgresql)")
}

fn find(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort();
    folders.reverse();
    program(&[name], &folders)
}

fn append(file: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    std::fs::OpenOptions::new().append(true).create(true).open(file)?.write_all(text.as_bytes())
}

/// The server refuses to be root's: then it is somebody else's, and so is its folder. What a command is to begin with.
fn user(folder: &Path) -> io::Result<Vec<OsString>> {
    let as_ourselves = vec![OsString::from("env")];
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(as_ourselves);
    }
    let given = Command::new("chown").arg("nobody").arg(folder).status()?;
    if !given.success() {
        return Err(io::Error::other("the folder could not be given to the user 'nobody'"));
    }
    Ok(["setpriv", "--reuid=nobody", "--clear-groups", "--"].map(OsString::from).to_vec())
}
