//! Drawings compared with what they should be, and chains that try to break out of their labels.

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;

fn drawn(chain: Json) -> String {
    mermaid(&serde_json::from_value(chain).expect("a chain"))
}

#[test]
fn handlers_have_shapes_failures_are_dashed_and_branches_say_when() {
    let seen = drawn(json!({"tasks": [
        {"id": "rate", "handler": "parse_score", "max_visits": 3, "transition": {
            "catch": [{"errors": ["timeout", "rate_limit"], "goto": "wait"}, {"goto": "shout"}],
            "on_failure": "give-up",
            "branches": [
                {"operator": ">", "when": 7.5, "goto": "answer"},
                {"operator": "in_range", "when": "1-5", "goto": "rate"},
                {"when": "6", "goto": "shout"},
                {"operator": "startsWith", "when": "-", "goto": "wait"},
                {"operator": "default", "goto": "end"}]}},
        {"id": "answer", "handler": "raw_string", "transition": {"branches": [{"goto": ""}]}},
        {"id": "shout", "handler": "hook", "hook": {"name": "shouter"}, "transition": {"variable": "shout.mood",
            "branches": [{"when": "calm", "goto": "answer"}, {"operator": "default", "goto": "end"}]}},
        {"id": "wait", "handler": "noop", "transition": {"branches": [{"operator": "default", "goto": "rate"}]}},
        {"id": "give-up", "handler": "raise_error"},
    ]}));
    let wanted = r##"flowchart TD
    start(["start"]) --> t0
    t0{"rate<br/>parse_score<br/>at most 3x"}
    t0 -->|"#gt; 7.5"| t1
    t0 -->|"in 1-5"| t0
    t0 -->|"= 6"| t2
    t0 -->|"starts with #45;"| t3
    t0 -->|"default"| finish
    t0 -.->|"timeout, rate_limit"| t3
    t0 -.->|"any failure"| t2
    t0 -.->|"on failure"| t4
    t1["answer<br/>raw_string"]
    t1 --> finish
    t2[["shout<br/>hook shouter"]]
    t2 -->|"shout#46;mood = calm"| t1
    t2 -->|"default"| finish
    t3("wait<br/>noop")
    t3 --> t0
    t4{{"give-up<br/>raise_error"}}
    t4 -.-> failure
    failure(("failure"))
    finish((("end")))
"##;
    assert_eq!(seen, wanted);
}

#[test]
fn a_chain_that_is_not_valid_is_drawn_with_what_is_missing() {
    let seen = drawn(json!({"tasks": [
        {"handler": "rawstring", "transition": {"on_failure": "end", "branches": [{"goto": "no_where"}]}},
        {"id": "twice", "transition": {"branches": [{"when": "x", "goto": "twice"}]}},
        {"id": "twice", "handler": "noop", "transition": {"catch": [{"errors": ["timeout"]}],
            "branches": [{"goto": "no_where"}]}},
    ]}));
    let wanted = r##"flowchart TD
    start(["start"]) --> t0
    t0["#35;1<br/>rawstring"]
    t0 --> missing0
    t0 -.->|"on failure"| missing1
    t1["twice<br/>no handler"]
    t1 -->|"= x"| t1
    t2("twice<br/>noop")
    t2 --> missing0
    t2 -.->|"timeout"| missing2
    missing0["no task no_where"]:::missing
    missing1["no task end"]:::missing
    missing2["no task "]:::missing
    classDef missing stroke:#c00,color:#c00,stroke-dasharray:5 4
"##;
    assert_eq!(seen, wanted);
    assert_eq!(drawn(json!({})), "flowchart TD\n    start([\"start\"]) --> finish\n    finish(((\"end\")))\n");
}

#[test]
fn chain_text_is_only_ever_text() {
    let hostile = "a\"]; click t0 href \"javascript:x\"\n%%{init: {}}%%<script>`*_x_*`&amp;#35;|\u{202e}end";
    let seen = drawn(json!({"tasks": [{"id": hostile, "handler": hostile, "hook": {"name": hostile},
        "transition": {"branches": [{"operator": hostile, "when": hostile, "goto": hostile}]}}]}));
    let text = "a#34;#93;#59; click t0 href #34;javascript#58;x#34; \
                #37;#37;#123;init#58; #123;#125;#125;#37;#37;#60;script#62;#96;#42;#95;x#8230;";
    let wanted = format!(
        "flowchart TD\n    start([\"start\"]) --> t0\n    t0[\"{text}<br/>{text} {text}\"]\n    t0 -->|\"{text} {text}\"| t0\n"
    );
    assert_eq!(seen, wanted);
    for (text, shown) in [
        ("end", "end"),
        ("1. item", "1#46; item"),
        ("- item", "#45; item"),
        ("snake_case-1", "snake_case-1"),
        ("_a_ **b** `c`", "#95;a#95; #42;#42;b#42;#42; #96;c#96;"),
        ("tab\there\r\nthere", "tab here  there"),
        ("ä日本 ☂", "ä日本 #9730;"),
        ("#quot;", "#35;quot#59;"),
    ] {
        assert_eq!(escaped(text), shown, "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_leaves_its_label(text in any::<String>()) {
        let safe = escaped(&text);
        let is_plain = |c: char| c.is_alphanumeric() || matches!(c, ' ' | ',' | '_' | '-' | '.' | '#' | ';');
        prop_assert!(safe.chars().all(is_plain), "{safe}");
        prop_assert!(safe.len() <= (LONGEST_LABEL + 1) * 10);
        let chain = json!({"tasks": [{"id": &text, "handler": "noop", "transition": {"branches": [{"goto": text}]}}]});
        let lines = drawn(chain).lines().count();
        prop_assert!((4..=5).contains(&lines), "{lines} lines");
    }
}
