//! The `loadtest` binary: simulated backends by hand, and what a server costs.
//!
//! - `loadtest sim --kind ollama --model qwen3:4b` serves a backend in the foreground until Ctrl-C.
//! - `loadtest floor --to http://127.0.0.1:8000` serves a proxy that does nothing but forward.
//! - `loadtest cost --server target/ci/penstock` compares the CPU time of a request through the server with that through
//!   such a proxy.
//! - `loadtest crowd --server target/ci/penstock` shows what the server remembers of many clients that wait, and of many
//!   slow streams.
//! - `loadtest refusal --server target/ci/penstock` measures the CPU time of requests that are refused for load.

use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use loadtest::{
    cost::{self, CostPlan},
    crowd::{self, Crowd, CrowdPlan},
    floor::Floor,
    refusal::{self, RefusalPlan},
    rules,
    sim::{Flavour, Routes, Rule, SimBackend},
};

/// That of the server, so that what is compared differs in nothing else.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

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
    /// Serve a proxy that forwards everything as it is.
    Floor(FloorArgs),
    /// Measure the CPU time of a request through a server and through such a proxy.
    Cost(CostArgs),
    /// Let many clients wait at once, and many streams run, and measure the server's memory.
    Crowd(CrowdArgs),
    /// Measure the CPU time of requests that are refused for load.
    Refusal(RefusalArgs),
}

#[derive(Args)]
struct CrowdArgs {
    /// The server's binary.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Clients that wait for a slot at the same time.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    waiting: usize,
    /// Streams at the same time.
    #[arg(long, value_name = "N", default_value_t = 2_000)]
    streams: usize,
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
struct CostArgs {
    /// The server's binary, built like this one.
    #[arg(long, value_name = "FILE")]
    server: PathBuf,
    /// Bytes of a prompt; may be repeated.
    #[arg(long = "size", value_name = "N", default_values_t = [1 << 10, 100 << 10, 256 << 10])]
    sizes: Vec<usize>,
    /// Requests of one turn.
    #[arg(long, value_name = "N", default_value_t = 300)]
    requests: usize,
    /// Turns of each server and size, the one that warms up not counted.
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// Requests at a time.
    #[arg(long, value_name = "N", default_value_t = 4)]
    at_once: usize,
    /// Have the answers streamed.
    #[arg(long)]
    stream: bool,
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
async fn main() -> io::Result<()> {
    // No call here is encrypted, but a client cannot be made without.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return Err(io::Error::other("a TLS provider is installed already"));
    }
    match Cli::parse().command {
        Command::Sim(args) => serve(args).await,
        Command::Floor(args) => {
            let floor = Floor::open(&args.to, args.port).await?;
            writeln!(io::stdout(), "listening {}", floor.url()?)?;
            floor.serve().await
        }
        Command::Cost(args) => measure(args).await,
        Command::Crowd(args) => gather(args).await,
        Command::Refusal(args) => measure_refusals(args).await,
    }
}

async fn measure(args: CostArgs) -> io::Result<()> {
    let CostArgs { server, sizes, requests, rounds, at_once, stream } = args;
    let plan = CostPlan { server, sizes, requests, rounds, at_once: at_once.max(1), stream };
    let costs = cost::measure(&plan).await?;
    writeln!(io::stdout(), "{:>12} {:>12} {:>12} {:>7}", "prompt bytes", "floor us", "server us", "ratio")?;
    for cost in costs {
        let (size, floor, server, ratio) = (cost.size, cost.floor, cost.server, cost.ratio);
        writeln!(io::stdout(), "{size:>12} {floor:>12.1} {server:>12.1} {ratio:>7.2}")?;
    }
    Ok(())
}

async fn gather(args: CrowdArgs) -> io::Result<()> {
    let CrowdArgs { server, waiting, streams } = args;
    let mut tell = |what: &str| {
        // Progress that nobody reads is no reason to stop.
        let _unread = writeln!(io::stderr(), "{what}");
    };
    let plan = CrowdPlan { server, waiting, streams };
    let (waiting, streams) = crowd::measure(&plan, &mut tell).await?;
    let mut out = io::stdout();
    writeln!(
        out,
        "{:>10} {:>8} {:>9} {:>9} {:>9} {:>10}",
        "", "clients", "answered", "idle MiB", "most MiB", "after MiB"
    )?;
    for (name, crowd) in [("waiting", waiting), ("streams", streams)] {
        let Crowd { clients, answered, idle, most, after } = crowd;
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let (idle, most, after) = (mib(idle), mib(most), mib(after));
        writeln!(out, "{name:>10} {clients:>8} {answered:>9} {idle:>9.1} {most:>9.1} {after:>10.1}")?;
    }
    Ok(())
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
