//! Steps that are told while they are made: which they are, and that what was told is the run's text.

use proptest::prelude::*;

use super::*;
use crate::engine::answer_stream::{AnswerStream, StreamedText};

/// A chain of these tasks; each has a default branch to the next one unless it says otherwise.
fn chain(tasks: Json) -> Json {
    let Json::Array(mut tasks) = tasks else { panic!("a list of tasks") };
    let ids: Vec<Json> = tasks.iter().map(|task| task["id"].clone()).collect();
    for (at, task) in tasks.iter_mut().enumerate() {
        if task["transition"]["branches"].is_null() {
            task["transition"]["branches"] = json!([{"goto": ids.get(at + 1).cloned().unwrap_or(json!("end"))}]);
        }
    }
    json!({ "tasks": tasks })
}

/// The steps of a chain that are told, each with whether the output is a response.
fn streamed(chain: &Json) -> Vec<(String, bool)> {
    let program = compile(&serde_json::from_value(chain.clone()).expect("a chain")).expect("a valid chain");
    let steps = program.steps.iter().zip(&program.streamed);
    steps.filter_map(|(step, streamed)| Some((step.id.to_string(), streamed.as_ref()?.in_response))).collect()
}

fn answer() -> Json {
    json!({"id": "answer", "handler": "raw_string"})
}

fn chat() -> Json {
    json!({"id": "chat", "handler": "model_execution"})
}

fn tell() -> Json {
    json!({"id": "tell", "handler": "convert_to_openai_chat_response"})
}

/// A task with this in one field.
fn with(mut task: Json, pointer: &str, value: Json) -> Json {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    if parent.is_empty() {
        task[name] = value;
    } else {
        task[&parent[1..]][name] = value;
    }
    task
}

#[test]
fn the_last_step_that_asks_a_model_is_told_where_its_text_is_the_output() {
    let noop = json!({"id": "pass", "handler": "noop", "print": "{{.answer}}"});
    for (tasks, told) in [
        (json!([answer()]), vec![("answer", false)]),
        (json!([chat()]), vec![("chat", false)]),
        (json!([chat(), tell()]), vec![("chat", true)]),
        (json!([chat(), noop, tell()]), vec![("chat", true)]),
        (json!([answer(), noop]), vec![("answer", false)]),
        (json!([{"id": "first", "handler": "raw_string"}, answer()]), vec![("answer", false)]),
        (
            json!([{"id": "sort", "handler": "condition_key", "valid_conditions": ["a", "b"], "transition": {"branches": [
            {"when": "a", "goto": "answer"}, {"goto": "chat"}]}},
            with(answer(), "/transition/branches", json!([{"goto": "end"}])), chat(), tell()]),
            vec![("answer", false), ("chat", true)],
        ),
        // Whatever the text decides, it stays the text.
        (
            json!([
                with(
                    answer(),
                    "/transition/branches",
                    json!([{"operator": "contains", "when": "x", "goto": "pass"},
            {"goto": "end"}])
                ),
                noop
            ]),
            vec![("answer", false)],
        ),
        // Before the first token everything works as ever.
        (
            json!([with(with(answer(), "/retry_on_failure", json!(2)), "/transition/on_failure", json!("sorry")),
            {"id": "sorry", "handler": "noop", "prompt_template": "later", "transition": {"branches": [{"goto": "end"}]}}]),
            vec![],
        ),
        (
            json!([with(with(answer(), "/retry_on_failure", json!(2)), "/transition", json!({"on_failure": "sorry",
            "branches": [{"goto": "end"}]})),
            {"id": "sorry", "handler": "noop", "prompt_template": "later"}]),
            vec![("answer", false)],
        ),
        (
            json!([with(answer(), "/transition", json!({"on_failure": "again", "branches": [{"goto": "end"}]})),
            {"id": "again", "handler": "raw_string"}]),
            vec![("again", false)],
        ),
        (
            json!([with(answer(), "/transition", json!({"catch": [{"goto": "again"}], "branches": [{"goto": "end"}]})),
            {"id": "again", "handler": "raw_string"}]),
            vec![("again", false)],
        ),
        (json!([chat(), with(tell(), "/input_var", json!("chat"))]), vec![("chat", true)]),
    ] {
        let told: Vec<(String, bool)> = told.into_iter().map(|(id, response)| (id.to_owned(), response)).collect();
        assert_eq!(streamed(&chain(tasks.clone())), told, "{tasks}");
    }
}

