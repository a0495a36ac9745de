//! Every actor and every call broken at each of its stages (`docs/operations.md`, supervision): by a panic and by an error, right
//! away and after one success. Whatever breaks, each request gets one answer that is whole or says that it is not, no backend
//! gets more calls at once than it has slots, all slots come back, who has nothing to do with it notices nothing, and the server
//! serves again. Built with the feature `faults` (`tests/run.sh`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test fails by panicking"
)]

#[path = "it"]
mod it {
    #[expect(dead_code, unused_imports, reason = "shared with the other tests, which use all of it")]
    pub mod support;
}
#[path = "failpoints/secrets.rs"]
mod secrets;
#[path = "failpoints/turn.rs"]
mod turn;
#[path = "failpoints/world.rs"]
mod world;

use std::{
    collections::BTreeSet,
    iter,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use it::support;
use penstock::{
    app::Ended,
    faults::{Kind, Set},
    runtime::{SystemActor, message_stages},
};

use self::{turn::Work, world::World};
use crate::support::{TASKS, soon};

/// Who comes to a stage.
#[derive(Debug, Clone, Copy)]
enum Of {
    Anybody,
    /// The backend that is in most pools.
    Backend,
    /// The pool of most requests.
    Pool,
}

/// A stage, who is broken there, and what is done until it is.
type Stage = (&'static str, Of, &'static [Work]);

/// Until a fault must have happened.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both kinds of fault, for the first who comes and for the second.
const FAULTS: [(Kind, u32); 4] = [(Kind::Panic, 0), (Kind::Error, 0), (Kind::Panic, 1), (Kind::Error, 1)];

const BACKEND: &[Stage] = &[
    ("backend.start", Of::Backend, &[Work::Calls, Work::CrashBackend]),
    ("backend.probe", Of::Backend, &[Work::Calls]),
    ("backend.download", Of::Anybody, &[Work::Calls, Work::Download]),
    ("backend.adopt", Of::Backend, &[Work::Calls, Work::Change]),
    ("backend.probe_due", Of::Backend, &[Work::Calls]),
    ("backend.probe_finished", Of::Backend, &[Work::Calls]),
    ("backend.call_failed", Of::Anybody, &[Work::Calls, Work::Trouble]),
    ("backend.call_ended", Of::Anybody, &[Work::Calls, Work::Trouble]),
    ("backend.call_refused", Of::Anybody, &[Work::Calls, Work::Trouble]),
    ("backend.calls_kept_out", Of::Anybody, &[Work::Calls, Work::Trouble]),
    ("backend.look_due", Of::Anybody, &[Work::Calls, Work::Trouble]),
    ("backend.download_finished", Of::Backend, &[Work::Calls, Work::Download]),
    ("backend.cancel_download", Of::Backend, &[Work::Calls, Work::Download]),
];

const POOL: &[Stage] = &[
    ("pool.start", Of::Pool, &[Work::Calls, Work::CrashPool]),
    ("pool.enqueue", Of::Pool, &[Work::Calls]),
    ("pool.offer", Of::Pool, &[Work::Calls]),
    ("pool.left", Of::Pool, &[Work::Calls, Work::Leave]),
    ("pool.look_again", Of::Pool, &[Work::Calls, Work::Change]),
    ("pool.expiry_due", Of::Anybody, &[Work::Calls, Work::Expire]),
    ("pool.grant", Of::Pool, &[Work::Calls]),
];

const FLEET: &[Stage] = &[
    ("fleet.start", Of::Anybody, &[Work::Calls, Work::Crash(SystemActor::Fleet)]),
    ("fleet.apply", Of::Anybody, &[Work::Calls, Work::Change]),
    ("fleet.backends_told", Of::Anybody, &[Work::Calls, Work::Change]),
    ("fleet.pools_made", Of::Anybody, &[Work::Calls, Work::Change]),
    ("fleet.connected", Of::Anybody, &[Work::Calls, Work::Change]),
    ("fleet.tables_published", Of::Anybody, &[Work::Calls, Work::Change]),
    ("fleet.restart_due", Of::Anybody, &[Work::Calls, Work::CrashBackend]),
    ("fleet.child_ended", Of::Anybody, &[Work::Calls, Work::CrashBackend]),
];

const RUNS: &[Stage] = &[
    ("runs.begin", Of::Anybody, &[Work::Runs, Work::Crash(SystemActor::Runs)]),
    ("runs.start", Of::Anybody, &[Work::Runs]),
    ("runs.get_live", Of::Anybody, &[Work::Runs]),
    ("runs.run_ended", Of::Anybody, &[Work::Runs]),
    ("run.start", Of::Anybody, &[Work::Runs]),
    ("run.begin", Of::Anybody, &[Work::Runs]),
    ("run.happened", Of::Anybody, &[Work::Runs]),
    ("run.continue", Of::Anybody, &[Work::Runs]),
    ("run.abandon", Of::Anybody, &[Work::Runs]),
    ("run.cancel", Of::Anybody, &[Work::Runs]),
    ("run.get_snapshot", Of::Anybody, &[Work::Runs, Work::Snapshot]),
    ("run.effect", Of::Anybody, &[Work::Runs]),
];

const SYSTEM: &[Stage] = &[
    ("reconcile.start", Of::Anybody, &[Work::Calls, Work::Change, Work::Crash(SystemActor::Reconcile)]),
    ("reconcile.poke", Of::Anybody, &[Work::Calls, Work::Change]),
    ("reconcile.read", Of::Anybody, &[Work::Calls, Work::Change]),
    ("reconcile.hand_over", Of::Anybody, &[Work::Calls, Work::Change]),
    ("reconcile.read_finished", Of::Anybody, &[Work::Calls, Work::Change]),
    ("reconcile.retry_due", Of::Anybody, &[Work::Calls, Work::Change, Work::FailToRead]),
    ("events.start", Of::Anybody, &[Work::Calls, Work::Listen, Work::Crash(SystemActor::Events)]),
    ("events.publish", Of::Anybody, &[Work::Calls, Work::Listen, Work::Download]),
    ("events.listen", Of::Anybody, &[Work::Calls, Work::Listen]),
];

const CALLS: &[Stage] = &[
    ("dispatch.plan", Of::Pool, &[Work::Calls]),
    ("dispatch.admit", Of::Pool, &[Work::Calls]),
    ("dispatch.queued", Of::Pool, &[Work::Calls]),
    ("dispatch.granted", Of::Pool, &[Work::Calls]),
    ("dispatch.call", Of::Backend, &[Work::Calls, Work::Runs]),
    ("dispatch.answered", Of::Backend, &[Work::Calls, Work::Runs]),
    ("dispatch.read", Of::Backend, &[Work::Calls]),
    ("dispatch.piece", Of::Backend, &[Work::Calls]),
    ("batch.send", Of::Anybody, &[Work::Calls, Work::Embed]),
    ("flight.make", Of::Anybody, &[Work::Calls, Work::Share]),
    ("flight.pass_on", Of::Anybody, &[Work::Calls, Work::Share]),
];

/// Stages after which there is no server: a test of their own.
const LAST: &[&str] = &["root.restart_due", "root.restart_due.done", "root.child_ended"];

/// Breaks everything of a table. What is told of a message is broken before it is heeded and after.
async fn break_each(table: &[Stage]) {
    let messages = message_stages();
    for (stage, of, works) in table {
        let done = messages.contains(stage).then(|| format!("{stage}.done"));
        for stage in iter::once((*stage).to_owned()).chain(done) {
            // One that has not crashed before is back at once.
            let world = World::start().await;
            break_at(&world, &stage, *of, works).await;
            world.rest().await;
        }
    }
}

async fn break_at(world: &World, stage: &str, of: Of, works: &[Work]) {
    let began = Instant::now();
    let of = match of {
        Of::Anybody => "",
        Of::Backend => &world.main,
        Of::Pool => TASKS,
    };
    for (kind, after) in FAULTS {
        let lives = world.lives();
        let set = Set::at(stage, of, kind, after, 1);
        let armed = Instant::now();
        while set.happened() == 0 {
            assert!(armed.elapsed() < PATIENCE, "nobody came to {stage}, {kind:?} after {after}");
            for told in soon("an answer for everybody", join_all(world.turn(works))).await {
                told.unwrap().check(stage, kind);
            }
        }
        drop(set);
        world.serves_again(stage, works).await;
        // Those are its own tasks, whose end it hears of.
        if stage.starts_with("backend.") && of == world.main && !["backend.probe", "backend.download"].contains(&stage)
        {
            world.wait_for_life(lives + 1).await;
        }
    }
    eprintln!("{stage}: {} ms", began.elapsed().as_millis());
}

#[tokio::test]
async fn a_broken_backend_actor_costs_nobody_an_answer() {
    break_each(BACKEND).await;
}

#[tokio::test]
async fn a_broken_pool_actor_costs_nobody_an_answer() {
    break_each(POOL).await;
}

#[tokio::test]
async fn a_broken_fleet_costs_nobody_an_answer() {
    break_each(FLEET).await;
}

#[tokio::test]
async fn a_broken_run_costs_no_other_request_its_answer() {
    break_each(RUNS).await;
}

#[tokio::test]
async fn broken_reconciliation_and_events_cost_nobody_an_answer() {
    break_each(SYSTEM).await;
}

#[tokio::test]
async fn a_call_that_breaks_costs_no_other_its_answer() {
    break_each(CALLS).await;
}

#[test]
fn no_message_of_any_actor_is_left_out() {
    let tables = [BACKEND, POOL, FLEET, RUNS, SYSTEM, CALLS];
    let broken: BTreeSet<&str> =
        tables.concat().into_iter().map(|(stage, ..)| stage).chain(LAST.iter().copied()).collect();
    let missing: Vec<&str> = message_stages().into_iter().filter(|stage| !broken.contains(stage)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test]
async fn a_root_that_breaks_ends_the_process_after_what_runs() {
    for stage in LAST {
        for kind in [Kind::Panic, Kind::Error] {
            let world = World::start().await;
            let gate = world.main_sim.hold();
            let running = world.turn(&[Work::Calls]);
            gate.wait_for_arrivals(1).await.unwrap();
            let set = Set::at(stage, "", kind, 0, 1);
            world.server.runtime.crash(SystemActor::Events);
            world.server.wait_until_draining().await;
            assert_eq!(set.happened(), 1);
            gate.release_all();
            for told in soon("an answer for everybody", join_all(running)).await {
                told.unwrap().check_last(stage, kind);
            }
            assert_eq!(soon("the end", world.server.ended()).await, Ended::Failed);
        }
    }
}

#[tokio::test]
async fn an_actor_of_the_top_that_cannot_live_ends_the_process() {
    for (stage, which) in [
        ("fleet.start", SystemActor::Fleet),
        ("reconcile.start", SystemActor::Reconcile),
        ("events.start", SystemActor::Events),
        ("runs.begin", SystemActor::Runs),
    ] {
        let world = World::start().await;
        let set = Set::at(stage, "", Kind::Panic, 0, u32::MAX);
        world.server.runtime.crash(which);
        // So many restarts take half a minute.
        tokio::time::pause();
        assert_eq!(world.server.ended().await, Ended::Failed);
        tokio::time::resume();
        assert_eq!(set.happened(), 20, "it was tried again as often as a crash is forgiven");
    }
}

#[tokio::test]
async fn a_backend_actor_that_cannot_live_rests_and_nobody_else_does() {
    let world = World::start().await;
    let set = Set::at("backend.start", &world.main, Kind::Panic, 0, u32::MAX);
    world.crash_main();
    for _ in 0..10 {
        for told in soon("an answer for everybody", join_all(world.turn(&[Work::Calls, Work::Change]))).await {
            told.unwrap().check("backend.start", Kind::Panic);
        }
    }
    assert!(set.happened() > 1);
    drop(set);
    world.serves_again("backend.start", &[Work::Calls]).await;
    world.rest().await;
}

#[tokio::test]
async fn a_server_whose_actors_do_not_start_says_so() {
    for stage in ["root.start", "fleet.start", "events.start", "reconcile.start", "runs.begin"] {
        for kind in [Kind::Panic, Kind::Error] {
            let _set = Set::at(stage, "", kind, 0, 1);
            let error = World::refused_start().await;
            assert!(error.contains(stage), "{error}");
        }
    }
}
