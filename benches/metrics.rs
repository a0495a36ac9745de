//! What do metrics cost at the peak, in CPU time a request?
//!
//! Two servers in this process get the same load in turns, in every round another one first. One of them was started before
//! anything was recorded, so that its handles count nothing; the other one behind that, and it is scraped once a turn. What is
//! compared is what the kernel counts for each one's own threads; the clients and the backends have threads of theirs.

use std::fs;

use bytes::Bytes;
use loadtest::sim::SimBackend;
use penstock::{app::App, telemetry};
use serde_json::json;
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    client::{self, CHATS, Client},
    served,
};

/// Clients that ask again as soon as they have their answer.
const CLIENTS: u32 = 64;
/// Requests of a client in a turn.
const ASKED: u32 = 100;
/// Words of an answer; a streamed one has an event for each.
const WORDS: usize = 20;
/// Rounds that are played when no number is named.
const ROUNDS: usize = 15;

/// A server on threads of its own.
struct Server {
    app: App,
    threads: &'static str,
    runtime: Runtime,
    sim: SimBackend,
    _folder: TempDir,
}

impl Server {
    fn start(threads: &'static str, load: &Runtime) -> Self {
        let runtime = runtime(threads);
        let (app, _folder) = runtime.block_on(served::start());
        let sim = load.block_on(served::backend_behind(&app, WORDS));
        Self { app, threads, runtime, sim, _folder }
    }

    /// The CPU time of its threads so far, in nanoseconds.
    fn cpu_nanos(&self) -> u64 {
        let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        let own = threads.filter(|thread| {
            // A thread may end while it is read.
            fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim_end() == self.threads)
        });
        let counted = own.filter_map(|thread| fs::read_to_string(thread.join("schedstat")).ok());
        counted.map(|line| line.split(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    /// The CPU time of a request of a turn, in microseconds.
    async fn turn(&self, path: &'static str, body: &Bytes) -> f64 {
        let before = self.cpu_nanos();
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            let (mut client, body) = (Client::connect(self.app.addr).await, body.clone());
            clients.spawn(async move {
                for _ in 0..ASKED {
                    client.post(path, &body).await;
                }
            });
        }
        let told = Client::connect(self.app.addr).await.get("/metrics").await;
        clients.join_all().await;
        assert!(!told.is_empty());
        (self.cpu_nanos() - before) as f64 / 1e3 / f64::from(CLIENTS * ASKED)
    }

    /// How many requests it has told of.
    async fn told(&self) -> f64 {
        let told = Client::connect(self.app.addr).await.get("/metrics").await;
        let told = String::from_utf8(told.to_vec()).unwrap();
        let lines = told.lines().filter(|line| line.starts_with("penstock_http_requests_total{"));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
    }

    fn end(self, load: &Runtime) {
        self.runtime.block_on(served::end(self.app));
        load.block_on(self.sim.stop());
    }
}

/// As a server has it, with a name for its threads.
fn runtime(threads: &'static str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread().thread_name(threads).enable_all().build().unwrap()
}

/// What stands behind `--metrics`: nothing, or how many rounds.
#[expect(clippy::print_stdout, reason = "the ratios are what was asked for")]
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let rounds = match arguments {
        [] => ROUNDS,
        [rounds] => {
            rounds.parse().ok().filter(|rounds| *rounds > 0).ok_or(format!("'{rounds}' is no number of rounds"))?
        }
        _ => return Err("--metrics takes nothing, or a number of rounds".to_owned()),
    };
    let cases: [(&str, &'static str, Bytes); 4] = [
        ("chat", CHATS, client::chat(false)),
        ("streamed chat", CHATS, client::chat(true)),
        ("prompt", "/execute", json!({"prompt": "Why is the sky blue?"})),
        ("chain of one step", "/tasks", client::one_step()),
    ]
    .map(|(case, path, body)| (case, path, Bytes::from(body.to_string())));
    let load = runtime("load");
    let warm = |server: &Server| {
        for (_, path, body) in &cases {
            load.block_on(server.turn(path, body));
        }
    };
    let plain = Server::start("plain", &load);
    // Some handles are made with the first request that needs them.
    warm(&plain);
    telemetry::install().map_err(|error| error.to_string())?;
    let metered = Server::start("metered", &load);
    warm(&metered);
    for (case, path, body) in &cases {
        let (mut ratios, mut costs) = (Vec::new(), Vec::new());
        for round in 1..=rounds {
            let (without, with) = load.block_on(async {
                if round % 2 == 0 {
                    let without = plain.turn(path, body).await;
                    (without, metered.turn(path, body).await)
                } else {
                    let with = metered.turn(path, body).await;
                    (plain.turn(path, body).await, with)
                }
            });
            println!("{case}, round {round} of {rounds}: {without:.1} us without metrics, {with:.1} us with them");
            ratios.push(with / without);
            costs.push(without);
        }
        let ([lowest, middle, highest], [_, cost, _]) = (spread(&mut ratios), spread(&mut costs));
        println!("{case}: {middle:.3} ({lowest:.3} to {highest:.3}) of {cost:.1} us\n");
    }
    // A comparison of two that do the same would say nothing: what is told is what one of the two was asked.
    let (told, turns) = (load.block_on(metered.told()), (rounds + 1) * cases.len());
    let asked = f64::from(CLIENTS * ASKED) * turns as f64;
    if told < asked || told > asked + 2.0 * turns as f64 {
        return Err(format!("{told} requests were recorded, and {asked} were to be"));
    }
    plain.end(&load);
    metered.end(&load);
    Ok(())
}

/// The lowest, the middle and the highest.
fn spread(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [0, values.len() / 2, values.len() - 1].map(|at| values[at])
}
