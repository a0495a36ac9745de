//! `POST /v1/responses`: a response is made of a chat, on every backend.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    answer::{not_used, stamp},
    by_chain,
    call::of_failed,
    of_model,
};
use crate::{
    api::{
        Api, Reply,
        aside::aside,
        failure::openai_error,
        reply::EVENT_STREAM,
        scope::{Scope, Wanted, wanted},
        stream::{EventSource, translated},
    },
    dialect::openai_front::{
        self, ResponseRequest,
        response::{Frame, response},
        response_events::ResponseEvents,
    },
    domain::{chat::ChatReply, ids::RequestId, model::Capability, route::ModelRoute},
    error::{Error, ErrorCode},
    runtime::dispatch::exchange::{Answer, Asked, Exchange},
};

/// Answers it. Dropping the future aborts the call.
///
/// # Errors
/// 400 for a request that is none, or wants something stored; 404 for an unknown model; the failure of the call; 503.
pub async fn respond(api: &Api, scope: &Scope, body: Bytes, request_id: &RequestId) -> Result<Reply, Error> {
    let request = aside(body.len(), || openai_front::read_response(&openai_front::decode(&body)?))?;
    drop(body);
    match wanted(api, scope, &request.model, Capability::Chat).await.map_err(of_model)? {
        Wanted::Chain(id) => by_chain::respond(api, scope, &id, request, request_id).await,
        Wanted::Model(models) => by_model(api, scope, &models, request).await,
    }
}

async fn by_model(api: &Api, scope: &Scope, models: &ModelRoute, request: ResponseRequest) -> Result<Reply, Error> {
    let ResponseRequest { model, stream, call, repeated, ignored, .. } = request;
    let asked = Asked::Chat(Arc::new(call));
    let exchange = Exchange { original: None, translate: &|| Ok(asked.clone()), wants_stream: stream };
    let (answer, served) = match api.runtime.dispatcher.exchange(models, &exchange).await {
        Ok(answered) => answered,
        Err(failed) => return Err(of_failed(api, scope, &model, models.capability, failed).await),
    };
    let frame = Frame { stamp: stamp(&served.model), repeated };
    let reply = match answer {
        Answer::Whole(reply) => whole(&reply, &frame)?,
        Answer::Pieces(held) => Reply::stream(translated(EVENT_STREAM, held, ResponseEvents::new(frame, openai_error))),
        // Asked for by original bytes or by texts alone.
        Answer::Relayed(_) | Answer::Embedded(_) => {
            return Err(Error::new(ErrorCode::Internal, "the answer is of another kind than the request"));
        }
    };
    Ok(reply.served_by(Some(served)).warning(not_used(&ignored)))
}

/// All of a reply.
pub(super) fn whole(reply: &ChatReply, frame: &Frame) -> Result<Reply, Error> {
    Reply::json(&response(reply, frame))
}

/// A reply while it arrives.
pub(super) fn pieces(events: impl EventSource, frame: Frame) -> Reply {
    Reply::stream(translated(EVENT_STREAM, events, ResponseEvents::new(frame, openai_error)))
}
