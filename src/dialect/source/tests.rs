//! Places of values and keys in both formats.

use proptest::{prelude::*, strategy::Strategy};
use serde_json::json;

use super::*;

fn source(format: Format, text: &str) -> Source {
    read(format, Bytes::copy_from_slice(text.as_bytes())).map_err(|refused| refused.message).expect("readable").1
}

/// The text at a value, and the text at its key.
fn texts<'a>(source: &'a Source, pointer: &str) -> (&'a str, &'a str) {
    let text = |span: Option<Range<usize>>| span.and_then(|span| source.text().get(span)).unwrap_or("nowhere");
    (text(source.value_span(pointer)), text(source.key_span(pointer)))
}

fn finding(code: Code, path: &str) -> Finding {
    Finding { code, path: path.to_owned(), ..syntax(String::new()) }
}

/// Line and column of a finding of this code.
fn place(source: &Source, code: Code, path: &str) -> Option<(usize, usize)> {
    let mut findings = [finding(code, path)];
    source.locate(&mut findings);
    findings[0].line.zip(findings[0].column)
}

#[test]
fn values_and_keys_of_yaml_are_found_in_every_style() {
    let text = "# é\nid: x # kept\ntasks:\n  - id: \"a é\"\n    when: {k: [1, 'z'], \"q\": ~}\n    prompt: |\n      Hé: {{.a}}\n      \
                more\n    fold: >-\n      x\n  -   id: b\n'odd/k~y': plain text  # not it\nempty:\nlast: *nope\n"
        .replace("*nope", "end");
    for text in [text.clone(), text.replace('\n', "\r\n")] {
        let source = source(Format::Yaml, &text);
        for (pointer, value, key) in [
            ("/id", "x", "id"),
            ("/tasks/0/id", "\"a é\"", "id"),
            ("/tasks/0/when", "{k: [1, 'z'], \"q\": ~}", "when"),
            ("/tasks/0/when/k", "[1, 'z']", "k"),
            ("/tasks/0/when/k/1", "'z'", "'z'"),
            ("/tasks/0/when/q", "~", "\"q\""),
            ("/tasks/1/id", "b", "id"),
            ("/odd~1k~0y", "plain text", "'odd/k~y'"),
            ("/empty", "", "empty"),
            ("/last", "end", "last"),
            ("/nope", "nowhere", "nowhere"),
            ("/tasks/7", "nowhere", "nowhere"),
            ("/id/x", "nowhere", "nowhere"),
            ("tasks", "nowhere", "nowhere"),
        ] {
            assert_eq!(texts(&source, pointer), (value, key), "{pointer}");
        }
        assert!(
            texts(&source, "/tasks/0/prompt").0.starts_with("Hé: {{.a}}"),
            "{:?}",
            texts(&source, "/tasks/0/prompt")
        );
        assert!(texts(&source, "/tasks/1").0.starts_with("id: b"));
        for (code, pointer, at) in [
            (Code::WrongType, "", (2, 1)),
            (Code::WrongType, "/tasks/0/id", (4, 9)),
            (Code::UnknownField, "/tasks/0/id", (4, 5)),
            (Code::WrongType, "/tasks/0/when/k/1", (5, 19)),
            (Code::WrongType, "/tasks/1", (11, 7)),
            (Code::UnusedField, "/odd~1k~0y", (12, 1)),
        ] {
            assert_eq!(place(&source, code, pointer), Some(at), "{pointer}");
        }
    }
}

#[test]
fn columns_count_characters_and_a_byte_order_mark_is_none() {
    let source = source(Format::Yaml, "\u{feff}ключ: {é: 1, b: 2}\n");
    assert_eq!(place(&source, Code::WrongType, "/ключ/b"), Some((1, 17)));
    assert_eq!(texts(&source, "/ключ/b"), ("2", "b"));
    assert_eq!(place(&source, Code::UnknownField, "/ключ"), Some((1, 1)));
}

