//! Ollama: prompts, chats, embeddings, and the model store that pulls and deletes.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt, future::join, stream};
use reqwest::{Method, Url};

use super::{
    ModelStore, Original, Provider, ProviderError, ProviderErrorKind, PullProgress, RelayRoute, Relayed, ReplyStream,
    dimensions::of_wanted_length,
    relay::{Destination, relay},
    transport::{Call, Target, Transport, join as join_url, next_piece},
};
use crate::{
    dialect::{
        Dialect,
        ndjson::Lines,
        ollama::{self, Asked, LineDecoder, Listed, Shown},
        reply::completion_of,
    },
    domain::{
        chat::{ChatCall, ChatReply},
        embedding::{EmbedCall, Embedded},
        message::Completion,
        model::ObservedModel,
    },
};

/// Within the time of a probe.
const SHOW_TIMEOUT: Duration = Duration::from_secs(3);
/// Models that are asked about at the same time: an old server with hundreds has other work, too.
const SHOWN_AT_ONCE: usize = 8;
/// A pull is silent for minutes while the server checks the digest of a large file.
const PULL_IDLE: Duration = Duration::from_secs(600);

pub(super) struct OllamaProvider {
    transport: Transport,
    target: Target,
    tags: Url,
    show: Url,
    running: Url,
    generate: Url,
    chat: Url,
    embed: Url,
    old_embed: Url,
    pull: Url,
    delete: Url,
    /// What `show` told, by name and digest: asked once for each file, not at every probe.
    shown: Mutex<HashMap<(String, String), Shown>>,
}

impl OllamaProvider {
    pub(super) fn new(target: Target, transport: Transport) -> Result<Self, ProviderError> {
        let route = |path: &str| join_url(&target.base_url, path);
        Ok(Self {
            tags: route("/api/tags")?,
            show: route("/api/show")?,
            running: route("/api/ps")?,
            generate: route("/api/generate")?,
            chat: route("/api/chat")?,
            embed: route("/api/embed")?,
            old_embed: route("/api/embeddings")?,
            pull: route("/api/pull")?,
            delete: route("/api/delete")?,
            shown: Mutex::default(),
            transport,
            target,
        })
    }

    fn post<'a>(&'a self, url: &'a Url, body: Vec<u8>) -> Call<'a> {
        Call { method: Method::POST, url, credential: self.target.bearer(), body: Some(body) }
    }

    /// Capabilities and context of one model, from its list, from memory or from the server; servers that do not tell leave
    /// guesses.
    async fn describe(&self, Listed { model, shown }: &Listed) -> Shown {
        if let Some(told) = shown {
            return told.clone();
        }
        let key = (model.name.clone(), model.digest.clone());
        if let Some(known) = self.shown.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return known.clone();
        }
        let call = self.transport.send(self.post(&self.show, ollama::model_body(&model.name)));
        let Ok(Ok(body)) = tokio::time::timeout(SHOW_TIMEOUT, call).await else { return Shown::default() };
        let shown = ollama::parse_show(&body).unwrap_or_default();
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).insert(key, shown.clone());
        shown
    }

    /// The models in memory; `None` where the server does not tell, as old ones do not.
    async fn running(&self) -> Option<Vec<String>> {
        let call = Call { method: Method::GET, url: &self.running, credential: self.target.bearer(), body: None };
        let body = tokio::time::timeout(SHOW_TIMEOUT, self.transport.send(call)).await.ok()?.ok()?;
        ollama::parse_running(&body).ok()
    }
}

impl OllamaProvider {
    fn generating(&self, route: &str) -> &Url {
        if route == "/api/generate" { &self.generate } else { &self.chat }
    }

    async fn answer(&self, asked: Asked) -> Result<ChatReply, ProviderError> {
        let reply = self.transport.send(self.post(self.generating(asked.route), asked.body)).await?;
        Ok(ollama::parse_answer(&reply)?)
    }

    async fn embed_one_by_one(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        let mut vectors = Vec::with_capacity(call.inputs.len());
        for text in &call.inputs {
            let reply = self.transport.send(self.post(&self.old_embed, ollama::old_embed_body(model, text))).await?;
            vectors.push(ollama::parse_old_embedding(&reply)?);
        }
        Ok(Embedded { vectors, input_tokens: Some(call.estimated_tokens()) })
    }
}

