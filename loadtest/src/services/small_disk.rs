//! A disk that is soon full: a little memory as a file system, mounted where only those see it who are started on it.
//!
//! A process stands between, as with the servers: it waits for the end of its input, which the owner holds open. With it and
//! with the last who was started on the disk goes everything that is on it.

use std::{
    ffi::OsString,
    fs::OpenOptions,
    io::{self, BufRead, BufReader, ErrorKind, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{is_there, program};

/// `$0`: where to mount it, `$1`: how large.
const KEEP: &str = r#"mount -t tmpfs -o "size=$1" tmpfs "$0" && echo mounted && exec cat"#;

/// A file system of a bounded size, and whoever holds it.
pub struct SmallDisk {
    keeper: Child,
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// Whether the system lets us mount one.
    ///
    /// # Panics
    /// When it does not, and tests are told to require it.
    pub fn is_permitted() -> bool {
        let mounts = program(&["unshare"], &[]).filter(|_| Self::mount("64k").is_ok());
        is_there(mounts, "a mount of our own (Debian: util-linux; a container may have to be permitted to)")
    }

    /// An empty one of this size (`4m`).
    ///
    /// # Errors
    /// When the system does not let us.
    pub fn mount(size: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-disk-").tempdir()?;
        let mut keeper = Command::new("unshare")
            .arg("--mount")
            // Others than root may mount only where they are a root of their own.
            .args((!is_root()?).then_some("--map-root-user"))
            .args(["sh", "-c", KEEP])
            .arg(folder.path())
            .arg(size)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut said = String::new();
        if let Some(output) = keeper.stdout.take() {
            BufReader::new(output).read_line(&mut said)?;
        }
        let disk = Self { keeper, folder };
        if said == "mounted\n" { Ok(disk) } else { Err(io::Error::other("the system does not let us mount")) }
    }

    /// Where those find it who are started on it.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where everybody else finds it.
    pub fn from_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.folder.path().strip_prefix("/").unwrap_or(self.folder.path()))
    }

    /// What the command of a process that is started on it begins with. It becomes that command.
    ///
    /// # Errors
    /// When the system does not say who we are.
    pub fn entrance(&self) -> io::Result<Vec<OsString>> {
        let target = format!("--target={}", self.keeper.id());
        let mut entrance = vec!["nsenter".to_owned(), target, "--mount".to_owned()];
        if !is_root()? {
            entrance.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        Ok(entrance.into_iter().map(OsString::from).collect())
    }

    /// Takes all the room that is left.
    ///
    /// # Errors
    /// When something else goes wrong than that there is no more.
    pub fn fill(&self) -> io::Result<()> {
        let mut filler = OpenOptions::new().append(true).create(true).open(self.filler())?;
        for piece in [&[0; 4096][..], &[0; 1]] {
            loop {
                match filler.write(piece) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn make_room(&self) -> io::Result<()> {
        std::fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.from_outside().join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        self.keeper.wait().ok();
    }
}

fn is_root() -> io::Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}
