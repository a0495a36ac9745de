//! `penstock chain …`: what each tool prints, where, and how it exits (`docs/workflow-spec.md`, tools).

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{left, spawn_chain};

/// What a command left behind.
#[derive(Debug)]
struct Left {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Left {
    #[track_caller]
    fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }
}

/// Runs `penstock chain` to its end, in a folder, with nothing in its environment.
async fn chain(folder: &Path, arguments: &[&str], input: &str) -> Left {
    chain_with(folder, arguments, input, &[]).await
}

/// The same with this in its environment.
async fn chain_with(folder: &Path, arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Left {
    let (status, stdout, stderr) = left(spawn_chain(folder, arguments, environment), input).await;
    Left { status, stdout, stderr }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

const VALID: &str = "tasks: [{id: a, handler: noop, transition: {branches: [{goto: end}]}}]";

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// Every chain of the repository that users are shown as a file.
fn examples() -> Vec<PathBuf> {
    let all = fs::read_dir(repository().join("deploy/examples")).unwrap().map(|entry| entry.unwrap().path());
    let chains: Vec<PathBuf> = all
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            (name.ends_with(".yaml") || name.ends_with(".json")) && !name.contains(".test.")
        })
        .collect();
    assert!(!chains.is_empty());
    chains
}

#[tokio::test]
async fn a_chain_is_drawn_from_a_file_and_from_standard_input() {
    let drawn = chain(repository(), &["graph", "deploy/examples/shout.yaml"], "").await.expect(0);
    let wanted = r#"flowchart TD
    start(["start"]) --> t0
    t0[["shout<br/>hook shout"]]
    t0 -->|"= question"| t1
    t0 -->|"default"| finish
    t0 -.->|"on failure"| t2
    t1("ask<br/>noop")
    t1 --> finish
    t2("whisper<br/>noop")
    t2 --> finish
    finish((("end")))
"#;
    assert_eq!((drawn.stdout.as_str(), drawn.stderr.as_str()), (wanted, ""));
    let bare = r#"{"tasks": [{"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "b"}]}}]}"#;
    let drawn = chain(repository(), &["graph", "-"], bare).await.expect(0);
    assert!(drawn.stdout.contains("missing0[\"no task b\"]"), "{drawn:?}");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_exits_with_2() {
    for (arguments, input, part) in [
        (&["graph", "no/such.yaml"][..], "", "penstock: no/such.yaml cannot be read"),
        (&["graph", "-"], "tasks: [", "error[SYNTAX]: not valid YAML"),
        (&["graph", "-"], "{\"tasks\": [}", "standard input:1:12"),
        (&["graph", "-"], "a: 1", "the chain has no tasks"),
        (&["graph", "-"], "", "standard input"),
        (&["test", "-"], VALID, "name its tests with --cases"),
        (&["test", "deploy/examples/sky_question.yaml", "--cases", "no.yaml"], "", "no.yaml cannot be read"),
    ] {
        let left = chain(repository(), arguments, input).await.expect(2);
        assert!(left.stderr.contains(part) && left.stdout.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn every_example_is_what_its_published_schema_describes() {
    let printed = chain(repository(), &["schema", "--request"], "").await.expect(0).stdout;
    let schema: Value = serde_json::from_str(&printed).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    for path in examples() {
        let text = fs::read_to_string(&path).unwrap();
        let example = penstock::dialect::yaml::decode(&text).unwrap().value;
        let wrong: Vec<String> = validator.iter_errors(&example).map(|error| error.to_string()).collect();
        assert!(wrong.is_empty(), "{}: {wrong:?}", path.display());
        let mistyped: Value = serde_json::from_str(&example.to_string().replace("\"handler\"", "\"handlr\"")).unwrap();
        assert!(!validator.is_valid(&mistyped), "{}", path.display());
    }
}

const TRIAGE: &str = r#"
tasks:
  - id: kind
    handler: condition_key
    valid_conditions: [refund, other]
    prompt_template: "What is it? {{.input}}"
    retry_on_failure: 1
    transition:
      on_failure: manual
      branches:
        - {when: refund, goto: desk}
        - {operator: default, goto: rate}
  - id: rate
    handler: parse_score
    prompt_template: "How urgent? {{.input}}"
    transition:
      branches:
        - {operator: ">", when: 7, goto: desk}
        - {operator: default, goto: vector}
  - id: vector
    handler: embedding
    input_var: input
    transition: {branches: [{operator: default, goto: end}]}
  - id: desk
    handler: hook
    hook: {name: desk}
    transition: {branches: [{when: taken, goto: thank}, {operator: default, goto: end}]}
  - id: thank
    handler: noop
    prompt_template: "Thanks: {{.desk.ticket}}"
    transition: {branches: [{operator: default, goto: end}]}
  - id: manual
    handler: raise_error
    prompt_template: "nobody knows: {{.last_error}}"
"#;

#[tokio::test]
async fn cases_that_are_met_are_ok_and_tasks_that_none_reaches_are_named() {
    let cases = r#"
cases:
  - name: a refund goes to the desk
    input: I want my money back
    mocks:
      kind: '"Refund."'
      desk: {output: {ticket: 7}, dataType: json, transition: taken}
    expect: {path: [kind, desk, thank], output: "Thanks: 7", output_type: string}
  - name: what is not urgent is embedded
    input: hello
    mocks: {kind: [what?, other], rate: "7 of 10", vector: [0.5, 1]}
    expect: {path: [kind, rate, vector], output: [0.5, 1.0]}
  - name: a hook may reply a value, and its list is by call
    input: hello
    mocks: {kind: other, rate: 9, desk: [{fail: {class: timeout}}]}
    expect: {path: [kind, rate, desk], error: {class: timeout, task: desk}}
"#;
    let folder = folder(&[("triage.yaml", TRIAGE), ("triage.test.yaml", cases)]);
    let left = chain(folder.path(), &["test", "triage.yaml"], "").await.expect(0);
    let wanted = "\
ok    a refund goes to the desk kind > desk > thank
ok    what is not urgent is embedded kind > rate > vector
ok    a hook may reply a value, and its list is by call kind > rate > desk
note  no case comes to: manual
3 passed, 0 failed
";
    assert_eq!((left.stdout.as_str(), left.stderr.as_str()), (wanted, ""));
    let left = chain(folder.path(), &["test", "triage.yaml", "--format", "json"], "").await.expect(0);
    let report: Value = serde_json::from_str(&left.stdout).unwrap();
    assert_eq!((&report["passed"], &report["unreached"]), (&json!(3), &json!(["manual"])));
    assert_eq!(report["cases"][0]["output"], "Thanks: 7");
    assert_eq!(report["cases"][2]["error"]["class"], "timeout");
}

#[tokio::test]
async fn cases_that_are_not_met_say_where_the_run_left_the_expected_way() {
    let cases = r#"
cases:
  - name: another way
    mocks: {kind: refund, desk: no}
    expect: {path: [kind, rate], output: yes, output_type: json}
  - name: a reply that is no key
    mocks: {kind: maybe}
    expect: {output: x}
  - name: no mock
    mocks: {}
    expect: {path: [kind]}
  - name: too few
    mocks: {kind: [maybe]}
    expect: {path: [kind]}
  - name: of no use
    mocks: {kind: refund, desk: {output: {}, transition: taken}, thank: x}
    expect: {error: {class: timeout}}
"#;
    let folder = folder(&[("c.yaml", TRIAGE), ("mine.yaml", cases)]);
    let left = chain(folder.path(), &["test", "c.yaml", "--cases", "mine.yaml"], "").await.expect(1);
    let wanted = r#"FAIL  another way
      the path leaves the expected one at step 2: desk instead of rate
        expected: kind > rate
        actual:   kind > desk
      the output is another one
        expected: "yes"
        actual:   "no"
      the output has another type
        expected: json
        actual:   string
FAIL  a reply that is no key
      the run fails
        expected: success
        actual:   task manual: nobody knows: the reply 'maybe' is none of the allowed: refund, other (invalid_input)
FAIL  no mock
      task 'kind' asks a model, and there is no mock for it
FAIL  too few
      task 'kind' asks a model once more, after all 1 answers of its mock
FAIL  of no use
      task 'thank' ran and asked nobody: its mock is of no use
      the run succeeds
        expected: an error of class timeout
        actual:   "Thanks: <no value>"
note  no case comes to: rate, vector
0 passed, 5 failed
"#;
    assert_eq!((left.stdout.as_str(), left.stderr.as_str()), (wanted, ""));
    let left =
        chain(folder.path(), &["test", "c.yaml", "--cases", "mine.yaml", "--color", "always"], "").await.expect(1);
    assert!(left.stdout.starts_with("\u{1b}[31mFAIL\u{1b}[0m  \u{1b}[1manother way"), "{left:?}");
}

#[tokio::test]
async fn what_is_misspelt_in_a_file_of_tests_is_shown_in_its_line() {
    let cases = "cases:\n  - name: x\n    mock: {kind: a}\n    expect: {pathh: [kind]}\n";
    let folder = folder(&[("c.yaml", TRIAGE), ("c.test.yml", cases)]);
    let left = chain(folder.path(), &["test", "c.yaml"], "").await.expect(2);
    let wanted = "\
error[UNKNOWN_FIELD]: unknown field 'mock'; the fields here are name, input, input_type, mocks, expect
 --> c.test.yml:3:5
  |
3 |     mock: {kind: a}
  |     ^^^^

error[UNKNOWN_FIELD]: unknown field 'pathh'; the fields here are path, output, output_type, error
 --> c.test.yml:4:14
  |
4 |     expect: {pathh: [kind]}
  |              ^^^^^

error[MISSING_FIELD]: nothing is expected: write path, output, output_type or error
 --> c.test.yml:4:13
  |
4 |     expect: {pathh: [kind]}
  |             ^^^^^^^^^^^^^^^

";
    assert_eq!((left.stdout.as_str(), left.stderr.as_str()), ("", wanted));
    for (case, part) in [
        ("{mocks: {kinds: a}, expect: {path: [kind]}}", "help: did you mean 'kind'?"),
        ("{expect: {path: [kind, rat]}}", "the chain has no task 'rat'"),
        ("{expect: {error: {class: time_out}}}", "unknown class 'time_out'"),
        ("{input: 7, expect: {path: []}}", "input_type is needed"),
        ("{input: x, inputType: int, expect: {path: []}}", "the input cannot be read as int"),
        ("{input: x}", "the case expects nothing"),
        ("{mocks: {kind: {fail: {class: x}}}, expect: {path: []}}", "unknown class 'x'"),
    ] {
        let left =
            chain(folder.path(), &["test", "c.yaml", "--cases", "-"], &format!("cases: [{case}]")).await.expect(2);
        assert!(left.stderr.contains(part) && left.stderr.contains("--> standard input:1:"), "{case}: {left:?}");
    }
    let left = chain(folder.path(), &["test", "c.yaml", "--cases", "-"], "cases: []").await.expect(2);
    assert!(left.stderr.contains("a list of 1 to"), "{left:?}");
}

/// Two mistakes, and one thing that is only odd.
const WRONG: &str = "input: x
chain:
  tasks:
    - id: a
      handler: raw_string
      promt_template: \"Hello {{.input}}\"
      transition:
        branches:
          - {operator: default, goto: b}
    - id: c
      handler: noop
      timeout: soon
      transition: {branches: [{operator: default, goto: end}]}
";

#[tokio::test]
async fn findings_are_shown_with_their_line_and_a_mark_under_the_place() {
    let folder = folder(&[("wrong.yaml", WRONG), ("good.yaml", VALID)]);
    let left = chain(folder.path(), &["check", "good.yaml"], "").await.expect(0);
    assert_eq!((left.stdout.as_str(), left.stderr.as_str()), ("1 file: 0 errors, 0 warnings\n", ""));
    let left = chain(folder.path(), &["check", "wrong.yaml", "good.yaml"], "").await.expect(1);
    golden("check.txt", &left.stdout);
    assert_eq!(left.stderr, "");
    let left = chain(folder.path(), &["check", "--color", "always", "wrong.yaml"], "").await.expect(1);
    golden("check_in_colour.txt", &left.stdout);
    let forced = chain_with(folder.path(), &["check", "wrong.yaml"], "", &[("CLICOLOR_FORCE", "1")]).await.expect(1);
    assert_eq!(forced.stdout, left.stdout);
    let refused = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
    let plain = chain_with(folder.path(), &["check", "wrong.yaml"], "", &refused).await.expect(1);
    assert!(!plain.stdout.contains('\u{1b}'), "{plain:?}");
    let left = chain(folder.path(), &["check", "wrong.yaml", "no.yaml"], "").await.expect(2);
    assert!(left.stderr.contains("no.yaml cannot be read") && left.stdout.contains("1 file:"), "{left:?}");
}

#[tokio::test]
async fn findings_for_programs_are_those_of_the_api() {
    let folder = folder(&[("wrong.yaml", WRONG), ("good.yaml", VALID)]);
    let left = chain(folder.path(), &["check", "--format", "json", "good.yaml", "wrong.yaml"], "").await.expect(1);
    let told: Value = serde_json::from_str(&left.stdout).unwrap();
    assert_eq!(told[0], json!({"file": "good.yaml", "result": "OK", "diagnostics": []}));
    assert_eq!((&told[1]["file"], &told[1]["result"]), (&json!("wrong.yaml"), &json!("FAIL")));
    let lost = told[1]["diagnostics"].as_array().unwrap().iter().find(|told| told["code"] == "UNKNOWN_GOTO").unwrap();
    assert_eq!((&lost["line"], &lost["task"], &lost["severity"]), (&json!(9), &json!("a"), &json!("error")));
    assert_eq!(lost["path"], "/chain/tasks/0/transition/branches/0/goto");
}

#[tokio::test]
async fn strictness_makes_warnings_fail() {
    let odd = r#"{"tasks": [{"id": "a", "handler": "noop", "promt_template": "x", "transition": {"branches": [{}]}}]}"#;
    let folder = folder(&[]);
    let left = chain(folder.path(), &["check", "-"], odd).await.expect(0);
    assert!(left.stdout.contains("warning[UNKNOWN_FIELD]") && left.stdout.contains("did you mean"), "{left:?}");
    chain(folder.path(), &["check", "--strict", "-"], odd).await.expect(1);
    chain(folder.path(), &["check"], "").await.expect(2);
}

#[tokio::test]
async fn what_a_file_holds_never_reaches_a_terminal_as_a_command() {
    let raw = "tasks: [{id: \"a\u{9b}2J\u{202e}\"}]";
    let escaped = r#"tasks: [{id: "a\u001b[31m\u009b2J\u202e", handler: "x\u001b]0;t\u0007"}]"#;
    let is_harmless = |c: char| c == '\n' || (!c.is_control() && c != '\u{202e}');
    for (hostile, part) in [(raw, "a??2J???"), (escaped, "unknown handler")] {
        let left = chain(repository(), &["check", "-"], hostile).await.expect(1);
        assert!(left.stdout.contains(part) && left.stdout.chars().all(is_harmless), "{left:?}");
    }
}

/// Compares a text with a file of `tests/it/goldens/chain_tools`; with `WRITE_GOLDENS` set, writes it.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "whoever changes the output writes the files anew with it")]
fn golden(name: &str, text: &str) {
    let path = repository().join("tests/it/goldens/chain_tools").join(name);
    if std::env::var_os("WRITE_GOLDENS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
    }
    let wanted = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, wanted, "WRITE_GOLDENS=1 writes {} anew", path.display());
}
