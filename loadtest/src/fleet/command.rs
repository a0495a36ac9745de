//! `loadtest fleet`: the backends of a scenario in the foreground.

use std::{fs, io::Write, path::PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;
use tokio::io::AsyncReadExt;

use crate::fleet::{BackendSpec, Fleet};

/// What is started.
#[derive(Debug, Args)]
pub struct FleetArgs {
    /// A scenario; only its `[[backends]]` are looked at.
    #[arg(long, value_name = "SCENARIO.toml")]
    spec: PathBuf,
    /// Port of the first backend, the next ones follow; 0 takes free ones.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    port: u16,
}

#[derive(Deserialize)]
struct Written {
    backends: Vec<BackendSpec>,
}

/// Starts them, says in one line of JSON where they are, and serves until Ctrl-C, or until the input closes: with whoever
/// started it.
///
/// # Errors
/// When the file is wrong or a port is taken.
pub async fn serve(args: &FleetArgs, out: &mut dyn Write) -> Result<()> {
    let shown = args.spec.display();
    let text = fs::read_to_string(&args.spec).with_context(|| format!("{shown} cannot be read"))?;
    let written: Written = toml::from_str(&text).with_context(|| format!("{shown} is no scenario"))?;
    ensure!(!written.backends.is_empty(), "{shown} has no `[[backends]]`");
    for backend in &written.backends {
        backend.check().map_err(anyhow::Error::msg).with_context(|| format!("{shown}: `backends`"))?;
    }
    let fleet = Fleet::start(&written.backends, args.port).await.context("the backends do not start")?;
    writeln!(out, "{}", serde_json::to_string(&fleet.places())?)?;
    out.flush()?;
    tokio::select! {
        ended = fleet.go_up_and_down() => match ended.context("a backend does not come back")? {},
        () = input_closes() => Ok(()),
        pressed = tokio::signal::ctrl_c() => pressed.context("Ctrl-C cannot be heard"),
    }
}

async fn input_closes() {
    let (mut input, mut unread) = (tokio::io::stdin(), [0; 256]);
    while input.read(&mut unread).await.is_ok_and(|bytes| bytes > 0) {}
}
