//! Lints of fields that do nothing where they stand.

use super::outline::Outline;
use crate::{
    domain::finding::{Code, Finding},
    engine::handler::Handler,
};

/// All of them.
pub(super) fn lint(outline: &Outline<'_>) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, node) in outline.nodes.iter().enumerate() {
        let Some(handler) = node.handler else { continue };
        let task = node.task;
        let asks = matches!(
            handler,
            Handler::RawString
                | Handler::ConditionKey
                | Handler::ParseNumber
                | Handler::ParseScore
                | Handler::ParseRange
                | Handler::ParseJson
                | Handler::ModelExecution
        );
        let fails = handler == Handler::RaiseError;
        let is_convert = handler == Handler::ConvertToOpenaiChatResponse;
        let config = &task.execute_config;
        for (is_unused, field, why) in [
            (
                !task.valid_conditions.is_empty() && handler != Handler::ConditionKey,
                "valid_conditions",
                "only condition_key looks at it",
            ),
            (
                task.output_schema.is_some() && handler != Handler::ParseJson,
                "output_schema",
                "only parse_json looks at it",
            ),
            (
                task.repair_attempts.is_some() && handler != Handler::ParseJson,
                "repair_attempts",
                "only parse_json looks at it",
            ),
            (task.hook.is_some() && handler != Handler::Hook, "hook", "only the handler hook calls it"),
            (
                !task.system_instruction.is_empty() && !asks,
                "system_instruction",
                "the handler asks no model that could be told",
            ),
            (
                *config != Default::default() && !asks && handler != Handler::Embedding && !is_convert,
                "execute_config",
                "the handler asks no model",
            ),
            (
                !task.input_var.is_empty() && !task.prompt_template.is_empty(),
                "input_var",
                "the prompt_template makes the input; name the variable in it",
            ),
            (fails && task.compose.is_some(), "compose", "the task always fails, so it has no output"),
            (fails && !task.print.is_empty(), "print", "the task always fails, so nothing is printed"),
            (
                fails && !task.transition.branches.is_empty(),
                "transition/branches",
                "the task always fails; use on_failure",
            ),
            (
                fails && !task.transition.variable.is_empty(),
                "transition/variable",
                "the task always fails; use on_failure",
            ),
        ] {
            if is_unused {
                let message = format!("'{}' has no effect on {}: {why}", field.replace('/', "."), handler.as_str());
                found.push(outline.warning(at, Code::UnusedField, field, message));
            }
        }
    }
    found
}
