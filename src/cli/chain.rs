//! `penstock chain …`: the tools for those who write chains (`docs/workflow-spec.md`, tools). They need no server, but
//! for the one that runs a chain.

mod check;
mod file;
mod findings;
mod graph;
mod run;
mod schema;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};

use self::file::TextFile;
use super::output::{Color, complain, err, out};
use crate::{domain::finding::Severity, engine::Checked};

/// The chain or its tests have failed.
const EXIT_FAILED: u8 = 1;
/// A file cannot be read, or the command is used in a way that makes no sense; the status clap ends with, too.
const EXIT_USAGE: u8 = 2;

#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// When to print in colour.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,
}

#[derive(Subcommand)]
enum Command {
    /// Check chains: everything that is wrong with them, with its line.
    ///
    /// Exits with 1 when something keeps a chain from running.
    Check {
        /// The files, each with a chain or a request of POST /tasks; - for standard input.
        #[arg(required = true)]
        files: Vec<String>,
        /// Warnings fail, too.
        #[arg(long)]
        strict: bool,
        /// How to tell it.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Draw a chain as a Mermaid flowchart.
    ///
    /// Reads a chain, or a request of POST /tasks with one, in YAML or JSON. Chains that are not valid are drawn, too.
    Graph {
        /// The file; - for standard input.
        file: String,
    },
    /// Run a chain on a server and show its steps while it runs.
    ///
    /// Prints the output on standard output and everything else on standard error. Ends with 1 when the run failed, 2 when
    /// the chain or the command is not in order, 3 when there is no server.
    Run(run::RunArguments),
    /// Print the JSON Schema of chains, for editors.
    Schema {
        /// Of a request of POST /tasks, with the chain in it.
        #[arg(long)]
        request: bool,
    },
    /// Run the tests beside a chain: every model and hook answers what the test says.
    ///
    /// The tests of triage.yaml are in triage.test.yaml, .test.yml or .test.json. Exits with 1 when one has failed.
    Test {
        /// The file with the chain.
        file: String,
        /// The file with the tests, if it is not beside the chain.
        #[arg(long, value_name = "FILE")]
        cases: Option<String>,
        /// How to tell what came of them.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// Does what the arguments say.
pub(super) fn chain(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Check { files, strict, format } => check::check(files, *strict, *format, arguments.color),
        Command::Graph { file } => graph::graph(file, arguments.color),
        Command::Run(run) => run::run(run, arguments.color),
        Command::Schema { request } => schema::schema(*request),
        Command::Test { file, cases, format } => test::test(file, cases.as_deref(), *format, arguments.color),
    };
    done.unwrap_or_else(|problem| complain(EXIT_USAGE, &problem))
}

/// Shows why a command cannot work with the chain in a file.
fn refused(file: &TextFile, checked: &Checked, status: u8, color: Color) -> Result<ExitCode, String> {
    let errors = checked.findings.iter().filter(|finding| finding.severity == Severity::Error);
    err(&findings::shown(file, errors), color);
    Ok(ExitCode::from(status))
}

/// Prints an answer that is no failure.
fn answered(text: &str) -> Result<ExitCode, String> {
    printed(text, Color::Never)?;
    Ok(ExitCode::SUCCESS)
}

fn printed(text: &str, color: Color) -> Result<(), String> {
    out(text, color).map_err(|error| format!("the answer cannot be written: {error}"))
}
