//! `penstock chain …`: what each tool prints, where, and how it exits (`docs/workflow-spec.md`, tools).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{io::AsyncWriteExt, process::Command};

use crate::support::soon;

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
    let mut child = Command::new(env!("CARGO_BIN_EXE_penstock"))
        .arg("chain")
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // A command that does not read its input closes it early.
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.ok();
    let output = soon("the end of the command", child.wait_with_output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Left { status: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
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
async fn what_cannot_be_read_is_said_in_one_line_and_exits_with_2() {
    for (arguments, input, part) in [
        (&["graph", "no/such.yaml"][..], "", "no/such.yaml cannot be read"),
        (&["graph", "-"], "tasks: [", "standard input: it is not valid YAML"),
        (&["graph", "-"], "a: 1", "holds no chain"),
        (&["graph", "-"], "", "standard input: it is empty"),
    ] {
        let left = chain(repository(), arguments, input).await.expect(2);
        assert!(left.stderr.starts_with("penstock: ") && left.stderr.contains(part), "{left:?}");
        assert_eq!((left.stdout.as_str(), left.stderr.lines().count()), ("", 1), "{left:?}");
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
