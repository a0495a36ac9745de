//! A task chain as it is written (`docs/workflow-spec.md`, fields): everything still text, nothing checked.
//!
//! Read from JSON and YAML; names here are the canonical ones, looser spellings are matched by the deserializer at the
//! edge, and null counts as absent. `engine` checks a chain and compiles it.

mod read;

use std::collections::BTreeMap;

use serde::Deserialize;

/// A whole chain. Execution starts at the first task.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
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
}

/// One state of the machine.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Unique in the chain, also the name of its output's variable.
    pub id: String,
    /// For readers.
    pub description: String,
    /// What it does.
    pub handler: String,
    /// Told to the model as a system message.
    pub system_instruction: String,
    /// The replies `condition_key` allows.
    #[serde(deserialize_with = "read::conditions")]
    pub valid_conditions: Vec<Condition>,
    /// Which model, and how it draws its reply.
    pub execute_config: ExecuteConfig,
    /// The remote hook to call.
    pub hook: Option<HookCall>,
    /// Template of a line for the log.
    pub print: String,
    /// Template of the input; empty = the input is passed on as it is.
    pub prompt_template: String,
    /// Variable that is the input instead of the previous output.
    pub input_var: String,
    /// Joins the output with an earlier one.
    pub compose: Option<Compose>,
    /// What comes next.
    pub transition: Transition,
    /// Longest time of one attempt, such as `1m30s`.
    pub timeout: String,
    /// Attempts after the first.
    pub retry_on_failure: i64,
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
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ExecuteConfig {
    /// The preferred model.
    pub model: String,
    /// Further models, in order.
    pub models: Vec<String>,
    /// The wanted kind of backend.
    pub provider: String,
    /// Further kinds.
    pub providers: Vec<String>,
    /// How freely the reply is drawn; 0 = always the likeliest token.
    pub temperature: Option<f64>,
    /// Tokens the reply may have.
    pub max_tokens: Option<u32>,
    /// `auto` (default): force the form of the reply where the backend can; `off`: never.
    pub constrain: String,
}

/// A call of a remote hook. Serialised as the `args` of the request to it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct HookCall {
    /// Which hook.
    pub name: String,
    /// The author's arguments, keys verbatim.
    #[serde(deserialize_with = "read::text_map")]
    pub args: BTreeMap<String, String>,
}

/// How a task's output is joined with a variable.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Compose {
    /// The variable.
    pub with_var: String,
    /// The rule; empty = by the types of both.
    pub strategy: String,
}

/// What follows a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Transition {
    /// The task that takes over when this one failed.
    pub on_failure: String,
    /// Raised when this one failed.
    pub on_failure_alert: String,
    /// Tried in order; defaults last.
    pub branches: Vec<Branch>,
}

/// One way out of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Branch {
    /// How the value is compared; empty = `equals`, or `default` without a `when`.
    pub operator: String,
    /// What it is compared with; numbers and booleans are read as their text.
    #[serde(deserialize_with = "read::text")]
    pub when: String,
    /// The next task; `end` or empty ends the run.
    pub goto: String,
    /// Raised when this branch is taken.
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
}
