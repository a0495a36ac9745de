//! `POST /v1/completions` as a call in no dialect: one prompt, and what stands behind the reply. What only a server of this
//! API can do goes there as it came, and is refused elsewhere.

use serde_json::Value as Json;

use super::{
    Read, ReadError,
    chat::{HARMLESS, choices, include_usage, sampling},
    fields::Fields,
};
use crate::domain::chat::{ChatCall, ChatTurn};

/// A completion request, and what it wants of the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// What is asked of the model.
    pub call: ChatCall,
    /// Whether the last event of a stream tells the tokens.
    pub include_usage: bool,
    /// What each reply begins with: the prompt, where it is wanted again.
    pub echo: String,
    /// What was sent and has no effect on a backend of another dialect, for a warning.
    pub ignored: Vec<String>,
}

/// Fields that are read.
const READ: [&str; 20] = [
    "model",
    "prompt",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "stop",
    "n",
    "seed",
    "stream",
    "stream_options",
    "presence_penalty",
    "frequency_penalty",
    "echo",
    "suffix",
    "best_of",
    "logprobs",
];

const ELSEWHERE: &str =
    "is served only by backends of the types openai and vllm; to have one chosen, send X-Penstock-Provider: vllm";

/// See [`read_completion`](super::read_completion).
pub(super) fn read(at: &Fields<'_>) -> Read<CompletionRequest> {
    let prompt = prompt(at)?;
    let choices = choices(at)?;
    // The best of as many as are wanted are all of them.
    let draws_more = at.count("best_of")?.is_some_and(|best_of| best_of != choices);
    let wants_logprobs = !matches!(at.get("logprobs"), None | Some(Json::Bool(false)));
    for (name, asked) in [("best_of", draws_more), ("logprobs", wants_logprobs)] {
        if asked {
            return Err(at.fault(name, ELSEWHERE));
        }
    }
    let call = ChatCall {
        messages: vec![ChatTurn::text("user", prompt)],
        sampling: sampling(at)?,
        choices,
        single_prompt: true,
        suffix: at.text("suffix")?.to_owned(),
        ..ChatCall::default()
    };
    let echo = if at.flag("echo")? == Some(true) { prompt.to_owned() } else { String::new() };
    Ok(CompletionRequest { call, include_usage: include_usage(at)?, echo, ignored: at.beside(&[&READ, &HARMLESS]) })
}

/// The only prompt.
fn prompt<'a>(at: &Fields<'a>) -> Read<&'a str> {
    match at.get("prompt") {
        None => at.missing("prompt"),
        Some(Json::String(prompt)) => Ok(prompt),
        Some(Json::Array(prompts)) => match prompts.as_slice() {
            [Json::String(only)] => Ok(only),
            [] => Err(at.fault("prompt", "must not be empty")),
            [Json::String(_), ..] => Err(several(at, "several prompts at once")),
            _ => Err(several(at, "a prompt of token numbers")),
        },
        Some(_) => at.wrong("prompt", "a string or an array"),
    }
}

fn several(at: &Fields<'_>, what: &str) -> ReadError {
    at.fault("prompt", &format!("is {what}: that {ELSEWHERE}"))
}
