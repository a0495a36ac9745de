//! Models: declared by users, observed on backends, and how their names are compared.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::time::Timestamp;

/// What a model can be asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capabilities {
    /// A list of messages.
    pub can_chat: bool,
    /// A vector of a text.
    pub can_embed: bool,
    /// A single prompt.
    pub can_prompt: bool,
    /// Either of the two, piece by piece.
    pub can_stream: bool,
}

impl Capabilities {
    /// Prompts, chats and streams.
    pub const GENERATE: Self = Self { can_chat: true, can_embed: false, can_prompt: true, can_stream: true };
    /// Embeds only.
    pub const EMBED: Self = Self { can_chat: false, can_embed: true, can_prompt: false, can_stream: false };
    /// Nothing; a start for `union`.
    pub const NONE: Self = Self { can_chat: false, can_embed: false, can_prompt: false, can_stream: false };

    /// Either of both.
    pub const fn union(self, other: Self) -> Self {
        Self {
            can_chat: self.can_chat || other.can_chat,
            can_embed: self.can_embed || other.can_embed,
            can_prompt: self.can_prompt || other.can_prompt,
            can_stream: self.can_stream || other.can_stream,
        }
    }

    /// The guess for a model nobody described: names of embedding families embed, all others generate
    /// (`docs/api.md`, capabilities). Unknown never means unusable.
    pub fn guess(name: &str) -> Self {
        let lower = name.to_lowercase();
        let whole_part = |wanted: &str| lower.split(|c: char| !c.is_alphanumeric()).any(|part| part == wanted);
        if lower.contains("embed") || lower.contains("minilm") || whole_part("bge") || whole_part("e5") {
            Self::EMBED
        } else {
            Self::GENERATE
        }
    }
}

/// What a call needs of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// A prompt, which a chat model can answer too.
    Prompt,
    /// A list of messages.
    Chat,
    /// A vector.
    Embed,
}

impl Capability {
    /// Whether a model with `have` can serve it.
    pub const fn served_by(self, have: Capabilities) -> bool {
        match self {
            Self::Prompt => have.can_prompt || have.can_chat,
            Self::Chat => have.can_chat,
            Self::Embed => have.can_embed,
        }
    }

    /// The word used in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Chat => "chat",
            Self::Embed => "embed",
        }
    }
}

/// What a user declares of a model; `None` means undeclared, to be discovered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelPatch {
    /// The name; on an update a new name.
    pub model: Option<String>,
    /// Tokens of context, 0 = unknown.
    pub context_length: Option<i64>,
    /// See [`Capabilities::can_chat`].
    pub can_chat: Option<bool>,
    /// See [`Capabilities::can_embed`].
    pub can_embed: Option<bool>,
    /// See [`Capabilities::can_prompt`].
    pub can_prompt: Option<bool>,
    /// See [`Capabilities::can_stream`].
    pub can_stream: Option<bool>,
}

impl ModelPatch {
    /// The declared capabilities: `None` when no capability field is present, absent ones are false otherwise.
    pub fn capabilities(&self) -> Option<Capabilities> {
        let fields = [self.can_chat, self.can_embed, self.can_prompt, self.can_stream];
        fields.iter().any(Option::is_some).then(|| Capabilities {
            can_chat: self.can_chat.unwrap_or(false),
            can_embed: self.can_embed.unwrap_or(false),
            can_prompt: self.can_prompt.unwrap_or(false),
            can_stream: self.can_stream.unwrap_or(false),
        })
    }
}

/// A declared model. Its id in the API is its name at creation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Stays what it was at creation, whatever the name becomes.
    pub id: String,
    /// The name as declared.
    pub name: String,
    /// Declared tokens of context, 0 = unknown.
    pub context_length: i64,
    /// `None`: undeclared, discovered from backends or guessed from the name.
    pub capabilities: Option<Capabilities>,
    /// When it was declared.
    pub created_at: Timestamp,
    /// When it was last written.
    pub updated_at: Timestamp,
}

impl Model {
    /// Declared capabilities, or the guess from the name.
    pub fn known_capabilities(&self) -> Capabilities {
        self.capabilities.unwrap_or_else(|| Capabilities::guess(&self.name))
    }
}

/// Details Ollama tells of a model file; empty for other kinds of server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, ToSchema)]
pub struct ModelDetails {
    /// Model this one was made from.
    pub parent_model: String,
    /// For example `gguf`.
    pub format: String,
    /// Architecture family.
    pub family: String,
    /// All families.
    pub families: Vec<String>,
    /// For example `4.0B`.
    pub parameter_size: String,
    /// For example `Q4_K_M`.
    pub quantization_level: String,
}

