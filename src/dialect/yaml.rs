//! YAML documents as JSON values, within a budget that stops alias bombs, and the one repair that is made: an unquoted
//! value that holds `: ` (`docs/api.md`, request bodies).

use serde_json::Value;

/// Nesting that is still read, aliases followed; half of JSON's, because this parser takes far more stack for a level.
const MAX_DEPTH: usize = 64;

/// What the parser says to `key: text: more`.
const COLON_IN_PLAIN_VALUE: &str = "mapping values are not allowed in this context";

/// Lines that are repaired in one document before giving up.
const MAX_REPAIRS: usize = 200;

/// Bytes that are parsed for one document, repairs included: each repair costs another parse. The largest body gets two
/// repairs, one of 150 KiB all of them.
const MAX_PARSED: usize = 32 * 1024 * 1024;

/// Reads one document. The second value holds a warning for each repaired line.
///
/// # Errors
/// What is wrong, with line and column.
pub fn decode(text: &str) -> Result<(Value, Vec<String>), String> {
    decode_within(text, MAX_PARSED)
}

/// The document itself is always parsed; it is repaired for as long as that leaves `budget` bytes.
fn decode_within(text: &str, budget: usize) -> Result<(Value, Vec<String>), String> {
    let mut left = budget.saturating_sub(text.len());
    let mut warnings = Vec::new();
    let mut repaired: Option<String> = None;
    loop {
        let current = repaired.as_deref().unwrap_or(text);
        let error = match parse(current) {
            Ok(value) => return Ok((value, warnings)),
            Err(error) => error,
        };
        let repair = error.message.starts_with(COLON_IN_PLAIN_VALUE).then(|| quote_value(current, error.line));
        let Some(repair) = repair.flatten() else { return Err(explained(text, &error)) };
        let rest = left.checked_sub(repair.text.len());
        let Some(rest) = rest.filter(|_| warnings.len() < MAX_REPAIRS) else {
            return Err(format!("{}; put values that hold ': ' in quotes, here and elsewhere", error.message));
        };
        left = rest;
        warnings.push(format!(
            "line {}, column {}: an unquoted value holds ': ' and was read as text; write it as {}",
            error.line, repair.column, repair.quoted
        ));
        repaired = Some(repair.text);
    }
}

struct YamlError {
    message: String,
    line: usize,
}

fn parse(text: &str) -> Result<Value, YamlError> {
    let options = serde_saphyr::options! {
        // `on`, `yes` and the like stay the text the user wrote.
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| YamlError {
        message: error.without_snippet().to_string(),
        line: error.location().map_or(0, |location| usize::try_from(location.line()).unwrap_or(0)),
    })
}

/// The parser's words, and for the commonest cause what to do about it.
fn explained(text: &str, error: &YamlError) -> String {
    let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
    let starts_with_braces = line.split_once(": ").is_some_and(|(_, value)| value.trim_start().starts_with("{{"));
    let hint = if starts_with_braces { "; put a value that starts with {{ in quotes" } else { "" };
    format!("{}{hint}", error.message)
}

struct Repair {
    text: String,
    /// Of the value's first character, counted from 1.
    column: usize,
    quoted: String,
}

