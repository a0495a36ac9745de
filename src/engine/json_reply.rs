//! The JSON in a model's reply, for `parse_json` (`docs/workflow-spec.md`, parse_json): plain, in a code fence, or with words
//! around it. Pure.

use serde_json::{Deserializer, Value as Json};

use crate::{
    domain::value::{Value, number_text},
    engine::{
        reply,
        schema::{Root, Schema, Violation},
        transition::Evaluation,
    },
};

/// Places at which JSON may begin that are tried: text of brackets alone would take for ever.
const MOST_TRIES: usize = 1000;

/// Bytes of a schema that is told to the model with what was wrong.
const LARGEST_TOLD_SCHEMA: usize = 4 * 1024;
/// The one field of an object around what was asked for.
const WRAPPER: &str = "value";

/// The value and the transition value of a reply.
///
/// # Errors
/// What is wrong with it; never nothing.
pub(crate) fn read(text: &str, schema: Option<&Schema>) -> Result<(Value, Evaluation), Vec<Violation>> {
    let roots = schema.map_or(&[][..], Schema::roots);
    let Some(json) = find(text, roots) else {
        let message = if roots.is_empty() || roots.contains(&Root::Object) {
            "it holds no JSON"
        } else {
            "it holds no JSON of the type that is asked for"
        };
        return Err(vec![Violation { path: String::new(), message: message.to_owned() }]);
    };
    let json = match schema.map(|schema| (schema, schema.violations(&json))) {
        None => json,
        Some((_, violations)) if violations.is_empty() => json,
        // Backends and models that know only objects wrap what is none. A schema of objects is never looked into.
        Some((schema, violations)) => match unwrapped(json, roots) {
            Some(inner) if schema.accepts(&inner) => inner,
            _ => return Err(violations),
        },
    };
    let value = match &json {
        Json::Object(_) | Json::Array(_) => Evaluation::of("ok"),
        Json::String(text) => Evaluation::text(text.as_str()),
        Json::Number(number) if number.is_f64() => Evaluation::of(number_text(number.as_f64().unwrap_or_default())),
        scalar => Evaluation::of(scalar.to_string()),
    };
    Ok((Value::json(json), value))
}

/// What stands in `{"value": …}`, where the root cannot be an object.
fn unwrapped(json: Json, roots: &[Root]) -> Option<Json> {
    match json {
        Json::Object(mut fields) if fields.len() == 1 && !roots.is_empty() && !roots.contains(&Root::Object) => {
            fields.remove(WRAPPER)
        }
        _ => None,
    }
}

/// Why a reply was refused, for the author of the chain.
pub(crate) fn refusal(text: &str, violations: &[Violation]) -> String {
    format!("the reply '{}' is not the JSON that is asked for: {}", reply::excerpt(text), joined(violations, "; "))
}

/// What the model is told of its reply.
pub(crate) fn complaint(violations: &[Violation], schema: Option<&Schema>) -> String {
    let mut text = format!("Your reply cannot be used:\n- {}\n", joined(violations, "\n- "));
    let schema = schema.map(|schema| schema.source().to_string()).filter(|schema| schema.len() <= LARGEST_TOLD_SCHEMA);
    if let Some(schema) = schema {
        text.push_str("It must fit this JSON Schema:\n");
        text.push_str(&schema);
        text.push('\n');
    }
    text.push_str("Reply with the corrected JSON only, without any other words.");
    text
}

fn joined(violations: &[Violation], glue: &str) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join(glue)
}

/// The JSON in a reply; with `wanted` types, words around it are passed over until a value of one of them begins.
fn find(reply: &str, wanted: &[Root]) -> Option<Json> {
    let is_wanted = |json: &Json| wanted.is_empty() || wanted.contains(&Root::of(json));
    let whole = serde_json::from_str(reply.trim()).ok();
    let fenced = || fences(reply).filter_map(|text| serde_json::from_str(text.trim()).ok()).find(is_wanted);
    whole.or_else(fenced).or_else(|| inside(reply, wanted))
}

/// What stands between pairs of code fences, without the name of the language.
fn fences(reply: &str) -> impl Iterator<Item = &str> {
    let blocks = reply.split("```").skip(1).step_by(2);
    blocks.map(|block| block.trim_start_matches(|c: char| c.is_ascii_alphanumeric()))
}

