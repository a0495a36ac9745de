//! The template language, line by line.

use serde_json::json;

use super::*;
use crate::domain::value::Value;

fn data(json: serde_json::Value) -> Arc<TemplateData> {
    match to_template(&Value::json(json)) {
        TemplateValue::Map(fields) => fields,
        _ => panic!("variables are an object"),
    }
}

fn render(source: &str, variables: serde_json::Value) -> Result<String, String> {
    Template::parse(source).expect("parses").render(&data(variables), &mut RUN_BUDGET.clone())
}

#[track_caller]
fn renders(cases: &[(&str, &str)]) {
    let variables = json!({
        "name": "Ann <b>&</b>", "n": 7, "big": 12_345_678_901_i64, "whole": 1_000_000.0, "half": 0.5, "huge": 1e21,
        "yes": true, "no": false, "empty": "", "nothing": null, "zero": 0, "none": [], "blank": {},
        "list": ["a", "b", "c"], "map": {"b": 2, "a": {"c": "deep"}, "f": 2.5},
        "task-id": "dashed", "1st": "digit", "Mixed": {"Messages": [{"Content": "hi"}]}, "same": "lower", "SAME": "upper",
    });
    for (source, text) in cases {
        assert_eq!(render(source, variables.clone()).as_deref(), Ok(*text), "{source}");
    }
}

