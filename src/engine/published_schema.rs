//! The JSON Schema of the chain language, for editors and for other programs (`docs/chain.schema.json`).
//!
//! Its fields and their descriptions are those of `domain::chain`; what may stand in them is put in here, from the same
//! lists that chains are checked with. Names are completed in their canonical spelling and accepted in every other one
//! that the server reads; fields that nobody knows are refused.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value as Json, json};

use crate::{
    domain::{chain::Chain, failure::FailureClass, provider::ProviderKind, route::RoutingStrategy, value::DataType},
    engine::handler::Handler,
};

/// The operators of branches, as they are documented.
const OPERATORS: [&str; 10] =
    ["equals", "contains", "starts_with", "ends_with", ">", "gt", "<", "lt", "in_range", "default"];
/// The rules by which outputs are joined.
const COMPOSE_STRATEGIES: [&str; 3] = ["override", "merge_chat_histories", "append_string_to_chat_history"];
/// Whether the form of a reply is forced.
const CONSTRAIN: [&str; 2] = ["auto", "off"];
/// A duration, or nothing.
const DURATION: &str = r"^\s*(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))*\s*$";

/// Keywords of a schema and their values.
type Keywords = Vec<(&'static str, Json)>;

/// A body of `POST /tasks`.
#[derive(JsonSchema)]
#[schemars(title = "Penstock task request")]
#[expect(dead_code, reason = "stands for what is read, in the published schema only")]
struct Request {
    /// What the chain begins with; of the type that `inputType` names.
    input: Json,
    /// The type of the input; may be left out for a string.
    #[schemars(rename = "inputType")]
    input_type: Option<String>,
    /// The chain to run.
    chain: Chain,
}

/// The schema of a chain.
pub fn chain_schema() -> Json {
    let mut schema = written::<Chain>();
    if let Some(fields) = schema.as_object_mut() {
        fields.insert("title".to_owned(), json!("Penstock task chain"));
        fill("Chain", fields);
    }
    finished(schema)
}

/// The schema of a file with a chain and its input, as `POST /tasks` takes it.
pub fn request_schema() -> Json {
    let mut schema = written::<Request>();
    if let Some(fields) = schema.as_object_mut() {
        fields.remove("description");
        fill("Request", fields);
    }
    finished(schema)
}

fn written<T: JsonSchema>() -> Json {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>().to_value()
}

fn finished(mut schema: Json) -> Json {
    if let Some(definitions) = schema.get_mut("$defs").and_then(Json::as_object_mut) {
        for (name, definition) in definitions {
            if let Json::Object(definition) = definition {
                fill(name, definition);
            }
        }
    }
    close(&mut schema, "#");
    schema
}

/// Puts in what the types do not say.
fn fill(name: &str, schema: &mut Map<String, Json>) {
    // These stand for the ways in which one thing may be written; their descriptions are for the code's readers.
    if name.ends_with("Schema") {
        schema.remove("description");
    }
    for (owner, field, words) in words() {
        if owner == name {
            set(schema, field, |field| words.clone().into_iter().for_each(|(key, value)| put(field, key, value)));
        }
    }
    let required: &[&str] = match name {
        "Chain" => &["tasks"],
        "Task" => &["id", "handler"],
        "HookCall" => &["name"],
        "Request" => &["chain"],
        _ => return,
    };
    schema.insert("required".to_owned(), json!(required));
}

/// What may stand in which field.
fn words() -> Vec<(&'static str, &'static str, Keywords)> {
    let handlers = Handler::ALL.map(Handler::as_str);
    let classes = json!({"type": "string", "enum": FailureClass::ALL.map(FailureClass::as_str)});
    let provider = || any_case(&ProviderKind::ALL.map(ProviderKind::as_str));
    let json_schema = || vec![("type", json!(["object", "boolean"]))];
    let duration = |default: Option<&str>| {
        let default = default.map(|default| ("default", json!(default)));
        [("pattern", json!(DURATION))].into_iter().chain(default).collect::<Vec<_>>()
    };
    let default = |value: Json| vec![("default", value)];
    vec![
        ("Request", "inputType", any_case(&DataType::ALL.map(DataType::as_str))),
        ("Chain", "routing_strategy", any_case(&RoutingStrategy::ALL.map(RoutingStrategy::as_str))),
        ("Chain", "timeout", duration(None)),
        ("Chain", "input_schema", json_schema()),
        ("Task", "handler", vec![("enum", json!(handlers))]),
        ("Task", "timeout", duration(None)),
        ("Task", "output_schema", json_schema()),
        ("Task", "repair_attempts", default(json!(1))),
        ("ExecuteConfig", "provider", provider()),
        ("ExecuteConfig", "providers", vec![("items", provider().into_iter().collect())]),
        ("ExecuteConfig", "constrain", [any_case(&CONSTRAIN), default(json!("auto"))].concat()),
        ("Compose", "strategy", any_case(&COMPOSE_STRATEGIES)),
        ("Catch", "errors", vec![("items", classes.clone())]),
        ("Branch", "operator", any_case(&OPERATORS)),
        ("RetryPolicy", "max_attempts", default(json!(3))),
        ("RetryPolicy", "initial_backoff", duration(Some("500ms"))),
        ("RetryPolicy", "backoff_rate", default(json!(2))),
        ("RetryPolicy", "max_backoff", duration(Some("30s"))),
        ("RetryPolicy", "jitter", vec![("default", json!(1)), ("minimum", json!(0)), ("maximum", json!(1))]),
        ("RetryPolicy", "retry_on", vec![("items", classes)]),
    ]
}

/// A text that is one of these, completed as written here and accepted in any spelling, or empty.
fn any_case(words: &[&str]) -> Keywords {
    let spellings: Vec<String> = words.iter().map(|word| any_spelling(word)).collect();
    let pattern = format!("^\\s*(?:{})?\\s*$", spellings.join("|"));
    vec![("type", json!("string")), ("anyOf", json!([{"enum": words}, {"pattern": pattern}]))]
}

/// A regular expression of every spelling of a name: in any case, with underscores or without.
fn any_spelling(name: &str) -> String {
    let letter = |letter: char| match letter {
        '_' => String::new(),
        _ if letter.is_ascii_alphabetic() => {
            format!("[{}{}]_*", letter.to_ascii_lowercase(), letter.to_ascii_uppercase())
        }
        '-' | '<' | '>' => letter.to_string(),
        _ => format!("{letter}_*"),
    };
    format!("_*{}", name.chars().map(letter).collect::<String>())
}

fn set(schema: &mut Map<String, Json>, field: &str, change: impl FnOnce(&mut Map<String, Json>)) {
    let field = schema.get_mut("properties").and_then(|fields| fields.get_mut(field));
    if let Some(Json::Object(field)) = field {
        change(field);
    }
}

fn put(schema: &mut Map<String, Json>, key: &str, value: Json) {
    schema.insert(key.to_owned(), value);
}

/// Accepts every spelling of the fields of every object in here and refuses unknown ones; drops what only machines
/// would read. `pointer`: where the schema stands.
fn close(schema: &mut Json, pointer: &str) {
    match schema {
        Json::Object(fields) => {
            let is_number = fields.get("type").is_some_and(|kind| kind != "string");
            if is_number {
                fields.remove("format");
            }
            // An editor that completes `handler: ""` helps nobody.
            let is_nothing = |default: &Json| default == "" || default.is_array() || default.is_object();
            if fields.get("default").is_some_and(is_nothing) {
                fields.remove("default");
            }
            for (name, inner) in fields.iter_mut() {
                close(inner, &format!("{pointer}/{name}"));
            }
            if let Some(Json::Object(properties)) = fields.get("properties") {
                let spellings: Map<String, Json> = properties
                    .keys()
                    .map(|name| {
                        let pattern = format!("^(?!{name}$){}$", any_spelling(name));
                        (pattern, json!({"$ref": format!("{pointer}/properties/{name}")}))
                    })
                    .collect();
                put(fields, "patternProperties", Json::Object(spellings));
                put(fields, "additionalProperties", json!(false));
            }
        }
        Json::Array(items) => {
            for (at, item) in items.iter_mut().enumerate() {
                close(item, &format!("{pointer}/{at}"));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::chain::Branch,
        engine::{compose::Strategy, duration, transition::Operator},
    };

    fn validator(schema: &Json) -> jsonschema::Validator {
        jsonschema::draft202012::new(schema).expect("a schema")
    }

    fn accepts(validator: &jsonschema::Validator, document: &Json) -> Result<(), String> {
        let errors: Vec<String> = validator.iter_errors(document).map(|error| error.to_string()).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
    }

    /// A chain of one task with these fields beside the needed ones.
    fn task(fields: Json) -> Json {
        let mut task = json!({"id": "a", "handler": "noop"});
        task.as_object_mut().expect("a task").extend(fields.as_object().expect("fields").clone());
        json!({"tasks": [task]})
    }

    #[test]
    fn the_published_schemas_are_those_of_the_code() {
        for (file, option, schema) in [("chain", "", chain_schema()), ("request", " --request", request_schema())] {
            let path = format!("{}/docs/{file}.schema.json", env!("CARGO_MANIFEST_DIR"));
            let published = std::fs::read_to_string(&path).unwrap_or_default();
            let written = serde_json::to_string_pretty(&schema).expect("serialises") + "\n";
            assert!(published == written, "write it anew: cargo run -- chain schema{option} > docs/{file}.schema.json");
        }
    }

    #[test]
    fn every_spelling_that_the_server_reads_is_accepted_and_typos_are_not() {
        let schema = validator(&chain_schema());
        for fields in [
            json!({"promptTemplate": "x", "SYSTEM_INSTRUCTION": "y", "validconditions": ["a", 1, true]}),
            json!({"valid_conditions": {"yes": true, "No_Key": false}, "timeout": "1m30s", "input_var": "b"}),
            json!({"executeConfig": {"maxTokens": 3, "fallbackModels": ["m", {"model": "n", "Provider": "OpenAI"}]}}),
            json!({"execute_config": {"providers": ["Ollama"], "constrain": "OFF", "temperature": 0}}),
            json!({"transition": {"onFailure": "a", "catch": [{"errors": ["timeout"], "goto": "a"}], "branches": [
                {"operator": "startsWith", "when": 7, "goto": "end"}, {"operator": ">", "when": 7.5},
                {"when": true, "alertOnMatch": "!"}, {"operator": "", "when": "x"}]}}),
            json!({"retryPolicy": {"maxAttempts": 4, "jitter": 0.5, "retryOn": ["rate_limit"]}, "retry_policy": null}),
            json!({"hook": {"name": "h", "args": {"Any_Key": 1}}, "compose": {"withVar": "x", "strategy": "override"}}),
            json!({"output_schema": {"type": "object"}, "repair_attempts": 2, "max_visits": 3}),
        ] {
            assert_eq!(accepts(&schema, &task(fields.clone())), Ok(()), "{fields}");
        }
        for (fields, part) in [
            (json!({"promt_template": "x"}), "promt_template"),
            (json!({"handler": "rawstring"}), "raw_string"),
            (json!({"timeout": "soon"}), "soon"),
            (json!({"print": 1}), "string"),
            (json!({"hook": {"args": {}}}), "valid under any"),
            (json!({"executeConfig": {"provider": "acme"}}), "acme"),
            (json!({"executeConfig": {"fallback_models": [{"modle": "x"}]}}), "valid under any"),
            (json!({"compose": {"strategy": "concat"}}), "valid under any"),
            (json!({"retry_policy": {"retry_on": ["ratelimit"]}}), "valid under any"),
            (json!({"transition": {"branches": [{"operator": "like"}]}}), "like"),
            (json!({"transition": {"branches": [{"go_to_": "a", "gotoo": "b"}]}}), "'gotoo' was unexpected"),
            (json!({"transition": {"catch": [{"errors": ["oops"]}]}}), "oops"),
        ] {
            let refused = accepts(&schema, &task(fields.clone())).expect_err(&fields.to_string());
            assert!(refused.contains(part), "{fields}: {refused}");
        }
        assert!(accepts(&schema, &json!({"tasks": [{"handler": "noop"}]})).is_err());
        assert!(accepts(&schema, &json!({})).is_err());
    }

    #[test]
    fn a_request_holds_a_chain_its_input_and_the_type_of_it() {
        let schema = validator(&request_schema());
        let chain = task(json!({"promptTemplate": "x"}));
        for request in [
            json!({"chain": chain}),
            json!({"input": {"a": 1}, "inputType": "json", "chain": chain}),
            json!({"input": [], "input_type": "Chat_History", "chain": chain}),
        ] {
            assert_eq!(accepts(&schema, &request), Ok(()), "{request}");
        }
        for request in [json!({"input": "x"}), json!({"inputs": "x", "chain": chain}), json!({"chain": {"task": []}})] {
            assert!(accepts(&schema, &request).is_err(), "{request}");
        }
    }

    #[test]
    fn the_lists_in_here_are_those_that_chains_are_checked_with() {
        for name in OPERATORS {
            let branch = Branch { operator: name.to_owned(), when: "1-2".to_owned(), ..Branch::default() };
            let number = Branch { when: "1".to_owned(), ..branch.clone() };
            assert!(Operator::parse(&branch, false).is_ok() || Operator::parse(&number, false).is_ok(), "{name}");
        }
        let unknown = Branch { operator: "like".to_owned(), ..Branch::default() };
        let told = Operator::parse(&unknown, false).expect_err("no operator").to_string();
        let (_, told) = told.split_once("the operators are ").expect("a list");
        assert_eq!(told.replace(" and ", ", "), OPERATORS.join(", "));
        assert!(COMPOSE_STRATEGIES.iter().all(|name| Strategy::parse(name).is_some()));
        let pattern = validator(&json!({"pattern": DURATION}));
        for text in ["500ms", "1m30s", " 1.5h ", ".5s", "1.s", "3µs", "soon", "5", "1 s", "-1s", "1..5s"] {
            assert_eq!(pattern.is_valid(&json!(text)), duration::parse(text).is_some(), "{text}");
        }
    }
}
