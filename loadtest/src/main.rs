//! The `loadtest` binary: simulated backends by hand.
//!
//! `loadtest sim --kind ollama --model qwen3:4b` serves one in the foreground until Ctrl-C.

use std::{
    io::{self, Write},
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use loadtest::sim::{Flavour, Routes, Rule, SimBackend};

/// Simulated LLM backends.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a simulated backend until Ctrl-C.
    Sim(SimArgs),
}

#[derive(Args)]
struct SimArgs {
    /// Which server to be.
    #[arg(long, value_enum, default_value_t = Kind::Ollama)]
    kind: Kind,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// A served model; may be repeated.
    #[arg(long = "model", value_name = "NAME")]
    models: Vec<String>,
    /// A model that can be pulled; may be repeated.
    #[arg(long = "catalog", value_name = "NAME")]
    catalog: Vec<String>,
    /// Milliseconds before each answer of a model.
    #[arg(long, value_name = "N", default_value_t = 0)]
    delay_ms: u64,
    /// Milliseconds before each chunk of a stream.
    #[arg(long, value_name = "N", default_value_t = 0)]
    chunk_delay_ms: u64,
    /// What the models say, instead of repeating the prompt.
    #[arg(long, value_name = "TEXT")]
    reply: Option<String>,
    /// A key every call must bring (not for Ollama).
    #[arg(long, value_name = "KEY")]
    api_key: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Ollama,
    Openai,
    Llamacpp,
    Vllm,
    Gemini,
}

#[tokio::main]
async fn main() -> io::Result<()> {
    match Cli::parse().command {
        Command::Sim(args) => serve(args).await,
    }
}

async fn serve(args: SimArgs) -> io::Result<()> {
    let rule = rule(&args);
    let builder = match args.kind {
        Kind::Ollama => SimBackend::ollama(),
        Kind::Openai => SimBackend::openai(),
        Kind::Llamacpp => SimBackend::openai().flavour(Flavour::LlamaCpp),
        Kind::Vllm => SimBackend::vllm(),
        Kind::Gemini => SimBackend::gemini(),
    };
    let builder = builder.port(args.port).catalog(args.catalog).count_only();
    let builder = args.models.into_iter().fold(builder, |builder, model| builder.model(model));
    let builder = args.api_key.into_iter().fold(builder, |builder, key| builder.api_key(key));
    let sim = builder.start().await?;
    sim.script(rule);
    writeln!(io::stdout(), "listening {}", sim.url())?;
    tokio::signal::ctrl_c().await
}

fn rule(args: &SimArgs) -> Rule {
    let mut rule = Rule::on(Routes::CALLS);
    if args.delay_ms > 0 {
        rule = rule.delay(Duration::from_millis(args.delay_ms));
    }
    if args.chunk_delay_ms > 0 {
        rule = rule.chunk_delay(Duration::from_millis(args.chunk_delay_ms));
    }
    match &args.reply {
        Some(text) => rule.reply(text),
        None => rule,
    }
}
