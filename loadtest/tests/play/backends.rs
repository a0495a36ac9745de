//! What the simulated backends of a scenario do.

use loadtest::report::results::Turn;

use crate::{CHAT, CLOSED, STREAM, compare, scenario};

/// Plays it against the backend itself, and gives the only turn.
async fn direct(text: &str) -> Turn {
    let played = compare(&["direct"], text, &[]).await;
    assert_eq!(played.status, 0, "{}{}", played.out, played.errors);
    played.report().turns[0].clone()
}

#[tokio::test]
async fn an_ollama_answers_whole_and_in_streams_and_in_the_other_dialect_too() {
    let questions = ["ollama_chat", "ollama_chat_stream", "chat", "chat_stream", "embeddings"];
    let questions: String = questions.map(|kind| format!("[[questions]]\nkind = \"{kind}\"\n")).concat();
    let text = scenario("words = 7", &questions, CLOSED, "").replace("vllm", "ollama");
    let turn = direct(&text).await;
    assert!(turn.counts.answered > 50 && turn.counts.frames > 50, "{turn:?}");
}

#[tokio::test]
async fn a_share_of_the_answers_is_refused() {
    let backend = "faults = [{ share = 0.5, status = 503, retry_after_s = 1 }]";
    let turn = direct(&scenario(backend, CHAT, &format!("{CLOSED}\n[allow]\nstatuses = [503]"), "")).await;
    let (answered, refused) = (turn.counts.answered as f64, turn.counts.refused as f64);
    assert!((0.4..0.6).contains(&(refused / (refused + answered))), "{turn:?}");
}

#[tokio::test]
async fn a_share_of_the_streams_is_cut_and_of_the_connections_closed() {
    let backend = "words = 9\nfaults = [{ share = 0.3, cut_after_words = 3 }, { share = 0.3, close = true }]";
    let turn = direct(&scenario(backend, STREAM, &format!("{CLOSED}\n[allow]\nfailures = true"), "")).await;
    let (answered, failed) = (turn.counts.answered as f64, turn.counts.failed as f64);
    assert!((0.5..0.7).contains(&(failed / (failed + answered))), "{turn:?}");
    // Those that were cut had begun.
    assert!(turn.counts.frames > turn.counts.answered * 9, "{turn:?}");
}

#[tokio::test]
async fn a_backend_that_is_down_is_not_reached_and_comes_back() {
    let backend = "down = { every_s = 0.4, for_s = 0.2 }";
    let turn = direct(&scenario(backend, CHAT, &format!("{CLOSED}\n[allow]\nfailures = true"), "")).await;
    assert!(turn.counts.answered > 50 && turn.counts.failed > 4, "{turn:?}");
}

#[tokio::test]
async fn an_engine_that_works_on_several_answers_makes_all_of_them_slower() {
    let engine = "words = 10\nbatching = { slots = 4, prefill_us_per_token = 1, prefill_tokens_per_step = 512, step_ms = 5, slower_percent = 50 }";
    let load = |connections: usize| format!("shape = \"closed\"\nconnections = {connections}\nseconds = 1.0");
    let alone = direct(&scenario(engine, STREAM, &load(1), "")).await;
    let together = direct(&scenario(engine, STREAM, &load(4), "")).await;
    // A step takes 5 ms with one answer and 12.5 ms with four.
    let (alone, together) = (alone.gap.unwrap().p50, together.gap.unwrap().p50);
    assert!(alone >= 4.0 && together > 1.5 * alone, "{alone} {together}");
}

#[tokio::test]
async fn a_bounded_backend_works_on_so_many_at_once() {
    let turn = direct(&scenario("slots = 2\ndelay = { fixed_ms = 50 }", CHAT, CLOSED, "")).await;
    // Two at a time, 50 ms each, are 40 a second at most.
    assert!(turn.counts.answered <= 42, "{turn:?}");
}
