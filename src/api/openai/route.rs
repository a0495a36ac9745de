//! The routes of OpenAI's API whose requests may be sent on as they are.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::{
    dialect::openai_front::{self, CompletionRequest, Encoding, ReadError},
    domain::model::Capability,
    runtime::dispatch::exchange::{Asked, RelayRoute},
};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenaiRoute {
    /// `POST /v1/chat/completions`.
    Chat,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
}

/// A request in no dialect, and what it wants of the answer.
#[derive(Debug, Clone)]
pub(super) struct Translated {
    pub(super) asked: Asked,
    pub(super) include_usage: bool,
    pub(super) encoding: Encoding,
    /// What each text of a completion begins with.
    pub(super) echo: String,
    pub(super) ignored: Vec<String>,
}

impl OpenaiRoute {
    /// What a model must be able to do.
    pub(super) const fn capability(self) -> Capability {
        match self {
            Self::Chat => Capability::Chat,
            Self::Completions => Capability::Prompt,
            Self::Embeddings => Capability::Embed,
        }
    }

    /// Where the same bytes go.
    pub(super) const fn relayed(self) -> RelayRoute {
        match self {
            Self::Chat => RelayRoute::OpenaiChat,
            Self::Completions => RelayRoute::OpenaiCompletions,
            Self::Embeddings => RelayRoute::OpenaiEmbeddings,
        }
    }

    /// Reads a request.
    pub(super) fn read(self, body: &Json) -> Result<Translated, ReadError> {
        let (encoding, echo) = (Encoding::default(), String::new());
        Ok(match self {
            Self::Chat => {
                let request = openai_front::read_chat(body)?;
                let asked = Asked::Chat(Arc::new(request.call));
                Translated { asked, include_usage: request.include_usage, encoding, echo, ignored: request.ignored }
            }
            Self::Completions => {
                let CompletionRequest { call, include_usage, echo, ignored } = openai_front::read_completion(body)?;
                Translated { asked: Asked::Chat(Arc::new(call)), include_usage, encoding, echo, ignored }
            }
            Self::Embeddings => {
                let request = openai_front::read_embedding(body)?;
                let asked = Asked::Embed(Arc::new(request.call));
                Translated { asked, include_usage: false, encoding: request.encoding, echo, ignored: request.ignored }
            }
        })
    }
}
