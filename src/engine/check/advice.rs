//! What would be right, guessed from what was written: the hints of the compiler's findings.

use crate::{
    domain::{
        chain::{Chain, Task},
        failure::FailureClass,
        finding::{Code, Finding},
        provider::ProviderKind,
        route::RoutingStrategy,
    },
    engine::{duration, handler::Handler, suggest::did_you_mean},
};

/// What people write for operators, and what it is called here.
const OPERATORS: &[(&str, &str)] = &[
    ("==", "equals"),
    ("=", "equals"),
    ("eq", "equals"),
    ("is", "equals"),
    ("otherwise", "default"),
    ("else", "default"),
    ("always", "default"),
    ("between", "in_range"),
    ("range", "in_range"),
    ("includes", "contains"),
    ("has", "contains"),
    ("prefix", "starts_with"),
    ("suffix", "ends_with"),
    ("greater_than", ">"),
    ("less_than", "<"),
];
const KNOWN_OPERATORS: [&str; 8] =
    ["equals", "contains", "starts_with", "ends_with", "gt", "lt", "in_range", "default"];
const STRATEGIES: [&str; 3] = ["override", "merge_chat_histories", "append_string_to_chat_history"];

/// A hint for a finding whose path is a canonical pointer into the chain.
pub(super) fn hint(finding: &Finding, chain: &Chain) -> Option<String> {
    let mut path = finding.path.split('/').skip(1);
    let task = match path.next()? {
        "tasks" => path.next().and_then(|at| chain.tasks.get(at.parse::<usize>().ok()?)),
        _ => None,
    };
    let field: Vec<&str> = path.collect();
    match finding.code {
        Code::UnknownHandler => did_you_mean(task?.handler.trim(), Handler::ALL.map(Handler::as_str)),
        Code::UnknownGoto => {
            let target = target(task?, &field)?;
            match target {
                "end" => Some("leave it out to end the run as failed; only a branch may go to 'end'".to_owned()),
                target => did_you_mean(target, chain.tasks.iter().map(|task| task.id.as_str()).chain(["end"])),
            }
        }
        Code::UnknownOperator => {
            let branch = branch(task?, &field)?;
            operator(branch.operator.trim())
        }
        Code::UnknownValue => value(finding, chain, task, &field),
        Code::BadDuration => duration_hint(finding),
        Code::BadRange if field.last() == Some(&"when") => {
            let branch = branch(task?, &field)?;
            let is_list = branch.when.contains([',', '.']) && branch.operator.to_lowercase().contains("range");
            is_list.then(|| "write the two ends with a hyphen between them, such as 1-5".to_owned())
        }
        Code::TemplateSyntax => template(finding, task?, field.first()?),
        Code::MissingField => missing(task, &field, finding),
        Code::DuplicateTaskId => Some("give each task an id of its own; branches name tasks by it".to_owned()),
        Code::ReservedTaskId => Some("call it 'finish' or the like".to_owned()),
        _ => None,
    }
}

fn branch<'a>(task: &'a Task, field: &[&str]) -> Option<&'a crate::domain::chain::Branch> {
    task.transition.branches.get(field.get(2)?.parse::<usize>().ok()?)
}

fn target<'a>(task: &'a Task, field: &[&str]) -> Option<&'a str> {
    match *field.get(1)? {
        "on_failure" => Some(&task.transition.on_failure),
        "catch" => task.transition.catch.get(field.get(2)?.parse::<usize>().ok()?).map(|catch| catch.goto.as_str()),
        _ => branch(task, field).map(|branch| branch.goto.as_str()),
    }
}

fn operator(name: &str) -> Option<String> {
    let folded = name.to_lowercase();
    match folded.as_str() {
        ">=" | "gte" | "ge" => Some("there is only '>'; a range that begins with the number includes it".to_owned()),
        "<=" | "lte" | "le" => Some("there is only '<'; a range that ends with the number includes it".to_owned()),
        "!=" | "ne" | "not_equals" => Some("name the other values, and use a default branch for the rest".to_owned()),
        _ => match OPERATORS.iter().find(|(synonym, _)| *synonym == folded) {
            Some((_, meant)) => Some(format!("did you mean '{meant}'?")),
            None => did_you_mean(name, KNOWN_OPERATORS),
        },
    }
}

