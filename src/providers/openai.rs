//! Servers that speak OpenAI's API: hosted ones, llama.cpp's server and its relatives on the own network.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use reqwest::{Method, Url};

use super::{
    Original, Provider, ProviderError, RelayRoute, Relayed, ReplyStream,
    relay::{Destination, relay},
    transport::{Call, Target, Transport, join},
};
use crate::{
    dialect::{
        Dialect,
        openai::{self, Server},
    },
    domain::{
        chat::{ChatCall, ChatReply, Said},
        embedding::{EmbedCall, Embedded},
        message::Completion,
        model::ObservedModel,
    },
};

pub(super) struct OpenaiProvider {
    pub(super) transport: Transport,
    target: Target,
    models: Url,
    pub(super) chat: Url,
    completions: Url,
    embeddings: Url,
    /// Where llama.cpp's server counts tokens.
    tokenize: Url,
    traits: Traits,
}

/// What the last probes and calls have told of the server.
#[derive(Default)]
struct Traits(AtomicU8);

impl Traits {
    const LLAMA_CPP: u8 = 1;
    /// It has refused to count tokens: something between it and us lets only the common routes through.
    const NO_COUNTS: u8 = 2;

    fn have(&self, flag: u8) -> bool {
        self.0.load(Ordering::Relaxed) & flag != 0
    }

    fn note(&self, flag: u8, is_set: bool) {
        if is_set {
            self.0.fetch_or(flag, Ordering::Relaxed);
        } else {
            self.0.fetch_and(!flag, Ordering::Relaxed);
        }
    }

    fn server(&self) -> Server {
        if self.have(Self::LLAMA_CPP) { Server::LlamaCpp } else { Server::Openai }
    }
}

/// A base URL without the `/v1` that may stand at its end: with and without it mean the same.
pub(super) fn without_version(base_url: &str) -> &str {
    base_url.strip_suffix("/v1").unwrap_or(base_url)
}

impl OpenaiProvider {
    pub(super) fn new(target: Target, transport: Transport) -> Result<Self, ProviderError> {
        let route = |path: &str| join(without_version(&target.base_url), path);
        Ok(Self {
            models: route("/v1/models")?,
            chat: route("/v1/chat/completions")?,
            completions: route("/v1/completions")?,
            embeddings: route("/v1/embeddings")?,
            tokenize: route("/tokenize")?,
            traits: Traits::default(),
            transport,
            target,
        })
    }

    pub(super) fn post<'a>(&'a self, url: &'a Url, body: Vec<u8>) -> Call<'a> {
        Call { method: Method::POST, url, credential: self.target.bearer(), body: Some(body) }
    }
}

#[async_trait]
impl Provider for OpenaiProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let call = Call { method: Method::GET, url: &self.models, credential: self.target.bearer(), body: None };
        let list = openai::parse_models(&self.transport.send(call).await?)?;
        self.traits.note(Traits::LLAMA_CPP, list.server == Server::LlamaCpp);
        Ok(list.models)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        // Once for both ways: a probe may change it while the answer is made.
        let server = self.traits.server();
        let body = openai::chat_body(model, call, server);
        let reply = self.transport.send(self.post(&self.chat, body)).await?;
        Ok(openai::parse_chat(&reply, call.constraint.as_ref(), server)?)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        let Completion { text, finish, usage, .. } = self.generate(model, call).await?;
        let said = Said { text, finish: Some(finish), ..Said::default() };
        Ok(ChatReply { choices: vec![said], usage })
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        Ok(ReplyStream::of(self.converse(model, call).await?))
    }

    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        let mut vectors = Vec::new();
        for text in &call.inputs {
            let reply = self.transport.send(self.post(&self.embeddings, openai::embed_body(model, text))).await?;
            vectors.push(openai::parse_embedding(&reply)?);
        }
        Ok(Embedded { vectors, input_tokens: None })
    }

    async fn relay(
        &self,
        model: &str,
        original: &Original,
        wants_stream: bool,
    ) -> Result<Option<Relayed>, ProviderError> {
        let url = match original.route {
            RelayRoute::OpenaiChat => &self.chat,
            RelayRoute::OpenaiCompletions => &self.completions,
            RelayRoute::OpenaiEmbeddings => &self.embeddings,
            _ => return Ok(None),
        };
        let to = Destination { url, credential: self.target.bearer() };
        relay(&self.transport, to, model, original, wants_stream).await
    }

    /// llama.cpp's server counts; others of this kind have no route for it.
    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        if !self.traits.have(Traits::LLAMA_CPP) || self.traits.have(Traits::NO_COUNTS) {
            return Ok(None);
        }
        let mut tokens = 0;
        for text in texts {
            match self.transport.send(self.post(&self.tokenize, openai::tokenize_body(model, text))).await {
                Ok(reply) => tokens += openai::parse_count(&reply)?,
                Err(error) if error.is_unknown_route() => {
                    self.traits.note(Traits::NO_COUNTS, true);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(tokens))
    }
}
