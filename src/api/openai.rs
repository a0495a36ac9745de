//! OpenAI's API over any backend (`docs/api.md`, OpenAI's API).
//!
//! A backend of the types `openai` and `vllm` gets the client's own bytes, and its answer goes back as it came; every other
//! backend gets the request translated, and so do all of them for a response, which is made of a chat.

mod answer;
mod by_chain;
mod call;
mod model_list;
mod respond;
mod route;

use bytes::Bytes;

pub(super) use self::answer::stamp;
use self::{answer::Writer, call::ClientCall};
pub use self::{
    model_list::{model, models},
    respond::respond,
    route::OpenaiRoute,
};
use super::{
    Api, Reply,
    scope::{Scope, Wanted, wanted},
};
use crate::{
    domain::ids::RequestId,
    error::{Error, ErrorCode},
};

/// Answers a request on one of the routes whose bytes may be sent on. Dropping the future aborts the call.
///
/// # Errors
/// 400 for a request that is none, or that no backend of its model can answer; 404 for an unknown model; the failure of the
/// call; 503 when nothing can serve it now.
pub async fn ask(
    api: &Api,
    route: OpenaiRoute,
    scope: &Scope,
    body: Bytes,
    request_id: &RequestId,
) -> Result<Reply, Error> {
    let call = ClientCall::new(route, body)?;
    match wanted(api, scope, &call.model, route.capability()).await.map_err(of_model)? {
        Wanted::Chain(id) => by_chain::ask(api, scope, &id, &call, request_id).await,
        Wanted::Model(models) => {
            let (answer, served) = call.send(api, scope, &models).await?;
            let written = Writer::new(&call, &served.model).answer(answer);
            written
                .map(|reply| reply.served_by(Some(served.clone())))
                .map_err(|error| error.with_served(Some(Box::new(served))))
        }
    }
}

/// An error of a model's name is one of that field.
fn of_model(error: Error) -> Error {
    match error.code() {
        ErrorCode::InvalidRequest | ErrorCode::ModelNotFound => error.with_param("model"),
        _ => error,
    }
}