#[test]
fn an_alias_is_found_where_it_is_used_and_what_is_in_it_where_it_is_written() {
    let text =
        "base: &b\n  x: 1\n  y: [é]\nother: &o {x: 5, z: 6}\nt: *b\nm:\n  <<: [*b, *o]\n  y: 2\nn:\n  <<: {q: 9}\n";
    let source = source(Format::Yaml, text);
    assert_eq!(texts(&source, "/t"), ("*b", "t"));
    assert_eq!(texts(&source, "/t/y/0"), ("é", "é"));
    assert_eq!(place(&source, Code::WrongType, "/t/x"), Some((2, 6)));
    // What `<<` brings in stands at its own place; a member of the mapping itself wins.
    assert_eq!(texts(&source, "/m/x"), ("1", "x"));
    assert_eq!(texts(&source, "/m/z"), ("6", "z"));
    assert_eq!(place(&source, Code::WrongType, "/m/y"), Some((8, 6)));
    assert_eq!(texts(&source, "/n/q"), ("9", "q"));
}

#[test]
fn places_of_a_repaired_text_are_those_of_the_text_as_written() {
    let text = "a: It's this: {{.x}}  \r\nb: {c: 1}\r\nd:\r\n  - e: p: q\r\n    f: [2]\r\n";
    let source = source(Format::Yaml, text);
    assert_eq!(texts(&source, "/a"), ("It's this: {{.x}}", "a"));
    assert_eq!(texts(&source, "/b/c"), ("1", "c"));
    assert_eq!(texts(&source, "/d/0/e"), ("p: q", "e"));
    assert_eq!(texts(&source, "/d/0/f/0"), ("2", "2"));
    assert_eq!(place(&source, Code::WrongType, "/d/0/f"), Some((5, 8)));
    let told: Vec<_> =
        source.findings().into_iter().map(|found| (found.code, found.line, found.column, found.hint)).collect();
    let expected = |line, column, quoted: &str| {
        (Code::UnquotedColon, Some(line), Some(column), Some(format!("write it as {quoted}")))
    };
    assert_eq!(told, [expected(1, 4, "'It''s this: {{.x}}'"), expected(4, 8, "'p: q'")]);
    let caret = source.span(&source.findings()[1]).and_then(|span| source.text().get(span).map(str::to_owned));
    assert_eq!(caret.as_deref(), Some("p: q"));
}

#[test]
fn a_key_that_stands_twice_in_json_is_told_at_its_first_place_and_the_last_one_counts() {
    let source = source(Format::Json, "{\"a\": 1,\n \"b\": {\"x/y\": 1, \"x/y\": 2},\n \"a\": 3}");
    let told: Vec<_> = source.findings().into_iter().map(|found| (found.path, found.line, found.column)).collect();
    assert_eq!(told, [("/a".to_owned(), Some(1), Some(2)), ("/b/x~1y".to_owned(), Some(2), Some(8))]);
    assert_eq!(texts(&source, "/a").0, "3");
    assert_eq!(texts(&source, "/b/x~1y").0, "2");
}

#[test]
fn keys_that_stand_twice_under_a_very_long_name_are_not_told_with_it_each_time() {
    let under = |length: usize| {
        let text = format!("{{\"{}\": [{{\"a\": 1, \"a\": 2}}, {{\"b\": 1, \"b\": 2}}]}}", "x".repeat(length));
        source(Format::Json, &text).findings().iter().map(|found| found.path.len()).collect::<Vec<_>>()
    };
    assert_eq!(under(10), [15, 15]);
    assert_eq!(under(100_000), [0; 0]);
}

#[test]
fn a_text_that_cannot_be_read_says_where() {
    for (format, text, code, line, column, part) in [
        (Format::Json, "{\"a\": 1,\n \"é\": trux}", Code::Syntax, 2, 10, "not valid JSON"),
        (Format::Json, "{\"a\": 1", Code::Syntax, 1, 7, "not valid JSON"),
        (Format::Yaml, "a:\n  é: [1\n", Code::Syntax, 2, 6, "unclosed bracket"),
        (Format::Yaml, "a: 1\nb: {{.input}} x\n", Code::Syntax, 2, 5, "not valid YAML"),
        (Format::Yaml, "a: 1\na: 2\n", Code::DuplicateField, 2, 1, "'a' is written twice"),
    ] {
        let refused = read(format, Bytes::copy_from_slice(text.as_bytes())).expect_err(text);
        let found = refused.finding;
        assert_eq!((found.code, found.line, found.column), (code, Some(line), Some(column)), "{text}: {found:?}");
        assert!(found.message.contains(part) && refused.message.contains("line"), "{found:?} {}", refused.message);
    }
    let refused = read(Format::Yaml, Bytes::from_static(b"a: 1\nb\xff")).expect_err("no UTF-8").finding;
    assert_eq!((refused.line, refused.column), (Some(2), Some(2)));
}