fn value(finding: &Finding, chain: &Chain, task: Option<&Task>, field: &[&str]) -> Option<String> {
    if finding.path == "/routing_strategy" {
        return did_you_mean(chain.routing_strategy.trim(), RoutingStrategy::ALL.map(RoutingStrategy::as_str));
    }
    let (task, config) = (task?, &task?.execute_config);
    let nth = |list: &'_ [String], at: usize| field.get(at)?.parse::<usize>().ok().and_then(|at| list.get(at).cloned());
    let kinds = ProviderKind::ALL.map(ProviderKind::as_str);
    match (*field.first()?, *field.get(1)?) {
        ("execute_config", "provider") => did_you_mean(config.provider.trim(), kinds),
        ("execute_config", "providers") => did_you_mean(nth(&config.providers, 2)?.trim(), kinds),
        ("execute_config", "fallback_models") => {
            let model = config.fallback_models.get(field.get(2)?.parse::<usize>().ok()?)?;
            did_you_mean(model.provider.trim(), kinds)
        }
        ("execute_config", "constrain") => did_you_mean(config.constrain.trim(), ["auto", "off"]),
        ("transition", "catch") => {
            let catch = task.transition.catch.get(field.get(2)?.parse::<usize>().ok()?)?;
            did_you_mean(nth(&catch.errors, 4)?.trim(), FailureClass::ALL.map(FailureClass::as_str))
        }
        ("retry_policy", "retry_on") => {
            let wanted = nth(&task.retry_policy.as_ref()?.retry_on, 2)?;
            did_you_mean(wanted.trim(), FailureClass::ALL.map(FailureClass::as_str))
        }
        ("compose", "strategy") => did_you_mean(task.compose.as_ref()?.strategy.trim(), STRATEGIES),
        _ => None,
    }
}

/// `timeout '5' is …`: the number wants a unit.
fn duration_hint(finding: &Finding) -> Option<String> {
    let text = finding.message.split('\'').nth(1)?.trim();
    let number: String = text.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let unit = text[number.len()..].trim();
    let unit = match unit.to_lowercase().as_str() {
        "" | "sec" | "secs" | "second" | "seconds" => "s",
        "min" | "mins" | "minute" | "minutes" => "m",
        "hour" | "hours" | "hr" => "h",
        "msec" | "millis" | "milliseconds" => "ms",
        _ => return Some("a duration is a number with a unit: ms, s, m or h, such as 30s".to_owned()),
    };
    let meant = format!("{number}{unit}");
    duration::parse(&meant).filter(|meant| !meant.is_zero()).map(|_| format!("write {meant}"))
}

fn template(finding: &Finding, task: &Task, field: &str) -> Option<String> {
    let source = if field == "print" { &task.print } else { &task.prompt_template };
    if let Some(name) = finding.message.split("function \"").nth(1).and_then(|rest| rest.split('"').next()) {
        let functions =
            ["and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf"];
        // A name at the start of an action is a variable without its dot, unless it looks like a function.
        let is_action = source.split("{{").skip(1).any(|action| {
            let action = action.trim_start_matches(['-', ' ']);
            action.strip_prefix(name).is_some_and(|rest| rest.trim_start_matches([' ', '-']).starts_with("}}"))
        });
        return match did_you_mean(name, functions) {
            Some(hint) if !is_action => Some(hint),
            _ => Some(format!("write a variable with a dot before it: {{{{.{name}}}}}")),
        };
    }
    if source.contains("${") || source.contains("{%") {
        return Some("templates are Go's: {{.name}}, {{if .name}} … {{end}}".to_owned());
    }
    let has_hyphen = source.split("{{").skip(1).any(|action| {
        let name = action.trim_start_matches(['-', ' ']);
        name.starts_with('.') && name.split([' ', '}', '|']).next().is_some_and(|name| name[1..].contains('-'))
    });
    has_hyphen.then(|| "an id with '-' is reached with {{index . \"its-id\"}}".to_owned())
}

fn missing(task: Option<&Task>, field: &[&str], finding: &Finding) -> Option<String> {
    match (task, field) {
        (_, _) if finding.path == "/tasks" => {
            Some("add a list 'tasks'; the first task is where a run starts".to_owned())
        }
        (Some(_), ["id"]) => Some("add an id; branches name tasks by it".to_owned()),
        (Some(task), ["handler"]) => {
            let guess = if !task.valid_conditions.is_empty() {
                "condition_key"
            } else if task.hook.is_some() {
                "hook"
            } else if task.output_schema.is_some() {
                "parse_json"
            } else {
                "raw_string"
            };
            Some(format!("add one, for example handler: {guess}"))
        }
        (Some(_), ["valid_conditions"]) => Some("list the allowed replies: valid_conditions: [yes, no]".to_owned()),
        (Some(_), ["hook", ..]) => Some("write hook: {name: …}".to_owned()),
        (Some(_), ["compose", ..]) => Some("name a variable: input, or the id of an earlier task".to_owned()),
        _ => None,
    }
}
