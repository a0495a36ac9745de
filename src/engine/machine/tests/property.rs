//! Whatever a run is told, it comes to one end within its bounds, and to the same again.

use proptest::prelude::*;

use super::*;

const CLASSES: [FailureClass; 8] = [
    FailureClass::RateLimit,
    FailureClass::ServerError,
    FailureClass::Timeout,
    FailureClass::Auth,
    FailureClass::ContextLength,
    FailureClass::InvalidInput,
    FailureClass::HookError,
    FailureClass::Cancelled,
];

/// Valid tasks that use everything and go anywhere.
fn any_task() -> impl Strategy<Value = Json> {
    let place = || prop::sample::select(vec!["t0", "t1", "t2", "t3", "end"]);
    let handler = prop::sample::select(vec![
        "noop",
        "raw_string",
        "condition_key",
        "parse_number",
        "parse_score",
        "parse_range",
        "parse_json",
        "parse_transition",
        "convert_to_openai_chat_response",
        "raise_error",
        "embedding",
        "hook",
        "model_execution",
    ]);
    let when = prop::sample::select(vec!["a", "b", "ok", "noop", "timeout", "7"]);
    let branches = prop::collection::vec((place(), when), 0..3);
    let class = || prop::sample::select(CLASSES.map(FailureClass::as_str).to_vec());
    let classes = move || prop::collection::vec(class(), 0..3);
    let policy = prop::option::of((1..4_i64, classes(), 0.0..=1.0_f64).prop_map(|(attempts, classes, jitter)| {
        json!({"max_attempts": attempts, "retry_on": classes, "jitter": jitter, "max_backoff": "3s"})
    }));
    let catch = prop::collection::vec((classes(), place()), 0..2);
    let more = (
        policy,
        catch,
        0..3_i64,
        0..3_usize,
        prop::sample::select(vec!["", "last_error.class", "t1.n", "t0"]),
        0..3_i64,
    );
    let plain = (handler, branches, place(), prop::bool::ANY, 0..3_i64, prop::bool::ANY, prop::bool::ANY);
    (plain, more).prop_map(|((handler, branches, failure, catches, retries, ends, renders), more)| {
        let (policy, catch, visits, fallbacks, variable, repairs) = more;
        let mut branches: Vec<_> = branches.iter().map(|(goto, when)| json!({"goto": goto, "when": when})).collect();
        if ends || branches.is_empty() {
            branches.push(json!({"operator": "default", "goto": "end"}));
        }
        let on_failure = if catches && failure != "end" { failure } else { "" };
        let catch: Vec<_> = catch
            .iter()
            .filter(|(_, goto)| *goto != "end")
            .map(|(errors, goto)| json!({"errors": errors, "goto": goto}))
            .collect();
        json!({"handler": handler, "valid_conditions": ["a", "b"], "hook": {"name": "h"},
            "prompt_template": if renders { "{{.input}} {{.last_error}} {{.t1_error.class}}" } else { "" },
            "retry_on_failure": retries, "retry_policy": policy, "max_visits": visits, "repair_attempts": repairs,
            "output_schema": {"type": "object", "required": ["n"]},
            "execute_config": {"fallback_models": (0..fallbacks).map(|at| format!("m{at}")).collect::<Vec<_>>()},
            "transition": {"on_failure": on_failure, "catch": catch, "variable": variable, "branches": branches}})
    })
}

/// Valid chains of up to four tasks, bounded in any way.
fn any_valid_chain() -> impl Strategy<Value = Json> {
    let bounds = (
        prop::sample::select(vec![0, 3, 40]),
        prop::sample::select(vec!["", "4s", "30s"]),
        prop::sample::select(vec![0, 60]),
        prop::sample::select(vec![0, 30]),
        prop::sample::select(vec!["", "t1", "last_error"]),
    );
    (prop::collection::vec(any_task(), 4), bounds).prop_map(|(mut tasks, (steps, timeout, budget, limit, output))| {
        for (at, task) in tasks.iter_mut().enumerate() {
            task["id"] = json!(format!("t{at}"));
        }
        json!({"debug": true, "tasks": tasks, "max_steps": steps, "timeout": timeout, "token_budget": budget,
            "token_limit": limit, "output_var": output})
    })
}

