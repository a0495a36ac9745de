//! Sends a client's own bytes to a backend that speaks the client's dialect, and gives back what it says as it says it
//! (`docs/api.md`, the road through): nothing is decoded but the head of the request and the end of the reply.

mod stream;

use bytes::Bytes;
use reqwest::Url;

pub use self::stream::RelayStream;
pub(super) use self::stream::{UNCOMMITTED_BYTES, speechless};
use super::{
    ProviderError, ReplyStream,
    transport::{Credential, Transport},
};
use crate::{
    dialect::{
        Dialect,
        head::{Head, Replies},
        openai::{self, Server},
        whole_answer,
    },
    domain::chat::Usage,
};

/// A route that clients of a dialect call and backends of it serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelayRoute {
    /// OpenAI's `/v1/chat/completions`.
    OpenaiChat,
    /// OpenAI's `/v1/completions`.
    OpenaiCompletions,
    /// OpenAI's `/v1/embeddings`.
    OpenaiEmbeddings,
    /// Ollama's `/api/chat`.
    OllamaChat,
    /// Ollama's `/api/generate`.
    OllamaGenerate,
    /// Ollama's `/api/embed`.
    OllamaEmbed,
    /// Ollama's old `/api/embeddings`.
    OllamaEmbeddings,
}

impl RelayRoute {
    /// What is spoken on it.
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenaiChat | Self::OpenaiCompletions | Self::OpenaiEmbeddings => Dialect::Openai,
            Self::OllamaChat | Self::OllamaGenerate | Self::OllamaEmbed | Self::OllamaEmbeddings => Dialect::Ollama,
        }
    }

    /// Whether its answers are vectors, which cost no tokens.
    pub const fn gives_vectors(self) -> bool {
        matches!(self, Self::OpenaiEmbeddings | Self::OllamaEmbed | Self::OllamaEmbeddings)
    }
}

/// A client's request as it came; sent on with the name that the model has on the backend.
#[derive(Debug, Clone)]
pub struct Original {
    /// Where the client sent it.
    pub route: RelayRoute,
    /// Its bytes.
    pub body: Bytes,
    /// What was found at their top.
    pub head: Head,
}

impl Original {
    /// What the client's words begin with.
    pub fn opening(&self) -> &[u8] {
        self.head.opening(&self.body)
    }

    /// Replies that it asks for; more than any stream has where that cannot be told.
    fn wanted(&self) -> usize {
        let is_list = || self.head.words.clone().and_then(|at| self.body.get(at.start)) == Some(&b'[');
        match self.head.replies {
            // Each of several prompts gets that many.
            _ if self.route == RelayRoute::OpenaiCompletions && is_list() => usize::MAX,
            None => 1,
            Some(Replies::Known(count)) => usize::try_from(count.max(1)).unwrap_or(usize::MAX),
            Some(Replies::Unknown) => usize::MAX,
        }
    }
}

/// A backend's answer in the client's own dialect.
pub enum Relayed {
    /// All of it.
    Whole(RelayedBody),
    /// A stream that has begun.
    Stream(Box<RelayStream>),
    /// A whole answer to a client that reads a stream.
    Pieces(Box<ReplyStream>),
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayedBody {
    /// As the backend named it.
    pub content_type: String,
    /// As the backend sent them.
    pub bytes: Bytes,
    /// Tokens, as far as the backend tells them; nothing where it was not asked now.
    pub usage: Usage,
}

/// Where an original goes.
pub(super) struct Destination<'a> {
    pub(super) url: &'a Url,
    pub(super) credential: Credential<'a>,
}

/// Sends an original and waits for the whole answer, or for the first words of a stream. `None` when the server has no
/// such route: what the client asks for may still be had in another way.
pub(super) async fn relay(
    transport: &Transport,
    to: Destination<'_>,
    model: &str,
    original: &Original,
    wants_stream: bool,
) -> Result<Option<Relayed>, ProviderError> {
    let body = original.head.splice(&original.body, model);
    let relayed = async {
        if !wants_stream {
            let (content_type, bytes) = transport.send_pieces(to.url, to.credential, body).await?;
            let usage = whole_answer::check(original.route.dialect(), &bytes)?;
            return Ok::<_, ProviderError>(Relayed::Whole(RelayedBody { content_type, bytes, usage }));
        }
        let pieces = transport.stream_pieces(to.url, to.credential, body).await?;
        let dialect = original.route.dialect();
        // A server that does not stream answers as if it had not been asked to. Clients that read events find none in it.
        if dialect == Dialect::Openai && pieces.content_type().starts_with("application/json") {
            let reply = openai::parse_reply(&pieces.whole().await?, None, Server::Hosted)?;
            return Ok(Relayed::Pieces(Box::new(ReplyStream::of(reply))));
        }
        Ok(Relayed::Stream(Box::new(RelayStream::begin(pieces, dialect, original.wanted()).await?)))
    };
    match relayed.await {
        Err(error) if error.is_unknown_route() => Ok(None),
        other => other.map(Some),
    }
}
