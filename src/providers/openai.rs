//! Servers that speak OpenAI's API: hosted ones, llama.cpp's server and its relatives on the own network.

use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use reqwest::{Method, Url};

use super::{
    Original, Provider, ProviderError, RelayRoute, Relayed, ReplyStream,
    dimensions::of_wanted_length,
    model_cache::ModelCache,
    relay::{Destination, relay},
    transport::{Call, Target, Transport, join},
};
use crate::{
    dialect::{
        Dialect, load,
        openai::{self, ChatDecoder, Server},
        reply::completion_of,
    },
    domain::{
        chat::{ChatCall, ChatReply},
        embedding::{EmbedCall, Embedded},
        load::LoadSignal,
        message::Completion,
        model::ObservedModel,
    },
};

pub(super) struct OpenaiProvider {
    transport: Transport,
    target: Target,
    models: Url,
    chat: Url,
    completions: Url,
    embeddings: Url,
    /// Where llama.cpp's server counts tokens.
    tokenize: Url,
    /// Where it tells how busy it is.
    slots: Url,
    /// What it is as far as its configuration tells.
    configured: Server,
    traits: Traits,
    /// The list of a hosted provider.
    cache: ModelCache,
}

/// What the last probes and calls have told of the server.
#[derive(Default)]
struct Traits(AtomicU8);

impl Traits {
    const LLAMA_CPP: u8 = 1;
    /// It has refused to count tokens: something between it and us lets only the common routes through.
    const NO_COUNTS: u8 = 2;
    const OPENAI: u8 = 4;
    /// It does not tell of a single model.
    const NO_SINGLE: u8 = 8;
    const VLLM: u8 = 16;

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
}

/// A base URL without the `/v1` that may stand at its end: with and without it mean the same.
pub(super) fn without_version(base_url: &str) -> &str {
    base_url.strip_suffix("/v1").unwrap_or(base_url)
}

/// Where the protocol's routes are: behind `/v1`, unless the base URL ends in a version of its own, as hosted servers'
/// do (`/api/paas/v4`, `/v1beta/openai`).
fn versioned(base_url: &str) -> String {
    let path = base_url.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = path.strip_suffix("/openai").unwrap_or(path);
    let last = path.rsplit('/').next().unwrap_or_default();
    let is_version = last.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()));
    if is_version { base_url.to_owned() } else { format!("{base_url}/v1") }
}

/// Whether a host is OpenAI's own, or Microsoft's copy of it.
fn is_openai(base_url: &Url) -> bool {
    base_url.host_str().is_some_and(|host| host.ends_with(".openai.com") || host.ends_with(".openai.azure.com"))
}

impl OpenaiProvider {
    /// For a server of the type `openai` or, with [`Server::Vllm`], for the part of vLLM's that they share.
    pub(super) fn new(target: Target, transport: Transport, configured: Server) -> Result<Self, ProviderError> {
        let base = versioned(&target.base_url);
        let route = |path: &str| join(&base, path);
        let models = route("/models")?;
        Ok(Self {
            configured: if is_openai(&models) && configured == Server::Hosted { Server::Openai } else { configured },
            models,
            chat: route("/chat/completions")?,
            completions: route("/completions")?,
            embeddings: route("/embeddings")?,
            tokenize: join(without_version(&target.base_url), "/tokenize")?,
            slots: join(without_version(&target.base_url), "/slots")?,
            traits: Traits::default(),
            cache: ModelCache::default(),
            transport,
            target,
        })
    }

    fn server(&self) -> Server {
        match self.configured {
            Server::Vllm => Server::Vllm,
            _ if self.traits.have(Traits::LLAMA_CPP) => Server::LlamaCpp,
            _ if self.traits.have(Traits::VLLM) => Server::Vllm,
            _ if self.traits.have(Traits::OPENAI) => Server::Openai,
            configured => configured,
        }
    }

    fn is_hosted(&self) -> bool {
        matches!(self.configured, Server::Hosted | Server::Openai)
    }

    fn get<'a>(&'a self, url: &'a Url) -> Call<'a> {
        Call { method: Method::GET, url, credential: self.target.bearer(), body: None }
    }

    fn post<'a>(&'a self, url: &'a Url, body: Vec<u8>) -> Call<'a> {
        Call { method: Method::POST, url, credential: self.target.bearer(), body: Some(body) }
    }

    /// Gets what stands there.
    pub(super) async fn look(&self, url: &Url) -> Result<bytes::Bytes, ProviderError> {
        self.transport.send(self.get(url)).await
    }

    /// Posts a body and waits for the whole answer.
    pub(super) async fn ask(&self, url: &Url, body: Vec<u8>) -> Result<bytes::Bytes, ProviderError> {
        self.transport.send(self.post(url, body)).await
    }

