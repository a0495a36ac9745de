//! YAML documents as JSON values, within a budget that stops alias bombs, and the one repair that is made: an unquoted
//! value that holds `: ` (`docs/api.md`, request bodies).

use std::fmt;

use serde_json::Value;

/// Nesting that is still read, aliases followed; half of JSON's, because this parser takes far more stack for a level.
const MAX_DEPTH: usize = 64;

/// Parts of a document that its aliases may stand for in all. A bomb must go off before it has cost the time of others: a
/// small body is read on the thread that serves them.
const MAX_REPEATED: usize = 50_000;

/// What the parser says to `key: text: more`.
const COLON_IN_PLAIN_VALUE: &str = "mapping values are not allowed in this context";

/// Lines that are repaired in one document before giving up.
const MAX_REPAIRS: usize = 200;

/// Bytes that are parsed for one document, repairs included: each repair costs another parse. The largest body gets two
/// repairs, one of 150 KiB all of them.
const MAX_PARSED: usize = 32 * 1024 * 1024;

/// What a document holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The value.
    pub value: Value,
    /// The lines that were read differently from how they are written.
    pub repairs: Vec<Repaired>,
    /// The text that was read in the end, where lines were repaired: the same lines, those values in quotes.
    pub repaired: Option<String>,
}

/// A line that was repaired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repaired {
    /// Counted from 1.
    pub line: usize,
    /// Of the value's first character, counted from 1.
    pub column: usize,
    /// The value as it should be written.
    pub quoted: String,
}

impl fmt::Display for Repaired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, quoted } = self;
        write!(
            f,
            "line {line}, column {column}: an unquoted value holds ': ' and was read as text; write it as {quoted}"
        )
    }
}

/// Why a text is no YAML that is read here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct YamlError {
    /// What is wrong.
    pub message: String,
    /// What to do about it, where that is known.
    pub hint: Option<&'static str>,
    /// Line, counted from 1; 0 = unknown.
    pub line: usize,
    /// Character in the line, counted from 1; 0 = unknown.
    pub column: usize,
    /// One key stands twice in one mapping.
    pub is_duplicate: bool,
}

impl fmt::Display for YamlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.line > 0 {
            write!(f, " at line {}, column {}", self.line, self.column)?;
        }
        self.hint.map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

/// Reads one document.
///
/// # Errors
/// What is wrong, with line and column.
pub fn decode(text: &str) -> Result<Decoded, YamlError> {
    decode_within(text, MAX_PARSED)
}

/// The document itself is always parsed; it is repaired for as long as that leaves `budget` bytes.
fn decode_within(text: &str, budget: usize) -> Result<Decoded, YamlError> {
    let mut left = budget.saturating_sub(text.len());
    let mut repairs = Vec::new();
    let mut repaired: Option<String> = None;
    loop {
        let current = repaired.as_deref().unwrap_or(text);
        let error = match parse(current) {
            Ok(value) => return Ok(Decoded { value, repairs, repaired }),
            Err(error) => error,
        };
        let repair = error.message.starts_with(COLON_IN_PLAIN_VALUE).then(|| quote_value(current, error.line));
        let Some(repair) = repair.flatten() else { return Err(explained(text, error)) };
        let rest = left.checked_sub(repair.text.len());
        let Some(rest) = rest.filter(|_| repairs.len() < MAX_REPAIRS) else {
            return Err(YamlError { hint: Some("put values that hold ': ' in quotes, here and elsewhere"), ..error });
        };
        left = rest;
        repairs.push(Repaired { line: error.line, column: repair.column, quoted: repair.quoted });
        repaired = Some(repair.text);
    }
}

fn parse(text: &str) -> Result<Value, YamlError> {
    let options = serde_saphyr::options! {
        // `on`, `yes` and the like stay the text the user wrote.
        strict_booleans: true,
        // What aliases may cost is bounded below: that one anchor is used by a hundred tasks says nothing.
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, enforce_alias_anchor_ratio: false },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = |number: u64| usize::try_from(number).unwrap_or(0);
        let (line, column) = error.location().map_or((0, 0), |at| (place(at.line()), place(at.column())));
        let text = error.without_snippet().to_string();
        let suffix = format!(" at line {line}, column {column}");
        let message = text.strip_suffix(&suffix).unwrap_or(&text).to_owned();
        YamlError { message, hint: None, line, column, is_duplicate: false }
    })
}

/// The parser's words; where they speak of its options, or where the cause is a common one, what to do about it instead.
fn explained(text: &str, error: YamlError) -> YamlError {
    const DUPLICATE: &str = "duplicate mapping key: ";
    if let Some(rest) = error.message.strip_prefix(DUPLICATE) {
        let key = rest.split_once(", set DuplicateKeyPolicy").map_or(rest, |(key, _)| key);
        let message = format!("the key '{key}' is written twice in one mapping");
        return YamlError { message, hint: Some("keep one of the two"), is_duplicate: true, ..error };
    }
    if error.message.starts_with("multiple YAML documents") {
        let message = "a second document starts here".to_owned();
        return YamlError { message, hint: Some("keep one document, without a '---' after it"), ..error };
    }
    if error.message.starts_with("cannot deserialize null into string") {
        return YamlError { message: "a key is null or empty".to_owned(), hint: Some("put it in quotes"), ..error };
    }
    if error.message.starts_with("alias replay limit exceeded") {
        let message = format!("the aliases stand for more than {MAX_REPEATED} values in all");
        return YamlError { message, hint: Some("write less of it as aliases"), ..error };
    }
    let line = text.lines().nth(error.line.saturating_sub(1)).unwrap_or_default();
    let starts_with_braces = line.split_once(": ").is_some_and(|(_, value)| value.trim_start().starts_with("{{"));
    let hint = starts_with_braces.then_some("put a value that starts with {{ in quotes");
    YamlError { hint, ..error }
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

    /// Value and warnings, or the error, as texts.
    fn decode(text: &str) -> Result<(Value, Vec<String>), String> {
        within(text, MAX_PARSED)
    }

    fn within(text: &str, budget: usize) -> Result<(Value, Vec<String>), String> {
        let told = |repairs: Vec<Repaired>| repairs.iter().map(ToString::to_string).collect();
        decode_within(text, budget)
            .map(|decoded| (decoded.value, told(decoded.repairs)))
            .map_err(|error| error.to_string())
    }

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
        assert_eq!(within(&lines, 5 * lines.len()).unwrap().1.len(), 3);
        let refused = within(&lines, 3 * lines.len()).unwrap_err();
        assert!(refused.contains("in quotes"), "{refused}");
        let (value, warnings) = within("a: 1\n", 0).unwrap();
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
        assert!(decode(&bomb).unwrap_err().contains("aliases stand for more than 50000 values"));
        let used = |times: usize| format!("a: &a {{b: c, d: e}}\nf: [{}]\n", vec!["*a"; times].join(","));
        assert!(decode(&used(5_000)).is_ok(), "one anchor may be used often");
        assert!(decode(&used(10_000)).is_err());
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

    #[test]
    fn errors_speak_of_the_document_and_not_of_the_parsers_options() {
        for (text, expected) in [
            ("a: 1\na: 2\n", "the key 'a' is written twice in one mapping at line 2, column 1; keep one of the two"),
            ("a: 1\n---\nb: 2\n", "a second document starts here at line 3, column 1; keep one document"),
            ("a: 1\n~: 2\n", "a key is null or empty at line 2, column 1; put it in quotes"),
            ("a: [1\n", "unclosed bracket '[' at line 1, column 4"),
        ] {
            let error = decode(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("Options"), "{error}");
        }
    }
}
