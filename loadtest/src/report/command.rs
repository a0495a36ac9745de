//! `loadtest report`: a result that was kept, shown again.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::Args;

use super::{json, markdown, page, table};

/// What to show, and how.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// The result, as a measurement has written it.
    #[arg(value_name = "RESULT.json")]
    pub result: PathBuf,
    /// Also write a page for the browser, which needs nothing besides itself.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Print Markdown instead of a table for the terminal.
    #[arg(long)]
    pub markdown: bool,
}

/// Shows a result on `out`, and writes its page if one is wanted.
pub fn run(args: &ReportArgs, out: &mut impl Write) -> anyhow::Result<()> {
    let report = json::read(&args.result)?;
    if let Some(file) = &args.html {
        fs::write(file, page::page(&report)).with_context(|| format!("cannot write {}", file.display()))?;
    }
    let text = if args.markdown { markdown::markdown(&report) } else { table::terminal(&report) };
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // Somebody has seen enough: `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot print the report"),
    }
}
