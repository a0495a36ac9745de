//! A task chain as it is written (`docs/workflow-spec.md`, fields): everything still text, nothing checked.
//!
//! Read from JSON and YAML; names here are the canonical ones, looser spellings are matched by the deserializer at the
//! edge, and null counts as absent. Written in canonical spelling, what is empty left out. `engine` checks a chain and
//! compiles it. The doc comments below are the descriptions of the published JSON Schema.

mod read;
mod write;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use self::write::{is_default, is_empty};

/// A whole chain. Execution starts at the first task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Chain {
    /// Free name; may be empty for a chain that is run but not stored.
    pub id: String,
    /// For readers.
    pub description: String,
    /// Whether the recorded steps show inputs and outputs.
    pub debug: bool,
    /// In any order but for the first.
    pub tasks: Vec<Task>,
    /// Tokens one call may have; 0 = no limit.
    pub token_limit: i64,
    /// How a backend is chosen; empty = as the pool says.
    pub routing_strategy: String,
    /// Labels that every backend must carry that any task of the chain asks.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "read::text_map")]
    #[schemars(with = "BTreeMap<String, read::TextSchema>")]
    pub require: BTreeMap<String, String>,
    /// Tasks one run may execute; 0 = 1000.
    #[serde(skip_serializing_if = "is_default")]
    pub max_steps: i64,
    /// Longest time of a whole run, such as `5m`; empty = no limit of its own.
    #[serde(skip_serializing_if = "is_empty")]
    pub timeout: String,
    /// Tokens that all calls of one run may spend together, input and output; 0 = no limit.
    #[serde(skip_serializing_if = "is_default")]
    pub token_budget: i64,
    /// JSON Schema (2020-12) of the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Json>,
    /// The variable that is the result instead of the last task's output.
    #[serde(skip_serializing_if = "is_empty")]
    pub output_var: String,
}

/// One state of the machine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Task {
    /// Unique in the chain, also the name of its output's variable.
    pub id: String,
    /// For readers.
    pub description: String,
    /// What it does.
    pub handler: String,
    /// Told to the model as a system message.
    #[serde(skip_serializing_if = "is_empty")]
    pub system_instruction: String,
    /// The replies `condition_key` allows.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "read::conditions",
        serialize_with = "write::conditions"
    )]
    #[schemars(with = "read::ConditionsSchema")]
    pub valid_conditions: Vec<Condition>,
    /// Which model, and how it draws its reply.
    #[serde(skip_serializing_if = "is_default")]
    pub execute_config: ExecuteConfig,
    /// The remote hook to call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hook: Option<HookCall>,
    /// Template of a line for the log.
    #[serde(skip_serializing_if = "is_empty")]
    pub print: String,
    /// Template of the input; empty = the input is passed on as it is.
    pub prompt_template: String,
    /// Variable that is the input instead of the previous output.
    #[serde(skip_serializing_if = "is_empty")]
    pub input_var: String,
    /// JSON Schema (2020-12) of the reply that `parse_json` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Json>,
    /// How often `parse_json` asks the model to mend a reply that is not what it should be; absent = 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair_attempts: Option<i64>,
    /// Joins the output with an earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compose: Option<Compose>,
    /// What comes next.
    pub transition: Transition,
    /// Longest time of one attempt, such as `1m30s`.
    #[serde(skip_serializing_if = "is_empty")]
    pub timeout: String,
    /// Attempts after the first, whatever the failure and without delay.
    #[serde(skip_serializing_if = "is_default")]
    pub retry_on_failure: i64,
    /// Attempts with delays between them; replaces `retry_on_failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_policy: Option<RetryPolicy>,
    /// How often one run may come to this task; 0 = as often as its steps allow.
    #[serde(skip_serializing_if = "is_default")]
    pub max_visits: i64,
}

/// One reply that `condition_key` allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The reply, verbatim.
    pub key: String,
    /// What the author noted beside it; it never forbids the key.
    pub flag: bool,
}

