//! `POST /tasks`: runs the chain in the body (`docs/api.md`, execution; `docs/workflow-spec.md`).

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{
    Api, Reply,
    diagnostics::{self, Sent},
    openapi::ChainSchema,
    run::{self, Runnable},
    scope::Scope,
};
use crate::{
    dialect::document::{Document, DocumentError},
    domain::{
        chain::Chain,
        ids::{ChainId, MAX_ID_BYTES, RequestId},
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{RunOutcome, StateUnit, Written},
    error::Error,
};

/// Body of the request.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct TasksInput {
    /// What the chain begins with, of the type that `inputType` names.
    #[schema(value_type = serde_json::Value)]
    input: Json,
    /// May be left out for a text.
    #[schema(value_type = Option<DataType>)]
    input_type: Option<String>,
    #[schema(value_type = ChainSchema, required)]
    chain: Option<Chain>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct TasksReply<'a> {
    #[schema(value_type = serde_json::Value)]
    output: &'a Value,
    output_type: DataType,
    #[schema(value_type = Vec<StateUnit>)]
    state: &'a [StateUnit],
}

/// Checks the chain, runs it to its end and answers with its output and every step. Dropping the future stops the run.
/// `is_live`: answers at once with a stream of the steps as they are taken, which ends with that answer.
///
/// # Errors
/// 400 before anything runs, with diagnostics of the chain; 500 or 503 with the steps taken when a task failed.
pub async fn run(
    api: &Api,
    document: Result<Document, DocumentError>,
    request_id: &RequestId,
    scope: Scope,
    is_live: bool,
) -> Result<Reply, Error> {
    let now = Timestamp::now();
    let Sent { value: TasksInput { input, input_type, chain }, source, has_unknown } =
        diagnostics::read(document, Written::Request).await?;
    let Some(chain) = chain else {
        return Err(diagnostics::refused(Error::invalid("field 'chain' is required"), source, Written::Request).await);
    };
    let id = Some(chain.id.trim()).filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES).map(ChainId::new);
    let (_, program, source) = diagnostics::compile(chain, source, Written::Request, Error::invalid).await?;
    let value = typed_input(input, input_type.as_deref(), now)?;
    let ignored = if has_unknown { diagnostics::ignored_fields(source, Written::Request).await } else { Vec::new() };
    let (chain, info) = (Runnable { program, chain: id }, run::info(request_id, now));
    let reply = match is_live {
        true => run::live(api, chain, value, info, scope, answer).await,
        false => answer(run::to_its_end(api, chain, value, info, scope).await?),
    };
    reply.map(|reply| reply.warning(ignored))
}

fn typed_input(input: Json, input_type: Option<&str>, now: Timestamp) -> Result<Value, Error> {
    let data_type: DataType = match (input_type.map(str::trim).filter(|name| !name.is_empty()), &input) {
        (Some(name), _) => name.parse().map_err(|error| Error::invalid(format!("field 'inputType': {error}")))?,
        (None, Json::String(_)) => DataType::String,
        (None, _) => return Err(Error::invalid("field 'inputType' is required unless 'input' is a string")),
    };
    Value::from_json(input, data_type, now).map_err(|error| Error::invalid(format!("field 'input': {error}")))
}

fn answer(outcome: RunOutcome) -> Result<Reply, Error> {
    let RunOutcome { run_id, result, state, warnings, served, .. } = outcome;
    match result {
        Ok(output) => {
            let reply = TasksReply { output: &output, output_type: output.data_type(), state: &state };
            Ok(Reply::json(&reply)?.served_by(served).of_run(run_id).warning(warnings))
        }
        Err(run_failure) => Err(run::failed(&run_id, &run_failure, &state, served)),
    }
}