#[test]
fn a_step_is_not_told_where_anything_may_touch_or_refuse_its_text() {
    let after = |task: Json| chain(json!([answer(), task]));
    let own = |pointer: &str, value: Json| chain(json!([with(answer(), pointer, value)]));
    for chain in [
        after(json!({"id": "b", "handler": "noop", "prompt_template": "{{.previous_output}}!"})),
        after(json!({"id": "b", "handler": "noop", "input_var": "input"})),
        after(json!({"id": "b", "handler": "noop", "max_visits": 1})),
        after(json!({"id": "b", "handler": "noop", "compose": {"with_var": "input"}})),
        after(json!({"id": "b", "handler": "noop", "transition": {"branches": [{"when": "other", "goto": "end"}]}})),
        after(json!({"id": "b", "handler": "hook", "hook": {"name": "h"}})),
        after(json!({"id": "b", "handler": "raise_error"})),
        after(json!({"id": "b", "handler": "embedding"})),
        after(json!({"id": "b", "handler": "parse_transition"})),
        after(tell()),
        after(json!({"id": "b", "handler": "noop", "transition": {"branches": [{"goto": "answer"}]}})),
        own("/compose", json!({"with_var": "input"})),
        own("/transition/branches", json!([{"operator": "contains", "when": "yes", "goto": "end"}])),
        own("/transition/branches", json!([{"when": "again", "goto": "answer"}, {"goto": "end"}])),
        own("/handler", json!("parse_json")),
        chain(json!([with(chat(), "/transition/variable", json!("chat.model")),
            {"id": "b", "handler": "noop", "transition": {"variable": "x", "branches": [{"when": "1", "goto": "end"}]}}])),
        chain(json!([chat(), tell(), {"id": "again", "handler": "convert_to_openai_chat_response"}])),
    ] {
        let told = streamed(&chain);
        assert!(told.iter().all(|(id, _)| id != "answer" && id != "chat"), "{told:?} {chain}");
    }
}

#[test]
fn an_output_variable_that_is_something_else_keeps_a_step_from_being_told() {
    let named = |name: &str, tasks: Json| {
        let mut chain = chain(tasks);
        chain["output_var"] = json!(name);
        streamed(&chain)
    };
    let tasks = || json!([{"id": "first", "handler": "noop"}, chat(), tell()]);
    for (name, told) in [
        ("", Some(true)),
        ("previous_output", Some(true)),
        ("tell", Some(true)),
        ("chat", Some(false)),
        ("first", None),
        ("input", None),
        ("nothing", None),
    ] {
        assert_eq!(named(name, tasks()).first().map(|(_, response)| *response), told, "{name}");
    }
    // Not set on every way.
    let forked = json!([with(answer(), "/transition/branches", json!([{"when": "x", "goto": "pass"}, {"goto": "end"}])),
        {"id": "pass", "handler": "noop"}]);
    assert_eq!(named("pass", forked), []);
}

#[test]
fn a_hostile_chain_takes_no_time() {
    let mut tasks = Vec::new();
    for at in 0..500 {
        tasks.push(
            json!({"id": format!("m{at}"), "handler": "raw_string", "transition": {"branches": [{"goto": "n0"}]}}),
        );
    }
    for at in 0..500 {
        let mut branches: Vec<Json> =
            (0..200).map(|to| json!({"when": "x", "goto": format!("n{}", (at + to) % 500)})).collect();
        branches.push(json!({"goto": "end"}));
        tasks.push(json!({"id": format!("n{at}"), "handler": "noop",
            "transition": {"variable": "input", "branches": branches}}));
    }
    let told = streamed(&json!({ "tasks": tasks }));
    assert!(told.len() < 500, "the looks are bounded: {}", told.len());
}