/// Which model a task asks, and how.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExecuteConfig {
    /// The preferred model.
    #[serde(skip_serializing_if = "is_empty")]
    pub model: String,
    /// Further models, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// The wanted kind of backend.
    #[serde(skip_serializing_if = "is_empty")]
    pub provider: String,
    /// Further kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub providers: Vec<String>,
    /// How freely the reply is drawn; 0 = always the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Tokens the reply may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// `auto` (default): force the form of the reply where the backend can; `off`: never.
    #[serde(skip_serializing_if = "is_empty")]
    pub constrain: String,
    /// Asked in turn when the wanted models have failed; names, or `{model, provider}`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<read::FallbackModelSchema>")]
    pub fallback_models: Vec<FallbackModel>,
    /// Only this pool, by id or name; empty = any.
    #[serde(skip_serializing_if = "is_empty")]
    pub pool: String,
    /// Labels that every backend must carry that the task asks, beside those that the chain requires.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "read::text_map")]
    #[schemars(with = "BTreeMap<String, read::TextSchema>")]
    pub require: BTreeMap<String, String>,
}

/// A model to ask when the wanted ones have failed. Written as its name alone, or with its kind of backend.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FallbackModel {
    /// Its name.
    pub model: String,
    /// The kind of backend; empty = the local ones.
    pub provider: String,
}

/// How a task that failed is tried again. The n-th delay is `initial_backoff * backoff_rate^(n-1)`, at most
/// `max_backoff`; a `Retry-After` of the backend makes it longer, never shorter.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetryPolicy {
    /// Attempts, the first included; absent = 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<i64>,
    /// The delay before the second attempt; empty = `500ms`.
    #[serde(skip_serializing_if = "is_empty")]
    pub initial_backoff: String,
    /// By how much each delay is longer than the one before; absent = 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backoff_rate: Option<f64>,
    /// The longest delay; empty = `30s`.
    #[serde(skip_serializing_if = "is_empty")]
    pub max_backoff: String,
    /// The part of a delay that is drawn at random, from 0 (none) to 1 (all of it); absent = 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<f64>,
    /// Classes of failures that are tried again; empty = `rate_limit`, `server_error`, `connection` and `timeout`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub retry_on: Vec<String>,
}

/// A call of a remote hook. Serialised as the `args` of the request to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HookCall {
    /// Which hook.
    pub name: String,
    /// The author's arguments, keys verbatim.
    #[serde(deserialize_with = "read::text_map")]
    #[schemars(with = "BTreeMap<String, read::TextSchema>")]
    pub args: BTreeMap<String, String>,
}

/// How a task's output is joined with a variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Compose {
    /// The variable.
    pub with_var: String,
    /// The rule; empty = by the types of both.
    #[serde(skip_serializing_if = "is_empty")]
    pub strategy: String,
}

/// What follows a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Transition {
    /// The task that takes over when this one failed.
    pub on_failure: String,
    /// Raised when this one failed.
    #[serde(skip_serializing_if = "is_empty")]
    pub on_failure_alert: String,
    /// Tasks that take over after failures of some classes; tried in order, before `on_failure`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub catch: Vec<Catch>,
    /// Dot path of what branches compare, such as `extract.intent`; empty = the task's own transition value.
    #[serde(skip_serializing_if = "is_empty")]
    pub variable: String,
    /// Tried in order; defaults last.
    pub branches: Vec<Branch>,
}

/// Where a run goes on after failures of some classes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Catch {
    /// The classes; empty = all.
    pub errors: Vec<String>,
    /// The task that takes over.
    pub goto: String,
}

