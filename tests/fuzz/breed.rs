//! Chains and templates made of a stream of choices: mostly valid ones, which get further than random text does. Equal
//! bytes make equal texts, so that proptest and a fuzzer can both drive this and what one finds the other repeats.

use serde_json::{Map, Value, json};

/// Bytes as decisions; when they run out, everything is the first choice.
pub struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub fn of(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = usize::from(self.byte()) << 8 | usize::from(self.byte());
        number.checked_rem(bound).unwrap_or(0)
    }

    pub fn one<'b, T: ?Sized>(&mut self, list: &[&'b T]) -> &'b T {
        list[self.below(list.len())]
    }

    /// One of some words; now and then one that is odd.
    pub fn word(&mut self, list: &'static str) -> &'static str {
        const ODD: &[&str] = &["", "é\u{0}\u{202e}", "a: b", "- ", "&a *a", "{{range .input}}{{.}}{{end}}"];
        if self.byte() % 16 == 15 {
            return self.one(ODD);
        }
        let count = list.split_whitespace().count();
        list.split_whitespace().nth(self.below(count)).unwrap_or_default()
    }

    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// Names of fields, in any place.
const FIELDS: &str = "id handler prompt_template promptTemplate input_var system_instruction valid_conditions execute_config hook \
    print compose transition branches operator when goto on_failure on_failure_alert alert_on_match catch errors \
    variable timeout retry_on_failure retry_policy max_attempts initial_backoff backoff_rate max_backoff jitter \
    retry_on max_visits fallback_models model models provider temperature max_tokens constrain output_schema \
    repair_attempts with_var strategy token_limit routing_strategy max_steps token_budget input_schema output_var \
    debug tasks name args type properties required $ref";

/// Texts that mean something somewhere.
const WORDS: &str = "end t a default equals contains starts_with > lt in_range inRange 1-5 -5--1 5-1 7 -0.5 1e3 NaN raw_string \
    condition_key parse_number parse_score parse_range parse_json parse_transition embedding raise_error noop \
    model_execution convert_to_openai_chat_response hook override merge_chat_histories append_string_to_chat_history \
    input previous_output last_error input.a.b 500ms 1m30s 0s -1s 99999h random auto openai ollama vllm off \
    rate_limit server_error timeout invalid_output max_visits budget {{.input}} {{.a.b.c}} {{.last_error.class}} {{ \
    object string #/properties/a ~1/~0 <think> yes null";

const HANDLERS: &str = "raw_string parse_number parse_score parse_range parse_json parse_transition embedding raise_error noop \
    model_execution convert_to_openai_chat_response";

const PIECES: &[&str] = &[
    "{{",
    "}}",
    "{{.",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "input",
    ".input",
    ".a",
    ".",
    "$",
    "$x",
    ":=",
    "=",
    ",",
    "|",
    "(",
    ")",
    "if ",
    "else",
    "else if ",
    "end",
    "{{end}}",
    "{{else}}",
    "range ",
    "range $i, $e := ",
    "with ",
    "define \"t\"",
    "template \"t\" .",
    "block \"t\" .",
    "break",
    "continue",
    "and ",
    "or ",
    "not ",
    "eq ",
    "ne ",
    "lt ",
    "le ",
    "gt ",
    "ge ",
    "len ",
    "index ",
    "slice ",
    "print ",
    "printf ",
    "println ",
    "html ",
    "js ",
    "urlquery ",
    "\"%v %s %q %d\"",
    "\"%[2]*.[1]*f\"",
    "\"%60000d\"",
    "\"%.2f%t%x%%\"",
    "`raw`",
    "\"q\\n\"",
    "'c'",
    "0",
    "1",
    "-1",
    "1000000000",
    "1.5",
    "0x1F",
    "1e9",
    "true",
    "false",
    "nil",
    "/* note */",
    "text",
    "\n",
    "é",
    "{{if .input}}a{{end}}",
    "{{range .input}}{{.}}{{end}}",
    "{{$x := .input}}",
    "{{range 1000}}{{$x}}{{end}}",
    "{{index .input \"a\"}}",
];

/// A chain, or what was one: an example with a few changes, as the text of a JSON or YAML document.
pub fn chain(examples: &[String], choices: &mut Choices<'_>) -> String {
    const CHANGES: [usize; 8] = [1, 0, 1, 2, 2, 3, 4, 9];
    let source = examples.get(choices.below(examples.len())).map_or("{}", String::as_str);
    if choices.byte() % 8 == 1 {
        return torn(source, choices);
    }
    let Ok(mut document) = serde_saphyr::from_str::<Value>(source) else { return source.to_owned() };
    let tasks = document["chain"]["tasks"].as_array().into_iter().flatten();
    let ids: Vec<String> = tasks.filter_map(|task| task["id"].as_str().map(str::to_owned)).collect();
    for _ in 0..CHANGES[usize::from(choices.byte() % 8)] {
        let mut target = choices.below(size(&document));
        change(&mut document, "", &mut target, &ids, choices);
    }
    if choices.byte().is_multiple_of(2) {
        document.to_string()
    } else {
        serde_json::to_string_pretty(&document).unwrap_or_default()
    }
}

/// The text itself with pieces cut out, doubled or put in.
fn torn(source: &str, choices: &mut Choices<'_>) -> String {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    for _ in 0..1 + choices.below(4) {
        let (at, other) = (choices.below(lines.len()), choices.below(lines.len()));
        let Some(line) = lines.get(at).cloned() else { break };
        match choices.byte() % 6 {
            0 => drop(lines.remove(at)),
            1 => lines.insert(other, line),
            2 => lines.swap(at, other),
            3 => lines[at] = format!("  {line}"),
            4 => lines[at] = line.chars().take(choices.below(line.len() + 1)).collect(),
            _ => lines[at] = format!("{line}{}", choices.word(WORDS)),
        }
    }
    lines.join("\n")
}

