//! What scenarios say, and what comes of them.

use std::{fs, path::Path};

use loadtest::scenario::Scenario;

use crate::{CHAT, CLOSED, STREAM, compare, scenario};

#[test]
fn the_scenarios_that_come_along_are_read_and_each_has_its_purpose() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "toml") {
            names.push(Scenario::read(&file).unwrap().name);
        }
    }
    for wanted in [
        "prompt",
        "chat",
        "chat-stream",
        "embeddings",
        "chain-3",
        "chain-9",
        "hooks",
        "mixed",
        "body-1mb",
        "slow-readers",
        "disconnect-storm",
        "overload-200",
        "backend-failures",
        "soak",
        "idle-connections",
        "batching",
    ] {
        assert!(names.iter().any(|name| name == wanted), "{wanted} is not among {names:?}");
    }
}

#[test]
fn what_makes_no_sense_in_a_scenario_is_named() {
    let read = |text: &str| format!("{:#}", Scenario::parse("small", text, Path::new(".")).unwrap_err());
    let wrong = [
        (scenario("slot = 3", CHAT, CLOSED, ""), "slot"),
        (scenario("slots = 0", CHAT, CLOSED, ""), "`slots` is 0"),
        (
            scenario("faults = [{ share = 0.5 }]", CHAT, CLOSED, ""),
            "one of `status`, `cut_after_words`, `close`, `hang`",
        ),
        (scenario("down = { every_s = 1, for_s = 2 }", CHAT, CLOSED, ""), "`for_s` must be above 0"),
        (scenario("", "", CLOSED, ""), "questions"),
        (scenario("", "[[questions]]\nkind = \"chat\"\nprompt_bytes = 0", CLOSED, ""), "`prompt_bytes` must be"),
        (scenario("", "[[questions]]\nkind = \"chain\"", CLOSED, ""), "`chain` is for"),
        (scenario("", CHAT, "shape = \"closed\"\nconnections = 0\nseconds = 1", ""), "`connections` must be"),
        (scenario("", CHAT, "shape = \"open\"\nconnections = 1\nseconds = 1\nrate = 0", ""), "`rate` must be"),
        (scenario("", CHAT, "shape = \"square\"", ""), "square"),
        (scenario("", CHAT, &format!("{CLOSED}\n[[bounds]]\nfigure = \"speed\"\nat_most = 1"), ""), "speed"),
        (scenario("", CHAT, &format!("{CLOSED}\n[[bounds]]\nfigure = \"p50_ms\""), ""), "one of `at_most`, `at_least`"),
        (scenario("", CHAT, CLOSED, "purpos = \"twice\""), "purpos"),
    ];
    for (text, named) in wrong {
        let told = read(&text);
        assert!(told.contains(named), "{told} does not name {named}");
    }
}

#[tokio::test]
async fn targets_are_compared_in_the_same_round_and_every_answer_is_checked() {
    let bound = "[[bounds]]\nfigure = \"cpu_us\"\ntarget = \"floor\"\nat_most = 0.001";
    let text = scenario("words = 5", CHAT, &format!("{CLOSED}\n{bound}"), "");
    let played = compare(&["direct", "floor"], &text, &["--strict"]).await;
    let report = played.report();
    assert_eq!(report.turns.len(), 2, "{}", played.out);
    for turn in &report.turns {
        assert!(turn.voids.is_empty() && turn.counts.answered > 100, "{turn:?}");
        assert_eq!(turn.counts.sent, turn.counts.answered);
        let latency = turn.latency.as_ref().unwrap();
        assert!(0.0 < latency.p50 && latency.p50 <= latency.p99 && latency.p99 <= latency.max, "{latency:?}");
    }
    let floor = report.rows.iter().find(|row| row.target == "floor").unwrap();
    let (own, direct) = (&report.turns[1].goodput_rps, &report.turns[0].goodput_rps);
    assert!((floor.ratios["direct"]["goodput_rps"] - own / direct).abs() < 1e-9);
    assert!(floor.figures["cpu_us"] > 1.0 && floor.figures["most_mib"] > 1.0, "{:?}", floor.figures);
    // No proxy keeps that bound, and it is not hidden.
    assert_eq!(played.status, 3, "{}", played.out);
    assert!(played.out.contains("MISSED"), "{}", played.out);
}

