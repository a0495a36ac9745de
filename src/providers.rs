//! The servers behind a backend: one file a kind, one trait they all implement, one transport they all use.
//!
//! A [`Provider`] is made for one backend when its configuration is adopted (`runtime::backend`) and called by
//! `runtime::dispatch` in the request's own task. Dropping a call's future closes its upstream connection.

mod catalog;
mod dimensions;
mod discreet;
mod error;
mod gemini;
mod model_cache;
mod ollama;
mod openai;
mod relay;
mod stream;
mod tokenizer;
mod transport;
mod vllm;

use async_trait::async_trait;

pub(crate) use self::transport::{retry_after, root_cause};
pub use self::{
    catalog::connect,
    error::{ProviderError, ProviderErrorKind},
    relay::{Original, RelayRoute, RelayStream, Relayed, RelayedBody},
    stream::ReplyStream,
    tokenizer::TokenizerService,
    transport::{Target, Transport, TransportConfig},
};
use crate::{
    dialect::Dialect,
    domain::{
        chat::{ChatCall, ChatReply},
        embedding::{EmbedCall, Embedded},
        load::LoadSignal,
        message::Completion,
        model::ObservedModel,
    },
};

/// One backend, as its calls see it.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What its routes speak: a client of the same dialect gets its own bytes through.
    fn dialect(&self) -> Dialect;

    /// Whether it can be told what stands behind the reply to a prompt ([`ChatCall::suffix`]).
    fn takes_suffix(&self) -> bool {
        false
    }

    /// Asks what the backend serves now. The caller bounds the time.
    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError>;

    /// Asks a model for a whole reply.
    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError>;

    /// Asks a model for everything it has to say to a call.
    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError>;

    /// Asks a model for its reply piece by piece; resolves when the backend has begun to answer.
    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError>;

    /// Asks a model for the vectors of texts.
    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError>;

    /// Sends a client's own bytes, whose dialect is the backend's. `None` where the backend has no such route: the call may
    /// then be made in the backend's own way.
    async fn relay(
        &self,
        _model: &str,
        _original: &Original,
        _wants_stream: bool,
    ) -> Result<Option<Relayed>, ProviderError> {
        Ok(None)
    }

    /// How busy the server says that it is; `None` where it does not tell. The caller bounds the time.
    async fn load(&self) -> Option<LoadSignal> {
        None
    }

    /// How many tokens the texts are to a model, in all; `None` where the backend cannot count.
    async fn count_tokens(&self, _model: &str, _texts: &[String]) -> Result<Option<u64>, ProviderError> {
        Ok(None)
    }

    /// The backend's own model store, where it can pull and delete models.
    fn model_store(&self) -> Option<&dyn ModelStore> {
        None
    }
}

/// A backend that downloads and deletes models by itself.
#[async_trait]
pub trait ModelStore: Send + Sync {
    /// Downloads a model, telling of every step until it is there.
    async fn pull(&self, model: &str, on_progress: &mut (dyn FnMut(PullProgress) + Send)) -> Result<(), ProviderError>;

    /// Deletes a model; one that is not there is deleted already.
    async fn delete(&self, model: &str) -> Result<(), ProviderError>;
}

/// One step of a download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The server's word for it, for example `pulling 970aa74c0a90`.
    pub status: String,
    /// The layer it is about, or empty.
    pub digest: String,
    /// Bytes of the layer, 0 = unknown.
    pub total: u64,
    /// Bytes of it already there.
    pub completed: u64,
}