/// An answer that may or may not be one to what was asked.
fn any_answer(kind: u8, effect: &Effect) -> Event {
    let step = step_of(effect).expect("waits");
    match (effect, kind % 16) {
        (Effect::CountTokens { .. }, 0..14) => Event::Counted { step, tokens: u64::from(kind) / 4 },
        (Effect::Wait { .. }, 0..14) => Event::Waited { step },
        (_, 0) => answered(effect, "a"),
        (_, 1) => answered(effect, "{\"n\": 7}"),
        (_, 2) => cut(effect, "a"),
        (_, 3) => unmetered(effect, "c"),
        (_, 4) => hook_replied(effect, json!({"output": {"n": "7"}, "transition": "ok"})),
        (_, 5) => hook_replied(effect, json!([])),
        (_, 6) => answered(effect, "7"),
        (_, 7) => Event::Embedded { step, vector: vec![1.0], served: None, elapsed: TOOK },
        (_, 8) => Event::Counted { step, tokens: 1 },
        (_, 9) => Event::Waited { step },
        (_, other) => {
            let retry_after = (kind > 128).then(|| Duration::from_secs(u64::from(kind) / 32));
            let class = CLASSES[usize::from(other + kind / 16) % CLASSES.len()];
            let failure = Failure { retry_after, ..Failure::new(class, "broken") };
            Event::Failed { step, failure, served: None, elapsed: TOOK }
        }
    }
}

/// What a run was told, and when.
#[derive(Debug, Clone)]
enum Told {
    Start,
    Resume,
    Event(Box<Event>),
}

fn tell(machine: &mut Machine, told: &Told, now: Timestamp) -> Vec<Effect> {
    match told {
        Told::Start => machine.start(now),
        Told::Resume => machine.resume(now),
        Told::Event(event) => machine.on_event((**event).clone(), now),
    }
}

/// Runs to the end; gives all that was told, and the effects of each.
fn recorded(machine: &mut Machine, script: &[(u8, u16)]) -> Vec<(Told, Timestamp, Vec<Effect>)> {
    let mut script = script.iter().cycle();
    let (mut told, mut now, mut record) = (Told::Start, NOON, Vec::new());
    loop {
        let effects = tell(machine, &told, now);
        record.push((told, now, effects.clone()));
        let Some(last) = effects.last() else { panic!("a run that is not over waits for something") };
        let (kind, millis) = *script.next().expect("endless");
        now = now.after(Duration::from_millis(u64::from(millis)));
        told = match last {
            Effect::Finish(_) => return record,
            Effect::Yield => Told::Resume,
            waiting => Told::Event(Box::new(any_answer(kind, waiting))),
        };
    }
}

/// Everything of a run that can be seen.
fn snapshot(machine: &Machine) -> String {
    format!("{machine:?}")
}

fn any_script() -> impl Strategy<Value = Vec<(u8, u16)>> {
    prop::collection::vec((any::<u8>(), 0..300_u16), 1..12)
}

