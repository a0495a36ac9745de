//! Neutral calls that the adapters' golden files are made of, and how such files are compared.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use penstock::domain::{
    chat::{AnsweredCall, ChatCall, ChatTurn, Image, Part, Sampling, Thinking, Tool, ToolCall, ToolChoice},
    message::Constraint,
};
use serde_json::json;

/// A folder of golden files of a dialect.
pub fn golden_folder(dialect: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dialects").join(dialect).join(name)
}

/// What differs from its golden file, or nothing. With `WRITE_GOLDENS` set the file is written anew; look at the diff.
pub fn differs(file: &Path, now: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "the one setting of these tests")]
    if std::env::var_os("WRITE_GOLDENS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, now).unwrap();
        return None;
    }
    let is_same = fs::read_to_string(file).unwrap_or_default() == now;
    (!is_same).then(|| format!("{}: now\n{now}", file.display()))
}

/// Holds a dialect's `answers`: each file is read whole and in small pieces by `read` (its name, its bytes, how many of
/// them at once), and beside it stands as `.txt` what is read.
#[track_caller]
pub fn check_answers(dialect: &str, at_least: usize, read: impl Fn(&str, &[u8], usize) -> String) {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for entry in fs::read_dir(golden_folder(dialect, "answers")).unwrap() {
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
        wrong.extend(differs(&path.with_file_name(format!("{name}.txt")), &whole));
    }
    assert!(seen >= at_least, "only {seen} answers were found");
    assert!(wrong.is_empty(), "answers are read differently (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
}

/// A call of one message.
pub fn asked(text: &str) -> ChatCall {
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

/// Pictures, thoughts, calls with and without ids, and their answers.
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

/// Calls with everything a call may have: a name, the call, whether it is streamed.
pub fn calls() -> Vec<(&'static str, ChatCall, bool)> {
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

/// More of them, for backends that fetch no pictures: the conversation without the one to be fetched, and prompts.
pub fn calls_without_links() -> Vec<(&'static str, ChatCall, bool)> {
    let mut inline = conversation();
    let is_link = |part: &Part| matches!(part, Part::Image(Image::Url(_)));
    inline.messages.iter_mut().for_each(|turn| turn.parts.retain(|part| !is_link(part)));
    let mut picture = asked("What is this?");
    picture.single_prompt = true;
    picture.messages[0].parts.extend(inline.messages[1].parts.iter().filter(|part| part.as_text().is_none()).cloned());
    let prompt = ChatCall {
        messages: vec![ChatTurn::text("system", "Be brief."), ChatTurn::text("user", "Hi")],
        single_prompt: true,
        ..ChatCall::default()
    };
    let mut all = calls();
    all.extend([
        ("conversation_without_links", inline, false),
        ("prompt_with_an_instruction", prompt, false),
        ("prompt_with_a_picture", picture, true),
    ]);
    all
}
