//! vLLM's OpenAI server: what all servers of that kind do, and vLLM's own structured outputs, text completions and token
//! counts.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join as both;
use reqwest::Url;

use super::{
    Original, Provider, ProviderError, ProviderErrorKind, Relayed, ReplyStream,
    openai::{OpenaiProvider, without_version},
    transport::{Target, Transport, join},
};
use crate::{
    dialect::{
        Dialect, load,
        openai::{self, Server},
        reply::completion_of,
        tokenizer, vllm,
    },
    domain::{
        chat::{ChatCall, ChatReply},
        embedding::{EmbedCall, Embedded},
        load::LoadSignal,
        message::Completion,
        model::ObservedModel,
    },
};

pub(super) struct VllmProvider {
    openai: OpenaiProvider,
    completions: Url,
    tokenize: Url,
    metrics: Url,
    health: Url,
}

/// What its front answers on `/health` when the engine behind it has died.
const DEAD: u16 = 503;
/// How long `/health` is waited for, within the time of a probe.
const HEALTH_PATIENCE: Duration = Duration::from_secs(1);

impl VllmProvider {
    pub(super) fn new(target: Target, transport: Transport) -> Result<Self, ProviderError> {
        let route = |path: &str| join(without_version(&target.base_url), path);
        Ok(Self {
            completions: route("/v1/completions")?,
            tokenize: route("/tokenize")?,
            metrics: route("/metrics")?,
            health: route("/health")?,
            openai: OpenaiProvider::new(target, transport, Server::Vllm)?,
        })
    }
}

#[async_trait]
impl Provider for VllmProvider {
    fn dialect(&self) -> Dialect {
        Dialect::Openai
    }

    /// A vLLM server is started with its models; one without is none. Its list is there even when the engine has died, which
    /// `/health` alone tells; a gateway in front of it may not let us see that, which says nothing.
    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        let health = tokio::time::timeout(HEALTH_PATIENCE, self.openai.look(&self.health));
        let (models, health) = both(self.openai.probe(), health).await;
        let models = models?;
        if let Ok(Err(error)) = health
            && error.status == Some(DEAD)
        {
            return Err(ProviderError::new(ProviderErrorKind::Server, "the engine has died: /health answers 503"));
        }
        if models.is_empty() {
            return Err(ProviderError::new(ProviderErrorKind::Reply, "the server lists no model"));
        }
        Ok(models)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        Ok(completion_of(self.converse(model, call).await?)?)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        match self.openai.converse(model, call).await {
            // A server without the chat route may still complete texts; one with it says which model it lacks.
            Err(error) if error.is_unknown_route() => {
                let Some(body) = vllm::completion_body(model, call, false) else { return Err(error) };
                let reply = self.openai.ask(&self.completions, body).await?;
                Ok(openai::parse_reply(&reply, call.constraint.as_ref(), Server::Vllm)?)
            }
            other => other,
        }
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        match self.openai.stream(model, call).await {
            Err(error) if error.is_unknown_route() => {
                let Some(body) = vllm::completion_body(model, call, true) else { return Err(error) };
                self.openai.read_stream(&self.completions, body, call, Server::Vllm).await
            }
            other => other,
        }
    }

    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        self.openai.embed(model, call).await
    }

    async fn relay(
        &self,
        model: &str,
        original: &Original,
        wants_stream: bool,
    ) -> Result<Option<Relayed>, ProviderError> {
        self.openai.relay(model, original, wants_stream).await
    }

    async fn load(&self) -> Option<LoadSignal> {
        let metrics = self.openai.look(&self.metrics).await.ok()?;
        Some(load::of_vllm_metrics(&String::from_utf8_lossy(&metrics)))
    }

    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        let mut tokens = 0;
        for text in texts {
            match self.openai.ask(&self.tokenize, tokenizer::body(model, text)).await {
                Ok(reply) => tokens += tokenizer::parse(&reply)?,
                // A gateway in front of it lets only the common routes through.
                Err(error) if error.is_unknown_route() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(tokens))
    }
}