    /// Posts a body and reads the answer as it comes.
    pub(super) async fn read_stream(
        &self,
        url: &Url,
        body: Vec<u8>,
        call: &ChatCall,
        server: Server,
    ) -> Result<ReplyStream, ProviderError> {
        let pieces = self.transport.stream(self.post(url, body)).await?;
        // A server that does not stream answers as if it had not been asked to.
        if pieces.content_type().starts_with("application/json") {
            let whole = pieces.whole().await?;
            return Ok(ReplyStream::of(openai::parse_reply(&whole, call.constraint.as_ref(), server)?));
        }
        Ok(ReplyStream::new(pieces, Box::new(ChatDecoder::new(call, server))))
    }

    /// A hosted provider lists hundreds of models and changes few of them in a day: a probe asks it for one of the models
    /// that are known, which shows a server or a key that fails as well. `None` when the list is wanted.
    async fn look_at_one(&self) -> Result<Option<Vec<ObservedModel>>, ProviderError> {
        let Some(kept) = self.cache.fresh().filter(|_| self.is_hosted() && !self.traits.have(Traits::NO_SINGLE)) else {
            return Ok(None);
        };
        let is_plain = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let Some(one) = kept.iter().find(|model| is_plain(&model.name)) else { return Ok(None) };
        let url = join(self.models.as_str(), &format!("/{}", one.name))?;
        match self.look(&url).await {
            Ok(_) => Ok(Some(kept)),
            // The model is gone, or the route was never there.
            Err(error) if matches!(error.status, Some(404 | 405)) => {
                let list = self.list().await?;
                self.traits.note(Traits::NO_SINGLE, list.iter().any(|model| model.name == one.name));
                Ok(Some(list))
            }
            Err(error) => Err(error),
        }
    }

    async fn list(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let list = openai::parse_models(&self.look(&self.models).await?)?;
        self.traits.note(Traits::LLAMA_CPP, list.server == Some(Server::LlamaCpp));
        self.traits.note(Traits::VLLM, list.server == Some(Server::Vllm));
        self.traits.note(Traits::OPENAI, list.server == Some(Server::Openai));
        if self.is_hosted() {
            self.cache.keep(&list.models);
        }
        Ok(list.models)
    }
}

#[async_trait]
impl Provider for OpenaiProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        match self.look_at_one().await? {
            Some(models) => Ok(models),
            None => self.list().await,
        }
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        Ok(completion_of(self.converse(model, call).await?)?)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        // Once for both ways: a probe may change it while the answer is made.
        let server = self.server();
        let reply = self.ask(&self.chat, openai::chat_body(model, call, server, false)).await?;
        Ok(openai::parse_reply(&reply, call.constraint.as_ref(), server)?)
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        let server = self.server();
        self.read_stream(&self.chat, openai::chat_body(model, call, server, true), call, server).await
    }

    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        let mut all = Embedded { vectors: Vec::with_capacity(call.inputs.len()), input_tokens: None };
        for inputs in openai::batches(&call.inputs) {
            let reply = self.ask(&self.embeddings, openai::embed_body(model, inputs, call.dimensions)).await?;
            let some = openai::parse_embeddings(&reply, inputs.len())?;
            all.vectors.extend(some.vectors);
            all.input_tokens =
                some.input_tokens.map(|tokens| all.input_tokens.unwrap_or(0) + tokens).or(all.input_tokens);
        }
        of_wanted_length(all, call)
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

    /// llama.cpp's server tells its slots, unless it was started without that.
    async fn load(&self) -> Option<LoadSignal> {
        if !self.traits.have(Traits::LLAMA_CPP) {
            return None;
        }
        let slots = self.look(&self.slots).await.ok()?;
        load::of_llama_cpp_slots(&slots).ok()
    }

    /// llama.cpp's server counts; others of this kind have no route for it.
    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        if !self.traits.have(Traits::LLAMA_CPP) || self.traits.have(Traits::NO_COUNTS) {
            return Ok(None);
        }
        let mut tokens = 0;
        for text in texts {
            match self.ask(&self.tokenize, openai::tokenize_body(model, text)).await {
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

#[cfg(test)]
mod tests {
    use super::versioned;

    #[test]
    fn a_base_url_may_end_in_its_version_or_not() {
        for (base_url, routes) in [
            ("http://host", "http://host/v1"),
            ("http://host/v1", "http://host/v1"),
            ("https://host/api/openai/v1", "https://host/api/openai/v1"),
            ("https://host/api/paas/v4", "https://host/api/paas/v4"),
            ("https://host/v1beta/openai", "https://host/v1beta/openai"),
            ("https://host/openai", "https://host/openai/v1"),
            ("https://host/team/vllm", "https://host/team/vllm/v1"),
            ("http://v2:8000", "http://v2:8000/v1"),
        ] {
            assert_eq!(versioned(base_url), routes);
        }
    }
}
