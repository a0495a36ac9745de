//! `chain/<id>` in the place of a model: the request is the input of a run, and its reply is the answer.

use super::{
    answer::{Clock, Writer},
    call::{ClientCall, ForChain},
};
use crate::{
    api::{
        Api, Reply,
        chain_model::{self, ChainCall},
        model_catalog,
        scope::Scope,
        stream::{self, NDJSON},
    },
    domain::ids::{ChainId, RequestId},
    error::Error,
};

/// Runs a chain for a client.
///
/// # Errors
/// 400 for what no chain can answer, 404 for an unknown chain, and those of the run.
pub(super) async fn ask(
    api: &Api,
    chain: &ChainId,
    call: ClientCall,
    scope: &Scope,
    (request_id, clock): (&RequestId, Clock),
) -> Result<Reply, Error> {
    if call.route.shape().is_none() {
        return Err(chain_model::refuse_embedding(chain));
    }
    let asked = call.for_chain()?;
    let ClientCall { route, model, wants_stream, .. } = call;
    let writer = |served| Writer { route, model: model.clone(), clock, waited: Writer::waited(served) };
    let call = match asked {
        ForChain::Ask(call) => call,
        ForChain::Load { unloads } => {
            model_catalog::find(api, scope, &model).await?;
            return Ok(writer(None).loaded(unloads));
        }
    };
    let asked = ChainCall { chain, version: None, call: &call, scope, request_id };
    let (reply, run, served, warnings) = if wants_stream {
        let answer = chain_model::stream(api, &asked).await?;
        let encoder = writer(answer.served.as_ref()).encoder();
        (Reply::stream(stream::translated(NDJSON, answer.events, encoder)), answer.run, answer.served, answer.warnings)
    } else {
        let answer = chain_model::converse(api, &asked).await?;
        let written = writer(answer.served.as_ref()).whole(&answer.reply);
        let named = |error: Error| error.with_served(answer.served.clone().map(Box::new)).of_run(&answer.run);
        (written.map_err(named)?, answer.run, answer.served, answer.warnings)
    };
    Ok(reply.served_by(served).of_run(run).warning(warnings))
}
