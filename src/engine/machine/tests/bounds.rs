//! What one run may take: steps, visits, time, tokens, memory, the length of a turn.

use super::*;

#[test]
fn a_run_that_never_ends_is_stopped_after_a_thousand_tasks() {
    let chain = json!({"tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]});
    let (outcome, _) = Rig::of(chain, Value::Int(1)).alone();
    assert_eq!(outcome.state.len(), 1000);
    assert_eq!(error_of(&outcome), "the run executed 1000 tasks without coming to an end");
    assert_eq!(outcome.result.map_err(|failure| failure.failure.class), Err(FailureClass::MaxSteps));
}

#[test]
fn a_run_that_is_ended_from_outside_keeps_its_record_and_comes_to_nothing_more() {
    let chain = json!({"tasks": [
        {"id": "a", "handler": "noop", "transition": {"branches": [{"goto": "b"}]}},
        {"id": "b", "handler": "raw_string", "transition": {"on_failure": "a", "branches": [{"goto": "end"}]}}]});
    let stopped = || Failure::new(FailureClass::Cancelled, "stopped");
    let mut machine = Rig::of(chain.clone(), Value::string("x")).machine;
    let step = machine.start(NOON).iter().find_map(step_of).expect("it asks");
    let ended = machine.end(stopped());
    let [Effect::Finish(outcome)] = ended.as_slice() else { panic!("{ended:?}") };
    assert_eq!((outcome.state.len(), error_of(outcome)), (1, "task b: stopped".to_owned()));
    assert_eq!(outcome.run_id, RunId::new("run-1"));
    assert!(machine.end(stopped()).is_empty(), "it ends once");
    let late = Event::Failed { step, failure: stopped(), served: None, elapsed: TOOK };
    assert!(machine.on_event(late, NOON).is_empty());

    let mut machine = Rig::of(chain, Value::string("x")).machine;
    assert!(matches!(machine.end(stopped()).as_slice(), [Effect::Finish(_)]));
    assert!(machine.start(NOON).is_empty(), "it never begins");
}

#[test]
fn a_run_that_waits_for_nothing_yields_every_64_tasks() {
    let chain = json!({"tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]});
    let mut machine = Rig::of(chain, Value::Int(1)).machine;
    assert_eq!(machine.start(NOON), [Effect::Yield]);
    for turn in 1..=15 {
        assert_eq!(machine.state().len(), turn * 64);
        let effects = machine.resume(NOON);
        assert_eq!(effects.len(), 1);
        assert!(matches!(effects[0], Effect::Yield) == (turn < 15), "{effects:?}");
    }
    assert!(machine.resume(NOON).is_empty());
}

#[test]
fn a_run_that_handles_large_texts_yields_sooner_and_failing_attempts_count() {
    let input = Value::string("x".repeat(10 * 1024 * 1024));
    let mut machine = Rig::of(renders(4, "{{.input}}!"), input.clone()).machine;
    assert_eq!(machine.start(NOON), [Effect::Yield]);
    assert!(machine.state().len() <= 1);

    let mut machine = Rig::of(one(json!({"handler": "raise_error", "retry_on_failure": 10})), input).machine;
    assert_eq!(machine.start(NOON), [Effect::Yield]);
    assert_eq!(machine.state().len(), 2);
    let late = Event::HookReplied { step: StepId(2), reply: json!({}), elapsed: TOOK };
    assert!(machine.on_event(late, NOON).is_empty(), "nobody was asked");
}

#[test]
fn a_loop_over_a_large_input_does_not_fill_the_record() {
    let chain =
        json!({"debug": true, "tasks": [{"id": "t", "handler": "noop", "transition": {"branches": [{"goto": "t"}]}}]});
    let (outcome, _) = Rig::of(chain, Value::string("x".repeat(1024 * 1024))).alone();
    let recorded: usize = outcome.state.iter().map(|unit| unit.input.len() + unit.output.len()).sum();
    assert!(recorded < 17 * 1024 * 1024, "{recorded}");
    assert!(outcome.state[999].input.starts_with("(left out"));
}

/// Tasks that each render `template`, one after another.
fn renders(tasks: usize, template: &str) -> Json {
    let task = |at: usize| {
        let goto = if at + 1 == tasks { "end".to_owned() } else { format!("t{}", at + 1) };
        json!({"id": format!("t{at}"), "handler": "noop", "prompt_template": template, "retry_on_failure": 3,
            "transition": {"branches": [{"goto": goto}]}})
    };
    json!({"tasks": (0..tasks).map(task).collect::<Vec<_>>()})
}

#[test]
fn tasks_that_each_keep_a_large_text_do_not_fill_the_memory() {
    let input = Value::string("x".repeat(10 * 1024 * 1024));
    let (outcome, _) = Rig::of(renders(20, "{{.input}}!"), input).alone();
    assert_eq!(error_of(&outcome), "task t6: the variables of the run would hold more than 67108864 bytes");
    assert_eq!(outcome.state.len(), 7, "what cannot fit is not tried again");
    assert_eq!(outcome.result.map_err(|failure| failure.failure.class), Err(FailureClass::Budget));
}

#[test]
fn max_steps_bounds_the_tasks_of_a_run() {
    let mut chain = one(json!({"handler": "noop", "transition": {"branches": [{"goto": "t"}]}}));
    for steps in [1, 5, 2000] {
        chain["max_steps"] = json!(steps);
        let (outcome, _) = Rig::of(chain.clone(), Value::Int(1)).alone();
        assert_eq!(outcome.state.len(), steps);
        assert_eq!(error_of(&outcome), format!("the run executed {steps} tasks without coming to an end"));
    }
}

#[test]
fn a_task_that_is_come_to_too_often_fails_and_can_be_caught() {
    let chain = json!({"tasks": [
        {"id": "again", "handler": "noop", "prompt_template": "{{.previous_output}}+", "max_visits": 3, "transition": {
            "catch": [{"errors": ["max_visits"], "goto": "enough"}], "on_failure": "again",
            "branches": [{"goto": "again"}]}},
        {"id": "enough", "handler": "noop", "prompt_template": "{{.last_error.class}}: {{.last_error}}; had {{.again}}",
            "transition": {"branches": [{}]}}
    ]});
    let (outcome, _) = Rig::of(chain, Value::Int(1)).alone();
    let text = "max_visits: the run came to this task more than 3 times, its max_visits; had <no value>+++";
    assert_eq!(output_of(&outcome), text);
    assert_eq!(outcome.state.len(), 5);
    assert!(outcome.state[3].error.error.contains("max_visits"));

    let alone = one(
        json!({"handler": "noop", "max_visits": 2, "retry_on_failure": 9, "transition": {"branches": [{"goto": "t"}]}}),
    );
    let (outcome, _) = Rig::of(alone, Value::Int(1)).alone();
    assert_eq!(outcome.state.len(), 3, "it is not tried again");
    assert_eq!(outcome.result.map_err(|failed| failed.failure.class), Err(FailureClass::MaxVisits));
}

fn later(seconds: u64) -> Timestamp {
    NOON.after(Duration::from_secs(seconds))
}

fn two_asks(timeout: &str) -> Json {
    json!({"timeout": timeout, "tasks": [
        {"id": "a", "handler": "raw_string", "timeout": "1m", "transition": {"branches": [{"goto": "b"}], "on_failure": "b",
            "catch": [{"goto": "b"}]}},
        {"id": "b", "handler": "raw_string", "timeout": "1m", "transition": {"branches": [{}]}}
    ]})
}

fn timeout_of(effects: &[Effect]) -> Duration {
    match effects {
        [Effect::AskModel { timeout, .. }] => *timeout,
        other => panic!("one call: {other:?}"),
    }
}

fn over(effects: &[Effect]) -> String {
    match effects {
        [Effect::Finish(outcome)] => {
            let failed = outcome.result.as_ref().expect_err("fails");
            assert_eq!((failed.failure.class, &failed.task), (FailureClass::Timeout, &None));
            failed.to_string()
        }
        other => panic!("the end: {other:?}"),
    }
}

#[test]
fn a_chains_timeout_clips_each_effect_and_cannot_be_caught() {
    const OVER: &str = "the run took longer than the chain's timeout of 90s";
    let mut machine = Rig::of(two_asks("90s"), Value::string("q")).machine;
    let first = machine.start(NOON);
    assert_eq!(timeout_of(&first), Duration::from_secs(60));
    let second = machine.on_event(answered(&first[0], "x"), later(50));
    assert_eq!(timeout_of(&second), Duration::from_secs(40), "what is left of the run's time");
    let step = step_of(&second[0]).expect("waits");
    let failure = Failure::new(FailureClass::Timeout, "slow");
    // The clock of the run may lag a little behind the one that stopped the effect.
    let event = Event::Failed { step, failure, served: None, elapsed: Duration::from_secs(40) };
    assert_eq!(over(&machine.on_event(event, later(89))), OVER);

    let mut machine = Rig::of(two_asks("90s"), Value::string("q")).machine;
    let first = machine.start(NOON);
    assert_eq!(over(&machine.on_event(failed(&first[0], FailureClass::Connection, "cut"), later(90))), OVER);

    let mut machine = Rig::of(two_asks("90s"), Value::string("q")).machine;
    let first = machine.start(NOON);
    assert_eq!(over(&machine.on_event(answered(&first[0], "x"), later(91))), OVER);
    assert!(machine.on_event(answered(&first[0], "x"), later(91)).is_empty());
}

#[test]
fn a_timeout_of_an_attempt_is_not_the_chains_and_can_be_caught() {
    let mut machine = Rig::of(two_asks("90s"), Value::string("q")).machine;
    let first = machine.start(NOON);
    let second = machine.on_event(failed(&first[0], FailureClass::Timeout, "slow"), later(60));
    assert_eq!(timeout_of(&second), Duration::from_secs(30));
    let last = machine.on_event(answered(&second[0], "x"), later(61));
    assert!(matches!(&last[..], [Effect::Finish(outcome)] if outcome.result.is_ok()));
}

#[test]
fn a_run_that_asks_nobody_is_out_of_time_too() {
    let mut chain = one(json!({"handler": "noop", "transition": {"branches": [{"goto": "t"}]}}));
    chain["timeout"] = json!("1s");
    let mut machine = Rig::of(chain, Value::Int(1)).machine;
    assert_eq!(machine.start(NOON), [Effect::Yield]);
    assert_eq!(over(&machine.resume(later(1))), "the run took longer than the chain's timeout of 1s");
}

#[test]
fn a_run_whose_tokens_are_spent_makes_no_further_call() {
    let chain = |budget: i64| {
        json!({"token_budget": budget, "tasks": [
            {"id": "ask", "handler": "raw_string", "retry_on_failure": 3, "execute_config": {"fallback_models": ["other"]},
                "transition": {"catch": [{"errors": ["budget"], "goto": "cheap"}], "branches": [{"goto": "ask"}]}},
            {"id": "cheap", "handler": "noop", "prompt_template": "{{.ask_error.message}}", "transition": {"branches": [{}]}}
        ]})
    };
    // Each reply is told to have cost 11 and 2.
    let (outcome, effects) = Rig::of(chain(26), Value::string("q")).run(|effect| answered(effect, "x"));
    assert_eq!(calls(&effects).len(), 2);
    assert_eq!(output_of(&outcome), "the run has spent 26 tokens, the chain's token_budget is 26");
    assert_eq!(outcome.state.len(), 4, "the refused call is one attempt");
    let (_, effects) = Rig::of(chain(27), Value::string("q")).run(|effect| answered(effect, "x"));
    assert_eq!(calls(&effects).len(), 3);
}

#[test]
fn tokens_that_no_backend_counted_are_counted_here() {
    let chain = json!({"token_budget": 5, "tasks": [
        {"id": "embed", "handler": "embedding", "transition": {"branches": [{"goto": "ask"}]}},
        {"id": "ask", "handler": "raw_string", "input_var": "input", "system_instruction": "be kind",
            "transition": {"branches": [{"goto": "ask"}]}}
    ]});
    let mut asked = 0;
    let (outcome, _) = Rig::of(chain, Value::string("hello world")).run(|effect| {
        let step = step_of(effect).expect("waits");
        asked += 1;
        match effect {
            Effect::Embed { .. } => Event::Embedded { step, vector: vec![1.0], served: None, elapsed: TOOK },
            _ => unmetered(effect, "hello world"),
        }
    });
    assert_eq!(asked, 2);
    assert_eq!(error_of(&outcome), "task ask: the run has spent 8 tokens, the chain's token_budget is 5");
}

#[test]
fn an_input_that_is_not_what_the_chain_asks_for_is_the_callers_fault() {
    let mut chain = one(json!({"handler": "noop"}));
    chain["input_schema"] =
        json!({"type": "object", "required": ["tickets"], "properties": {"tickets": {"maxItems": 1}}});
    let (outcome, _) = Rig::of(chain.clone(), Value::json(json!({"tickets": [1, 2]}))).alone();
    let refused = outcome.result.expect_err("refused");
    assert!(refused.is_refused_input());
    let text = "the input is not what the chain's input_schema asks for: at /tickets: [1,2] has more than 1 item";
    assert_eq!((refused.to_string().as_str(), outcome.state.len()), (text, 0));
    let (outcome, _) = Rig::of(chain, Value::json(json!({"tickets": []}))).alone();
    assert!(outcome.result.is_ok());
}

#[test]
fn the_result_is_the_variable_that_the_chain_names_with_its_type() {
    let mut chain = json!({"output_var": "first", "tasks": [
        {"id": "first", "handler": "noop", "transition": {"branches": [{"goto": "last"}]}},
        {"id": "last", "handler": "noop", "prompt_template": "bye", "transition": {"branches": [{}]}}
    ]});
    assert_eq!(Rig::of(chain.clone(), Value::Int(7)).alone().0.result, Ok(Value::Int(7)));
    chain["output_var"] = json!("other");
    let (outcome, _) = Rig::of(chain, Value::Int(7)).alone();
    assert_eq!(error_of(&outcome), "output_var names the variable 'other', which is not set at the end of the run");
    assert_eq!(outcome.state.len(), 2);
}
