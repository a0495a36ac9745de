//! Further attempts: when, on which model, and how long before.

use super::*;

fn asks(policy: Json, more: Json) -> Json {
    let mut task = json!({"handler": "raw_string", "retry_policy": policy});
    for (name, value) in more.as_object().expect("fields") {
        task[name] = value.clone();
    }
    one(task)
}

fn broken(effect: &Effect, change: impl FnOnce(Failure) -> Failure) -> Event {
    let failure = change(Failure::new(FailureClass::ServerError, "broken"));
    Event::Failed { step: step_of(effect).expect("waits"), failure, served: None, elapsed: TOOK }
}

/// Fails every attempt; gives the delays and the models asked.
fn fails(
    chain: Json,
    change: impl Fn(Failure) -> Failure,
) -> (RunOutcome, Vec<(Duration, Duration)>, Vec<Vec<String>>) {
    let (mut delays, mut models) = (Vec::new(), Vec::new());
    let (outcome, _) = Rig::of(chain, Value::string("q")).run(|effect| match effect {
        Effect::Wait { step, least, most } => {
            delays.push((*least, *most));
            Event::Waited { step: *step }
        }
        Effect::AskModel { route, .. } => {
            models.push(route.names().map(str::to_owned).collect::<Vec<_>>());
            broken(effect, &change)
        }
        other => panic!("{other:?}"),
    });
    (outcome, delays, models)
}

#[test]
fn a_policy_waits_longer_before_each_attempt() {
    let policy =
        json!({"max_attempts": 4, "initial_backoff": "1s", "backoff_rate": 3, "max_backoff": "5s", "jitter": 0.5});
    let (outcome, delays, models) = fails(asks(policy, json!({})), |failure| failure);
    let seconds = |least: f64, most: f64| (Duration::from_secs_f64(least), Duration::from_secs_f64(most));
    assert_eq!(delays, [seconds(0.5, 1.0), seconds(1.5, 3.0), seconds(2.5, 5.0)]);
    assert_eq!((models.len(), outcome.state.len()), (4, 4));
    assert_eq!(error_of(&outcome), "task t: broken");
}

#[test]
fn a_policy_says_what_is_tried_again_and_its_defaults_are_those_of_passing_trouble() {
    let (_, delays, models) = fails(asks(json!({}), json!({"retry_on_failure": 50})), |failure| failure);
    assert_eq!((delays.len(), models.len()), (2, 3), "retry_on_failure has no effect beside it");
    let refused = |failure: Failure| Failure { class: FailureClass::InvalidInput, ..failure };
    let (_, delays, models) = fails(asks(json!({}), json!({})), refused);
    assert_eq!((delays.len(), models.len()), (0, 1));
    let (_, _, models) = fails(asks(json!({"retry_on": ["invalid_input"]}), json!({})), refused);
    assert_eq!(models.len(), 3);
}

#[test]
fn the_servers_word_makes_a_delay_longer() {
    let slow = |failure: Failure| Failure { retry_after: Some(Duration::from_secs(20)), ..failure };
    let (_, delays, _) = fails(asks(json!({"max_attempts": 2, "max_backoff": "1s"}), json!({})), slow);
    assert_eq!(delays, [(Duration::from_secs(20), Duration::from_secs(20))]);
    let mut chain = asks(json!({"max_attempts": 2}), json!({}));
    chain["timeout"] = json!("20s");
    let (outcome, delays, models) = fails(chain, slow);
    assert_eq!((delays.len(), models.len()), (0, 1), "it would not fit into the run's time");
    assert_eq!(error_of(&outcome), "task t: broken");
}

#[test]
fn a_waiting_run_is_not_moved_by_anything_but_the_end_of_its_delay() {
    let chain = asks(json!({"max_attempts": 2, "jitter": 0}), json!({}));
    let mut machine = Rig::of(chain.clone(), Value::string("q")).machine;
    let first = machine.start(NOON).remove(0);
    let wait = machine.on_event(broken(&first, |failure| failure), NOON).remove(0);
    assert!(matches!(wait, Effect::Wait { .. }));
    assert!(machine.on_event(answered(&first, "late"), NOON).is_empty());
    assert!(machine.on_event(broken(&first, |failure| failure), NOON).is_empty());
    assert!(machine.resume(NOON).is_empty());
    let waited = Event::Waited { step: step_of(&wait).expect("waits") };
    let second = machine.on_event(waited.clone(), NOON).remove(0);
    assert!(machine.on_event(waited, NOON).is_empty());
    let end = machine.on_event(answered(&second, "in time"), NOON);
    assert!(matches!(&end[..], [Effect::Finish(outcome)] if output_of(outcome) == "in time"));

    let ends = [
        (failed as fn(&Effect, FailureClass, &str) -> Event, "task t: stopped"),
        (|effect, _, _| answered(effect, "x"), "task t: the task was answered something it did not ask for"),
    ];
    for (event, text) in ends {
        let mut machine = Rig::of(chain.clone(), Value::string("q")).machine;
        let first = machine.start(NOON).remove(0);
        let wait = machine.on_event(broken(&first, |failure| failure), NOON).remove(0);
        let end = machine.on_event(event(&wait, FailureClass::Cancelled, "stopped"), NOON);
        assert!(matches!(&end[..], [Effect::Finish(outcome)] if error_of(outcome) == text), "{end:?}");
    }
}

