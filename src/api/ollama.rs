//! Ollama's API over any backend (`docs/api.md`, Ollama's API): a client of it sees one big Ollama.
//!
//! An Ollama backend gets the client's own bytes and its answer goes back as it came; every other backend gets the request
//! translated. What only Ollama can do goes to a backend of that kind, if there is one with the model.

mod answer;
mod call;
mod chain;
mod model_lists;
mod route;

use bytes::Bytes;

use self::{
    answer::{Clock, Writer},
    call::ClientCall,
};
pub use self::{
    model_lists::{home, manage, pull, running, show, tags, version},
    route::OllamaRoute,
};
use super::{
    Api, Reply,
    scope::{Scope, Wanted, wanted},
};
use crate::{
    domain::ids::RequestId,
    error::{Error, ErrorCode},
};

/// Answers a request on one of the routes that ask a model. Dropping the future aborts the call.
///
/// # Errors
/// 400 for a request that is none, or that only Ollama can answer; 404 for a model that is not known here; the failure of the
/// call; 503 when nothing can serve it now.
pub async fn ask(
    api: &Api,
    route: OllamaRoute,
    scope: &Scope,
    body: Bytes,
    request_id: &RequestId,
) -> Result<Reply, Error> {
    let clock = Clock::start();
    let call = ClientCall::new(route, body)?;
    let meant = wanted(api, scope, &call.model, route.capability()).await;
    match meant.map_err(|error| not_found(error, route, &call.model))? {
        Wanted::Chain(id) => chain::ask(api, &id, call, scope, (request_id, clock)).await,
        Wanted::Model(models) => {
            let (outcome, served) = call.send(api, scope, &models).await?;
            let waited = Writer::waited(served.as_ref());
            let reply = Writer { route, model: call.model, clock, waited }.outcome(outcome);
            reply.map(|reply| reply.served_by(served.clone())).map_err(|error| error.with_served(served.map(Box::new)))
        }
    }
}

/// The error of a model that is not here, in Ollama's words for it on this route.
fn not_found(error: Error, route: OllamaRoute, model: &str) -> Error {
    if error.code() != ErrorCode::ModelNotFound || route != OllamaRoute::Embed {
        return error;
    }
    match error.message().strip_prefix(&format!("model '{model}' not found")) {
        Some(rest) => {
            let message = format!("model \"{model}\" not found, try pulling it first{rest}");
            Error::new(ErrorCode::ModelNotFound, message)
        }
        None => error,
    }
}
