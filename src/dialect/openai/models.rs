//! The list of models: what each server tells of its own, and what is known of OpenAI's, which tells their names only.

use std::collections::HashMap;

use serde::Deserialize;

use super::server::Server;
use crate::{
    dialect::{json, lenient, reply::ReplyError},
    domain::model::{Capabilities, ObservedModel},
};

#[derive(Deserialize)]
struct ModelsReply {
    data: Vec<ModelEntry>,
}

#[derive(Deserialize)]
struct ModelEntry {
    id: String,
    #[serde(default, deserialize_with = "lenient::member")]
    owned_by: Option<String>,
    /// vLLM's addition; null for an adapter, which has that of its `parent`.
    #[serde(default, deserialize_with = "lenient::member")]
    max_model_len: Option<i64>,
    /// vLLM: the model that an adapter (LoRA) is for.
    #[serde(default, deserialize_with = "lenient::member")]
    parent: Option<String>,
    /// llama.cpp's addition: `n_ctx` is what one slot can use.
    #[serde(default, deserialize_with = "lenient::member")]
    meta: Option<ModelMeta>,
    /// llama.cpp's: what the model takes beside text.
    #[serde(default, deserialize_with = "lenient::member")]
    architecture: Option<Architecture>,
    /// llama.cpp's, where it loads models as they are asked for.
    #[serde(default, deserialize_with = "lenient::member")]
    status: Option<ModelStatus>,
    /// What hosted servers call the same: OpenRouter and Together, Groq, Mistral.
    #[serde(default, deserialize_with = "lenient::member")]
    context_length: Option<i64>,
    #[serde(default, deserialize_with = "lenient::member")]
    context_window: Option<i64>,
    #[serde(default, deserialize_with = "lenient::member")]
    max_context_length: Option<i64>,
}

#[derive(Deserialize)]
struct ModelMeta {
    #[serde(default, deserialize_with = "lenient::member")]
    n_ctx: Option<i64>,
}

#[derive(Deserialize)]
struct Architecture {
    #[serde(default, deserialize_with = "lenient::member")]
    input_modalities: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct ModelStatus {
    #[serde(default, deserialize_with = "lenient::member")]
    value: Option<String>,
}

impl ModelEntry {
    fn context(&self) -> Option<i64> {
        let of_slot = self.meta.as_ref().and_then(|meta| meta.n_ctx);
        let told = [self.max_model_len, of_slot, self.context_length, self.context_window, self.max_context_length];
        told.into_iter().flatten().find(|context| *context > 0)
    }

    /// In Ollama's words.
    fn abilities(&self) -> Vec<String> {
        let taken = self.architecture.as_ref().and_then(|architecture| architecture.input_modalities.as_ref());
        let takes = |kind: &str| taken.is_some_and(|taken| taken.iter().any(|own| own == kind));
        let known = [("image", "vision"), ("audio", "audio")];
        known.into_iter().filter(|(kind, _)| takes(kind)).map(|(_, ability)| ability.to_owned()).collect()
    }

    /// Whether it is in memory; servers that have one model from their start do not tell.
    fn is_warm(&self) -> bool {
        let status = self.status.as_ref().and_then(|status| status.value.as_deref());
        status.is_none_or(|status| status == "loaded")
    }
}

/// What a server serves, and which server it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelList {
    /// In its order.
    pub models: Vec<ObservedModel>,
    /// Where its list tells it: llama.cpp's, vLLM's and OpenAI's own do.
    pub server: Option<Server>,
}

