//! What voids a turn, and what does not.

use loadtest::sim::{Routes, Rule, SimBackend};

use crate::{CHAT, CLOSED, Played, STREAM, compare, scenario};

/// Plays chats against a server that does this.
async fn against(rule: Rule, questions: &str, more: &str, options: &[&str]) -> Played {
    let sim = SimBackend::vllm().model("chat:1b").count_only().start().await.unwrap();
    sim.script(rule);
    let target = format!("other={}", sim.url());
    compare(&[&target], &scenario("words = 5", questions, &format!("{CLOSED}\n{more}"), ""), options).await
}

fn voids(played: &Played) -> String {
    assert_eq!(played.status, 1, "{}", played.out);
    let told = played.report().turns[0].voids.join("\n");
    assert!(played.out.contains("Void"), "{}", played.out);
    told
}

fn calls() -> Rule {
    Rule::on(Routes::CALLS)
}

#[tokio::test]
async fn the_answer_to_another_request_voids_a_turn() {
    let played = against(calls().reply("word word word word ~12345678"), CHAT, "", &[]).await;
    assert!(voids(&played).contains("it has not this one's number"), "{}", voids(&played));
}

#[tokio::test]
async fn an_answer_without_all_of_its_words_voids_a_turn() {
    // It says what it was asked, which has the number and none of the words.
    let asked = "[[questions]]\nkind = \"chat\"\nprompt_bytes = 20";
    let played = against(calls(), asked, "", &[]).await;
    assert!(voids(&played).contains("1 words of 5"), "{}", voids(&played));
}

#[tokio::test]
async fn a_stream_that_ends_early_voids_a_turn() {
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"word\"}}]}\n\n";
    let played = against(calls().raw_frames([event]), STREAM, "", &[]).await;
    assert!(voids(&played).contains("without its end or an error"), "{}", voids(&played));
}

#[tokio::test]
async fn a_refusal_voids_a_turn_unless_the_scenario_allows_it() {
    let refused = || calls().status(503);
    let played = against(refused(), CHAT, "", &[]).await;
    assert!(voids(&played).contains("status 503"), "{}", voids(&played));
    let played = against(refused(), CHAT, "[allow]\nstatuses = [503]", &[]).await;
    let turn = &played.report().turns[0];
    assert_eq!((played.status, turn.counts.answered), (0, 0), "{}", played.out);
    assert!(turn.counts.refused > 50 && turn.refusal.is_some(), "{turn:?}");
}

#[tokio::test]
async fn a_lost_connection_voids_a_turn_unless_the_scenario_allows_it() {
    let played = against(calls().close_before_headers(), CHAT, "", &[]).await;
    assert!(voids(&played).contains("the connection was lost"), "{}", voids(&played));
    let played = against(calls().close_before_headers(), CHAT, "[allow]\nfailures = true", &[]).await;
    assert_eq!(played.status, 0, "{}", played.out);
    assert!(played.report().turns[0].counts.failed > 50);
}

#[tokio::test]
async fn any_answer_will_do_where_that_is_said() {
    let played = against(calls().reply("Certainly."), CHAT, "", &["--any-answer"]).await;
    assert_eq!(played.status, 0, "{}", played.out);
    assert!(played.report().turns[0].counts.answered > 50);
}

#[tokio::test]
async fn clients_that_hang_up_are_counted_and_are_gone() {
    let leaves = "[[questions]]\nkind = \"chat\"\nhang_up_after_ms = 20";
    let sim = SimBackend::vllm().model("chat:1b").count_only().start().await.unwrap();
    sim.script(calls().hang_before_headers());
    let target = format!("other={}", sim.url());
    let played = compare(&[&target], &scenario("", leaves, CLOSED, ""), &[]).await;
    assert_eq!(played.status, 0, "{}", played.out);
    let left = played.report().turns[0].counts.left;
    assert!(left > 20, "{left}");
    let left = usize::try_from(left).unwrap();
    sim.wait_for_aborts(left).await.unwrap();
}

#[tokio::test]
async fn a_target_that_has_no_such_route_is_told_before_anything_is_asked() {
    let played = compare(&["direct"], &scenario("", "[[questions]]\nkind = \"prompt\"", CLOSED, ""), &[]).await;
    assert_eq!(played.status, 1);
    assert!(played.errors.contains("only Penstock has a route for"), "{}", played.errors);
}
