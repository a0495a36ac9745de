//! The head scan against a reader that parses the whole body, by cases and by properties.

use std::fmt;

use proptest::prelude::*;
use serde::{
    Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Value, value::RawValue};

use super::*;

fn read(body: &str) -> Result<Head, HeadError> {
    scan(body.as_bytes())
}

fn spliced(body: &str, model: &str) -> String {
    let body = Bytes::copy_from_slice(body.as_bytes());
    let pieces = scan(&body).unwrap().splice(&body, model);
    String::from_utf8(pieces.concat()).unwrap()
}

#[test]
fn the_head_of_a_chat_is_read_whatever_stands_around_it() {
    let body = "\u{feff} {\"temperature\":-1.5e3,\"messages\" : [{\"role\":\"user\",\"content\":\"a } \\\" ] \\\\\"}],\n\
                \t\"stream\":true, \"stream_options\":{\"include_usage\":true}, \"model\":\"qwen3:4b\" , \"n\":null} \r\n";
    let head = read(body).unwrap();
    assert_eq!(head.model.as_deref(), Some("qwen3:4b"));
    assert_eq!((head.stream, head.include_usage), (Some(true), Some(true)));
    assert_eq!(&body[head.words.unwrap()], r#"[{"role":"user","content":"a } \" ] \\"}]"#);
    let (before, after) = body[3..].split_once("\"qwen3:4b\"").unwrap();
    assert_eq!(spliced(body, "a \"b\""), format!("{before}\"a \\\"b\\\"\"{after}"), "the mark is not sent on");
}

#[test]
fn names_and_keys_are_read_through_their_escapes() {
    let head = read(r#"{"mod\u0065l":"qwen\u0033:4b\/\ud83d\ude00"}"#).unwrap();
    assert_eq!(head.model.as_deref(), Some("qwen3:4b/😀"));
    assert_eq!(spliced(r#"{"mod\u0065l":"qwen\u0033"}"#, "m"), r#"{"mod\u0065l":"m"}"#);
}

#[test]
fn the_number_of_replies_is_known_or_not() {
    for (body, replies) in [
        ("{}", None),
        (r#"{"n":null}"#, None),
        (r#"{"n":3}"#, Some(Replies::Known(3))),
        (r#"{"n":-1}"#, Some(Replies::Unknown)),
        (r#"{"n":1.5}"#, Some(Replies::Unknown)),
        (r#"{"n":"2"}"#, Some(Replies::Unknown)),
    ] {
        assert_eq!(read(body).unwrap().replies, replies, "{body}");
    }
}

#[test]
fn a_body_without_a_model_gets_one() {
    for (body, with) in [
        ("{}", r#"{"model":"m"}"#),
        (" { } ", r#" {"model":"m" } "#),
        (r#"{"a":1}"#, r#"{"model":"m","a":1}"#),
        (r#"{"model":null,"a":1}"#, r#"{"model":"m","a":1}"#),
    ] {
        assert_eq!(read(body).unwrap().model, None);
        assert_eq!(spliced(body, "m"), with);
    }
}

#[test]
fn a_name_that_stays_costs_no_new_piece() {
    let body = Bytes::from_static(br#"{"model":"m"}"#);
    let [whole, middle, rest] = scan(&body).unwrap().splice(&body, "m");
    assert!(middle.is_empty() && rest.is_empty());
    assert_eq!(whole.as_ptr(), body.as_ptr());
}

#[test]
fn what_two_readers_would_read_differently_is_refused() {
    for field in ["model", "stream", "stream_options", "messages", "prompt", "input", "n"] {
        let escaped = format!("\\u{:04x}{}", u32::from(field.as_bytes()[0]), &field[1..]);
        for twice in [field.to_owned(), escaped] {
            let body = format!(r#"{{"{field}":null,"x":{{"{field}":1}},"{twice}":null}}"#);
            assert_eq!(read(&body), Err(HeadError::Twice(field)), "{body}");
        }
        let upper = field.to_uppercase();
        for (written, seen) in [(upper.clone(), upper.clone()), (upper.replace('M', "\\u004d"), upper.clone())] {
            let refused = Err(HeadError::Spelling { field, written: seen });
            assert_eq!(read(&format!(r#"{{"{written}":null}}"#)), refused);
            assert_eq!(read(&format!(r#"{{"{field}":null,"{written}":null}}"#)), refused);
        }
    }
    let written = "ſtream".to_owned();
    assert_eq!(read("{\"ſtream\":true}"), Err(HeadError::Spelling { field: "stream", written }));
    let options = r#"{"stream_options":{"include_usage":true,"include_usage":false}}"#;
    assert_eq!(read(options), Err(HeadError::Twice("include_usage")));
}

#[test]
fn fields_of_another_type_are_named() {
    for (body, field) in [
        (r#"{"model":5}"#, "model"),
        (r#"{"model":["m"]}"#, "model"),
        (r#"{"model":"\ud800"}"#, "model"),
        (r#"{"model":"\x"}"#, "model"),
        (r#"{"stream":"true"}"#, "stream"),
        (r#"{"stream":1}"#, "stream"),
        (r#"{"stream_options":{"include_usage":"yes"}}"#, "include_usage"),
    ] {
        assert!(matches!(read(body), Err(HeadError::Type { field: named, .. }) if named == field), "{body}");
    }
    assert_eq!(read(r#"{"stream":null,"stream_options":null}"#).unwrap().stream, None);
    assert_eq!(read(&format!(r#"{{"model":"{}"}}"#, "x".repeat(20_000))), Err(HeadError::LongModel));
    assert!(matches!(scan(b"{\"model\":\"\xff\"}"), Err(HeadError::Type { field: "model", .. })));
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["[]", "\"model\"", "1", "null", "true", " [{\"model\":\"m\"}]"] {
        assert_eq!(read(body), Err(HeadError::NoObject), "{body}");
    }
    for (body, error) in [
        ("", SkipError::Unfinished),
        ("  ", SkipError::Unfinished),
        ("model: m", SkipError::Unexpected(0)),
        ("{", SkipError::Unfinished),
        ("{\"model\"", SkipError::Unfinished),
        ("{\"model\":", SkipError::Unfinished),
        ("{\"model\":\"m", SkipError::Unfinished),
        ("{\"model\":\"m\\\"}", SkipError::Unfinished),
        ("{\"model\":\"m\"", SkipError::Unfinished),
        ("{\"a\":[1,{\"b\":2]}", SkipError::Unexpected(14)),
        ("{\"a\":[1}", SkipError::Unexpected(7)),
        ("{\"a\":{\"b\":1]}", SkipError::Unexpected(11)),
        ("{\"a\":1 \"b\":2}", SkipError::Unexpected(7)),
        ("{\"a\":1,,\"b\":2}", SkipError::Unexpected(7)),
        ("{,\"a\":1}", SkipError::Unexpected(1)),
        ("{\"a\":1,}", SkipError::Unexpected(7)),
        ("{\"a\" 1}", SkipError::Unexpected(5)),
        ("{\"a\":tru}", SkipError::Unexpected(5)),
        ("{a:1}", SkipError::Unexpected(1)),
        ("{\"a\":1}{\"model\":\"x\"}", SkipError::Trailing(7)),
        ("{\"a\":1}]", SkipError::Trailing(7)),
        ("{\"a\":/*\"*/1}", SkipError::Unexpected(5)),
    ] {
        assert_eq!(read(body), Err(HeadError::Malformed(error)), "{body}");
    }
}

#[test]
fn nesting_is_walked_as_deep_as_everywhere_and_no_deeper() {
    let nested = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert!(read(&nested(127)).is_ok());
    assert_eq!(read(&nested(128)), Err(HeadError::Malformed(SkipError::TooDeep)));
    assert_eq!(read(&format!("{{\"a\":{}", "[".repeat(1 << 20))), Err(HeadError::Malformed(SkipError::TooDeep)));
}

#[test]
fn a_conversation_begins_alike_in_all_its_turns_and_differently_from_others() {
    let opening = |messages: &str| {
        let body = format!(r#"{{"model":"m","messages":{messages}}}"#);
        String::from_utf8(scan(body.as_bytes()).unwrap().opening(body.as_bytes()).to_vec()).unwrap()
    };
    let first = opening(r#"[{"role":"system","content":"s"}, {"content":"hi","role":"user"}]"#);
    assert_eq!(first, r#"[{"role":"system","content":"s"}, {"content":"hi","role":"user"}"#);
    assert_eq!(
        opening(r#"[{"role":"system","content":"s"}, {"content":"hi","role":"user"},{"role":"assistant"}]"#),
        first
    );
    assert_ne!(opening(r#"[{"role":"system","content":"s"}, {"content":"ho","role":"user"}]"#), first);
    let long = format!(r#"[{{"role":"user","content":"{}"}}]"#, "x".repeat(5000));
    assert_eq!(opening(&long).len(), 1024);
    assert_eq!(opening(r#"[{"role":"assistant"}]"#), r#"[{"role":"assistant"}]"#);
    assert_eq!(scan(br#"{"prompt":"once"}"#).unwrap().opening(br#"{"prompt":"once"}"#), br#""once""#);
    assert_eq!(scan(b"{}").unwrap().opening(b"{}"), b"");
}

/// The members of an object as serde_json reads them, in their order, keys that stand twice included.
struct Reference(Vec<(String, Box<RawValue>)>);

impl Reference {
    fn read(body: &[u8]) -> serde_json::Result<Self> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Reference;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Reference, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Reference(members))
            }
        }
        let mut deserializer = serde_json::Deserializer::from_slice(body);
        let members = deserializer.deserialize_map(Members)?;
        deserializer.end()?;
        Ok(members)
    }

    fn of(&self, name: &str) -> Vec<&str> {
        self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value.get()).collect()
    }

    fn is_ambiguous(&self) -> bool {
        let fold = |key: &str| key.chars().map(folded).collect::<String>();
        Field::ALL.into_iter().any(|field| {
            let alike = self.0.iter().filter(|(key, _)| fold(key) == field.name()).count();
            alike > self.of(field.name()).len() || alike > 1
        })
    }
}

/// A text as JSON, some of its characters escaped though they need not be.
fn text() -> impl Strategy<Value = String> {
    let character = prop_oneof![
        8 => "[a-zA-Z0-9 {}\\[\\]:,._-]".prop_map(|text| text),
        2 => prop_oneof![Just("\\\""), Just("\\\\"), Just("\\n"), Just("\\u0065"), Just("\\ud83d\\ude00")]
            .prop_map(str::to_owned),
        1 => "[äöſ\u{212a}😀]".prop_map(|text| text),
    ];
    prop::collection::vec(character, 0..12).prop_map(|parts| format!("\"{}\"", parts.concat()))
}

fn key() -> impl Strategy<Value = String> {
    let wanted = prop::sample::select(vec![
        "\"model\"",
        "\"mod\\u0065l\"",
        "\"Model\"",
        "\"stream\"",
        "\"stream_options\"",
        "\"messages\"",
        "\"prompt\"",
        "\"input\"",
        "\"include_usage\"",
        "\"role\"",
    ]);
    prop_oneof![1 => wanted.prop_map(str::to_owned), 2 => text()]
}

fn blank() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "", "", " ", "\n\t", "\r\n"])
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "false", "0", "-1.5e+3", "\"user\"", "\"m\"", "[]", "{}"])
            .prop_map(str::to_owned),
        text(),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            (prop::collection::vec(inner.clone(), 0..5), blank())
                .prop_map(|(items, blank)| format!("[{blank}{}{blank}]", items.join(&format!("{blank},{blank}")))),
            object(inner),
        ]
    })
}

fn object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (prop::collection::vec((key(), value, blank()), 0..6), blank()).prop_map(|(members, blank)| {
        let members: Vec<String> =
            members.into_iter().map(|(key, value, blank)| format!("{key}{blank}:{blank}{value}{blank}")).collect();
        format!("{blank}{{{blank}{}}}{blank}", members.join(","))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(800))]

    #[test]
    fn a_head_is_what_serde_json_reads(body in object(value())) {
        let reference = Reference::read(body.as_bytes()).unwrap();
        match read(&body) {
            Ok(head) => {
                prop_assert!(!reference.is_ambiguous(), "{body}");
                let model = reference.of("model").first().and_then(|raw| serde_json::from_str(raw).unwrap());
                prop_assert_eq!(&head.model, &model);
                let stream = reference.of("stream").first().and_then(|raw| serde_json::from_str(raw).unwrap());
                prop_assert_eq!(head.stream, stream);
                let words = ["messages", "prompt", "input"].iter().find_map(|name| reference.of(name).first().copied());
                prop_assert_eq!(head.words.map(|at| &body[at]), words);
                let sent: Value = serde_json::from_str(&spliced(&body, "new \"name\"")).unwrap();
                let mut wanted: Value = serde_json::from_str(&body).unwrap();
                wanted["model"] = Value::from("new \"name\"");
                prop_assert_eq!(sent, wanted);
            }
            Err(HeadError::Twice("include_usage")) => {}
            Err(HeadError::Twice(_) | HeadError::Spelling { .. }) => prop_assert!(reference.is_ambiguous(), "{body}"),
            Err(HeadError::Type { field: "include_usage", .. }) => {}
            Err(HeadError::Type { field, .. }) => {
                let raw = reference.of(field)[0];
                let is_fit = if field == "model" {
                    serde_json::from_str::<Option<String>>(raw).is_ok()
                } else {
                    serde_json::from_str::<Option<bool>>(raw).is_ok()
                };
                prop_assert!(!is_fit, "{body}");
            }
            Err(other) => prop_assert!(false, "{other}: {body}"),
        }
    }

    #[test]
    fn whatever_comes_ends_in_an_answer(body in prop::collection::vec(any::<u8>(), 0..64), good in object(value()), at in 0usize..200, byte in any::<u8>()) {
        // The walk itself must not fall over, nor the cuts that are made by what it found.
        let mut broken = good.into_bytes();
        let places = broken.len();
        broken[at % places] = byte;
        for body in [body, broken] {
            let body = Bytes::from(body);
            if let Ok(head) = scan(&body) {
                let _ = (head.splice(&body, "m"), head.opening(&body).len());
            }
            opening(&body);
            has_member(&body, "role", b"\"user\"");
        }
    }
}
