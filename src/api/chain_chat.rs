//! `POST /{chainID}/v1/chat/completions`: a stored chain behind OpenAI's chat API (`docs/api.md`, chat with a stored chain).

use serde_json::{Value as Json, json};

use super::{
    Api, Reply,
    chain_model::{Begun, ChainStream, begin},
    diagnostics,
    failure::openai_error,
    openai,
    reply::EVENT_STREAM,
    run::{self, Runnable, with_state},
    scope::Scope,
    stream::translated,
};
use crate::{
    dialect::openai_front::{
        chain_events::{self, ChunksBeside},
        chain_input::{self, ChatRequest},
        chunks::ChatChunks,
    },
    domain::{
        ids::{ChainId, RequestId},
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{InvalidChain, RunOutcome, StateUnit, StreamWish},
    error::{Error, ErrorCode},
};

/// Runs the chain on the chat request; its output is the answer. Dropping the future stops the run.
///
/// # Errors
/// 400 for a request that is none, or a chain that cannot run; 404 for an unknown chain or version; 500 and 503 with the
/// steps taken when the run failed or its output is no chat response.
pub async fn complete(
    api: &Api,
    chain: &str,
    version: Option<u64>,
    body: Json,
    stack_trace: bool,
    (request_id, scope): (&RequestId, Scope),
) -> Result<Reply, Error> {
    let now = Timestamp::now();
    let id = ChainId::new(chain);
    let program = api.programs.get(&*api.store, &id, version, invalid).await?;
    let ChatRequest { chat, include_usage, ignored } = chain_input::read(&body)?;
    drop(body);
    let (wants_stream, wants_choices) = (chat.stream, chat.n);
    let unread = (!ignored.is_empty()).then(|| format!("not used: {}", ignored.join(", ")));
    let choices = (wants_choices > 1).then(|| format!("n is {wants_choices}, a chain gives the choices it gives"));
    let input = Value::OpenaiChat(std::sync::Arc::new(chat));
    let (chain, info) = (Runnable { program, chain: Some(id), is_stored: true }, run::info(request_id, now));
    let outcome = if wants_stream {
        match begin(api, chain, input, info, &scope, StreamWish::Response).await? {
            Begun::Over(outcome) => outcome,
            Begun::Telling { run, events, served, model } => {
                let reply = arriving(events, &model, include_usage, stack_trace);
                return Ok(reply.served_by(Some(served)).of_run(run).warning(unread).warning(choices));
            }
        }
    } else {
        run::to_its_end(api, chain, input, info, scope).await?
    };
    let RunOutcome { run_id, result, state, warnings, served, .. } = outcome;
    let output = match result {
        Ok(Value::OpenaiChatResponse(output)) => output,
        Ok(other) => {
            let error = no_response(other.data_type()).with_served(served.map(Box::new)).of_run(&run_id);
            return Err(with_state(error, &state));
        }
        Err(run_failure) => return Err(run::failed(&run_id, &run_failure, &state, served)),
    };
    let beside = stack_trace.then(|| ("stackTrace", steps(&state)));
    let reply = if wants_stream {
        Reply::text(EVENT_STREAM, chain_events::write(&output, include_usage, beside))
    } else if let Some((name, steps)) = beside {
        let mut output = output.as_object().cloned().unwrap_or_default();
        output.insert(name.to_owned(), steps);
        Reply::json(&output)?
    } else {
        Reply::json(&*output)?
    };
    Ok(reply.served_by(served).of_run(run_id).warning(warnings).warning(unread).warning(choices))
}

/// A response that is still being made.
fn arriving(events: ChainStream, model: &str, include_usage: bool, stack_trace: bool) -> Reply {
    let chunks = ChatChunks::new(openai::stamp(model), include_usage, openai_error);
    Reply::stream(if stack_trace {
        let taken = events.steps();
        let beside = move || taken.get().map_or_else(|| json!([]), |state| steps(state));
        translated(EVENT_STREAM, events, ChunksBeside::new(chunks, "stackTrace", beside))
    } else {
        translated(EVENT_STREAM, events, chunks)
    })
}

/// The error of a stored chain that cannot run.
pub(super) fn invalid(invalid: InvalidChain) -> Error {
    let error = Error::invalid(invalid.to_string());
    diagnostics::refused_later(error, invalid.findings)
}

fn no_response(found: DataType) -> Error {
    let wanted = DataType::OpenaiChatResponse;
    let message = format!(
        "the output of the chain is of type {found}, to be an answer it must be {wanted}: let the chain end with a task \
         whose handler is convert_to_openai_chat_response"
    );
    Error::new(ErrorCode::ExecutionFailed, message)
}

fn steps(state: &[StateUnit]) -> Json {
    serde_json::to_value(state).unwrap_or_else(|_| json!([]))
}
