//! Answers of stored chains, which clients call as the model `chain/<id>` (`docs/api.md`, chains as models).

use super::{
    OpenaiRoute,
    answer::{Writer, not_used, stamp},
    call::ClientCall,
    of_model,
    respond::{pieces, whole},
};
use crate::{
    api::{
        Api, Reply,
        chain_model::{self, ChainCall},
        scope::Scope,
    },
    dialect::openai_front::{ResponseRequest, response::Frame},
    domain::{
        chat::ChatCall,
        ids::{ChainId, RequestId},
    },
    error::Error,
    runtime::dispatch::exchange::Asked,
};

/// A chat or a completion by a chain.
pub(super) async fn ask(
    api: &Api,
    scope: &Scope,
    chain: &ChainId,
    call: &ClientCall,
    request_id: &RequestId,
) -> Result<Reply, Error> {
    if call.route == OpenaiRoute::Embeddings {
        return Err(of_model(chain_model::refuse_embedding(chain)));
    }
    let Asked::Chat(chat) = &call.translate()?.asked else {
        return Err(of_model(chain_model::refuse_embedding(chain)));
    };
    let asked = chain_call(chain, chat, scope, request_id);
    let writer = Writer::new(call, &call.model);
    if call.wants_stream {
        let answer = chain_model::stream(api, &asked).await?;
        Ok(writer.pieces(answer.events).served_by(answer.served).of_run(answer.run).warning(answer.warnings))
    } else {
        let answer = chain_model::converse(api, &asked).await?;
        Ok(writer.whole(&answer.reply)?.served_by(answer.served).of_run(answer.run).warning(answer.warnings))
    }
}

/// A response by a chain.
pub(super) async fn respond(
    api: &Api,
    scope: &Scope,
    chain: &ChainId,
    request: ResponseRequest,
    request_id: &RequestId,
) -> Result<Reply, Error> {
    let ResponseRequest { model, stream, call, repeated, ignored } = request;
    let frame = Frame { stamp: stamp(&model), repeated };
    let asked = chain_call(chain, &call, scope, request_id);
    let reply = if stream {
        let answer = chain_model::stream(api, &asked).await?;
        pieces(answer.events, frame).served_by(answer.served).of_run(answer.run).warning(answer.warnings)
    } else {
        let answer = chain_model::converse(api, &asked).await?;
        whole(&answer.reply, &frame)?.served_by(answer.served).of_run(answer.run).warning(answer.warnings)
    };
    Ok(reply.warning(not_used(&ignored)))
}

const fn chain_call<'a>(
    chain: &'a ChainId,
    call: &'a ChatCall,
    scope: &'a Scope,
    request_id: &'a RequestId,
) -> ChainCall<'a> {
    ChainCall { chain, version: None, call, scope, request_id }
}