#[test]
fn nothing_is_told_unless_somebody_wishes_it() {
    let text = chain(json!([answer()]));
    let response = chain(json!([chat(), tell()]));
    let wished = |chain: &Json, wish: StreamWish| {
        let mut machine = Rig::of(chain.clone(), Value::string("q")).machine.telling(wish);
        match machine.start(NOON).last() {
            Some(Effect::AskModel { streamed, .. }) => streamed.as_ref().map(|streamed| streamed.text),
            other => panic!("{other:?}"),
        }
    };
    for (wish, of_text, of_response) in [
        (StreamWish::Nothing, None, None),
        (StreamWish::Text, Some(StreamedText::Answer), Some(StreamedText::Verbatim)),
        (StreamWish::Response, None, Some(StreamedText::Verbatim)),
    ] {
        assert_eq!((wished(&text, wish), wished(&response, wish)), (of_text, of_response), "{wish:?}");
    }
}

#[test]
fn a_reply_that_breaks_off_ends_the_run_and_one_that_fails_before_is_tried_again() {
    let tasks = json!([
        with(with(answer(), "/retry_on_failure", json!(3)), "/transition",
            json!({"on_failure": "sorry", "branches": [{"goto": "end"}]})),
        {"id": "sorry", "handler": "noop"}]);
    let start = || {
        let mut machine = Rig::of(chain(tasks.clone()), Value::string("q")).machine.telling(StreamWish::Text);
        let effects = machine.start(NOON);
        (machine, effects)
    };
    let failure = || Failure::new(FailureClass::Connection, "broken");
    let (mut machine, effects) = start();
    let step = step_of(effects.last().unwrap()).unwrap();
    let failed = Event::Failed { step, failure: failure(), served: None, elapsed: TOOK };
    let effects = machine.on_event(failed, NOON);
    let step = step_of(effects.last().unwrap()).expect("one more attempt");
    let broken = Event::BrokeOff { step, failure: failure(), served: Some(served()), elapsed: TOOK };
    let effects = machine.on_event(broken, NOON);
    let Some(Effect::Finish(outcome)) = effects.last() else { panic!("{effects:?}") };
    assert_eq!(outcome.result.as_ref().unwrap_err().to_string(), "task answer: broken");
    assert_eq!((outcome.state.len(), outcome.served.clone()), (2, Some(served())));

    let (mut machine, effects) = start();
    let effects = machine.on_event(answered(effects.last().unwrap(), "<think>hm</think>"), NOON);
    assert!(step_of(effects.last().unwrap()).is_some(), "a reply without an answer told nothing: {effects:?}");
}

#[test]
fn why_the_reply_ended_is_known_at_the_end() {
    let finish = |tasks: Json| {
        let (outcome, _) = Rig::of(chain(tasks), Value::string("q")).run(|effect| cut(effect, "7"));
        outcome.finish
    };
    assert_eq!(finish(json!([answer()])), Some(Finish::Length));
    assert_eq!(finish(json!([answer(), {"id": "b", "handler": "noop", "prompt_template": "x"}])), None);
}

/// The text of a run's output.
fn text_of(output: &Value) -> String {
    match output {
        Value::ChatHistory(history) => history.messages.last().expect("a message").content.clone(),
        Value::OpenaiChatResponse(response) => {
            response["choices"][0]["message"]["content"].as_str().expect("a text").to_owned()
        }
        other => other.debug_text().into_owned(),
    }
}

const REPLIES: [&str; 8] = ["a", " b \n", "<think>hm</think> a", "<think>hm</think>", "<think>x", "7", "", "\n"];

