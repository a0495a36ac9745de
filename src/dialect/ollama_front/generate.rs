//! `POST /api/generate`: one prompt with an optional instruction. What reaches past the conversation, into the prompt as the
//! model sees it, only Ollama itself can do.

use super::{ReadError, Wish, chat, fields::Fields, keep_alive, messages};
use crate::domain::chat::{ChatCall, ChatTurn};

pub(super) fn read(at: &Fields<'_>) -> Result<Wish<ChatCall>, ReadError> {
    let call = chat::common(at)?;
    let prompt = ChatTurn { role: "user".to_owned(), parts: messages::parts(at, "prompt")?, ..ChatTurn::default() };
    let system = at.text("system")?;
    let is_unload = keep_alive::is_none(at)?;
    let special = ollama_only(at)?;
    if at.text("prompt")?.is_empty() {
        return Ok(if is_unload { Wish::Unload } else { Wish::Load });
    }
    if let Some((field, meaning)) = special {
        let message = format!("'{field}' {meaning}: only an Ollama backend can do that, and none has this model");
        return Err(ReadError::OllamaOnly(message));
    }
    let system = (!system.is_empty()).then(|| ChatTurn::text("system", system));
    Ok(Wish::Ask(ChatCall { messages: system.into_iter().chain([prompt]).collect(), single_prompt: true, ..call }))
}

/// The first of the fields that are set and that no conversation can express.
fn ollama_only(at: &Fields<'_>) -> Result<Option<(&'static str, &'static str)>, String> {
    let set = [
        ("raw", "sends the prompt past the model's template", at.flag("raw")?.unwrap_or(false)),
        ("template", "replaces the model's template", !at.text("template")?.is_empty()),
        ("suffix", "asks for what stands between two texts", !at.text("suffix")?.is_empty()),
        ("context", "goes on from tokens of an earlier answer", !at.list("context")?.is_empty()),
    ];
    Ok(set.into_iter().find(|(.., is_set)| *is_set).map(|(field, meaning, _)| (field, meaning)))
}
