//! What schemas accept, what they tell, and what they may cost.

use serde_json::json;

use super::*;

fn compile(schema: &Json) -> Result<Schema, String> {
    Schema::compile(schema, 1 << 20)
}

fn compiled(schema: Json) -> Schema {
    compile(&schema).expect("a schema")
}

#[test]
fn violations_name_the_place_and_the_reason() {
    let schema = compiled(json!({"type": "object", "required": ["a"],
        "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {"maxLength": 2}}}}));
    assert_eq!(schema.violations(&json!({"a": 1})), []);
    let told: Vec<_> =
        schema.violations(&json!({"a": "x", "b": ["ok", "long"]})).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["at /a: \"x\" is not of type \"integer\"", "at /b/1: \"long\" is longer than 2 characters"]);
    assert_eq!(schema.violations(&json!({}))[0].to_string(), "\"a\" is a required property");
    let many = json!({"a": 1, "b": vec!["xxx"; 100]});
    assert_eq!(schema.violations(&many).len(), MOST_TOLD);
    let long = schema.violations(&json!({"a": "x".repeat(10_000)}));
    assert!(long[0].message.chars().count() <= LONGEST_TOLD + 1);
}

#[test]
fn what_is_no_schema_is_refused_with_the_reason() {
    for (schema, part) in [
        (json!({"type": "text"}), "at /type"),
        (json!("object"), "is an object"),
        (json!({"properties": {"a": {"minimum": "1"}}}), "at /properties/a/minimum"),
        (json!({"$ref": "https://example.com/schema.json"}), "example.com"),
        (json!({"$ref": "file:///etc/passwd"}), "passwd"),
        (json!({"$ref": "#/$defs/none"}), "'#/$defs/none' names no place"),
        (json!({"pattern": "(a"}), "(a"),
        (json!({"pattern": "^(?=a)b"}), "(?=a)"),
        (json!({"$dynamicRef": "#a"}), "$dynamicRef is not supported"),
        (json!({"properties": {"a": {"$id": "x"}}}), "may have an $id"),
    ] {
        let refused = compile(&schema).expect_err(&schema.to_string());
        assert!(refused.contains(part), "{schema}: {refused}");
    }
}

#[test]
fn schemas_as_people_write_them_work() {
    let node = json!({"type": "object", "properties": {"id": {"type": "string"}, "$id": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["id"]});
    let tree = compiled(json!({"$id": "https://example.com/tree", "$ref": "#/$defs/node", "$defs": {"node": node}}));
    assert!(tree.accepts(&json!({"id": "a", "children": [{"id": "b", "children": []}]})));
    let told = tree.violations(&json!({"id": "a", "children": [{"id": "b", "children": [{}]}]}));
    assert_eq!(told[0].path, "/children/0/children/0");
    let old = compiled(json!({"$schema": "http://json-schema.org/draft-07/schema#", "type": "array",
        "items": [{"type": "integer"}], "additionalItems": false}));
    assert!(old.accepts(&json!([1])) && !old.accepts(&json!([1, 2])));
}

#[test]
fn no_schema_takes_time_without_end() {
    let pattern = compiled(json!({"pattern": "^(a+)+$"}));
    assert!(!pattern.accepts(&json!(format!("{}b", "a".repeat(50_000)))));
    let mut defs = json!({"d40": {"type": "string"}});
    for at in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", at + 1)});
        defs[format!("d{at}")] = json!({"allOf": [next, next]});
    }
    let refused = compile(&json!({"$ref": "#/$defs/d0", "$defs": defs})).expect_err("too heavy");
    assert!(refused.contains("more than 100000 parts"), "{refused}");
    let round = compiled(json!({"$ref": "#"}));
    assert!(round.violations(&json!(1)).len() <= 1);
    let twice = json!({"properties": {"a": {"$ref": "#"}}, "items": {"$ref": "#"}});
    let nested = compiled(json!({"allOf": [twice, twice], "not": {"const": 7}}));
    let deep = (0..100).fold(json!(7), |inner, _| json!({"a": inner}));
    assert_eq!(nested.violations(&deep).len(), 1);
    let wide = compiled(json!({"items": {"anyOf": vec![json!({"type": "string"}); 1000]}}));
    let told = wide.violations(&json!(vec![1; 100_000]));
    assert!(told[0].message.contains("too large"), "{told:?}");
}

#[test]
fn no_schema_is_nested_too_deeply_for_the_stack() {
    let mut defs = json!({});
    for at in 0..5_000 {
        defs[format!("d{at}")] = json!({"$ref": format!("#/$defs/d{}", at + 1)});
    }
    defs["d5000"] = json!({});
    let refused = compile(&json!({"$ref": "#/$defs/d0", "$defs": defs})).expect_err("too deep");
    assert!(refused.contains("nested deeper than 200"), "{refused}");
    // The deepest that is allowed, in a thread as small as those of the server.
    let body = || {
        let mut schema = json!({"properties": {"a": {"$ref": "#"}}, "type": "object"});
        for _ in 0..40 {
            schema = json!({"allOf": [schema]});
        }
        let schema = compiled(schema);
        let deep = (0..120).fold(json!({}), |inner, _| json!({"a": inner}));
        let told = (2..120).rev().find(|depth| {
            let value = (0..*depth).fold(json!(1), |inner, _| json!({"a": inner}));
            !schema.violations(&value)[0].message.contains("too large")
        });
        assert!(!schema.accepts(&deep));
        assert!(told.is_some_and(|depth| depth > 20), "{told:?}");
    };
    std::thread::Builder::new().stack_size(2 * 1024 * 1024).spawn(body).expect("starts").join().expect("fits");
}

#[test]
fn root_types_are_those_that_are_written_at_the_root() {
    for (schema, roots) in [
        (json!({"type": "array"}), vec![Root::Array]),
        (json!({"type": ["string", "null"]}), vec![Root::String, Root::Null]),
        (json!({"type": "integer"}), vec![Root::Number]),
        (json!({"anyOf": [{"type": "object"}]}), vec![]),
        (json!(true), vec![]),
    ] {
        assert_eq!(compiled(schema.clone()).roots(), roots, "{schema}");
    }
}

#[test]
fn references_that_go_round_in_several_ways_are_not_followed_into_deep_values() {
    let nested = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
    let doubling = compile(&json!({"type": "array", "anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}}]}))
        .expect("a schema");
    assert!(!doubling.accepts(&nested(60)));
    let told = doubling.violations(&nested(60));
    assert!(told[0].message.contains("nested too deeply"), "{told:?}");
    let tree = compile(&json!({"$ref": "#/$defs/tree", "$defs": {"tree": {"anyOf": [
        {"type": "integer"},
        {"type": "object", "properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}}}
    ]}}}))
    .expect("a schema");
    let deep = (0..60).fold(json!(1), |value, _| json!({"left": value, "right": 2}));
    assert!(tree.accepts(&deep), "one way round for each part");
}

#[test]
fn patterns_are_counted_wherever_they_stand_and_each_is_bounded() {
    let schema = json!({"properties": {"pattern": {"type": "string", "pattern": "^a"}, "b": {"anyOf": [{"pattern": "b"}]}},
        "patternProperties": {"^x": {"pattern": "c"}, "^y": true}});
    assert_eq!(patterns(&schema), 5);
    let large = json!({"pattern": "^([a-z]{1,50}){1,50}$"});
    assert!(Schema::compile(&large, 1 << 20).is_ok());
    let refused = Schema::compile(&large, 16 << 10).expect_err("too large");
    assert!(refused.contains("at /pattern") && refused.contains("at most 16 KiB"), "{refused}");
    assert!(Schema::compile(&json!({"pattern": "^[A-Za-z0-9._-]{1,64}@example\\.com$"}), 16 << 10).is_ok());
}