/// Chains whose tasks may be streamed more often than not.
fn any_tame_chain() -> impl Strategy<Value = Json> {
    let place = || prop::sample::select(vec!["t0", "t1", "t2", "t3", "end", "end"]);
    let handler = prop::sample::select(vec![
        "noop",
        "noop",
        "raw_string",
        "model_execution",
        "convert_to_openai_chat_response",
        "condition_key",
        "raise_error",
    ]);
    let when = prop::sample::select(vec!["a", "b", "noop", "executed", "7"]);
    let input = prop::sample::select(vec!["", "", "", "t0", "t1", "input", "previous_output"]);
    let rare = || prop::bool::weighted(0.1);
    let task = (
        handler,
        prop::collection::vec((place(), when), 0..2),
        place(),
        prop::bool::weighted(0.8),
        input,
        (rare(), rare(), rare(), 0..2_i64, prop::option::weighted(0.2, place())),
    );
    let task = task.prop_map(|(handler, branches, last, has_default, input, more)| {
        let (renders, composes, looks, retries, failure) = more;
        let mut branches: Vec<_> = branches.iter().map(|(goto, when)| json!({"goto": goto, "when": when})).collect();
        if has_default || branches.is_empty() {
            branches.push(json!({"goto": last}));
        }
        let mut task = json!({"handler": handler, "valid_conditions": ["a", "b"], "input_var": input,
            "retry_on_failure": retries, "transition": {"branches": branches}});
        if renders {
            task["prompt_template"] = json!("{{.input}}!");
        }
        if composes {
            task["compose"] = json!({"with_var": "input"});
        }
        if looks {
            task["transition"]["variable"] = json!("t1");
        }
        if let Some(failure) = failure.filter(|failure| *failure != "end") {
            task["transition"]["on_failure"] = json!(failure);
        }
        task
    });
    let output = prop::sample::select(vec!["", "", "", "t0", "t1", "t2", "previous_output", "input"]);
    (prop::collection::vec(task, 4), output).prop_map(|(mut tasks, output)| {
        for (at, task) in tasks.iter_mut().enumerate() {
            task["id"] = json!(format!("t{at}"));
        }
        json!({"tasks": tasks, "output_var": output, "max_steps": 20})
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_a_run_tells_is_exactly_the_text_of_its_output(
        chain in any_tame_chain(),
        script in prop::collection::vec((0..10_usize, any::<bool>()), 1..12),
        wish in prop::sample::select(vec![StreamWish::Text, StreamWish::Response]),
    ) {
        let mut machine = Rig::of(chain, Value::string("q")).machine.telling(wish);
        let mut script = script.iter().cycle();
        let (mut effects, mut told, mut broke_off) = (machine.start(NOON), String::new(), false);
        let outcome = loop {
            let last = effects.last().expect("something is waited for").clone();
            let (kind, cuts_late) = *script.next().expect("endless");
            effects = match &last {
                Effect::Finish(outcome) => break outcome.clone(),
                Effect::Yield => machine.resume(NOON),
                Effect::AskModel { step, streamed, .. } => {
                    prop_assert!(told.is_empty(), "nothing is asked once something was told");
                    let mut stream = streamed.as_ref().map(|streamed| AnswerStream::new(streamed.text));
                    let mut tell = |piece: &str| if let Some(stream) = &mut stream { told.push_str(&stream.push(piece)) };
                    let event = match REPLIES.get(kind) {
                        Some(reply) => {
                            reply.split_inclusive(' ').for_each(tell);
                            told.push_str(&stream.map(AnswerStream::end).unwrap_or_default());
                            answered(&last, reply)
                        }
                        None => {
                            if cuts_late {
                                tell("broken ");
                            }
                            let (failure, step) = (Failure::new(FailureClass::Connection, "broken"), *step);
                            broke_off = !told.is_empty();
                            match broke_off {
                                true => Event::BrokeOff { step, failure, served: None, elapsed: TOOK },
                                false => Event::Failed { step, failure, served: None, elapsed: TOOK },
                            }
                        }
                    };
                    machine.on_event(event, NOON)
                }
                other => panic!("{other:?}"),
            };
        };
        match &outcome.result {
            Ok(output) if !told.is_empty() => {
                prop_assert_eq!(&told, &text_of(output));
                prop_assert!(wish != StreamWish::Response || output.data_type() == DataType::OpenaiChatResponse);
                prop_assert!(!broke_off);
            }
            Ok(_) => {}
            // Nothing but the bound of steps stops a run whose text was told.
            Err(failed) => prop_assert!(
                told.is_empty() || broke_off || failed.failure.class == FailureClass::MaxSteps, "{failed:?} after {told:?}"
            ),
        }
    }
}
