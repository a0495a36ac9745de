//! `POST /tasks`: runs the chain in the body (`docs/api.md`, execution; `docs/workflow-spec.md`).

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use utoipa::ToSchema;

use super::{
    Api, ChainPrograms, Reply,
    diagnostics::{self, Sent},
    openapi::ChainSchema,
    run::{self, Runnable},
    scope::Scope,
};
use crate::{
    dialect::{
        document::{Document, DocumentError},
        json, members,
        source::Format,
    },
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

/// What was sent.
pub enum SentTask {
    /// A chain whose program is kept, with its input.
    Known(KnownTask),
    /// A body, or why it cannot be read.
    Document(Result<Document, DocumentError>),
}

/// A chain that was sent before in the same bytes, and what it begins with now.
pub struct KnownTask {
    chain: Runnable,
    input: Json,
    input_type: Option<String>,
}

/// The members of a body that has nothing to ignore.
const MEMBERS: [&str; 3] = ["input", "inputType", "chain"];

/// What a body of JSON asks for, where its chain is known by its bytes. Whatever else is odd about it, `None`: then all of it
/// is read, and said what there is to say.
pub fn known(programs: &ChainPrograms, body: &[u8]) -> Option<KnownTask> {
    let [input, input_type, chain] = members::exactly(body, MEMBERS)?;
    let chain = programs.sent(&body[chain?])?;
    let input = input.map_or(Some(Json::Null), |place| json::decode(&body[place]).ok())?;
    let input_type = input_type.map_or(Some(None), |place| json::decode(&body[place]).ok())?;
    Some(KnownTask { chain, input, input_type })
}

/// Checks the chain, runs it to its end and answers with its output and every step. Dropping the future stops the run.
/// `is_live`: answers at once with a stream of the steps as they are taken, which ends with that answer.
///
/// # Errors
/// 400 before anything runs, with diagnostics of the chain; 500 or 503 with the steps taken when a task failed.
pub async fn run(
    api: &Api,
    sent: SentTask,
    request_id: &RequestId,
    scope: Scope,
    is_live: bool,
) -> Result<Reply, Error> {
    let now = Timestamp::now();
    let (KnownTask { chain, input, input_type }, ignored) = match sent {
        SentTask::Known(task) => (task, Vec::new()),
        SentTask::Document(document) => compiled(api, document).await?,
    };
    let value = typed_input(input, input_type.as_deref(), now)?;
    let info = run::info(request_id, now);
    let reply = match is_live {
        true => run::live(api, chain, value, info, scope, answer).await,
        false => answer(run::to_its_end(api, chain, value, info, scope).await?),
    };
    reply.map(|reply| reply.warning(ignored))
}

/// Reads a body and compiles its chain; with the fields of it that are ignored.
async fn compiled(api: &Api, document: Result<Document, DocumentError>) -> Result<(KnownTask, Vec<String>), Error> {
    let Sent { value: TasksInput { input, input_type, chain }, source, has_unknown } =
        diagnostics::read(document, Written::Request).await?;
    let Some(chain) = chain else {
        return Err(diagnostics::refused(Error::invalid("field 'chain' is required"), source, Written::Request).await);
    };
    let id = Some(chain.id.trim()).filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES).map(ChainId::new);
    let (_, program, source) = diagnostics::compile(chain, source, Written::Request, Error::invalid).await?;
    let chain = Runnable { program, chain: id, is_stored: false };
    let mut ignored = Vec::new();
    if has_unknown {
        ignored = diagnostics::ignored_fields(source, Written::Request).await;
    } else if source.format() == Format::Json {
        let body = source.bytes();
        if let Some([_, _, Some(place)]) = members::exactly(&body, MEMBERS) {
            api.programs.keep_sent(&body[place], &chain);
        }
    }
    Ok((KnownTask { chain, input, input_type }, ignored))
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::engine;

    const CHAIN: &str = r#"{"tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"operator": "default", "goto": "end"}]}}]}"#;

    fn programs() -> ChainPrograms {
        let chain: Chain = serde_json::from_str(CHAIN).unwrap();
        let program = Arc::new(engine::compile(&chain).unwrap());
        let programs = ChainPrograms::default();
        programs.keep_sent(CHAIN.as_bytes(), &Runnable { program, chain: None, is_stored: false });
        programs
    }

    #[test]
    fn a_chain_is_known_by_its_bytes_wherever_it_stands_and_whatever_it_begins_with() {
        let programs = programs();
        let known = |body: String| {
            known(&programs, body.as_bytes()).map(|KnownTask { input, input_type, .. }| (input, input_type))
        };
        let string = Some("string".to_owned());
        assert_eq!(
            known(format!(r#"{{"input": "a\n", "inputType": "string", "chain": {CHAIN}}}"#)),
            Some((json!("a\n"), string.clone()))
        );
        assert_eq!(known(format!(r#" {{"chain":{CHAIN} , "input":{{"b": [1]}}}}"#)), Some((json!({"b": [1]}), None)));
        assert_eq!(known(format!(r#"{{"inputType":null,"chain":{CHAIN}}}"#)), Some((Json::Null, None)));
    }

    #[test]
    fn what_differs_by_a_byte_or_is_odd_in_any_way_is_read_as_a_whole() {
        let programs = programs();
        for body in [
            format!(r#"{{"input": "a", "chain": {}}}"#, CHAIN.replace("noop", "hook")),
            format!(r#"{{"input": "a", "chain": {}}}"#, CHAIN.replace("{\"tasks", "{ \"tasks")),
            format!(r#"{{"input": "a", "chain": {CHAIN}, "chain": {CHAIN}}}"#),
            format!(r#"{{"input": "a", "chain": {CHAIN}, "more": 1}}"#),
            format!(r#"{{"Input": "a", "chain": {CHAIN}}}"#),
            format!(r#"{{"input": [1, "chain": {CHAIN}}}"#),
            format!(r#"{{"input": 1e, "chain": {CHAIN}}}"#),
            format!(r#"{{"inputType": 7, "chain": {CHAIN}}}"#),
            format!(r#"{{"input": "a", "chain": {CHAIN}}} and more"#),
            r#"{"input": "a"}"#.to_owned(),
        ] {
            assert!(known(&programs, body.as_bytes()).is_none(), "{body}");
        }
    }
}
