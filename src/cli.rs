//! The command line: what the user asks for, and how the answer becomes an exit status.

mod chain;
mod client;
mod keys;
mod output;
mod serve;
mod transfer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// GenAI orchestration runtime: prompts, chats, embeddings and task chains on pools of LLM backends.
#[derive(Parser)]
#[command(name = "penstock", version, about, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server. It is configured by environment variables; README.md lists them.
    Serve,
    /// Check, draw, test and run task chains.
    Chain(chain::Arguments),
    /// Write everything that is configured as JSON Lines: a backup, or the way to another database.
    ///
    /// The store is the one that the server's settings name (DATABASE_URL, DATA_DIR); a server may use it meanwhile.
    Export(transfer::ExportArguments),
    /// Store what an export holds, all of it or nothing.
    ///
    /// The store is the one that the server's settings name (DATABASE_URL, DATA_DIR). It must be new, or be replaced. No
    /// server may use an embedded store meanwhile.
    Import(transfer::ImportArguments),
    /// Make, list and revoke API tokens of a server; change the secret that its stored keys are encrypted with.
    Keys(keys::Arguments),
    /// Print the version.
    Version,
}

/// Reads the arguments and does what they say.
pub fn run() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve => serve::serve(),
        Command::Chain(arguments) => chain::chain(&arguments),
        Command::Export(arguments) => transfer::export(&arguments),
        Command::Import(arguments) => transfer::import(&arguments),
        Command::Keys(arguments) => keys::keys(&arguments),
        Command::Version => version(),
    }
}

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
fn version() -> ExitCode {
    println!("penstock {}", env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Arguments;

    #[test]
    fn every_command_can_be_read() {
        Arguments::command().debug_assert();
    }
}