#[test]
fn what_fails_before_anybody_is_asked_is_not_tried_again() {
    let over = json!({"tasks": [{"id": "t", "handler": "raw_string", "retry_on_failure": 5, "transition": {"branches": [{}]}}],
        "token_limit": 1});
    for (chain, input) in [
        (over, "one two three"),
        (one(json!({"handler": "raw_string", "retry_on_failure": 5})), " "),
        (one(json!({"handler": "convert_to_openai_chat_response", "retry_on_failure": 5})), "x"),
        (asks(json!({"retry_on": ["invalid_input"]}), json!({"execute_config": {"fallback_models": ["m"]}})), " "),
    ] {
        let (outcome, _) = Rig::of(chain, Value::string(input)).alone();
        assert_eq!(outcome.state.len(), 1, "{:?}", outcome.state);
    }
}

fn with_fallbacks(policy: Json) -> Json {
    let config = json!({"model": "a", "models": ["b"], "provider": "vllm",
        "fallback_models": ["c", {"model": "d", "provider": "openai"}]});
    asks(policy, json!({"execute_config": config}))
}

#[test]
fn fallback_models_are_asked_when_the_retries_are_spent_and_get_their_own() {
    let (outcome, delays, models) = fails(with_fallbacks(json!({"max_attempts": 2})), |failure| failure);
    assert_eq!(models, [&["a", "b"][..], &["a", "b"], &["c"], &["c"], &["d"], &["d"]]);
    assert_eq!((delays.len(), outcome.state.len()), (3, 6));

    let chain = with_fallbacks(json!({"max_attempts": 1}));
    let mut routes = Vec::new();
    let (outcome, _) = Rig::of(chain, Value::string("q")).run(|effect| {
        if let Effect::AskModel { route, .. } = effect {
            routes.push((
                route.names().map(str::to_owned).collect::<Vec<_>>(),
                route.targets.first().map(|target| target.providers.clone()).unwrap_or_default(),
            ));
        }
        if routes.len() < 3 { broken(effect, |failure| failure) } else { answered(effect, "saved") }
    });
    assert_eq!(output_of(&outcome), "saved");
    let providers: Vec<_> = routes.iter().map(|(_, providers)| providers.as_slice()).collect();
    assert_eq!(providers, [&[ProviderKind::Vllm][..], &[], &[ProviderKind::Openai]]);
}

#[test]
fn what_only_another_model_can_mend_goes_to_it_at_once() {
    for change in [
        (|failure| Failure { class: FailureClass::ContextLength, ..failure }) as fn(Failure) -> Failure,
        |failure| Failure { class: FailureClass::Auth, ..failure },
        |_| Failure::refused(crate::domain::failure::RefusalReason::NoBackend, "nobody has it"),
        |failure| Failure { class: FailureClass::InvalidInput, status: Some(404), ..failure },
    ] {
        let (_, delays, models) = fails(with_fallbacks(json!({"max_attempts": 3})), change);
        // The last one has nobody behind it, so that its attempts are its own again.
        assert!(models.len() <= 5 && models[0] != models[1] && models[1] != models[2], "{models:?}");
        assert!(delays.len() <= 2);
    }
    let stopped = |failure| Failure { class: FailureClass::Cancelled, ..failure };
    assert_eq!(fails(with_fallbacks(json!({})), stopped).2.len(), 1);
    let hook = one(json!({"handler": "hook", "hook": {"name": "h"}, "execute_config": {"fallback_models": ["m"]}}));
    let (outcome, _) = Rig::of(hook, Value::Int(1)).run(|effect| failed(effect, FailureClass::HookError, "no"));
    assert_eq!(outcome.state.len(), 1);
}

#[test]
fn tokens_are_counted_first_where_something_hinges_on_them() {
    let chain = json!({"token_limit": 9, "tasks": [{"id": "t", "handler": "raw_string", "system_instruction": "be kind",
        "timeout": "10s", "transition": {"branches": [{}]}}]});
    let mut machine = Rig::of(chain, Value::string("q")).machine;
    let asked = machine.start(NOON).remove(0);
    let Effect::CountTokens { step, texts, timeout, .. } = &asked else { panic!("counts: {asked:?}") };
    assert_eq!((texts.as_slice(), *timeout), (&["be kind".to_owned(), "q".to_owned()][..], Duration::from_secs(10)));
    let counted = Event::Counted { step: *step, tokens: 9 };
    let call = machine.on_event(counted.clone(), NOON.after(Duration::from_secs(4))).remove(0);
    let Effect::AskModel { route, timeout, .. } = &call else { panic!("asks") };
    assert_eq!((route.tokens, *timeout), (Some(9), Duration::from_secs(6)), "counting takes its time of the attempt's");
    assert!(machine.on_event(counted, NOON).is_empty());

    let mut machine = Rig::of(one(json!({"handler": "raw_string"})), Value::string("q")).machine;
    assert!(matches!(machine.start(NOON)[..], [Effect::AskModel { .. }]), "nothing hinges on it");
}