/// Puts the value of the line (counted from 1) in quotes, if the line is `key: text: more` and nothing else.
fn quote_value(text: &str, line_number: usize) -> Option<Repair> {
    let start: usize = text.split_inclusive('\n').take(line_number.checked_sub(1)?).map(str::len).sum();
    let line = text[start..].split('\n').next()?.trim_end();
    let mut key_start = line.len() - line.trim_start().len();
    while let Some(rest) = line[key_start..].strip_prefix("- ") {
        key_start = line.len() - rest.trim_start().len();
    }
    let key_length = line[key_start..].find(": ")?;
    let plain_key = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if key_length == 0 || !line[key_start..key_start + key_length].chars().all(plain_key) {
        return None;
    }
    let after_key = &line[key_start + key_length + 2..];
    let value = after_key.trim_start();
    let is_plain = !value.starts_with(['"', '\'', '|', '>', '[', '{', '&', '*', '!', '#', '%', '@', '`']);
    if !is_plain || !(value.contains(": ") || value.ends_with(':')) {
        return None;
    }
    let value_start = line.len() - value.len();
    let quoted = format!("'{}'", value.replace('\'', "''"));
    Some(Repair {
        text: format!("{}{quoted}{}", &text[..start + value_start], &text[start + line.len()..]),
        column: line[..value_start].chars().count() + 1,
        quoted,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_and_words_that_yaml_reads_as_booleans_or_numbers_stay_text() {
        let (value, _) = decode("yes: on\nno: off\ntrue: a\n1: b\n").unwrap();
        assert_eq!(value, json!({"yes": "on", "no": "off", "true": "a", "1": "b"}));
    }

    #[test]
    fn an_unquoted_value_with_a_colon_is_read_to_the_end_of_its_line_with_a_warning() {
        let (value, warnings) = decode("a: 1\ntasks:\n  - prompt: It's this: {{.input}}  # kept\n    b: c\n").unwrap();
        assert_eq!(value["tasks"][0], json!({"prompt": "It's this: {{.input}}  # kept", "b": "c"}));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("line 3, column 13"), "{}", warnings[0]);
        assert!(warnings[0].contains("'It''s this: {{.input}}  # kept'"), "{}", warnings[0]);
    }

    #[test]
    fn several_such_lines_are_repaired_and_windows_line_ends_do_not_matter() {
        let (value, warnings) = decode("a: x: y\r\nb: p: q\r\n").unwrap();
        assert_eq!(value, json!({"a": "x: y", "b": "p: q"}));
        assert_eq!(warnings.len(), 2);
    }

    #[test]
    fn the_work_that_repairs_may_cost_is_bounded_by_the_size_of_the_document() {
        let lines = format!("a: x: y\nb: x: y\nc: x: y\n{}", "# filler\n".repeat(100));
        assert_eq!(decode_within(&lines, 5 * lines.len()).unwrap().1.len(), 3);
        let refused = decode_within(&lines, 3 * lines.len()).unwrap_err();
        assert!(refused.contains("in quotes"), "{refused}");
        let (value, warnings) = decode_within("a: 1\n", 0).unwrap();
        assert_eq!((value, warnings.len()), (json!({"a": 1}), 0));
    }

    #[test]
    fn a_small_document_gets_all_its_lines_repaired() {
        let text: String = (0..MAX_REPAIRS).map(|at| format!("key{at}: some text: {}\n", "x".repeat(700))).collect();
        assert_eq!(decode(&text).unwrap().1.len(), MAX_REPAIRS);
    }

    #[test]
    fn nothing_else_is_repaired() {
        for text in ["a: x: y\nb: [1", "a: \"x\": y", "a: - b", "a: x: y\n  more: z"] {
            assert!(decode(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_alias_bomb_and_deep_nesting_are_refused() {
        let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (name, of) in "bcdefghij".chars().zip("abcdefghi".chars()) {
            bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(",")));
        }
        assert!(decode(&bomb).unwrap_err().contains("budget"));
        assert!(decode(&"[".repeat(200)).is_err());
    }

    #[test]
    fn nesting_is_bounded_in_every_form() {
        let nested = |levels: usize| format!("a: {}{}\n", "[".repeat(levels), "]".repeat(levels));
        assert!(decode(&nested(MAX_DEPTH - 1)).is_ok());
        assert!(decode(&nested(MAX_DEPTH)).is_err());
        assert!(decode(&"- ".repeat(200)).is_err());
        assert!(decode(&format!("a: {}1{}\n", "{b: ".repeat(200), "}".repeat(200))).is_err());
        let mut aliases = "a0: &a0 [x]\n".to_owned();
        for level in 1..200 {
            aliases.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
        }
        assert!(decode(&aliases).is_err());
    }

    #[test]
    fn a_value_that_starts_with_braces_is_explained() {
        assert!(decode("prompt: {{.input}} x\n").unwrap_err().contains("in quotes"));
    }
}