/// The first whole value that begins somewhere in the text. Strings are read as such, so brackets in them do not count.
fn inside(text: &str, wanted: &[Root]) -> Option<Json> {
    let begins = |(at, first): &(usize, char)| {
        let root = match first {
            '{' => Root::Object,
            '[' => Root::Array,
            '"' => Root::String,
            't' | 'f' => Root::Boolean,
            'n' => Root::Null,
            '-' | '0'..='9' => Root::Number,
            _ => return false,
        };
        // A word or a number is not begun in its middle.
        let is_inside = matches!(root, Root::Boolean | Root::Null | Root::Number)
            && text[..*at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '_' | '.' | '-'));
        let is_wanted =
            if wanted.is_empty() { matches!(root, Root::Object | Root::Array) } else { wanted.contains(&root) };
        is_wanted && !is_inside
    };
    text.char_indices().filter(begins).take(MOST_TRIES).find_map(|(at, first)| {
        let rest = &text[at..];
        if matches!(first, '{' | '[' | '"') {
            return Deserializer::from_str(rest).into_iter().next()?.ok();
        }
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '+' | '-');
        let word = &rest[..rest.find(|c| !is_part(c)).unwrap_or(rest.len())];
        serde_json::from_str(word.trim_end_matches('.')).ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_found_plain_fenced_and_among_words() {
        let object = json!({"a": "}]\""});
        for reply in [
            r#"{"a": "}]\""}"#,
            " \n{\"a\": \"}]\\\"\"}\n",
            "```json\n{\"a\": \"}]\\\"\"}\n```",
            "```\n{\"a\": \"}]\\\"\"}\n```",
            "Sure! Here it is:\n```JSON\n{\"a\": \"}]\\\"\"}```\nAnything else?",
            r#"The answer {as asked} is {"a": "}]\""} [sic]."#,
            r#"I used [brackets] and {"a": "}]\""}"#,
            "```python\nprint(1)\n```\n```json\n{\"a\": \"}]\\\"\"}\n```",
            "```json\n{\"a\": \"}]\\\"\"}",
        ] {
            assert_eq!(find(reply, &[Root::Object]), Some(object.clone()), "{reply}");
        }
        for (reply, wanted, found) in [
            (r#"list {"x": 1} or [1, 2]"#, vec![Root::Array], json!([1, 2])),
            (r#"{"x": 1} or [1, 2]"#, vec![], json!({"x": 1})),
            ("it is 42, no 43", vec![Root::Number], json!(42)),
            ("v1 says -1.5e2.", vec![Root::Number], json!(-150.0)),
            ("that is truely true", vec![Root::Boolean], json!(true)),
            ("nullify null", vec![Root::Null], json!(null)),
            (r#"say "yes" or so"#, vec![Root::String], json!("yes")),
            ("[1]", vec![Root::Object], json!([1])),
            ("7", vec![], json!(7)),
        ] {
            assert_eq!(find(reply, &wanted), Some(found), "{reply}");
        }
        for (reply, wanted) in
            [("none", vec![]), ("", vec![]), ("{\"a\": ", vec![]), ("[1] {", vec![Root::Object]), ("7 of 9", vec![])]
        {
            assert_eq!(find(reply, &wanted), None, "{reply}");
        }
    }

    #[test]
    fn no_reply_takes_long() {
        for piece in ["[", "{", "[1,", "{\"a\":", "\"[\",", "[[],", "```", "```[", "[\"", "\\\""] {
            let reply = piece.repeat(40_000);
            find(&reply, &[]);
            find(&reply, &[Root::Object, Root::String]);
        }
    }

    proptest! {
        #[test]
        fn a_value_is_found_again_whatever_stands_around_it(before in "[^\\[{`\"]{0,20}", after in ".{0,20}", text in ".{0,20}") {
            let value = json!({"t": text, "n": [1, {"x": null}]});
            let found = find(&format!("{before}{value}{after}"), &[Root::Object]);
            prop_assert_eq!(found, Some(value));
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            find(&text, &[]);
            find(&text, &[Root::String, Root::Number, Root::Boolean, Root::Null]);
        }
    }
}
