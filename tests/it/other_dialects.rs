//! What servers of the types `ollama` and `gemini` are asked, and how what they say is read: exact bodies, kept in
//! `tests/golden/dialects` (`docs/backends.md`). With `WRITE_GOLDENS` set they are written anew; look at the diff.

use std::fs;

use penstock::{
    dialect::{
        gemini::{self, EventDecoder},
        ollama::{self, LineDecoder},
        reply::ReplyError,
        stream::ReplyDecoder,
        unsayable::Unsayable,
    },
    domain::chat::{ChatCall, ChatReply},
};
use serde_json::Value;

use crate::support::calls::{calls_without_links, check_answers, differs, golden_folder};

/// A body as it is kept, with where it goes; or why there is none.
fn shown(asked: Result<(&str, Vec<u8>), Unsayable>) -> String {
    match asked {
        Ok((route, body)) => {
            let body: Value = serde_json::from_slice(&body).unwrap();
            format!("{route}\n{}\n", serde_json::to_string_pretty(&body).unwrap())
        }
        Err(refusal) => format!("refused: {refusal}\n"),
    }
}

#[track_caller]
fn check_requests(dialect: &str, ask: impl Fn(&ChatCall, bool) -> String) {
    let folder = golden_folder(dialect, "requests");
    let cases = calls_without_links();
    let mut wrong = Vec::new();
    for (case, call, wants_stream) in &cases {
        wrong.extend(differs(&folder.join(format!("{case}.txt")), &ask(call, *wants_stream)));
    }
    assert!(wrong.is_empty(), "bodies have changed (WRITE_GOLDENS=1 writes them anew):\n{}", wrong.join("\n"));
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(cases.iter().any(|(case, ..)| name == format!("{case}.txt")), "{name} is without its case");
    }
}

#[test]
fn ollama_is_asked_as_the_golden_files_say() {
    check_requests("ollama", |call, wants_stream| {
        shown(ollama::ask("m", call, wants_stream, None).map(|asked| (asked.route, asked.body)))
    });
}

#[test]
fn gemini_is_asked_as_the_golden_files_say() {
    check_requests("gemini", |call, wants_stream| {
        let route = if wants_stream { ":streamGenerateContent?alt=sse" } else { ":generateContent" };
        shown(gemini::generate_body("gemini-3-pro", call).map(|body| (route, body)))
    });
}

/// What is read of an answer, a line an event, and how it ended.
fn read(
    name: &str,
    body: &[u8],
    piece: usize,
    parse: fn(&[u8]) -> Result<ChatReply, ReplyError>,
    mut decoder: impl ReplyDecoder,
) -> String {
    let mut lines = Vec::new();
    let outcome = if name.ends_with(".json") {
        parse(body).map(|reply| lines.push(format!("{reply:#?}")))
    } else {
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
fn every_answer_of_ollama_is_read_as_the_golden_files_say_in_whatever_pieces_it_comes() {
    check_answers("ollama", 22, |name, body, piece| {
        read(name, body, piece, ollama::parse_answer, LineDecoder::default())
    });
}

#[test]
fn every_answer_of_gemini_is_read_as_the_golden_files_say_in_whatever_pieces_it_comes() {
    check_answers("gemini", 28, |name, body, piece| {
        read(name, body, piece, gemini::parse_generate, EventDecoder::default())
    });
}
