//! The conversion table, line by line.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

const NOON: Timestamp = Timestamp::from_micros(1_754_654_400_000_000);

fn convert(json: Json, wanted: DataType) -> Result<Value, ConversionError> {
    Value::from_json(json, wanted, NOON)
}

#[track_caller]
fn refuses(wanted: DataType, inputs: impl IntoIterator<Item = Json>) {
    for json in inputs {
        assert!(convert(json.clone(), wanted).is_err(), "{wanted} must refuse {json}");
    }
}

#[test]
fn a_string_takes_everything_as_text() {
    for (json, text) in [
        (json!("as is"), "as is"),
        (json!({"value": "inner", "other": 1}), "inner"),
        (json!({"value": 1}), r#"{"value":1}"#),
        (json!([1, "a"]), r#"[1,"a"]"#),
        (json!(12), "12"),
        (json!(1e6), "1000000"),
        (json!(1e300), &format!("1{}", "0".repeat(300))),
        (json!(0.5), "0.5"),
        (json!(18_446_744_073_709_551_615_u64), "18446744073709551615"),
        (json!(true), "true"),
        (json!(null), ""),
    ] {
        assert_eq!(convert(json, DataType::String), Ok(Value::string(text)));
    }
}

#[test]
fn a_bool_takes_flags_their_usual_texts_and_numbers() {
    for (json, flag) in [
        (json!(true), true),
        (json!("true"), true),
        (json!("TRUE"), true),
        (json!("T"), true),
        (json!("1"), true),
        (json!("False"), false),
        (json!("f"), false),
        (json!("0"), false),
        (json!(0), false),
        (json!(0.0), false),
        (json!(-2), true),
        (json!(0.1), true),
    ] {
        assert_eq!(convert(json.clone(), DataType::Bool), Ok(Value::Bool(flag)), "{json}");
    }
    refuses(DataType::Bool, [json!("yes"), json!(""), json!(null), json!([]), json!({})]);
}

#[test]
fn an_int_takes_whole_numbers_and_truncates_fractions_toward_zero() {
    for (json, number) in [
        (json!(7), 7),
        (json!("7"), 7),
        (json!(" -7 "), -7),
        (json!(7.9), 7),
        (json!(-7.9), -7),
        (json!(i64::MIN), i64::MIN),
        (json!(1e3), 1000),
    ] {
        assert_eq!(convert(json.clone(), DataType::Int), Ok(Value::Int(number)), "{json}");
    }
    let outside = [json!(u64::MAX), json!(1e19), json!(-1e30)];
    refuses(DataType::Int, outside);
    refuses(DataType::Int, [json!("7.5"), json!("seven"), json!(""), json!(true), json!(null), json!([7])]);
}

#[test]
fn a_float_takes_numbers_and_texts_that_hold_one() {
    for (json, number) in [(json!(7), 7.0), (json!(0.25), 0.25), (json!("0.25"), 0.25), (json!("-3"), -3.0)] {
        assert_eq!(convert(json.clone(), DataType::Float), Ok(Value::Float(number)), "{json}");
    }
    refuses(DataType::Float, [json!("inf"), json!("NaN"), json!("0x10"), json!("a"), json!(true), json!(null)]);
}

#[test]
fn a_vector_is_an_array_of_numbers_and_nothing_else() {
    assert_eq!(convert(json!([1, 0.5]), DataType::Vector), Ok(Value::Vector([1.0, 0.5].into())));
    assert_eq!(convert(json!([]), DataType::Vector), Ok(Value::Vector([].into())));
    refuses(DataType::Vector, [json!("[1]"), json!([1, "2"]), json!({}), json!(1), json!(null)]);
}

#[test]
fn search_results_are_an_array_of_objects_of_that_shape() {
    let hit = SearchResult { id: "d1".to_owned(), kind: "doc".to_owned(), distance: 0.5 };
    let json = json!([{"id": "d1", "type": "doc", "distance": 0.5}]);
    assert_eq!(convert(json.clone(), DataType::SearchResults), Ok(Value::SearchResults([hit].into())));
    assert_eq!(convert(json.clone(), DataType::SearchResults).expect("converts").to_json(), json);
    refuses(DataType::SearchResults, [json!({}), json!(["d1"]), json!([{"id": 1}]), json!(null)]);
}

#[test]
fn a_conversation_needs_messages_with_a_role_and_gets_the_missing_times() {
    let json = json!({"messages": [
        {"role": "user", "content": "hi"},
        {"id": "m2", "role": "assistant", "content": "hello", "timestamp": "2024-01-01T00:00:00Z"}
    ], "model": "m", "input_tokens": 3});
    let Ok(Value::ChatHistory(history)) = convert(json, DataType::ChatHistory) else { panic!("a conversation") };
    assert_eq!(history.messages[0], ChatMessage::new("user", "hi", NOON));
    assert_eq!(history.messages[1].id, "m2");
    assert_eq!(history.messages[1].timestamp.to_string(), "2024-01-01T00:00:00.000000Z");
    assert_eq!((history.model.as_str(), history.input_tokens, history.output_tokens), ("m", 3, 0));
    refuses(
        DataType::ChatHistory,
        [
            json!("hi"),
            json!({}),
            json!([]),
            json!({"messages": "hi"}),
            json!({"messages": ["hi"]}),
            json!({"messages": [{"content": "no role"}]}),
            json!({"messages": [{"role": "user", "content": ["part"]}]}),
            json!({"messages": [{"role": "user", "content": "a", "timestamp": "yesterday"}]}),
        ],
    );
}

#[test]
fn an_openai_request_takes_parts_and_a_single_stop_and_writes_back_only_what_was_set() {
    let json = json!({"model": "m", "stop": "END", "temperature": 0.0, "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]}
    ]});
    let value = convert(json, DataType::OpenaiChat).expect("a request");
    let written = json!({"model": "m", "stop": ["END"], "temperature": 0.0,
        "messages": [{"role": "user", "content": "ab"}]});
    assert_eq!(value.to_json(), written);
    refuses(
        DataType::OpenaiChat,
        [
            json!({}),
            json!({"messages": [], "stream": "yes"}),
            json!({"messages": [], "max_tokens": -1}),
            json!({"messages": [], "stop": [1]}),
        ],
    );
}

#[test]
fn an_openai_reply_is_an_object_with_choices() {
    let json = json!({"id": "c", "choices": []});
    assert_eq!(convert(json.clone(), DataType::OpenaiChatResponse).expect("a reply").to_json(), json);
    refuses(DataType::OpenaiChatResponse, [json!({}), json!("a"), json!([{"choices": []}])]);
}

#[test]
fn json_and_any_are_kept_as_they_are() {
    for json in [json!(null), json!({"Mixed_Case": [1, {"a": null}]}), json!("text"), json!(1.5)] {
        assert_eq!(convert(json.clone(), DataType::Json).map(|value| value.to_json()), Ok(json.clone()));
        assert_eq!(convert(json.clone(), DataType::Any).map(|value| value.to_json()), Ok(json));
    }
}

#[test]
fn an_unnamed_type_is_read_off_the_json() {
    for (json, wanted) in [
        (json!("a"), DataType::String),
        (json!(true), DataType::Bool),
        (json!(3), DataType::Int),
        (json!(3.5), DataType::Float),
        (json!({}), DataType::Json),
        (json!([]), DataType::Json),
        (json!(null), DataType::Json),
    ] {
        assert_eq!(Value::infer(json).data_type(), wanted);
    }
}

#[test]
fn a_refusal_names_the_type_and_what_was_found() {
    let refused = convert(json!("abc"), DataType::Int).expect_err("no number");
    assert_eq!(refused.to_string(), "cannot be read as int: expected a whole number of 64 bits, found 'abc'");
}

fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<f64>().prop_map(Json::from),
        ".{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        let key = prop_oneof![Just("messages".to_owned()), Just("role".to_owned()), Just("value".to_owned()), ".{0,6}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Json::from),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| Json::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_a_conversion_panic_and_what_converts_has_the_wanted_type(json in any_json()) {
        for wanted in DataType::ALL {
            if let Ok(value) = convert(json.clone(), wanted) {
                prop_assert_eq!(value.data_type(), wanted);
                drop(value.prompt_text());
                if wanted != DataType::ChatHistory {
                    prop_assert_eq!(convert(value.to_json(), wanted), Ok(value));
                }
            }
        }
    }
}
