//! A Prometheus of our own, with the rules of a folder.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};

use super::{Guarded, free_port, is_there, program};

/// Between two scrapes, and between two looks at the rules.
const INTERVAL: &str = "200ms";
/// What the rules wait for before an alert fires, whatever they say.
const HASTE: &str = "1s";

/// A server that scrapes one target.
pub struct Prometheus {
    _server: Guarded,
    port: u16,
}

impl Prometheus {
    /// Whether it is installed.
    ///
    /// # Panics
    /// When it is not, and tests are told to require it.
    pub fn is_installed() -> bool {
        is_there(find(), "Prometheus (Debian: prometheus)")
    }

    /// Starts one that scrapes `target` (`host:port`) and evaluates these files of rules, hastily: each alert fires after a second.
    ///
    /// # Errors
    /// When it is not installed, a file cannot be read, or it does not start.
    pub fn start(target: &str, rules: &[&Path]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("penstock-prometheus-").tempdir()?.keep();
        let mut names = Vec::new();
        for file in rules {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            fs::write(folder.join(&name), hastened(&fs::read_to_string(file)?))?;
            names.push(name);
        }
        let config = format!(
            "global: {{scrape_interval: {INTERVAL}, scrape_timeout: {INTERVAL}, evaluation_interval: {INTERVAL}}}\n\
             rule_files: {names:?}\n\
             scrape_configs: [{{job_name: penstock, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        fs::write(folder.join("prometheus.yml"), config)?;
        let missing = || io::Error::new(io::ErrorKind::NotFound, "Prometheus is not installed (Debian: prometheus)");
        let (port, data) = (free_port()?, folder.join("data"));
        let mut command = vec![find().ok_or_else(missing)?.into_os_string()];
        command.push(flag("config.file", folder.join("prometheus.yml").display()));
        command.push(flag("storage.tsdb.path", data.display()));
        command.push(flag("web.listen-address", format_args!("127.0.0.1:{port}")));
        Ok(Self { _server: Guarded::start(&command, &folder, "KILL", port)?, port })
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// The rules with every wait of an alert made short.
fn hastened(rules: &str) -> String {
    let line = |line: &str| match line.trim_start().strip_prefix("for: ") {
        Some(_) => format!("{}for: {HASTE}\n", &line[..line.len() - line.trim_start().len()]),
        None => format!("{line}\n"),
    };
    rules.lines().map(line).collect()
}

fn flag(name: &str, value: impl std::fmt::Display) -> OsString {
    format!("--{name}={value}").into()
}

fn find() -> Option<PathBuf> {
    program(&["prometheus"], &["/usr/local/bin"].map(PathBuf::from))
}
