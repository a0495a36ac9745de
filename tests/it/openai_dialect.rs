//! What servers of the types `openai` and `vllm` are asked, and how what they say is read: exact bodies, kept in
//! `tests/golden/dialects/openai` (`docs/backends.md`). With `WRITE_GOLDENS` set they are written anew; look at the diff.

use std::{fs, path::PathBuf, sync::Arc};

use penstock::{
    dialect::{
        openai::{self, ChatDecoder, Server},
        stream::ReplyDecoder,
        vllm,
    },
    domain::{
        chat::{AnsweredCall, ChatCall, ChatTurn, Image, Part, Sampling, Thinking, Tool, ToolCall, ToolChoice},
        message::Constraint,
    },
};
use serde_json::{Value, json};

const SERVERS: [(&str, Server); 5] = [
    ("openai", Server::Openai),
    ("hosted", Server::Hosted),
    ("local", Server::Local),
    ("llamacpp", Server::LlamaCpp),
    ("vllm", Server::Vllm),
];

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dialects/openai").join(name)
}

/// What differs from its golden file, or nothing.
fn differs(file: &PathBuf, now: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one setting of this test")]
    if std::env::var_os("WRITE_GOLDENS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, now).unwrap();
        return None;
    }
    let is_same = fs::read_to_string(file).unwrap_or_default() == now;
    (!is_same).then(|| format!("{}: now\n{now}", file.display()))
}

fn asked(text: &str) -> ChatCall {
    ChatCall { messages: vec![ChatTurn::text("user", text)], ..ChatCall::default() }
}

fn tools() -> Vec<Tool> {
    let tool = |name: &str, description: &str, parameters, strict| Tool {
        name: name.to_owned(),
        description: description.to_owned(),
        parameters,
        strict,
    };
    let city = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    vec![tool("get_weather", "Weather of a city", Some(city), Some(true)), tool("get_time", "", None, None)]
}

fn conversation() -> ChatCall {
    let call = |id: &str, name: &str, arguments: &str| ToolCall {
        id: id.to_owned(),
        name: name.to_owned(),
        arguments: arguments.to_owned(),
        signature: "opaque".to_owned(),
    };
    let answer = |id: &str, name: &str, text: &str| ChatTurn {
        answers: Some(AnsweredCall { id: id.to_owned(), name: name.to_owned() }),
        ..ChatTurn::text("tool", text)
    };
    let png = Image::Inline { media_type: String::new(), data: "iVBORw0KGgo=".to_owned() };
    let seen = vec![
        Part::Text("What is this?".to_owned()),
        Part::Image(png),
        Part::Image(Image::Url("https://example.com/cat.jpg".to_owned())),
    ];
    ChatCall {
        messages: vec![
            ChatTurn::text("developer", "Be brief."),
            ChatTurn { name: "ann".to_owned(), ..ChatTurn { parts: seen, ..ChatTurn::text("user", "") } },
            ChatTurn {
                role: "assistant".to_owned(),
                reasoning: "Two tools will do.".to_owned(),
                tool_calls: vec![
                    call("", "get_weather", r#"{"city":"Rome"}"#),
                    call("", "get_time", ""),
                    call("call_x", "get_time", "{}"),
                ],
                ..ChatTurn::default()
            },
            answer("", "get_time", "noon"),
            answer("", "", "sunny"),
            answer("call_x", "", "noon"),
            ChatTurn { parts: vec![], ..ChatTurn::text("assistant", "") },
        ],
        tools: tools(),
        ..ChatCall::default()
    }
}

fn requests() -> Vec<(&'static str, ChatCall, bool)> {
    let sampling = Sampling {
        temperature: Some(0.5),
        top_p: Some(0.9),
        top_k: Some(40),
        min_p: Some(0.05),
        max_tokens: Some(64),
        stop: vec!["END".to_owned()],
        seed: Some(7),
        presence_penalty: Some(0.1),
        frequency_penalty: Some(-0.1),
        repeat_penalty: Some(1.1),
    };
    let with = |change: &dyn Fn(&mut ChatCall)| {
        let mut call = asked("Hi");
        change(&mut call);
        call
    };
    let named = ToolChoice::Named("get_time".to_owned());
    let list = Constraint::Schema(Arc::new(json!({"type": "array", "items": {"type": "integer"}})));
    vec![
        ("plain", asked("Hi"), false),
        ("plain_streamed", asked("Hi"), true),
        ("all_sampling", with(&|call| call.sampling = sampling.clone()), false),
        ("conversation", conversation(), false),
        ("tool_choice_none", with(&|call| (call.tools, call.tool_choice) = (tools(), ToolChoice::None)), false),
        (
            "tool_choice_required",
            with(&|call| {
                (call.tools, call.tool_choice) = (tools(), ToolChoice::Required);
                call.parallel_tool_calls = Some(false);
            }),
            false,
        ),
        ("tool_choice_named", with(&|call| (call.tools, call.tool_choice) = (tools(), named.clone())), false),
        ("tool_choice_without_tools", with(&|call| call.tool_choice = ToolChoice::Required), false),
        ("logprobs_and_choices", with(&|call| (call.logprobs, call.choices) = (Some(3), 2)), false),
        ("logprobs_alone", with(&|call| (call.logprobs, call.choices) = (Some(0), 1)), false),
        ("thinking_off", with(&|call| call.thinking = Some(Thinking::Off)), false),
        ("thinking_on", with(&|call| call.thinking = Some(Thinking::On)), false),
        ("thinking_low", with(&|call| call.thinking = Some(Thinking::Effort("low".to_owned()))), false),
        ("json", with(&|call| call.constraint = Some(Constraint::Json)), true),
        ("list", with(&|call| call.constraint = Some(list.clone())), true),
    ]
}

#[test]
fn every_server_is_asked_as_the_golden_files_say() {
    let mut wrong = Vec::new();
    for (case, call, wants_stream) in requests() {
        for (name, server) in SERVERS {
            let body: Value = serde_json::from_slice(&openai::chat_body("m", &call, server, wants_stream)).unwrap();
            let pretty = format!("{}\n", serde_json::to_string_pretty(&body).unwrap());
            wrong.extend(differs(&folder("requests").join(name).join(format!("{case}.json")), &pretty));
        }
    }
    assert!(wrong.is_empty(), "bodies have changed (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
}

#[test]
fn what_openais_thinking_models_refuse_is_left_out() {
    let (_, mut call, _) = requests().into_iter().find(|(case, ..)| *case == "all_sampling").unwrap();
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
    let mut wrong = Vec::new();
    let mut seen = 0;
    for entry in fs::read_dir(folder("answers")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.ends_with(".txt") {
            continue;
        }
        seen += 1;
        let body = fs::read(&path).unwrap();
        let whole = read(&name, &body, usize::MAX);
        for piece in [1, 7, 64] {
            assert_eq!(read(&name, &body, piece), whole, "{name} in pieces of {piece}");
        }
        wrong.extend(differs(&folder("answers").join(format!("{name}.txt")), &whole));
    }
    assert!(seen >= 20, "only {seen} answers were found");
    assert!(wrong.is_empty(), "answers are read differently (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
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
