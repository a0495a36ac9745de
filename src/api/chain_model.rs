//! A stored chain as a model of either dialect (`docs/api.md`, chains as models): a client's call is the input of a run, and
//! what the run gives is the reply.
//!
//! The fronts call [`converse`] or [`stream`] where the model's name means a chain; [`refuse_embedding`] where vectors are
//! wanted.

mod input;
mod output;
mod told;

use self::input::ChainInput;
pub(super) use self::told::{Begun, ChainStream, begin};
use super::{
    Api, chain_chat,
    run::{self, Runnable},
    scope::Scope,
};
use crate::{
    domain::{
        chat::{ChatCall, ChatReply},
        ids::{ChainId, RequestId, RunId},
        message::Served,
        time::Timestamp,
    },
    engine::{RunOutcome, StreamWish},
    error::{Error, ErrorCode},
};

/// A call of a client whose model is a chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct ChainCall<'a> {
    /// Which chain.
    pub(super) chain: &'a ChainId,
    /// Which version of it; `None` = the latest.
    pub(super) version: Option<u64>,
    /// What the client says.
    pub(super) call: &'a ChatCall,
    /// Where its steps may go.
    pub(super) scope: &'a Scope,
    /// The client's request.
    pub(super) request_id: &'a RequestId,
}

/// All of a chain's reply.
#[derive(Debug)]
pub(super) struct ChainReply {
    /// The run that said it.
    pub(super) run: RunId,
    /// What it said.
    pub(super) reply: ChatReply,
    /// Who served the last call of the run, if there was one.
    pub(super) served: Option<Served>,
    /// What the client should know beside it.
    pub(super) warnings: Vec<String>,
}

/// A chain's reply that has begun.
pub(super) struct ChainAnswer {
    /// The run that says it.
    pub(super) run: RunId,
    /// What it says; dropping it stops the run.
    pub(super) events: ChainStream,
    /// Who serves the step whose tokens are passed on; of a run that is over already, who served its last call.
    pub(super) served: Option<Served>,
    /// What the client should know beside it.
    pub(super) warnings: Vec<String>,
}

/// Runs the chain to its end. Dropping the future stops the run.
///
/// # Errors
/// 404 for an unknown chain; 400 for what no chain can take, or a chain that cannot run; 500 and 503 with the steps taken
/// when the run failed.
pub(super) async fn converse(api: &Api, asked: &ChainCall<'_>) -> Result<ChainReply, Error> {
    let now = Timestamp::now();
    let program = program(api, asked).await?;
    let ChainInput { input, mut warnings } = input::of(asked.call, false).map_err(Error::invalid)?;
    let info = run::info(asked.request_id, now);
    let outcome = run::to_its_end(api, program, input, info, asked.scope.clone()).await?;
    let run = outcome.run_id.clone();
    let (reply, served) = finished(outcome, &mut warnings)?;
    Ok(ChainReply { run, reply, served, warnings })
}

/// Runs the chain and tells its reply while it is made. Resolves at the first piece of it, or at the end of a run that tells
/// nothing before. Dropping the future, or what it gives, stops the run.
///
/// # Errors
/// As for [`converse`], until the first piece.
pub(super) async fn stream(api: &Api, asked: &ChainCall<'_>) -> Result<ChainAnswer, Error> {
    let now = Timestamp::now();
    let program = program(api, asked).await?;
    let ChainInput { input, mut warnings } = input::of(asked.call, true).map_err(Error::invalid)?;
    let begun = begin(api, program, input, run::info(asked.request_id, now), asked.scope, StreamWish::Text).await?;
    match begun {
        Begun::Telling { run, events, served, .. } => Ok(ChainAnswer { run, events, served: Some(served), warnings }),
        Begun::Over(outcome) => {
            let run = outcome.run_id.clone();
            let (reply, served) = finished(outcome, &mut warnings)?;
            Ok(ChainAnswer { run, events: ChainStream::of(reply), served, warnings })
        }
    }
}

/// The error of a client that wants vectors of a chain.
pub(super) fn refuse_embedding(chain: &ChainId) -> Error {
    Error::invalid(format!(
        "model 'chain/{chain}' is a chain, which answers chats and prompts; name an embedding model"
    ))
}

async fn program(api: &Api, asked: &ChainCall<'_>) -> Result<Runnable, Error> {
    let found = api.programs.get(&*api.store, asked.chain, asked.version, chain_chat::invalid).await;
    found.map(|program| Runnable { program, chain: Some(asked.chain.clone()), is_stored: true }).map_err(|error| {
        match error.code() {
            ErrorCode::NotFound => {
                Error::new(ErrorCode::ModelNotFound, format!("model 'chain/{}' not found", asked.chain))
            }
            _ => error,
        }
    })
}

/// The reply of a run that is over.
fn finished(outcome: RunOutcome, warnings: &mut Vec<String>) -> Result<(ChatReply, Option<Served>), Error> {
    let RunOutcome { run_id, result, state, warnings: told, served, finish } = outcome;
    let value = result.map_err(|run_failure| run::failed(&run_id, &run_failure, &state, served.clone()))?;
    warnings.extend(told);
    Ok((output::reply(&value, &state, finish), served))
}