/// A model seen on a backend by a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObservedModel {
    /// The name the backend uses for it in calls.
    pub name: String,
    /// When the file changed; [`Timestamp::ZERO`] where the backend does not tell.
    pub modified_at: Timestamp,
    /// Bytes on disk, 0 where the backend does not tell.
    pub size: u64,
    /// Hex digest, empty where the backend does not tell.
    pub digest: String,
    /// File details.
    pub details: ModelDetails,
    /// Tokens of context, 0 = unknown.
    pub context_length: i64,
    /// As the backend reports them, or guessed from the name.
    pub capabilities: Capabilities,
    /// What else the backend says it can do, in Ollama's words such as `tools` and `vision`; empty where it does not tell.
    pub abilities: Vec<String>,
    /// Whether it was in memory at the last look; true where the backend does not tell.
    pub is_warm: bool,
}

impl ObservedModel {
    /// A model of which only the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            capabilities: Capabilities::guess(&name),
            name,
            modified_at: Timestamp::ZERO,
            size: 0,
            digest: String::new(),
            details: ModelDetails::default(),
            context_length: 0,
            abilities: Vec::new(),
            is_warm: true,
        }
    }
}

/// The name with Ollama's default tag filled in: `nomic-embed-text` is `nomic-embed-text:latest`.
pub fn with_tag(name: &str) -> std::borrow::Cow<'_, str> {
    let after_org = name.rsplit('/').next().unwrap_or(name);
    if after_org.contains(':') { name.into() } else { format!("{name}:latest").into() }
}

/// Whether two names mean the same model, reading a missing tag as `:latest`.
pub fn same_model(a: &str, b: &str) -> bool {
    a == b || with_tag(a) == with_tag(b)
}

/// The looser form used only when no candidate matches exactly: lower case, without organisation, separators and
/// quantization markers; a tag is kept (`docs/api.md`, routing).
pub fn normalised(name: &str) -> String {
    match split_tag(name) {
        (stem, Some(tag)) => format!("{}:{}", squeezed(stem), squeezed(tag)),
        (stem, None) => squeezed(stem),
    }
}

/// The same without the tag.
pub fn normalised_stem(name: &str) -> String {
    squeezed(split_tag(name).0)
}

/// A name without its organisation, and its tag.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    let base = name.rsplit('/').next().unwrap_or(name);
    base.split_once(':').map_or((base, None), |(stem, tag)| (stem, Some(tag)))
}

fn squeezed(text: &str) -> String {
    let is_kept = |c: &char| !matches!(c, ' ' | '-' | '_' | '.');
    // Requests ask for it, and most names are plain.
    let joined: String = if text.is_ascii() {
        text.bytes().map(|byte| char::from(byte.to_ascii_lowercase())).filter(is_kept).collect()
    } else {
        text.to_lowercase().chars().filter(is_kept).collect()
    };
    let without = |text: String, marker: &&str| if text.contains(marker) { text.replace(marker, "") } else { text };
    ["awq", "gptq", "4bit", "fp16"].iter().fold(joined, without)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tag_means_latest() {
        assert!(same_model("nomic-embed-text", "nomic-embed-text:latest"));
        assert!(same_model("hf.co/org/name", "hf.co/org/name:latest"));
        assert!(!same_model("qwen3:4b", "qwen3:8b"));
        assert!(!same_model("qwen3", "qwen3:8b"));
    }

    #[test]
    fn normalising_keeps_the_tag_and_drops_organisation_and_markers() {
        assert_eq!(normalised("Qwen/Qwen3-4B-AWQ"), normalised("qwen3_4b"));
        assert_ne!(normalised("qwen3:4b"), normalised("qwen3:8b"));
        assert_eq!(normalised("org/sub/Name.X:Q4_K"), "namex:q4k");
        assert_eq!(normalised_stem("org/sub/Name.X:Q4_K"), "namex");
    }

    #[test]
    fn names_of_embedding_families_embed_and_all_others_generate() {
        for name in ["nomic-embed-text:latest", "all-MiniLM:l6-v2", "BAAI/bge-small", "intfloat/e5-base"] {
            assert_eq!(Capabilities::guess(name), Capabilities::EMBED, "{name}");
        }
        for name in ["qwen3:4b", "bgeish", "phi3e5", "unheard-of"] {
            assert_eq!(Capabilities::guess(name), Capabilities::GENERATE, "{name}");
        }
    }
}
