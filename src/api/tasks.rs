//! `POST /tasks`: runs the chain in the body (`docs/api.md`, execution; `docs/workflow-spec.md`).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{Api, Reply, run};
use crate::{
    domain::{
        chain::Chain,
        ids::RequestId,
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{self, RunOutcome, StateUnit},
    error::Error,
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
    answer(run::to_its_end(api, Arc::new(program), value, request_id, now).await?)
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
        Err(run_failure) => Err(run::failed(&run_failure, &state, served)),
    }
}
