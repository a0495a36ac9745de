//! Google's Gemini REST API.

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::{Method, Url};

use super::{
    Provider, ProviderError, ProviderErrorKind, ReplyStream,
    dimensions::of_wanted_length,
    model_cache::ModelCache,
    transport::{Call, Target, Transport, join},
};
use crate::{
    dialect::{
        Dialect,
        gemini::{self, EventDecoder},
        reply::completion_of,
    },
    domain::{
        chat::{ChatCall, ChatReply},
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
    /// Google's own service, and not a gateway on the own network.
    is_hosted: bool,
    cache: ModelCache,
}

impl GeminiProvider {
    /// A base URL with or without a trailing `/v1beta` means the same.
    pub(super) fn new(target: Target, transport: Transport, is_hosted: bool) -> Result<Self, ProviderError> {
        let base = target.base_url.strip_suffix("/v1beta").unwrap_or(&target.base_url);
        let models = join(base, "/v1beta/models")?;
        Ok(Self { models, is_hosted, cache: ModelCache::default(), transport, target })
    }

    /// Where a model by name, with or without `models/` before it, does one of the things models do.
    fn url(&self, model: &str, method: &str) -> Url {
        self.below(&format!("{}:{method}", short_name(model)))
    }

    fn below(&self, segment: &str) -> Url {
        let mut url = self.models.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(segment);
        }
        url
    }

    fn get<'a>(&'a self, url: &'a Url) -> Call<'a> {
        Call { method: Method::GET, url, credential: self.target.google_key(), body: None }
    }

    fn post<'a>(&'a self, url: &'a Url, body: Vec<u8>) -> Call<'a> {
        Call { method: Method::POST, url, credential: self.target.google_key(), body: Some(body) }
    }

    async fn ask(&self, model: &str, method: &str, body: Vec<u8>) -> Result<Bytes, ProviderError> {
        let url = self.url(model, method);
        self.transport.send(self.post(&url, body)).await
    }
}

impl GeminiProvider {
    async fn list(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let mut models = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..MAX_PAGES {
            let mut url = self.models.clone();
            url.query_pairs_mut()
                .append_pair("pageSize", PAGE_SIZE)
                .extend_pairs(next.iter().map(|token| ("pageToken", token.as_str())));
            let page = gemini::parse_models(&self.transport.send(self.get(&url)).await?)?;
            models.extend(page.models);
            next = page.next;
            if next.is_none() {
                return Ok(models);
            }
        }
        let message = format!("the list of models has more than {MAX_PAGES} pages");
        Err(ProviderError::new(ProviderErrorKind::Reply, message))
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

    /// The hosted service lists its models in pages and changes few of them in a day: a probe asks it for one of those that
    /// are known, which shows a service or a key that fails as well.
    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let kept = self.cache.fresh().filter(|_| self.is_hosted).unwrap_or_default();
        if let Some(one) = kept.first() {
            match self.transport.send(self.get(&self.below(&one.name))).await {
                Ok(_) => return Ok(kept),
                // The model is gone; the list tells what is there now.
                Err(error) if error.status == Some(404) => {}
                Err(error) => return Err(error),
            }
        }
        let models = self.list().await?;
        self.cache.keep(&models);
        Ok(models)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        Ok(completion_of(self.converse(model, call).await?)?)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        let reply = self.ask(model, "generateContent", gemini::generate_body(model, call)?).await?;
        Ok(gemini::parse_generate(&reply)?)
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        let mut url = self.url(model, "streamGenerateContent");
        url.query_pairs_mut().append_pair("alt", "sse");
        let pieces = self.transport.stream(self.post(&url, gemini::generate_body(model, call)?)).await?;
        // A gateway that loses the query answers with one array, or with the whole reply.
        if pieces.content_type().starts_with("application/json") {
            return Ok(ReplyStream::of(gemini::parse_pieces(&pieces.whole().await?)?));
        }
        Ok(ReplyStream::new(pieces, Box::new(EventDecoder::default())))
    }

    /// As many requests as the texts need, one after the other: together they would count against the key's rate at once.
    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        let mut vectors = Vec::with_capacity(call.inputs.len());
        for texts in call.inputs.chunks(gemini::MAX_TEXTS) {
            let body = gemini::embed_body(short_name(model), call, texts);
            let reply = self.ask(model, "batchEmbedContents", body).await?;
            vectors.extend(gemini::parse_embeddings(&reply, texts.len())?);
        }
        // The service tells none; to ask for them would double the requests.
        of_wanted_length(Embedded { vectors, input_tokens: Some(call.estimated_tokens()) }, call)
    }

    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        let reply = self.ask(model, "countTokens", gemini::count_body(texts)).await?;
        Ok(Some(gemini::parse_count(&reply)?))
    }
}
