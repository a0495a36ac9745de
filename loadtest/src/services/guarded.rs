//! A server process that does not outlive its owner.
//!
//! A shell stands between: it waits for the end of its input, which the owner holds open, and then ends the server and
//! removes the folder. So nothing is left behind even by an owner that was killed.

use std::{
    ffi::OsString,
    io::{self, BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

/// `$1`: the folder, which is removed unless the last word is to keep it, `$2`: the signal that ends the server at once, then
/// the server's command.
const GUARD: &str = r#"
folder=$1 signal=$2
shift 2
"$@" >>"$folder/log" 2>&1 </dev/null &
server=$!
echo "$server"
read -r last
kill -CONT "$server" 2>/dev/null
kill "-$signal" "$server" 2>/dev/null
wait "$server" 2>/dev/null
if [ "$last" != keep ]; then rm -rf "$folder"; fi
"#;

/// Longest time until a server takes connections.
const START: Duration = Duration::from_secs(20);

/// A running server.
pub struct Guarded {
    guard: Child,
    /// What the guard waits on.
    hold: Option<ChildStdin>,
    pid: u32,
}

impl Guarded {
    /// Starts a command, which `signal` ends at once; when this returns, it takes connections on `port`. What it writes
    /// is in `log` in `folder`.
    ///
    /// # Errors
    /// When it cannot be started or does not come up; what it wrote last is in the text.
    pub fn start(command: &[OsString], folder: &Path, signal: &str, port: u16) -> io::Result<Self> {
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder)
            .arg(signal)
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // Not ended by a Ctrl-C that is meant for the owner: it has an order to keep.
            .process_group(0)
            .spawn()?;
        let hold = guard.stdin.take();
        let said = guard.stdout.take().ok_or_else(|| io::Error::other("the guard has no output"))?;
        let mut pid = String::new();
        BufReader::new(said).read_line(&mut pid)?;
        let pid = pid.trim().parse().map_err(io::Error::other)?;
        let server = Self { guard, hold, pid };
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if !server.is_running() || began.elapsed() > START {
                let wrote = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                let last: Vec<&str> = wrote.lines().rev().take(5).collect();
                return Err(io::Error::other(format!("the server did not start: {last:?}")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    /// The server's process.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    fn is_running(&self) -> bool {
        Path::new(&format!("/proc/{}", self.pid)).exists()
    }

    /// Stops the server's processes where they are, as a machine that hangs would.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets them go on.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// To the server and to those that it has started.
    fn signal(&self, signal: &str) {
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
        for pid in std::iter::once(self.pid.to_string().as_str()).chain(children.split_whitespace()) {
            // One that has ended meanwhile needs none.
            Command::new("kill").args([&format!("-{signal}"), pid]).stderr(Stdio::null()).status().ok();
        }
    }

    /// Ends the server and waits until it has ended; its folder stays.
    pub fn stop_and_keep(mut self) {
        if let Some(mut hold) = self.hold.take() {
            // A guard that is gone has nothing to remove.
            writeln!(hold, "keep").ok();
        }
        self.end();
    }

    fn end(&mut self) {
        drop(self.hold.take());
        self.guard.wait().ok();
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.end();
    }
}
