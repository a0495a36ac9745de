//! What servers of the types `openai` and `vllm` are asked, and how what they say is read: exact bodies, kept in
//! `tests/golden/dialects/openai` (`docs/backends.md`). With `WRITE_GOLDENS` set they are written anew; look at the diff.

use penstock::{
    dialect::{
        openai::{self, ChatDecoder, Server},
        stream::ReplyDecoder,
        vllm,
    },
    domain::chat::{ChatCall, Thinking},
};
use serde_json::{Value, json};

use crate::support::calls::{asked, calls, check_answers, differs, golden_folder};

const SERVERS: [(&str, Server); 5] = [
    ("openai", Server::Openai),
    ("hosted", Server::Hosted),
    ("local", Server::Local),
    ("llamacpp", Server::LlamaCpp),
    ("vllm", Server::Vllm),
];

#[test]
fn every_server_is_asked_as_the_golden_files_say() {
    let mut wrong = Vec::new();
    for (case, call, wants_stream) in calls() {
        for (name, server) in SERVERS {
            let body: Value = serde_json::from_slice(&openai::chat_body("m", &call, server, wants_stream)).unwrap();
            let pretty = format!("{}\n", serde_json::to_string_pretty(&body).unwrap());
            wrong
                .extend(differs(&golden_folder("openai", "requests").join(name).join(format!("{case}.json")), &pretty));
        }
    }
    assert!(wrong.is_empty(), "bodies have changed (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
}

#[test]
fn what_openais_thinking_models_refuse_is_left_out() {
    let (_, mut call, _) = calls().into_iter().find(|(case, ..)| *case == "all_sampling").unwrap();
    call.thinking = Some(Thinking::Off);
    let body = |model: &str| -> Value {
        serde_json::from_slice(&openai::chat_body(model, &call, Server::Openai, false)).unwrap()
    };
    let (thinking, other) = (body("gpt-5-mini"), body("gpt-4o"));
    for field in ["temperature", "top_p", "presence_penalty", "frequency_penalty"] {
        assert!(thinking.get(field).is_none() && other.get(field).is_some(), "{field}");
    }
    assert_eq!((&thinking["max_completion_tokens"], &thinking["seed"]), (&json!(64), &json!(7)));
    assert_eq!((&thinking["reasoning_effort"], other.get("reasoning_effort")), (&json!("none"), None));
}

/// What is read of an answer, a line an event, and how it ended.
fn read(name: &str, body: &[u8], piece: usize) -> String {
    let mut lines = Vec::new();
    let outcome = if name.ends_with(".json") {
        openai::parse_reply(body, None, Server::Openai).map(|reply| lines.push(format!("{reply:#?}")))
    } else {
        let mut decoder = ChatDecoder::new(&ChatCall { choices: 2, ..ChatCall::default() }, Server::Openai);
        if !name.starts_with("two_choices") {
            decoder = ChatDecoder::new(&ChatCall::default(), Server::Openai);
        }
        let mut events = Vec::new();
        let pushed = body.chunks(piece).try_for_each(|piece| decoder.push(piece, &mut events));
        let outcome = pushed.and_then(|()| decoder.end(&mut events));
        lines.extend(events.iter().map(|event| format!("{event:?}")));
        outcome
    };
    lines.push(format!("{outcome:?}"));
    format!("{}\n", lines.join("\n"))
}

#[test]
fn every_answer_is_read_as_the_golden_files_say_in_whatever_pieces_it_comes() {
    check_answers("openai", 26, read);
}

#[test]
fn a_text_completion_is_asked_for_a_prompt_alone() {
    let prompt = ChatCall { single_prompt: true, choices: 2, ..asked("Hi") };
    let body = vllm::completion_body("m", &prompt, true).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        json!({"model": "m", "prompt": "Hi", "n": 2, "stream": true, "stream_options": {"include_usage": true}})
    );
}
