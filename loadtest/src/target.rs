//! What is measured: Penstock, the bare backend, the floor proxy, or any server of OpenAI's API that is running already.

use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};

use crate::process::Process;

/// A target as it is named on the command line.
///
/// `penstock` or `NAME=penstock:FILE` (another binary), `direct`, `floor`, `NAME=http://HOST:PORT`, and the same with `@PID`
/// behind it, so that the kernel's counts of that process are shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What reports call it.
    pub name: String,
    /// What it is.
    pub what: What,
}

/// What a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A Penstock, started for the measurement; from this file, or from the one beside this program.
    Penstock(Option<PathBuf>),
    /// The first simulated backend itself: what the rig costs.
    Direct,
    /// A proxy that forwards and does nothing else: what the parts cost that Penstock is made of.
    Floor,
    /// A server that is there already.
    Server {
        /// Where it listens.
        address: SocketAddr,
        /// The host as requests name it.
        host: String,
        /// Its process, if its use is to be measured.
        process: Option<Process>,
    },
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, what) = text.split_once('=').unwrap_or((text, text));
        ensure!(!name.is_empty() && !name.contains("://"), "`{text}` has no name: write NAME={text}");
        let what = match what {
            "penstock" => What::Penstock(None),
            "direct" => What::Direct,
            "floor" => What::Floor,
            url if url.starts_with("http://") => server(url)?,
            url if url.starts_with("https://") => {
                bail!("`{url}`: encrypted servers are not measured; write http://, and let a proxy encrypt")
            }
            other => match other.strip_prefix("penstock:") {
                Some(file) => What::Penstock(Some(PathBuf::from(file))),
                None => bail!(
                    "`{text}` is no target: penstock, NAME=penstock:FILE, direct, floor, or NAME=http://HOST:PORT[@PID]"
                ),
            },
        };
        Ok(Self { name: name.to_owned(), what })
    }
}

fn server(url: &str) -> Result<What> {
    let (place, pid) = match url.split_once('@') {
        Some((place, pid)) => (place, Some(pid.parse().with_context(|| format!("`{url}`: {pid} is no process id"))?)),
        None => (url, None),
    };
    let host = place.trim_start_matches("http://").trim_end_matches('/');
    ensure!(!host.contains('/'), "`{url}`: a path is not taken; requests go to the paths of OpenAI's API, /v1/…");
    let with_port = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let mut addresses = with_port.to_socket_addrs().with_context(|| format!("`{url}` has no address"))?;
    let address = addresses.next().with_context(|| format!("`{url}` has no address"))?;
    Ok(What::Server { address, host: host.to_owned(), process: pid.map(Process) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_and_what_is_none_is_told() {
        let read = |text: &str| text.parse::<Target>().map_err(|error| error.to_string());
        assert_eq!(read("floor").unwrap(), Target { name: "floor".to_owned(), what: What::Floor });
        let old = read("old=penstock:/opt/penstock").unwrap();
        assert_eq!(old.what, What::Penstock(Some(PathBuf::from("/opt/penstock"))));
        let other = read("other=http://127.0.0.1:4000@17").unwrap();
        let host = "127.0.0.1:4000".to_owned();
        let address = "127.0.0.1:4000".parse().unwrap();
        assert_eq!(other.what, What::Server { address, host, process: Some(Process(17)) });
        for wrong in
            ["http://127.0.0.1:4000", "a=https://127.0.0.1", "a=http://127.0.0.1/v1", "nginx", "a=http://127.0.0.1:1@x"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