#[test]
fn variables_are_reached_by_name_path_and_index() {
    renders(&[
        ("{{.name}}", "Ann <b>&</b>"),
        ("{{ .name }}", "Ann <b>&</b>"),
        ("{{.map.a.c}}", "deep"),
        (r#"{{index .map "b"}}"#, "2"),
        ("{{index .list 0}}", "a"),
        (r#"{{index . "task-id"}} {{index . "1st"}}"#, "dashed digit"),
        ("{{$.n}} {{with .map}}{{$.n}}{{end}}", "7 7"),
        ("{{$x := .n}}{{$x}}{{$x = 8}}{{$x}}", "78"),
        ("{{$x := .map}}{{$x.a.c}}", "deep"),
        ("{{(index .map \"a\").c}}", "deep"),
    ]);
}

#[test]
fn names_match_in_any_case_but_exactly_first() {
    renders(&[
        ("{{.mixed.messages}}", r#"[{"Content":"hi"}]"#),
        ("{{(index .Mixed.Messages 0).content}}", "hi"),
        ("{{.same}} {{.SAME}} {{.Same}}", "lower upper upper"),
        ("{{range .MIXED.messages}}{{.CONTENT}}{{end}}", "hi"),
        ("{{$m := .mixed}}{{len $m.MESSAGES}}", "1"),
    ]);
}

#[test]
fn control_flow_is_gos() {
    renders(&[
        ("{{if .yes}}a{{else}}b{{end}}", "a"),
        ("{{if .no}}a{{else if eq .n 7}}b{{else}}c{{end}}", "b"),
        ("{{if .zero}}a{{else}}b{{end}}", "b"),
        ("{{range .list}}{{.}},{{end}}", "a,b,c,"),
        ("{{range .none}}x{{else}}none{{end}}", "none"),
        ("{{range $i, $e := .list}}{{$i}}{{$e}}{{end}}", "0a1b2c"),
        ("{{range $k, $v := .map}}{{$k}};{{end}}", "a;b;f;"),
        ("{{range .list}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
        ("{{range .list}}{{if eq . \"b\"}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
        ("{{with .map}}{{.b}}{{else}}no{{end}}{{with .empty}}x{{else}}no{{end}}", "2no"),
        ("{{define \"t\"}}<{{.}}>{{end}}{{template \"t\" .n}}", "<7>"),
        ("{{block \"t\" .n}}[{{.}}]{{end}}", "[7]"),
        ("{{define \"t\"}}x{{end}}", ""),
        ("", ""),
    ]);
}

#[test]
fn false_zero_null_and_everything_empty_count_as_false() {
    let false_ones =
        [".no", ".zero", ".empty", ".nothing", ".none", ".blank", ".absent", "false", "0", "0.0", "\"\"", "``"];
    for value in false_ones {
        renders(&[(&format!("{{{{if {value}}}}}true{{{{else}}}}false{{{{end}}}}"), "false")]);
    }
    for value in [".yes", ".n", ".half", ".name", ".list", ".map", "true", "-1", "\" \"", "\"false\""] {
        renders(&[(&format!("{{{{if {value}}}}}true{{{{else}}}}false{{{{end}}}}"), "true")]);
    }
}

#[test]
fn the_dollar_is_all_variables_and_false_is_a_literal() {
    let variables = json!({"b": 1, "a": {"c": [true, null, 0.5]}});
    assert_eq!(render("{{$}}", variables.clone()).as_deref(), Ok(r#"{"a":{"c":[true,null,0.5]},"b":1}"#));
    assert_eq!(
        render("{{.}}{{false}}{{with .a}}{{.}}{{end}}", variables).as_deref(),
        Ok(r#"{"a":{"c":[true,null,0.5]},"b":1}false{"c":[true,null,0.5]}"#)
    );
}

#[test]
fn comments_trims_literals_and_pipelines_are_gos() {
    renders(&[
        ("a{{/* note */}}b", "ab"),
        ("a  {{- .n -}}  b", "a7b"),
        ("{{\"q\\n\"}}{{`r\\n`}}{{3}}{{1.5}}{{true}}", "q\nr\\n31.5true"),
        ("{{.list | len}}", "3"),
        ("{{.n | printf \"%d!\"}}", "7!"),
        ("{{len (slice .list 1)}}", "2"),
        ("{{if eq .nothing nil}}nil{{end}}", "nil"),
    ]);
}

#[test]
fn functions_are_gos() {
    renders(&[
        ("{{and .yes .n}} {{or .empty .n}} {{not .yes}}", "7 7 false"),
        ("{{and .no (index .list 99)}} {{or .yes (index .list 99)}}", "false true"),
        (
            "{{eq .n 1 7}} {{ne .n 7}} {{lt .n 8}} {{le .n 7}} {{gt .n 8}} {{ge .n 7}}",
            "true false true true false true",
        ),
        ("{{len .name}} {{slice .name 0 3}}", "12 Ann"),
        ("{{print .n .n}} {{println .n}}", "7 7 7\n"),
        (
            "{{printf \"%v %s %q %d %f %.2f %t %x %%\" .n .same .same .n .half .half .yes .n}}",
            "7 lower \"lower\" 7 0.500000 0.50 true 7 %",
        ),
        ("{{html .name}}", "Ann &lt;b&gt;&amp;&lt;/b&gt;"),
        ("{{js \"a'b\"}} {{urlquery \"a b&c\"}}", "a\\'b a+b%26c"),
    ]);
}

#[test]
fn values_print_raw_decimal_and_as_compact_json() {
    renders(&[
        ("{{.big}} {{.whole}} {{.half}} {{.huge}}", "12345678901 1000000 0.5 1000000000000000000000"),
        ("{{.yes}} {{.name}}", "true Ann <b>&</b>"),
        ("{{.list}}", r#"["a","b","c"]"#),
        ("{{.map}}", r#"{"a":{"c":"deep"},"b":2,"f":2.5}"#),
        (
            "{{print .list}}{{printf \"%v\" .map.a}}{{.list | printf \"%s\"}}",
            r#"["a","b","c"]{"c":"deep"}["a","b","c"]"#,
        ),
    ]);
}

#[test]
fn what_is_missing_prints_as_no_value() {
    renders(&[
        ("{{.absent}}", "<no value>"),
        ("{{.absent.deeper.still}}", "<no value>"),
        ("{{.map.absent}} {{.nothing}} {{.nothing.x}}", "<no value> <no value> <no value>"),
        ("{{if .absent}}a{{else}}b{{end}}", "b"),
    ]);
}

#[test]
fn what_cannot_work_is_refused_when_parsed() {
    for (source, part) in [
        ("{{.a", "unclosed action"),
        ("{{if .a}}x", "needs one {{end}}"),
        ("{{range .a}}x{{else}}y", "needs one {{end}}"),
        ("x{{end}}y", "needs one {{end}}"),
        ("x{{else}}y", "needs one {{end}}"),
        ("{{define \"t\"}}x", "needs one {{end}}"),
        ("{{\"a", "unterminated"),
        ("{{$y}}", "line 1: variable \"$y\" is not defined"),
        ("{{if true}}{{$y := 1}}{{end}}{{$y}}", "variable \"$y\""),
        ("{{$y = 1}}", "variable \"$y\""),
        ("{{range $i, $e := .a}}{{end}}{{$e}}", "variable \"$e\""),
        ("{{define \"t\"}}{{break}}{{end}}{{range .a}}{{template \"t\"}}{{end}}", "need a {{range}}"),
        ("{{shout .a}}", "function \"shout\" is not defined"),
        ("x\n{{range .a}}{{upper .}}{{end}}", "line 2: function \"upper\""),
        ("{{.a | shout}}", "\"shout\""),
        ("{{print (shout 1)}}", "\"shout\""),
        ("{{template \"absent\"}}", "template \"absent\" is not defined"),
        ("{{define \"t\"}}a{{end}}{{define \"t\"}}b{{end}}", "multiple definition"),
        ("{{show value}}", "not defined"),
        ("{{break}}", "break"),
    ] {
        let refused = Template::parse(source).expect_err(source);
        assert!(refused.contains(part), "{source}: {refused}");
    }
}

#[test]
fn a_long_row_of_else_ifs_is_refused_before_the_parser_runs_out_of_stack() {
    let row = |count: usize, action: &str| format!("{{{{if .a}}}}x{}{{{{end}}}}", action.repeat(count));
    for action in ["{{else if .b}}y", "{{- else\n if .b -}}y", "{{else with .b}}y", "{{else   if .b}}{{/* {{end */}}"] {
        let refused = Template::parse(&row(100_000, action)).expect_err(action);
        assert!(refused.contains("more than 250 {{else if}}s"), "{action}: {refused}");
        assert_eq!(names::variables(&row(100_000, action)), []);
    }
    Template::parse(&row(250, "{{else if .b}}y")).expect("as many as are allowed");
    Template::parse(&"{{if .a}}x{{else}}y{{end}}{{if .a}}x{{- else -}}y{{end}}".repeat(1000)).expect("no row");
}

#[test]
fn what_fails_while_rendering_says_why() {
    for (source, part) in [
        ("{{.n.x}}", "can't evaluate field x in type int"),
        ("{{index .list 9}}", "index out of range"),
        ("{{lt .n \"a\"}}", "incompatible types"),
    ] {
        let failed = render(source, json!({"n": 1, "list": []})).expect_err(source);
        assert!(failed.contains(part), "{source}: {failed}");
    }
}

#[test]
fn rendering_is_bounded_in_time_and_memory() {
    let doubling = "{{$x := \"0123456789abcdef\"}}{{range 60}}{{$x = print $x $x}}{{end}}";
    let nested = "{{define \"d\"}}{{template \"d\" (print . .)}}{{end}}{{template \"d\" \"0123456789abcdef\"}}";
    let twice =
        |at| format!("{{{{define \"t{at}\"}}}}{{{{template \"t{0}\"}}}}{{{{template \"t{0}\"}}}}{{{{end}}}}", at + 1);
    let branching =
        &format!("{}{{{{define \"t50\"}}}}{{{{end}}}}{{{{template \"t0\"}}}}", (0..50).map(twice).collect::<String>());
    let deep = "{{define \"a\"}}{{if true}}{{template \"a\"}}{{end}}{{end}}{{template \"a\"}}";
    let looping = "{{range 1000000000}}{{end}}";
    let long = "{{range 1000}}{{range 1000}}0123456789abcdefghijklmnopqrstuvwxyz{{end}}{{end}}";
    let copying = "{{$x := .long}}{{range 1000000}}{{$y := print $x}}{{end}}";
    let comparing = "{{range 1000000}}{{if eq $.long $.same}}{{end}}{{end}}";
    let wide = &format!("{{{{printf \"{}\"}}}}", "%60000d".repeat(1000));
    let variable_width = &format!("{{{{printf \"{}\" {}}}}}", "%*d".repeat(100), "60000 1 ".repeat(100));
    let (one, other) = ("x".repeat(1024 * 1024), "x".repeat(1024 * 1024));
    let variables = json!({"long": one, "same": other});
    for source in [
        doubling,
        nested,
        branching.as_str(),
        deep,
        looping,
        long,
        copying,
        comparing,
        wide.as_str(),
        variable_width.as_str(),
    ] {
        assert!(render(source, variables.clone()).is_err(), "{source}");
    }
    assert_eq!(render("{{len .long}}{{printf \"%05d|%-4d|\" 7 7}}", variables).as_deref(), Ok("104857600007|7   |"));
}

#[test]
fn the_renderings_of_a_run_share_one_budget() {
    let template = Template::parse("{{.long}}").expect("parses");
    let variables = data(json!({"long": "x".repeat(1000)}));
    let mut budget = 5000;
    let rendered = (0..10).take_while(|_| template.render(&variables, &mut budget).is_ok()).count();
    assert_eq!((rendered, budget < 2200), (2, true), "{budget} left");
}
