//! Servers that speak OpenAI's API: hosted ones, llama.cpp's server and its relatives on the own network.

use async_trait::async_trait;
use reqwest::{Method, Url};

use super::{
    Provider, ProviderError,
    transport::{Call, Target, Transport, join},
};
use crate::{
    dialect::openai,
    domain::{
        message::{ChatCall, Completion},
        model::ObservedModel,
    },
};

pub(super) struct OpenaiProvider {
    transport: Transport,
    target: Target,
    models: Url,
    chat: Url,
    embeddings: Url,
}

impl OpenaiProvider {
    /// A base URL with or without a trailing `/v1` means the same.
    pub(super) fn new(target: Target, transport: Transport) -> Result<Self, ProviderError> {
        let base = target.base_url.strip_suffix("/v1").unwrap_or(&target.base_url);
        let route = |path: &str| join(base, path);
        Ok(Self {
            models: route("/v1/models")?,
            chat: route("/v1/chat/completions")?,
            embeddings: route("/v1/embeddings")?,
            transport,
            target,
        })
    }

    fn post<'a>(&'a self, url: &'a Url, body: Vec<u8>) -> Call<'a> {
        Call { method: Method::POST, url, api_key: self.target.api_key.as_ref(), body: Some(body) }
    }
}

#[async_trait]
impl Provider for OpenaiProvider {
    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let call = Call { method: Method::GET, url: &self.models, api_key: self.target.api_key.as_ref(), body: None };
        Ok(openai::parse_models(&self.transport.send(call).await?)?)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        let reply = self.transport.send(self.post(&self.chat, openai::chat_body(model, call))).await?;
        Ok(openai::parse_chat(&reply)?)
    }

    async fn embed(&self, model: &str, text: &str) -> Result<Vec<f64>, ProviderError> {
        let reply = self.transport.send(self.post(&self.embeddings, openai::embed_body(model, text))).await?;
        Ok(openai::parse_embedding(&reply)?)
    }
}
