//! `POST /tasks`: runs the chain in the body (`docs/api.md`, execution; `docs/workflow-spec.md`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Api, Reply, failure};
use crate::{
    domain::{
        chain::Chain,
        ids::{RequestId, RunId},
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{self, RunInfo, RunOutcome, StateUnit},
    error::{Error, ErrorCode},
    runtime::run::RunSpec,
};

/// Body of the request.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct TasksInput {
    input: Json,
    input_type: Option<String>,
    chain: Option<Chain>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TasksReply<'a> {
    output: &'a Value,
    output_type: DataType,
    state: &'a [StateUnit],
}

/// Checks the chain, runs it to its end and answers with its output and every step. Dropping the future stops the run.
///
/// # Errors
/// 400 before anything runs; 500 or 503 with the steps taken when a task failed.
pub async fn run(api: &Api, input: TasksInput, request_id: &RequestId) -> Result<Reply, Error> {
    let now = Timestamp::now();
    let chain = input.chain.ok_or_else(|| Error::invalid("field 'chain' is required"))?;
    let program = engine::compile(&chain).map_err(|invalid| Error::invalid(invalid.to_string()))?;
    let value = typed_input(input.input, input.input_type.as_deref(), now)?;
    let info = RunInfo { run_id: RunId::random(), request_id: request_id.clone(), started_at: now };
    let mut run = api.runtime.runs.start(RunSpec { program: Arc::new(program), input: value, info }).await?;
    let outcome = run.outcome().await.ok_or_else(|| {
        Error::new(ErrorCode::Internal, "the run crashed; steps already taken may have had effects, retry with care")
    })?;
    answer(outcome)
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
    let RunOutcome { result, state, warnings, served } = outcome;
    match result {
        Ok(output) => {
            let reply = TasksReply { output: &output, output_type: output.data_type(), state: &state };
            Ok(Reply::json(&reply)?.served_by(served).warning(warnings))
        }
        Err(refused) if refused.is_refused_input() => Err(Error::invalid(format!("field 'input': {refused}"))),
        Err(run_failure) => {
            let error = failure::from_failure(&run_failure.failure, run_failure.to_string());
            let error = error.with_served(served.map(Box::new));
            Err(error.with_field("state", serde_json::to_value(&state).unwrap_or_default()))
        }
    }
}
