//! `penstock chain run`: steps on standard error while they are taken, the output alone on standard output, and an exit
//! status for each way it can end (`docs/workflow-spec.md`, tools).

use std::{fs, net::TcpListener, path::Path};

use loadtest::sim::{Route, Rule};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::support::{Scene, TestServer, eventually, left, soon, spawn_chain};

const CHAIN: &str = r#"
id: two
tasks:
  - id: first
    handler: raw_string
    prompt_template: "one {{.input}}"
    transition: {branches: [{operator: default, goto: second}]}
  - id: second
    handler: raw_string
    prompt_template: "two {{.first}}"
    transition: {branches: [{operator: default, goto: end}]}
"#;

fn spawn(folder: &Path, server: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Child {
    spawn_chain(folder, &[&["run", "--server", server], arguments].concat(), environment)
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.addr)
}

/// A scene whose model answers `ONE` and `TWO`, and a folder with the chain.
async fn scene() -> (Scene, tempfile::TempDir) {
    let scene = Scene::start(&[]).await;
    scene.sim.script(Rule::on(Route::Generate).containing("one").reply("ONE"));
    scene.sim.script(Rule::on(Route::Generate).containing("two").reply("TWO"));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.yaml"), CHAIN).unwrap();
    (scene, folder)
}

/// What is shown of a run, without the times, which are never the same.
fn timeless(shown: &str) -> String {
    let number = |word: &str| word.trim_start_matches('(').chars().next().is_some_and(|c| c.is_ascii_digit());
    let words = |line: &str| {
        let words: Vec<&str> = line.split(", ").filter(|word| !(number(word) && word.ends_with('s'))).collect();
        words.join(", ")
    };
    shown.lines().map(words).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_output_is_alone_on_standard_output_and_the_steps_are_on_standard_error() {
    let (scene, folder) = scene().await;
    let child = spawn(folder.path(), &url(&scene.server), &["two.yaml", "--input", "x"], &[]);
    let (status, stdout, stderr) = left(child, "").await;
    assert_eq!((status, stdout.as_str()), (0, "TWO\n"), "{stderr}");
    let id = &scene.id;
    let wanted = format!(
        "...    first raw_string\nok     first raw_string, chat:1b, {id} -> ONE\n...    second raw_string\n\
         ok     second raw_string, chat:1b, {id} -> TWO"
    );
    assert_eq!(timeless(&stderr), wanted);
    let prompts = scene.sim.record().of(Route::Generate).len();
    assert_eq!(prompts, 2);
    let child = spawn(folder.path(), &url(&scene.server), &["two.yaml", "--json", "--input", "-"], &[]);
    let (status, stdout, _) = left(child, "from a pipe\n").await;
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((status, &answer["output"], &answer["outputType"]), (0, &json!("TWO"), &json!("string")));
    assert_eq!(answer["state"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_step_is_shown_while_the_next_one_runs() {
    let (scene, folder) = scene().await;
    let gate = scene.sim.hold_on(Route::Generate);
    let mut child = spawn(folder.path(), &url(&scene.server), &["two.yaml"], &[]);
    let mut shown = BufReader::new(child.stderr.take().unwrap()).lines();
    gate.release(1);
    gate.wait_for_arrivals(2).await.unwrap();
    for wanted in ["...    first", "ok     first", "...    second"] {
        let line = soon(wanted, shown.next_line()).await.unwrap().unwrap();
        assert!(line.starts_with(wanted), "{line}");
    }
    assert_eq!(gate.waiting(), 1, "the second step is held");
    gate.release_all();
    let (status, stdout, _) = left(child, "").await;
    assert_eq!((status, stdout.as_str()), (0, "TWO\n"));
}

#[tokio::test]
async fn whoever_ends_the_command_stops_the_run() {
    let (scene, folder) = scene().await;
    let gate = scene.sim.hold();
    let mut child = spawn(folder.path(), &url(&scene.server), &["two.yaml"], &[]);
    gate.wait_for_waiting(1).await.unwrap();
    let pid = child.id().unwrap();
    // Not INT, which does the same: shells start what runs in the background with that one ignored.
    let sent = Command::new("sh").args(["-c", &format!("kill -TERM {pid}")]).status().await.unwrap();
    assert!(sent.success());
    assert!(!soon("the end of the command", child.wait()).await.unwrap().success());
    gate.wait_for_waiting(0).await.unwrap();
    eventually("no run", || async {
        let active = scene.server.runtime.runs.active();
        if active == 0 { Ok(()) } else { Err(active.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_request_brings_its_input_and_the_command_line_may_bring_another() {
    let (scene, folder) = scene().await;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let echo = "tasks: [{id: a, handler: noop, transition: {branches: [{operator: default, goto: end}]}}]";
    write("echo.yaml", &format!("input: [1, 2]\ninputType: json\nchain: {{{echo}}}\n"));
    write("bare.yaml", echo);
    write("in.json", "{\"a\": 1}\n");
    for (arguments, input, wanted) in [
        (&["echo.yaml"][..], "", "[1,2]\n"),
        (&["echo.yaml", "--input", "x"], "", "x\n"),
        (&["echo.yaml", "--input", "7", "--input-type", "int"], "", "7\n"),
        (&["bare.yaml"], "", "\n"),
        (&["bare.yaml", "--input", "@in.json"], "", "{\"a\": 1}\n"),
        (&["bare.yaml", "--input", "@in.json", "--input-type", "json"], "", "{\"a\":1}\n"),
        (&["-", "--input", "-x"], echo, "-x\n"),
    ] {
        let (status, stdout, stderr) = left(spawn(folder.path(), &url(&scene.server), arguments, &[]), input).await;
        assert_eq!((status, stdout.as_str()), (0, wanted), "{arguments:?}: {stderr}");
    }
    for (arguments, part) in [
        (&["-", "--input", "-"][..], "cannot both"),
        (&["bare.yaml", "--input", "{", "--input-type", "json"], "the input is no JSON"),
        (&["bare.yaml", "--input", "x", "--input-type", "thing"], "unknown data type"),
        (&["no.yaml"], "no.yaml cannot be read"),
        (&["bare.yaml", "--server", "ftp://x"], "is no address"),
    ] {
        let child = if arguments.contains(&"--server") {
            spawn(folder.path(), "ftp://x", &["bare.yaml"], &[])
        } else {
            spawn(folder.path(), &url(&scene.server), arguments, &[])
        };
        let (status, stdout, stderr) = left(child, "").await;
        assert!(status == 2 && stdout.is_empty() && stderr.contains(part), "{arguments:?}: {status} {stderr}");
    }
}

#[tokio::test]
async fn a_failed_run_exits_with_1_and_its_last_word_is_why() {
    let (scene, folder) = scene().await;
    scene.sim.set_down(500);
    let child = spawn(folder.path(), &url(&scene.server), &["two.yaml", "--json"], &[]);
    let (status, stdout, stderr) = left(child, "").await;
    assert_eq!(status, 1, "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("the run failed: task first: "), "{stderr}");
    assert!(stderr.contains("failed first raw_string"), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(answer["state"][0]["taskID"], "first");
}

#[tokio::test]
async fn a_chain_that_is_not_valid_is_shown_where_it_is_wrong() {
    let (scene, folder) = scene().await;
    let wrong = CHAIN.replace("goto: second", "goto: secnd");
    fs::write(folder.path().join("wrong.yaml"), &wrong).unwrap();
    let (status, stdout, stderr) = left(spawn(folder.path(), &url(&scene.server), &["wrong.yaml"], &[]), "").await;
    assert_eq!((status, stdout.as_str()), (2, ""), "{stderr}");
    assert!(stderr.contains("error[UNKNOWN_GOTO]") && stderr.contains("--> wrong.yaml:7:55"), "{stderr}");
    assert!(stderr.contains("did you mean"), "{stderr}");
}

#[tokio::test]
async fn without_a_server_it_exits_with_3_and_says_how_to_start_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("two.yaml"), CHAIN).unwrap();
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let child = spawn(folder.path(), &format!("http://me:hunter2@{address}"), &["two.yaml"], &[]);
    let (status, stdout, stderr) = left(child, "").await;
    assert_eq!((status, stdout.as_str(), stderr.lines().count()), (3, "", 1), "{stderr}");
    assert!(stderr.contains("penstock serve") && stderr.contains(&address.to_string()), "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
}

#[tokio::test]
async fn the_token_is_sent_and_never_shown() {
    let server = TestServer::start(&[("TOKEN", "right-token-1")]).await;
    let folder = tempfile::tempdir().unwrap();
    let chain = "tasks: [{id: a, handler: noop, transition: {branches: [{operator: default, goto: end}]}}]";
    fs::write(folder.path().join("c.yaml"), chain).unwrap();
    let arguments = &["c.yaml", "--input", "hi"];
    for environment in [&[][..], &[("PENSTOCK_TOKEN", "wrong-token-2")]] {
        let (status, _, stderr) = left(spawn(folder.path(), &url(&server), arguments, environment), "").await;
        assert!(status == 2 && stderr.contains("PENSTOCK_TOKEN") && !stderr.contains("wrong-token-2"), "{stderr}");
    }
    let by_environment = spawn(folder.path(), &url(&server), arguments, &[("PENSTOCK_TOKEN", "right-token-1")]);
    let by_option = spawn(folder.path(), &url(&server), &["c.yaml", "--input", "hi", "--token", "right-token-1"], &[]);
    for child in [by_environment, by_option] {
        let (status, stdout, stderr) = left(child, "").await;
        assert_eq!((status, stdout.as_str()), (0, "hi\n"), "{stderr}");
        assert!(!stderr.contains("right-token-1"), "{stderr}");
    }
}