#[tokio::test]
async fn words_of_streams_are_counted_and_timed() {
    let load = "shape = \"open\"\narrivals = \"fixed\"\nrate = 20\nconnections = 20\nseconds = 1.0";
    let text = scenario("words = 10\nchunk_ms = 10", STREAM, load, "");
    let played = compare(&["direct"], &text, &[]).await;
    let turn = &played.report().turns[0];
    assert_eq!(played.status, 0, "{}", played.out);
    assert_eq!(turn.counts.frames, turn.counts.answered * 10);
    let (first, gap) = (turn.first_token.as_ref().unwrap(), turn.gap.as_ref().unwrap());
    assert!(first.p50 >= 10.0 && gap.p50 >= 9.0, "{first:?} {gap:?}");
    assert!(turn.latency.as_ref().unwrap().p50 >= 100.0);
}

#[tokio::test]
async fn vectors_are_those_of_their_texts() {
    let played = compare(&["direct"], &scenario("", "[[questions]]\nkind = \"embeddings\"", CLOSED, ""), &[]).await;
    assert_eq!(played.status, 0, "{}", played.out);
    assert!(played.report().turns[0].counts.answered > 50);
}

#[tokio::test]
async fn what_waits_for_a_connection_counts_as_latency() {
    // One connection answers 20 requests a second at most; 60 are due.
    let load = "shape = \"open\"\narrivals = \"fixed\"\nrate = 60\nconnections = 1\nseconds = 1.0";
    let played = compare(&["direct"], &scenario("delay = { fixed_ms = 50 }", CHAT, load, ""), &[]).await;
    let turn = &played.report().turns[0];
    assert_eq!(turn.counts.answered, 60);
    // The last one has waited for all before it: 60 × 50 ms, less the second in which they were due.
    assert!(turn.latency.as_ref().unwrap().max > 1500.0, "{turn:?}");
    assert!(turn.late_sends > 40, "{turn:?}");
}

#[tokio::test]
async fn free_connections_of_an_open_loop_are_asked_again_and_what_the_generator_takes_is_counted() {
    // Four answer 800 a second; 200 are due.
    let load = "shape = \"open\"\narrivals = \"fixed\"\nrate = 200\nconnections = 4\nseconds = 1.0";
    let played = compare(&["direct"], &scenario("delay = { fixed_ms = 5 }", CHAT, load, ""), &[]).await;
    let turn = &played.report().turns[0];
    assert_eq!(turn.counts.answered, 200);
    assert!(turn.lateness.as_ref().unwrap().p50 < 20.0, "{turn:?}");
    assert!(turn.generator_cpu_us > 1.0, "{turn:?}");
}

#[tokio::test]
async fn steps_offer_all_targets_shares_of_the_same_peak() {
    let load = "shape = \"steps\"\nof_peak = [0.2, 0.4]\nconnections = 4\nseconds = 0.5";
    let text = scenario("delay = { fixed_ms = 10 }", CHAT, load, "");
    let played = compare(&["direct", "floor"], &text, &[]).await;
    let turns = &played.report().turns;
    assert_eq!(turns.len(), 4, "{}", played.errors);
    let offered = |step: usize| -> Vec<f64> {
        turns.iter().filter(|turn| turn.step == Some(step)).map(|turn| turn.offered_rps.unwrap()).collect()
    };
    let (slow, fast) = (offered(0), offered(1));
    assert!(slow[0] == slow[1] && fast[0] == fast[1] && (fast[0] / slow[0] - 2.0).abs() < 1e-9, "{slow:?} {fast:?}");
    // Four connections of 10 ms answer 400 a second at most.
    assert!(fast[0] <= 0.4 * 400.0, "{fast:?}");
}

#[tokio::test]
async fn idle_connections_are_asked_once_more_at_the_end() {
    let load = "shape = \"idle\"\nconnections = 100\nseconds = 0.2";
    let played = compare(&["floor"], &scenario("", CHAT, load, ""), &[]).await;
    let turn = &played.report().turns[0];
    assert_eq!((played.status, turn.counts.answered), (0, 100), "{}", played.out);
}

#[tokio::test]
async fn several_scenarios_are_played_in_turns_each_on_backends_of_its_own() {
    let folder = tempfile::TempDir::new().unwrap();
    let slow = folder.path().join("slow.toml");
    fs::write(&slow, scenario("delay = { fixed_ms = 50 }", CHAT, CLOSED, "")).unwrap();
    let played = compare(&["floor"], &scenario("", CHAT, CLOSED, ""), &["-s", slow.to_str().unwrap()]).await;
    let turns = &played.report().turns;
    assert_eq!(played.status, 0, "{}{}", played.out, played.errors);
    let p50 = |name: &str| turns.iter().find(|turn| turn.scenario == name).unwrap().latency.as_ref().unwrap().p50;
    assert!(p50("slow") >= 50.0 && p50("small") < 50.0, "{turns:?}");
}
