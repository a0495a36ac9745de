//! What commands print: answers on standard output, everything else on standard error, in colour where that is wanted.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;

/// How text is made to stand out; streams that are no terminal leave these out.
pub(super) const BOLD: &str = "\x1b[1m";
pub(super) const DIM: &str = "\x1b[2m";
pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const RESET: &str = "\x1b[0m";

/// When to print in colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// In any case.
    Always,
    /// Never.
    Never,
}

impl Color {
    const fn choice(self) -> ColorChoice {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
    }
}

/// Writes to standard output.
///
/// # Errors
/// When nobody reads it any more, or the disk is full.
pub(super) fn out(text: &str, color: Color) -> io::Result<()> {
    let mut stream = AutoStream::new(io::stdout().lock(), color.choice());
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

/// Writes to standard error; that nobody reads it changes nothing.
pub(super) fn err(text: &str, color: Color) {
    AutoStream::new(io::stderr().lock(), color.choice()).write_all(text.as_bytes()).ok();
}

/// One line on standard error, whatever the log's form.
pub(super) fn complain(status: u8, message: &str) -> ExitCode {
    err(&format!("penstock: {}\n", message.replace('\n', " ")), Color::Never);
    ExitCode::from(status)
}