/// Reads the answer of `GET /models`.
///
/// # Errors
/// A body that is no such list.
pub fn parse_models(body: &[u8]) -> Result<ModelList, ReplyError> {
    let entries = match body.trim_ascii_start() {
        // Together's list has nothing around it.
        [b'[', ..] => json::decode::<Vec<ModelEntry>>(body)?,
        _ => json::decode::<ModelsReply>(body)?.data,
    };
    let is_owned_by = |names: &[&str]| {
        entries.iter().any(|entry| entry.owned_by.as_deref().is_some_and(|owner| names.contains(&owner)))
    };
    let server = match () {
        () if is_owned_by(&["llamacpp"]) => Some(Server::LlamaCpp),
        () if is_owned_by(&["vllm"]) => Some(Server::Vllm),
        () if is_owned_by(&["openai", "openai-internal", "system"]) => Some(Server::Openai),
        () => None,
    };
    let contexts: HashMap<&str, i64> =
        entries.iter().filter_map(|entry| Some((entry.id.as_str(), entry.context()?))).collect();
    let observed = entries.iter().map(|entry| {
        let own = contexts.get(entry.id.as_str()).or_else(|| contexts.get(entry.parent.as_deref()?));
        let mut model = ObservedModel {
            context_length: own.copied().unwrap_or(0),
            abilities: entry.abilities(),
            is_warm: entry.is_warm(),
            ..ObservedModel::named(&entry.id)
        };
        if server == Some(Server::Openai) {
            know_openais(&mut model);
        }
        model
    });
    Ok(ModelList { models: observed.collect(), server })
}

/// Context lengths of OpenAI's families, as its documentation of each model says; its list does not. The longest name that
/// fits counts. Families that are not here stay unknown, which excludes nothing.
const CONTEXTS: [(&str, i64); 15] = [
    ("gpt-3.5-turbo", 16_385),
    ("gpt-4", 8_192),
    ("gpt-4-turbo", 128_000),
    ("gpt-4-1106-preview", 128_000),
    ("gpt-4-0125-preview", 128_000),
    ("gpt-4o", 128_000),
    ("chatgpt-4o", 128_000),
    ("gpt-4.1", 1_047_576),
    ("o1", 200_000),
    ("o1-mini", 128_000),
    ("o1-preview", 128_000),
    ("o3", 200_000),
    ("o4-mini", 200_000),
    ("gpt-5", 400_000),
    ("gpt-5-chat", 128_000),
];

/// What neither chats nor embeds: pictures, sound, moderation, base models, and what its other API alone serves.
const OTHERS: [&str; 12] = [
    "whisper",
    "tts-",
    "dall-e",
    "gpt-image",
    "gpt-audio",
    "gpt-realtime",
    "omni-moderation",
    "text-moderation",
    "sora",
    "babbage",
    "davinci",
    "computer-use",
];
/// The same by words within the names.
const OTHER_WORDS: [&str; 4] = ["realtime", "transcribe", "tts", "image"];
/// And by words that mean it in the names of OpenAI's own families only: gateways list others' models as OpenAI's.
const OWN_WORDS: [&str; 4] = ["instruct", "codex", "pro", "research"];
const OWN_FAMILIES: [&str; 5] = ["gpt-", "o1", "o3", "o4", "codex"];

