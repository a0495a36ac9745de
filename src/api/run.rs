//! Runs a compiled chain to its end within a request, for `/tasks` and for the chat of a stored chain.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    Api, Reply, failure,
    live::LiveRun,
    scope::{self, Scope},
};
use crate::{
    domain::{
        ids::{ChainId, RequestId, RunId},
        message::Served,
        time::Timestamp,
        value::Value,
    },
    engine::{Program, RunFailure, RunInfo, RunOutcome, StateUnit, StreamWish},
    error::Error,
    runtime::run::{
        RunHandle, RunSpec, steps,
        told::{self, Told},
    },
};

/// A new run for this request.
pub(super) fn info(request_id: &RequestId, now: Timestamp) -> RunInfo {
    RunInfo { run_id: RunId::random(), request_id: request_id.clone(), started_at: now }
}

/// A compiled chain, and the id it has. Cheap to clone.
#[derive(Clone)]
pub(super) struct Runnable {
    pub(super) program: Arc<Program>,
    pub(super) chain: Option<ChainId>,
    /// Whether it is stored under that id, and not sent with it.
    pub(super) is_stored: bool,
}

/// Runs it; no step goes where `scope` does not allow it. Dropping the future stops the run.
///
/// # Errors
/// 404 for an unknown pool, 503 when too many run, 500 when the run's actor crashed; a failed run is an outcome.
pub(super) async fn to_its_end(
    api: &Api,
    chain: Runnable,
    input: Value,
    info: RunInfo,
    scope: Scope,
) -> Result<RunOutcome, Error> {
    scope::check(api, &scope)?;
    let mut run = api.runtime.runs.start(spec(chain, input, info, scope)).await?;
    run.outcome().await.ok_or_else(|| failure::crashed().of_run(&run.id))
}

fn spec(chain: Runnable, input: Value, info: RunInfo, scope: Scope) -> RunSpec {
    let Runnable { program, chain, is_stored } = chain;
    RunSpec { program, chain, is_stored, input, info, scope, teller: None }
}

/// Starts it and tells its steps. Dropping what is told stops the run. `answer`: as a caller who does not watch gets it.
///
/// # Errors
/// 404 for an unknown pool, 503 when too many run.
pub(super) async fn live(
    api: &Api,
    chain: Runnable,
    input: Value,
    info: RunInfo,
    scope: Scope,
    answer: fn(RunOutcome) -> Result<Reply, Error>,
) -> Result<Reply, Error> {
    scope::check(api, &scope)?;
    let (watch, steps) = steps::watch();
    let run = api.runtime.runs.start_watched(spec(chain, input, info, scope), Some(watch)).await?;
    let id = run.id.clone();
    Ok(Reply::live(LiveRun::new(run, steps, answer)).of_run(id))
}

/// Starts it and tells of its output what is wished, where the chain allows it. Dropping the handle stops the run.
///
/// # Errors
/// 404 for an unknown pool, 503 when too many run.
pub(super) async fn told(
    api: &Api,
    chain: Runnable,
    input: Value,
    info: RunInfo,
    scope: Scope,
    wish: StreamWish,
) -> Result<(RunHandle, mpsc::Receiver<Told>), Error> {
    scope::check(api, &scope)?;
    let (teller, told) = told::teller(wish);
    let spec = RunSpec { teller: Some(teller), ..spec(chain, input, info, scope) };
    let run = api.runtime.runs.start(spec).await?;
    Ok((run, told))
}

/// The error of a request whose run failed: with the steps it took, unless it was refused before the first.
pub(super) fn failed(run: &RunId, why: &RunFailure, state: &[StateUnit], served: Option<Served>) -> Error {
    if why.is_refused_input() {
        return Error::invalid(why.to_string()).of_run(run);
    }
    let error = failure::from_failure(&why.failure, why.to_string()).of_run(run);
    with_state(error.with_served(served.map(Box::new)), state)
}

/// Adds the steps of a run to its request's error.
pub(super) fn with_state(error: Error, state: &[StateUnit]) -> Error {
    error.with_field("state", serde_json::to_value(state).unwrap_or_default())
}
