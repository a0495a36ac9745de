//! Whatever a run is told, it comes to one end, and to the same again.

use proptest::prelude::*;

use super::*;

/// Valid chains of up to four tasks that go anywhere.
fn any_valid_chain() -> impl Strategy<Value = Json> {
    let place = prop::sample::select(vec!["t0", "t1", "t2", "t3", "end"]);
    let handler = prop::sample::select(vec![
        "noop",
        "raw_string",
        "condition_key",
        "parse_number",
        "parse_score",
        "parse_range",
        "parse_transition",
        "convert_to_openai_chat_response",
        "raise_error",
        "embedding",
        "hook",
        "model_execution",
    ]);
    let when = prop::sample::select(vec!["a", "b", "ok", "noop"]);
    let branches = prop::collection::vec((place.clone(), when), 0..3);
    let task = (handler, branches, place, prop::bool::ANY, 0..3_i64, prop::bool::ANY, prop::bool::ANY);
    prop::collection::vec(task, 4).prop_map(|tasks| {
        let tasks = tasks.into_iter().enumerate().map(|(at, (handler, branches, failure, catches, retries, ends, renders))| {
            let mut branches: Vec<_> = branches.iter().map(|(goto, when)| json!({"goto": goto, "when": when})).collect();
            if ends || branches.is_empty() {
                branches.push(json!({"operator": "default", "goto": "end"}));
            }
            let on_failure = if catches && failure != "end" { failure } else { "" };
            json!({"id": format!("t{at}"), "handler": handler, "valid_conditions": ["a", "b"], "hook": {"name": "h"},
                "prompt_template": if renders { "{{.input}} {{.last_error}}" } else { "" }, "retry_on_failure": retries,
                "transition": {"on_failure": on_failure, "branches": branches}})
        });
        json!({"debug": true, "tasks": tasks.collect::<Vec<_>>()})
    })
}

fn any_answer(kind: u8, effect: &Effect) -> Event {
    let step = step_of(effect).expect("waits");
    match kind % 8 {
        0 => answered(effect, "a"),
        1 => answered(effect, "c"),
        2 => cut(effect, "a"),
        3 => failed(effect, FailureClass::ServerError, "broken"),
        4 => hook_replied(effect, json!({"output": 1, "transition": "ok"})),
        5 => hook_replied(effect, json!([])),
        6 => answered(effect, "7"),
        _ => Event::Embedded { step, vector: vec![1.0], served: None, elapsed: TOOK },
    }
}

proptest! {
    #[test]
    fn every_valid_chain_comes_to_one_end_whatever_it_is_answered_and_again_to_the_same(
        chain in any_valid_chain(),
        answers in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let run = || {
            let mut answers = answers.iter().cycle();
            Rig::of(chain.clone(), Value::string("q")).run(|effect| any_answer(*answers.next().expect("endless"), effect))
        };
        let (outcome, effects) = run();
        prop_assert!(outcome.state.len() <= 3 * MAX_STEPS as usize);
        if let Err(failure) = &outcome.result {
            prop_assert!(!failure.to_string().is_empty());
        }
        prop_assert_eq!(run(), (outcome, effects));
    }
}
