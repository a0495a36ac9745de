//! The `loadtest` binary: load, what came of it, and simulated backends by hand.
//!
//! - `loadtest sim --kind ollama --model qwen3:4b` serves a backend in the foreground until Ctrl-C.
//! - `loadtest floor --to http://127.0.0.1:8000` serves a proxy that does nothing but forward.
//! - `loadtest refusal --server target/ci/penstock` measures the CPU time of requests that are refused for load.
//! - `loadtest run SCENARIO.toml` plays a scenario, `loadtest compare penstock floor -s SCENARIO.toml` against several servers.
//! - `loadtest report RESULT.json --html FILE` shows a measurement that was kept.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use loadtest::{
    fleet::{self, FleetArgs},
    floor::Floor,
    play::command::{self as play, CompareArgs, RunArgs},
    refusal::{self, RefusalPlan},
    report::command::{self, ReportArgs},
    rules,
    sim::{Flavour, Routes, Rule, SimBackend},
};

/// That of the server, so that what is compared differs in nothing else.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Load for LLM servers, and simulated backends for them.
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
    /// Serve a proxy that forwards everything as it is.
    Floor(FloorArgs),
    /// Measure the CPU time of requests that are refused for load.
    Refusal(RefusalArgs),
    /// Serve the simulated backends of a scenario until Ctrl-C.
    Fleet(FleetArgs),
    /// Play scenarios, each on servers of its own.
    Run(RunArgs),
    /// Play a scenario against several targets in turns.
    Compare(CompareArgs),
    /// Show a measurement that was kept, and make a page of it.
    Report(ReportArgs),
}

#[derive(Args)]
struct RefusalArgs {
    /// The server's binary.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Bytes of a prompt; may be repeated.
    #[arg(long = "size", value_name = "N", default_values_t = [100, 10 << 10])]
    sizes: Vec<usize>,
    /// Requests of one turn.
    #[arg(long, value_name = "N", default_value_t = 2000)]
    requests: usize,
    /// Turns, the one that warms up not counted.
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Requests at a time.
    #[arg(long, value_name = "N", default_value_t = 16)]
    at_once: usize,
}

#[derive(Args)]
struct FloorArgs {
    /// Base URL of the server behind it.
    #[arg(long, value_name = "URL")]
    to: String,
    /// Port on 127.0.0.1; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
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
    /// A file of rules, which come before the options above (`loadtest::rules`).
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
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
async fn main() -> anyhow::Result<ExitCode> {
    // No call here is encrypted, but a client cannot be made without.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("a TLS provider is installed already");
    }
    match Cli::parse().command {
        Command::Sim(args) => serve(args).await?,
        Command::Floor(args) => {
            let floor = Floor::open(&args.to, args.port).await?;
            writeln!(io::stdout(), "listening {}", floor.url()?)?;
            floor.serve().await?;
        }
        Command::Refusal(args) => measure_refusals(args).await?,
        Command::Fleet(args) => fleet::serve(&args, &mut io::stdout()).await?,
        Command::Run(args) => return play::run(&args, &mut io::stdout()).await,
        Command::Compare(args) => return play::compare(&args, &mut io::stdout()).await,
        Command::Report(args) => command::run(&args, &mut io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn measure_refusals(args: RefusalArgs) -> io::Result<()> {
    let RefusalArgs { server, sizes, requests, rounds, at_once } = args;
    let plan = RefusalPlan { server, sizes, requests, rounds, at_once: at_once.max(1) };
    writeln!(io::stdout(), "{:>12}  what", "CPU us")?;
    for cost in refusal::measure(&plan).await? {
        writeln!(io::stdout(), "{:>12.1}  {}", cost.micros, cost.what)?;
    }
    Ok(())
}

async fn serve(args: SimArgs) -> io::Result<()> {
    let rule = rule(&args);
    let scripted = args.script.as_deref().map(rules::read).transpose()?.unwrap_or_default();
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
    scripted.into_iter().chain([rule]).for_each(|rule| {
        sim.script(rule);
    });
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