fn know_openais(model: &mut ObservedModel) {
    let name = model.name.as_str();
    let has_word = |words: &[&str]| name.split('-').any(|word| words.contains(&word));
    let is_of = |families: &[&str]| families.iter().any(|family| name.starts_with(family));
    if is_of(&OTHERS) || has_word(&OTHER_WORDS) || (is_of(&OWN_FAMILIES) && has_word(&OWN_WORDS)) {
        model.capabilities = Capabilities::NONE;
        return;
    }
    let fits = |family: &str| name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
    let known = CONTEXTS.iter().filter(|(family, _)| fits(family)).max_by_key(|(family, _)| family.len());
    model.context_length = known.map_or(0, |(_, context)| *context);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_carry_the_context_their_server_tells() {
        let body = br#"{"object":"list","models":[{"name":"trap"}],"data":[
            {"id":"a","owned_by":"vllm","max_model_len":2048,"parent":null},{"id":"b","meta":{"n_ctx":4096,"n_ctx_train":8192}},
            {"id":"my-embed","meta":null},{"id":"lora","max_model_len":null,"parent":"a"},{"id":"orphan","parent":"x"}]}"#;
        let ModelList { models, server } = parse_models(body).unwrap();
        assert_eq!(server, Some(Server::Vllm));
        let seen: Vec<_> = models.iter().map(|model| (model.name.as_str(), model.context_length)).collect();
        assert_eq!(seen, [("a", 2048), ("b", 4096), ("my-embed", 0), ("lora", 2048), ("orphan", 0)]);
        assert_eq!(models[2].capabilities, Capabilities::EMBED);
        assert!(parse_models(br#"{"object":"list"}"#).is_err());
        let llama_cpp = parse_models(br#"{"data":[{"id":"m","owned_by":"llamacpp"}]}"#).unwrap();
        assert_eq!(llama_cpp.server, Some(Server::LlamaCpp));
        assert_eq!(parse_models(br#"{"data":[{"id":"m","owned_by":"me"}]}"#).unwrap().server, None);
    }

    #[test]
    fn what_llama_cpp_tells_of_its_models_beyond_their_names_is_kept() {
        let body = br#"{"data":[
            {"id":"eyes","owned_by":"llamacpp","architecture":{"input_modalities":["text","image"]},"status":{"value":"loaded"}},
            {"id":"asleep","architecture":{"input_modalities":["text"]},"status":{"value":"sleeping","failed":true}},
            {"id":"plain"}]}"#;
        let models = parse_models(body).unwrap().models;
        let seen: Vec<_> = models.iter().map(|model| (model.abilities.as_slice(), model.is_warm)).collect();
        assert_eq!(seen, [(&["vision".to_owned()][..], true), (&[], false), (&[], true)]);
    }

    #[test]
    fn a_list_with_nothing_around_it_and_values_of_other_types_are_read() {
        let body = br#" [{"id":"a","context_length":32768,"status":"ok","meta":[],"architecture":"llama"},
            {"id":"b","context_window":131072,"context_length":null},{"id":"c","max_context_length":"many","owned_by":7}]"#;
        let list = parse_models(body).unwrap();
        let seen: Vec<_> = list.models.iter().map(|model| (model.name.as_str(), model.context_length)).collect();
        assert_eq!(seen, [("a", 32_768), ("b", 131_072), ("c", 0)]);
        assert!(list.models.iter().all(|model| model.is_warm));
    }

    #[test]
    fn openais_models_are_known_by_their_families_and_others_stay_unknown() {
        let names = [
            ("gpt-4", 8_192, Capabilities::GENERATE),
            ("gpt-4o-mini-2024-07-18", 128_000, Capabilities::GENERATE),
            ("gpt-4.1-nano", 1_047_576, Capabilities::GENERATE),
            ("gpt-5-mini", 400_000, Capabilities::GENERATE),
            ("gpt-5-chat-latest", 128_000, Capabilities::GENERATE),
            ("gpt-5.9", 0, Capabilities::GENERATE),
            ("o1-mini", 128_000, Capabilities::GENERATE),
            ("text-embedding-3-small", 0, Capabilities::EMBED),
            ("whisper-1", 0, Capabilities::NONE),
            ("gpt-4o-mini-tts", 0, Capabilities::NONE),
            ("davinci-002", 0, Capabilities::NONE),
            ("gpt-3.5-turbo-instruct-0914", 0, Capabilities::NONE),
            ("o1-pro-2025-03-19", 0, Capabilities::NONE),
            ("o4-mini-deep-research", 0, Capabilities::NONE),
            ("gpt-5.1-codex", 0, Capabilities::NONE),
            ("gpt-5-proto", 400_000, Capabilities::GENERATE),
            ("gemini-2.5-pro", 0, Capabilities::GENERATE),
            ("qwen2.5-coder:7b-instruct", 0, Capabilities::GENERATE),
        ];
        let entries: Vec<_> =
            names.iter().map(|(name, ..)| format!(r#"{{"id":"{name}","owned_by":"system"}}"#)).collect();
        let list = parse_models(format!(r#"{{"data":[{}]}}"#, entries.join(",")).as_bytes()).unwrap();
        assert_eq!(list.server, Some(Server::Openai));
        for (model, (name, context, capabilities)) in list.models.iter().zip(names) {
            assert_eq!((model.name.as_str(), model.context_length, model.capabilities), (name, context, capabilities));
        }
    }
}
