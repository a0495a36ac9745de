//! What a status, the codes beside it and a server's own words mean.

use super::ProviderErrorKind::{
    self, Auth, Caller, ContextLength, Quota, RateLimited, Reply, Server, Stalled, Transient,
};
use crate::dialect::error_body::ErrorBody;

/// Faults that servers have no code for: the statuses they come with, words they always hold, and what they mean.
const KNOWN_WORDS: [(&[u16], &str, ProviderErrorKind); 16] = [
    // OpenAI of a text to embed, old versions of vLLM, and many hosted servers: "this model's maximum context length is".
    // Ollama of a text to embed that may not be cut.
    (&[400, 500], "maximum context length", ContextLength),
    (&[400, 500], "exceeds the context length", ContextLength),
    // SGLang, LM Studio (two), and Hugging Face's text-generation-inference (two).
    (&[400], "longer than the model's context length", ContextLength),
    (&[400], "context length of only", ContextLength),
    (&[400], "greater than the context length", ContextLength),
    (&[422], "`inputs` must have less than", ContextLength),
    (&[422], "`max_new_tokens` must be <=", ContextLength),
    // llama.cpp, before it had a code for it.
    (&[400, 500], "exceeds the available context size", ContextLength),
    // llama.cpp, of a text to embed that is longer than what it reads at once.
    (&[500], "too large to process", ContextLength),
    // Gemini.
    (&[400], "exceeds the maximum number of tokens", ContextLength),
    // llama.cpp, of a picture for a model that sees none, and of tools without the templates for them.
    (&[500], "image input is not supported", Caller),
    (&[500], "requires --jinja", Caller),
    // Ollama, of an option with a value of another type.
    (&[500], "must be of type", Caller),
    // Ollama, of a model that does not fit beside what runs there now. Nothing of the call was looked at.
    (&[500], "requires more system memory", Transient),
    // Gemini, of a key that is none, where its details are missing.
    (&[400], "API key not valid", Auth),
    (&[400], "API key expired", Auth),
];

/// What an answer that is no success means.
pub(super) fn kind_of(status: u16, error: &ErrorBody) -> ProviderErrorKind {
    let says = |word: &str| error.codes.iter().any(|code| code == word);
    let known = KNOWN_WORDS.iter().find(|(with, words, _)| with.contains(&status) && error.message.contains(words));
    match status {
        _ if says("context_length_exceeded") || says("exceed_context_size_error") => ContextLength,
        // vLLM has no code for it, but names what is wrong.
        400 if error.param == "input_tokens" => ContextLength,
        // Gemini's answer to a key that is none.
        400 if says("API_KEY_INVALID") => Auth,
        _ if says("insufficient_quota") || says("billing_hard_limit_reached") => Quota,
        // Gemini names the quotas that are spent; one of a day is no matter of waiting, whatever wait it tells.
        429 if error.codes.iter().any(|code| code.contains("PerDay")) => Quota,
        _ if known.is_some() => known.map_or(Caller, |(.., kind)| *kind),
        // Elsewhere, where nobody sent the call: redirects are not followed.
        ..400 => Reply,
        402 => Quota,
        408 => Stalled,
        429 => RateLimited,
        401 | 403 => Auth,
        // Ollama and its fronts: whoever asked has left. That was not us, who would not read this.
        499 => Transient,
        // What the server was not made, or not started, for: it is well, and would say the same again.
        501 => Caller,
        // The last four: of fronts of hosted servers, which cannot reach the server, or have too much to do.
        502..=504 | 521..=523 | 529 => Transient,
        500.. => Server,
        _ => Caller,
    }
}