#[async_trait]
impl Provider for OllamaProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Ollama
    }

    fn takes_suffix(&self) -> bool {
        true
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let call = Call { method: Method::GET, url: &self.tags, credential: self.target.bearer(), body: None };
        let listed = ollama::parse_tags(&self.transport.send(call).await?)?;
        // Each within its own time: one model that cannot be shown is no reason to lose the server.
        let asked: Vec<_> = listed.iter().map(|model| self.describe(model)).collect();
        let shown = stream::iter(asked).buffered(SHOWN_AT_ONCE).collect::<Vec<_>>();
        let (shown, running) = join(shown, self.running()).await;
        let described = |(Listed { model, .. }, shown): (Listed, Shown)| ObservedModel {
            capabilities: shown.capabilities.unwrap_or(model.capabilities),
            context_length: shown.context_length.unwrap_or(model.context_length),
            abilities: shown.abilities,
            is_warm: running.as_ref().is_none_or(|names| names.contains(&model.name)),
            ..model
        };
        let models: Vec<ObservedModel> = listed.into_iter().zip(shown).map(described).collect();
        // Forget files that are gone, so that a long life of pulls and deletes does not grow the memory.
        self.shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(name, digest), _| models.iter().any(|model| model.name == *name && model.digest == *digest));
        Ok(models)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        // A chain wants the answer; what is thought before it is time and nobody reads it.
        let asked = ollama::ask(model, call, false, Some(false))?;
        Ok(completion_of(self.answer(asked).await?)?)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        self.answer(ollama::ask(model, call, false, None)?).await
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        let Asked { route, body } = ollama::ask(model, call, true, None)?;
        let pieces = self.transport.stream(self.post(self.generating(route), body)).await?;
        Ok(ReplyStream::new(pieces, Box::new(LineDecoder::default())))
    }

    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        match self.transport.send(self.post(&self.embed, ollama::embed_body(model, call))).await {
            // A server older than the route knows only the old one; one that knows the route says which model it lacks.
            Err(error) if error.is_unknown_route() && call.dimensions.is_none() => {
                self.embed_one_by_one(model, call).await
            }
            // The old one cannot be asked for a length, and older servers with the new one look away from the wish.
            other => of_wanted_length(ollama::parse_embeddings(&other?, call.inputs.len())?, call),
        }
    }

    async fn relay(
        &self,
        model: &str,
        original: &Original,
        wants_stream: bool,
    ) -> Result<Option<Relayed>, ProviderError> {
        let url = match original.route {
            RelayRoute::OllamaChat => &self.chat,
            RelayRoute::OllamaGenerate => &self.generate,
            RelayRoute::OllamaEmbed => &self.embed,
            RelayRoute::OllamaEmbeddings => &self.old_embed,
            _ => return Ok(None),
        };
        let to = Destination { url, credential: self.target.bearer() };
        relay(&self.transport, to, model, original, wants_stream).await
    }

    fn model_store(&self) -> Option<&dyn ModelStore> {
        Some(self)
    }
}

#[async_trait]
impl ModelStore for OllamaProvider {
    async fn pull(&self, model: &str, on_progress: &mut (dyn FnMut(PullProgress) + Send)) -> Result<(), ProviderError> {
        let mut answer = self.transport.open(self.post(&self.pull, ollama::model_body(model))).await?;
        let mut lines = Lines::default();
        let unusable = |message: String| ProviderError::new(ProviderErrorKind::Reply, message);
        while let Some(piece) = next_piece(&mut answer, PULL_IDLE).await? {
            lines.push(&piece).map_err(|error| unusable(error.to_string()))?;
            while let Some(line) = lines.next_line() {
                let line = ollama::parse_pull_line(&line)?;
                if let Some(error) = line.error {
                    return Err(unusable(error.chars().take(200).collect()));
                }
                let done = line.status == "success";
                on_progress(PullProgress {
                    status: line.status,
                    digest: line.digest,
                    total: line.total,
                    completed: line.completed,
                });
                if done {
                    return Ok(());
                }
            }
        }
        Err(ProviderError::new(ProviderErrorKind::Cut, "the download ended before it was complete"))
    }

    async fn delete(&self, model: &str) -> Result<(), ProviderError> {
        let call = Call {
            method: Method::DELETE,
            url: &self.delete,
            credential: self.target.bearer(),
            body: Some(ollama::model_body(model)),
        };
        match self.transport.send(call).await {
            Err(error) if error.status == Some(404) => Ok(()),
            other => other.map(|_| ()),
        }
    }
}
