//! The routes that ask a model, and in what they differ.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::{
    dialect::ollama_front::{self, ReadError, Wish, reply::Shape},
    domain::{chat::ChatCall, embedding::EmbedCall, model::Capability},
    runtime::dispatch::exchange::{Asked, RelayRoute},
};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OllamaRoute {
    /// `POST /api/chat`.
    Chat,
    /// `POST /api/generate`.
    Generate,
    /// `POST /api/embed`.
    Embed,
    /// `POST /api/embeddings`, the older form of it.
    Embeddings,
}

impl OllamaRoute {
    /// What the model must be able to do.
    pub(super) const fn capability(self) -> Capability {
        match self {
            Self::Chat => Capability::Chat,
            Self::Generate => Capability::Prompt,
            Self::Embed | Self::Embeddings => Capability::Embed,
        }
    }

    /// What a model is said not to support that cannot.
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Generate => "generate",
            Self::Embed | Self::Embeddings => "embeddings",
        }
    }

    /// The form of its answers; `None` for vectors.
    pub(super) const fn shape(self) -> Option<Shape> {
        match self {
            Self::Chat => Some(Shape::Chat),
            Self::Generate => Some(Shape::Generate),
            Self::Embed | Self::Embeddings => None,
        }
    }

    /// The same route of a backend.
    pub(super) const fn relayed(self) -> RelayRoute {
        match self {
            Self::Chat => RelayRoute::OllamaChat,
            Self::Generate => RelayRoute::OllamaGenerate,
            Self::Embed => RelayRoute::OllamaEmbed,
            Self::Embeddings => RelayRoute::OllamaEmbeddings,
        }
    }

    /// Reads a request.
    pub(super) fn read(self, body: &Json) -> Result<Wish<Asked>, ReadError> {
        let chat = |wish: Wish<ChatCall>| wish.map(|call| Asked::Chat(Arc::new(call)));
        let embed = |wish: Wish<EmbedCall>| wish.map(|call| Asked::Embed(Arc::new(call)));
        match self {
            Self::Chat => ollama_front::read_chat(body).map(chat),
            Self::Generate => ollama_front::read_generate(body).map(chat),
            Self::Embed => ollama_front::read_embed(body).map(embed),
            Self::Embeddings => ollama_front::read_old_embed(body).map(embed),
        }
    }
}
