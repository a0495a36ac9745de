//! `penstock export` and `penstock import`: everything that is configured as JSON Lines, for a backup or a move to another
//! database (`docs/operations.md`, backup and move). The store is the one that the server's settings name.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;

use super::output::{Color, complain, err};
use crate::{
    app,
    config::{self, StoreConfig},
    stores::sql::{Passphrase, Transfer, TransferError},
};

/// It was not done; nothing has been changed.
const EXIT_FAILED: u8 = 1;
/// The command is used in a way that makes no sense.
const EXIT_USAGE: u8 = 2;
/// A setting cannot be used.
const EXIT_CONFIG: u8 = 64;

#[derive(Args)]
pub(super) struct ExportArguments {
    /// The file to write, which must not be there yet; without it standard output.
    file: Option<PathBuf>,
    /// Take API keys and tokens along, encrypted with a passphrase.
    #[arg(long)]
    with_secrets: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

#[derive(Args)]
pub(super) struct ImportArguments {
    /// The file; - for standard input.
    file: PathBuf,
    /// Delete what the store holds.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    passphrase: PassphraseArguments,
}

#[derive(Args)]
struct PassphraseArguments {
    /// A file whose first line is the passphrase; else PENSTOCK_PASSPHRASE counts.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Why a command was not carried out.
enum Problem {
    Usage(String),
    Config(String),
    Failed(String),
}

impl From<TransferError> for Problem {
    fn from(error: TransferError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Does what the arguments say.
pub(super) fn export(arguments: &ExportArguments) -> ExitCode {
    ended(exported(arguments))
}

/// Does what the arguments say.
pub(super) fn import(arguments: &ImportArguments) -> ExitCode {
    ended(imported(arguments))
}

fn ended(outcome: Result<(), Problem>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Problem::Usage(problem)) => complain(EXIT_USAGE, &problem),
        Err(Problem::Config(problem)) => complain(EXIT_CONFIG, &problem),
        Err(Problem::Failed(problem)) => complain(EXIT_FAILED, &problem),
    }
}

fn exported(arguments: &ExportArguments) -> Result<(), Problem> {
    let passphrase = if arguments.with_secrets {
        let problem = "--with-secrets needs a passphrase: --passphrase-file FILE, or PENSTOCK_PASSPHRASE";
        Some(passphrase(&arguments.passphrase)?.ok_or_else(|| Problem::Usage(problem.to_owned()))?)
    } else {
        None
    };
    let Opened { transfer, _runtime } = open(app::open_for_export)?;
    let mut progress = Progress::new("exported");
    let (rows, out) = match &arguments.file {
        None => {
            let mut out = BufWriter::new(io::stdout().lock());
            (transfer.export(&mut out, passphrase.as_ref(), &mut |rows| progress.show(rows))?, None)
        }
        Some(path) => {
            let failed = |error: io::Error| Problem::Failed(format!("cannot write {}: {error}", path.display()));
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
            let mut out = BufWriter::new(file);
            let rows = transfer.export(&mut out, passphrase.as_ref(), &mut |rows| progress.show(rows));
            if rows.is_err() {
                // Half a backup is none.
                std::fs::remove_file(path).ok();
            }
            (rows?, Some(out))
        }
    };
    if let Some(out) = out {
        let synced = out.into_inner().map_err(io::IntoInnerError::into_error).and_then(|file| file.sync_all());
        synced.map_err(|error| Problem::Failed(format!("the export is not on the disk: {error}")))?;
    }
    progress.end(rows);
    if passphrase.is_none() {
        err("API keys and tokens are not in it; --with-secrets takes them along.\n", Color::Never);
    }
    Ok(())
}

fn imported(arguments: &ImportArguments) -> Result<(), Problem> {
    let passphrase = passphrase(&arguments.passphrase)?;
    let mut input: Box<dyn BufRead> = if arguments.file.as_os_str() == "-" {
        Box::new(BufReader::new(io::stdin().lock()))
    } else {
        let failed = |error| Problem::Usage(format!("cannot read {}: {error}", arguments.file.display()));
        Box::new(BufReader::new(File::open(&arguments.file).map_err(failed)?))
    };
    let Opened { transfer, _runtime } = open(app::open_for_import)?;
    let mut progress = Progress::new("imported");
    let told = &mut |rows| progress.show(rows);
    let rows = transfer.import(&mut input, passphrase.as_ref(), arguments.replace, told)?;
    progress.end(rows);
    Ok(())
}

/// An open store, and what its connections live on.
struct Opened {
    transfer: Transfer,
    /// Dropped last.
    _runtime: tokio::runtime::Runtime,
}

fn open<F: Future<Output = Result<Transfer, app::StartError>>>(
    open: impl FnOnce(StoreConfig) -> F,
) -> Result<Opened, Problem> {
    let (config, _) = config::from_process().map_err(|error| Problem::Config(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Problem::Failed(format!("the runtime could not be started: {error}")))?;
    let transfer = runtime.block_on(open(config.store)).map_err(|error| match error {
        app::StartError::Address(_) => Problem::Config(error.to_string()),
        other => Problem::Failed(other.to_string()),
    })?;
    Ok(Opened { transfer, _runtime: runtime })
}

/// The passphrase that was given; `None` without one.
fn passphrase(arguments: &PassphraseArguments) -> Result<Option<Passphrase>, Problem> {
    let text = match &arguments.passphrase_file {
        Some(path) => Some(first_line(path)?),
        None => config::passphrase(),
    };
    let short = || Problem::Usage(format!("the passphrase is shorter than {} bytes", Passphrase::SHORTEST));
    text.map(|text| Passphrase::new(text).ok_or_else(short)).transpose()
}

fn first_line(path: &Path) -> Result<String, Problem> {
    let failed = |error| Problem::Usage(format!("cannot read {}: {error}", path.display()));
    let text = std::fs::read_to_string(path).map_err(failed)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// How it is going, on standard error; on a terminal in one line that changes.
struct Progress {
    done: &'static str,
    is_terminal: bool,
}

impl Progress {
    fn new(done: &'static str) -> Self {
        Self { done, is_terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, rows: u64) {
        if self.is_terminal {
            err(&format!("\r{} {rows} rows", self.done), Color::Never);
        }
        // Who follows a file or a pipe wants no line for every step.
        io::stderr().flush().ok();
    }

    fn end(&mut self, rows: u64) {
        let start = if self.is_terminal { "\r" } else { "" };
        err(&format!("{start}{} {rows} rows\n", self.done), Color::Never);
    }
}