/// Values in a document.
fn size(document: &Value) -> usize {
    1 + match document {
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum(),
        _ => 0,
    }
}

/// Changes the `target`-th value, counted down on the way. `name`: the field it is in.
fn change(value: &mut Value, name: &str, target: &mut usize, ids: &[String], choices: &mut Choices<'_>) {
    if *target == 0 {
        *target = usize::MAX;
        match fitting(name, ids, choices) {
            Some(fitting) if value.is_string() && choices.byte() % 8 != 1 => *value = Value::String(fitting),
            _ => changed(value, choices),
        }
        return;
    }
    *target -= 1;
    let inner: Vec<(String, &mut Value)> = match value {
        Value::Array(items) => items.iter_mut().map(|item| (name.to_owned(), item)).collect(),
        Value::Object(fields) => fields.iter_mut().map(|(name, value)| (name.clone(), value)).collect(),
        _ => Vec::new(),
    };
    for (name, item) in inner {
        if *target == usize::MAX {
            return;
        }
        change(item, &name, target, ids, choices);
    }
}

/// Another text that may stand in a field of this name.
fn fitting(name: &str, ids: &[String], choices: &mut Choices<'_>) -> Option<String> {
    let one_of = |list: &[&str], choices: &mut Choices<'_>| Some(choices.one(list).to_owned());
    match name {
        "handler" => Some(choices.word(HANDLERS).to_owned()),
        "operator" => one_of(&["", "equals", "contains", "starts_with", "ends_with", "default"], choices),
        "goto" | "on_failure" => ids.get(choices.below(ids.len() + 1)).cloned().or_else(|| Some("end".to_owned())),
        "input_var" | "with_var" => ids.get(choices.below(ids.len() + 1)).cloned().or_else(|| Some("input".to_owned())),
        "when" => Some(choices.word(WORDS).to_owned()),
        "timeout" => one_of(&["1s", "500ms", "1m30s"], choices),
        "prompt_template" | "print" => one_of(
            &[
                "",
                "{{.input}}",
                "{{.previous_output}} {{.last_error}}",
                "{{range .input}}{{.}}{{end}}",
                "{{printf \"%v\" .}}",
                "{{.input.a.b}}",
                "{{index .input 0}}",
                "/{{.input}}",
            ],
            choices,
        ),
        _ => None,
    }
}

fn changed(value: &mut Value, choices: &mut Choices<'_>) {
    let kind = choices.byte() % 8;
    match value {
        Value::Object(fields) if kind < 6 => in_object(fields, kind, choices),
        Value::Array(items) if kind < 6 && !items.is_empty() => {
            let (at, other) = (choices.below(items.len()), choices.below(items.len()));
            match kind {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.swap(at, other),
                3 => items.extend(std::iter::repeat_n(items[at].clone(), choices.below(20))),
                4 => items.clear(),
                _ => items.push(leaf(choices)),
            }
        }
        Value::String(text) if kind < 3 => text.push_str(choices.word(WORDS)),
        other if kind == 6 => *other = json!([other.take()]),
        other => *other = leaf(choices),
    }
}

fn in_object(fields: &mut Map<String, Value>, kind: u8, choices: &mut Choices<'_>) {
    let name = fields.keys().nth(choices.below(fields.len())).cloned().unwrap_or_default();
    match kind {
        0 => drop(fields.shift_remove(&name)),
        1 => {
            if let Some(value) = fields.shift_remove(&name) {
                fields.insert(choices.word(FIELDS).to_owned(), value);
            }
        }
        _ => {
            fields.insert(choices.word(FIELDS).to_owned(), leaf(choices));
        }
    }
}

fn leaf(choices: &mut Choices<'_>) -> Value {
    match choices.byte() % 12 {
        0 => Value::Null,
        1 => json!(choices.byte().is_multiple_of(2)),
        2 => json!(choices.byte()),
        3 => json!(-i64::from(choices.byte())),
        4 => json!([i64::MAX, i64::MIN, 1000, 101, 100][choices.below(5)]),
        5 => json!([0.5, -1.5, 1e300, 0.0][choices.below(4)]),
        6 => json!([choices.word(WORDS), choices.word(WORDS)]),
        7 => json!({choices.word(FIELDS): choices.word(WORDS)}),
        8 => Value::String(template(choices)),
        9 => json!({"type": choices.word(WORDS), "properties": {"a": {"type": choices.word(WORDS)}}}),
        _ => json!(choices.word(WORDS)),
    }
}

/// A template of up to forty pieces.
pub fn template(choices: &mut Choices<'_>) -> String {
    (0..choices.below(40)).map(|_| choices.one(PIECES)).collect()
}

/// Data for a template: small, of every kind.
pub fn data(choices: &mut Choices<'_>, depth: usize) -> Value {
    match choices.byte() % 6 {
        0 if depth > 0 => (0..choices.below(4)).map(|_| data(choices, depth - 1)).collect(),
        1 | 2 if depth > 0 => {
            let field = |choices: &mut Choices<'_>| (choices.word(WORDS).to_owned(), data(choices, depth - 1));
            Value::Object((0..choices.below(4)).map(|_| field(choices)).collect())
        }
        _ => leaf(choices),
    }
}