#[test]
fn large_mappings_and_bombs_keep_the_look_up_small() {
    let many: serde_json::Map<String, Value> = (0..1000).map(|at| (format!("k{at}"), json!(at))).collect();
    let text = Value::Object(many).to_string();
    assert_eq!(texts(&source(Format::Json, &text), "/k731"), ("731", "\"k731\""));
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(",")));
    }
    let source = Source::of(Format::Yaml, Bytes::from(bomb));
    assert_eq!(texts(&source, "/j/8/8/8/8/8/8/8/8/8/8").0, "x");
    assert!(Source::of(Format::Yaml, Bytes::from("[".repeat(100_000))).value_span("").is_none());
    assert!(Source::of(Format::Json, Bytes::from("[".repeat(100_000))).value_span("").is_none());
}

fn any_json() -> impl Strategy<Value = Value> {
    let name = "[a-z/~\"é\\\\\n ]{0,4}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(|number: f64| json!(number)),
        name.prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name, inner, 0..6).prop_map(|fields| fields.into_iter().collect::<Value>()),
        ]
    })
}

/// All pointers of a value, with what they name.
fn pointers(value: &Value) -> Vec<(String, &Value)> {
    let below = |step: &str, value| {
        let step = step.replace('~', "~0").replace('/', "~1");
        pointers(value).into_iter().map(move |(rest, value)| (format!("/{step}{rest}"), value)).collect::<Vec<_>>()
    };
    let mut all = vec![(String::new(), value)];
    match value {
        Value::Array(items) => {
            all.extend(items.iter().enumerate().flat_map(|(at, item)| below(&at.to_string(), item)));
        }
        Value::Object(fields) => all.extend(fields.iter().flat_map(|(name, field)| below(name, field))),
        _ => {}
    }
    all
}

proptest! {
    #[test]
    fn every_pointer_of_a_json_text_leads_to_the_text_of_its_value(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).expect("writes") } else { value.to_string() };
        let source = source(Format::Json, &text);
        for (pointer, expected) in pointers(&value) {
            let there = source.value_span(&pointer).and_then(|span| text.get(span));
            let read = there.and_then(|text| serde_json::from_str::<Value>(text).ok());
            prop_assert_eq!(read.as_ref(), Some(expected), "{} in {}", pointer, text);
            let name = pointer.rsplit('/').next().unwrap_or_default().replace("~1", "/").replace("~0", "~");
            let key = source.key_span(&pointer).and_then(|span| text.get(span));
            let key = key.and_then(|text| serde_json::from_str::<Value>(text).ok());
            prop_assert!(key.as_ref() == Some(expected) || key == Some(Value::from(name)), "{} in {}", pointer, text);
        }
    }

    #[test]
    fn a_json_text_read_as_yaml_has_the_same_places(value in any_json(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&value).expect("writes") } else { value.to_string() };
        let (json, yaml) = (Source::of(Format::Json, text.clone().into()), Source::of(Format::Yaml, text.into()));
        if yaml.value_span("").is_some() {
            for (pointer, _) in pointers(&value) {
                prop_assert_eq!(yaml.value_span(&pointer), json.value_span(&pointer), "{} in {}", pointer, json.text());
            }
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z:{}\\[\\]\"'&*<|>\\-# \n\té]{0,60}", pointer in "(/[a-z0-9]{0,2}){0,3}") {
        for format in [Format::Json, Format::Yaml] {
            let source = Source::of(format, text.clone().into());
            let _ = (source.value_span(&pointer), source.key_span(&pointer), source.findings());
            if let Ok((_, source)) = read(format, text.clone().into()) {
                let span = source.value_span(&pointer);
                prop_assert!(span.is_none_or(|span| text.get(span).is_some()));
            }
        }
    }
}
