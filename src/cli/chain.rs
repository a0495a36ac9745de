//! `penstock chain …`: the tools for those who write chains (`docs/workflow-spec.md`, tools). They need no server, but
//! for the one that runs a chain.

mod file;
mod graph;
mod schema;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::output::{Color, complain, out};

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
    /// Draw a chain as a Mermaid flowchart.
    ///
    /// Reads a chain, or a request of POST /tasks with one, in YAML or JSON. Chains that are not valid are drawn, too.
    Graph {
        /// The file; - for standard input.
        file: String,
    },
    /// Print the JSON Schema of chains, for editors.
    Schema {
        /// Of a request of POST /tasks, with the chain in it.
        #[arg(long)]
        request: bool,
    },
}

/// Does what the arguments say.
pub(super) fn chain(arguments: &Arguments) -> ExitCode {
    let done = match &arguments.command {
        Command::Graph { file } => graph::graph(file),
        Command::Schema { request } => schema::schema(*request),
    };
    done.unwrap_or_else(|problem| complain(EXIT_USAGE, &problem))
}

/// Prints an answer that is no failure.
fn answered(text: &str) -> Result<ExitCode, String> {
    printed(text, Color::Never)?;
    Ok(ExitCode::SUCCESS)
}

fn printed(text: &str, color: Color) -> Result<(), String> {
    out(text, color).map_err(|error| format!("the answer cannot be written: {error}"))
}