/// One way out of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Branch {
    /// How the value is compared; empty = `equals`, or `default` without a `when`.
    pub operator: String,
    /// What it is compared with; numbers and booleans are read as their text.
    #[serde(deserialize_with = "read::text")]
    #[schemars(with = "read::TextSchema")]
    pub when: String,
    /// The next task; `end` or empty ends the run.
    pub goto: String,
    /// Raised when this branch is taken.
    #[serde(skip_serializing_if = "is_empty")]
    pub alert_on_match: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn task(json: serde_json::Value) -> Task {
        serde_json::from_value(json).expect("a task")
    }

    #[test]
    fn allowed_replies_keep_their_order_and_spelling_as_map_and_as_list() {
        let written = r#"{"valid_conditions": {"zeta": true, "Al_pha": false, "1": true}}"#;
        let read: Task = serde_json::from_str(written).expect("a task");
        let pairs: Vec<_> = read.valid_conditions.iter().map(|c| (c.key.as_str(), c.flag)).collect();
        assert_eq!(pairs, [("zeta", true), ("Al_pha", false), ("1", true)]);
        let listed = task(json!({"valid_conditions": ["zeta", 1, true]})).valid_conditions;
        let pairs: Vec<_> = listed.iter().map(|c| (c.key.as_str(), c.flag)).collect();
        assert_eq!(pairs, [("zeta", true), ("1", true), ("true", true)]);
        assert!(serde_json::from_value::<Task>(json!({"valid_conditions": {"a": "maybe"}})).is_err());
    }

    #[test]
    fn a_when_and_hook_arguments_may_be_numbers_and_booleans() {
        for (when, text) in [(json!(7), "7"), (json!(0.50), "0.5"), (json!(true), "true"), (json!("7.0"), "7.0")] {
            let branch: Branch = serde_json::from_value(json!({"when": when})).expect("a branch");
            assert_eq!(branch.when, text);
        }
        let hook = task(json!({"hook": {"name": "h", "args": {"Top_K": 3, "deep": false, "q": "x"}}})).hook;
        let args = hook.expect("a hook").args.into_iter().collect::<Vec<_>>();
        let expected = [("Top_K", "3"), ("deep", "false"), ("q", "x")];
        assert_eq!(args, expected.map(|(key, text)| (key.to_owned(), text.to_owned())));
        assert!(serde_json::from_value::<Branch>(json!({"when": ["a"]})).is_err());
    }

    #[test]
    fn unknown_fields_are_ignored_and_absent_ones_have_their_zero() {
        let chain: Chain = serde_json::from_value(json!({"triggers": [], "tasks": [{}]})).expect("a chain");
        assert_eq!(chain, Chain { tasks: vec![Task::default()], ..Chain::default() });
    }

    #[test]
    fn what_was_read_is_written_in_canonical_spelling_and_reads_back_the_same() {
        let written = json!({
            "id": "c", "description": "", "debug": false, "token_limit": 0, "routing_strategy": "",
            "require": {"zone": "on-prem"}, "max_steps": 5, "timeout": "5m", "token_budget": 9, "input_schema": {"type": "object"}, "output_var": "v",
            "tasks": [{
                "id": "a", "description": "", "handler": "parse_json", "prompt_template": "",
                "valid_conditions": {"yes": true, "no": false},
                "execute_config": {"model": "m", "fallback_models": ["n", {"model": "o", "provider": "openai"}],
                    "pool": "night shift", "require": {"gpu": "h100"}},
                "hook": {"name": "h", "args": {"k": "1"}},
                "output_schema": {"type": "array"}, "repair_attempts": 0,
                "retry_policy": {"max_attempts": 4, "initial_backoff": "1s", "jitter": 0.5, "retry_on": ["timeout"]},
                "max_visits": 2,
                "transition": {"on_failure": "", "catch": [{"errors": ["auth"], "goto": "a"}], "variable": "a.b",
                    "branches": [{"operator": "default", "when": "", "goto": "end"}]},
            }],
        });
        let chain: Chain = serde_json::from_value(written.clone()).expect("a chain");
        assert_eq!(serde_json::to_value(&chain).expect("serialises"), written);
        let bare =
            serde_json::to_value(Chain { tasks: vec![Task::default()], ..Chain::default() }).expect("serialises");
        let task = json!({"id": "", "description": "", "handler": "", "prompt_template": "",
            "transition": {"on_failure": "", "branches": []}});
        assert_eq!(
            bare,
            json!({"id": "", "description": "", "debug": false, "tasks": [task], "token_limit": 0,
            "routing_strategy": ""})
        );
    }
}