proptest! {
    #[test]
    fn every_valid_chain_comes_to_one_end_whatever_it_is_answered(chain in any_valid_chain(), script in any_script()) {
        let mut machine = Rig::of(chain, Value::string("q")).machine;
        let record = recorded(&mut machine, &script);
        let Some(Effect::Finish(outcome)) = record.last().and_then(|(_, _, effects)| effects.last()) else {
            panic!("the last effect is the end")
        };
        prop_assert!(outcome.state.len() <= 3 * (1 + 2) * 4 * MAX_STEPS as usize);
        if let Err(failure) = &outcome.result {
            prop_assert!(!failure.to_string().is_empty());
            prop_assert!(failure.failure.message != "the chain has no such task");
        }
        prop_assert!(tell(&mut machine, &Told::Start, NOON).is_empty() && tell(&mut machine, &Told::Resume, NOON).is_empty());
    }

    #[test]
    fn a_run_told_the_same_again_is_the_same_at_every_point(chain in any_valid_chain(), script in any_script()) {
        let rig = || Rig::of(chain.clone(), Value::string("q")).machine;
        let mut original = rig();
        let record = recorded(&mut original, &script);
            // Two more runs follow step by step; they are compared at the beginning and at the end.
        let (mut one, mut other) = (rig(), rig());
        for (at, (told, now, effects)) in record.iter().enumerate() {
            prop_assert_eq!(&tell(&mut one, told, *now), effects);
            tell(&mut other, told, *now);
            if at < 8 || at + 1 == record.len() {
                prop_assert_eq!(snapshot(&one), snapshot(&other));
            }
        }
        prop_assert_eq!(snapshot(&one), snapshot(&original));
    }

    #[test]
    fn no_event_out_of_place_moves_a_run_or_makes_it_panic(
        chain in any_valid_chain(),
        script in any_script(),
        strays in prop::collection::vec((any::<u8>(), 0..40_u64), 0..40),
    ) {
        let mut machine = Rig::of(chain, Value::string("q")).machine;
        let mut strays = strays.into_iter();
        let mut script = script.iter().cycle();
        let mut effects = machine.start(NOON);
        while let Some(last) = effects.last().cloned() {
            if let Some((kind, id)) = strays.next() {
                // Whatever waits, an event for something else is ignored; so is one more start.
                let stray = Effect::Wait { step: StepId(id), least: TOOK, most: TOOK };
                let before = snapshot(&machine);
                if step_of(&last) != Some(StepId(id)) {
                    prop_assert!(machine.on_event(any_answer(kind, &stray), NOON).is_empty());
                }
                prop_assert!(machine.start(NOON).is_empty());
                prop_assert_eq!(before, snapshot(&machine));
            }
            effects = match &last {
                Effect::Finish(_) => break,
                Effect::Yield => machine.resume(NOON),
                waiting => machine.on_event(any_answer(script.next().expect("endless").0, waiting), NOON),
            };
        }
    }

    #[test]
    fn attempts_and_delays_never_exceed_the_policy(task in any_task(), script in any_script()) {
        let mut chain = one(task.clone());
        let fields = &mut chain["tasks"][0];
        fields["id"] = json!("t");
        fields["transition"] = json!({"branches": [{"operator": "default", "goto": "end"}]});
        let policy = &task["retry_policy"];
        let most = policy["max_attempts"].as_u64().unwrap_or(task["retry_on_failure"].as_u64().unwrap_or(0) + 1);
        let mut machine = Rig::of(chain, Value::string("q")).machine;
        let record = recorded(&mut machine, &script);
        let effects = || record.iter().flat_map(|(_, _, effects)| effects);
        let repairs = if task["handler"] == "parse_json" { 1 + task["repair_attempts"].as_u64().unwrap_or(0) } else { 1 };
        let mut asked = std::collections::HashMap::<Vec<String>, u64>::new();
        for effect in effects() {
            match effect {
                Effect::AskModel { route, .. } | Effect::Embed { route, .. } => *asked.entry(route.names().map(str::to_owned).collect()).or_default() += 1,
                Effect::Wait { least, most, .. } => prop_assert!(least <= most && *most <= Duration::from_secs(7)),
                _ => {}
            }
        }
        prop_assert!(asked.values().all(|times| *times <= most * repairs), "{asked:?}");
        let models = 1 + task["execute_config"]["fallback_models"].as_array().map_or(0, Vec::len) as u64;
        let Some(Effect::Finish(outcome)) = effects().last() else { panic!("the end") };
        prop_assert!(outcome.state.len() as u64 <= most * repairs * models);
    }
}
