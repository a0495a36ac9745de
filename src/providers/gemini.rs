//! Google's Gemini REST API.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Method, Url};

use super::{
    Provider, ProviderError, ProviderErrorKind, ReplyStream,
    transport::{Call, Target, Transport, join},
};
use crate::{
    dialect::{Dialect, gemini},
    domain::{
        chat::{ChatCall, ChatReply, Said},
        embedding::{EmbedCall, Embedded},
        message::Completion,
        model::ObservedModel,
    },
};

/// Models asked for in one page; the server's own limit.
const PAGE_SIZE: &str = "1000";
/// Pages that are read: a server that never ends its list must not hold the probe.
const MAX_PAGES: usize = 20;

pub(super) struct GeminiProvider {
    transport: Transport,
    target: Target,
    models: Url,
}

impl GeminiProvider {
    /// A base URL with or without a trailing `/v1beta` means the same.
    pub(super) fn new(target: Target, transport: Transport) -> Result<Self, ProviderError> {
        let base = target.base_url.strip_suffix("/v1beta").unwrap_or(&target.base_url);
        Ok(Self { models: join(base, "/v1beta/models")?, transport, target })
    }

    /// Asks a model by name, with or without `models/` before it, to do one of the things models do.
    async fn ask(&self, model: &str, method: &str, body: Vec<u8>) -> Result<Bytes, ProviderError> {
        let mut url = self.models.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&format!("{}:{method}", short_name(model)));
        }
        let call = Call { method: Method::POST, url: &url, credential: self.target.google_key(), body: Some(body) };
        self.transport.send(call).await
    }
}

fn short_name(model: &str) -> &str {
    model.strip_prefix("models/").unwrap_or(model)
}

#[async_trait]
impl Provider for GeminiProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Gemini
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let mut models = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.models.clone();
            url.query_pairs_mut()
                .append_pair("pageSize", PAGE_SIZE)
                .extend_pairs(next.iter().map(|token| ("pageToken", token.as_str())));
            let call = Call { method: Method::GET, url: &url, credential: self.target.google_key(), body: None };
            let page = gemini::parse_models(&self.transport.send(call).await?)?;
            models.extend(page.models);
            next = page.next;
            if next.is_none() {
                return Ok(models);
            }
        }
        let message = format!("the list of models has more than {MAX_PAGES} pages");
        Err(ProviderError::new(ProviderErrorKind::Reply, message))
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        let reply = self.ask(model, "generateContent", gemini::generate_body(call)).await?;
        Ok(gemini::parse_generate(&reply)?)
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
            let reply = self.ask(model, "embedContent", gemini::embed_body(short_name(model), text)).await?;
            vectors.push(gemini::parse_embedding(&reply)?);
        }
        Ok(Embedded { vectors, input_tokens: None })
    }

    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        let reply = self.ask(model, "countTokens", gemini::count_body(texts)).await?;
        Ok(Some(gemini::parse_count(&reply)?))
    }
}
