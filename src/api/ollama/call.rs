//! One call of a client: read as far as its backend needs it, sent, and told from calls that ask nothing.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::OllamaRoute;
use crate::{
    api::{Api, failure, incapable, scope::Scope},
    dialect::{
        head,
        ollama_front::{self, ReadError, Wish},
    },
    domain::{
        chat::ChatCall,
        failure::{FailureClass, RefusalReason},
        message::Served,
        provider::ProviderKind,
        route::ModelRoute,
    },
    error::Error,
    runtime::dispatch::{
        DispatchError,
        exchange::{Answer, Asked, Exchange, Original},
    },
};

/// See the module.
pub(super) struct ClientCall {
    pub(super) route: OllamaRoute,
    /// The model's name as the client wrote it.
    pub(super) model: String,
    pub(super) wants_stream: bool,
    original: Original,
    /// What it asks for; read once, when a backend of another dialect gets it.
    read: OnceLock<Result<Asked, Unasked>>,
}

/// Why there is nothing to ask a backend of another dialect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Unasked {
    #[error("{0}")]
    Wrong(String),
    #[error("{0}")]
    OllamaOnly(String),
    #[error("the request asks nothing")]
    Loads { unloads: bool },
}

/// What comes of a call.
pub(super) enum Outcome {
    Answered(Box<Answer>),
    /// It asked nothing, and no Ollama has the model: servers of other kinds load what they like.
    Loaded {
        unloads: bool,
    },
}

/// What it asks of a chain.
pub(super) enum ForChain {
    Ask(Arc<ChatCall>),
    Load { unloads: bool },
}

impl ClientCall {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// 400 for a body that is none, and without a model.
    pub(super) fn new(route: OllamaRoute, body: Bytes) -> Result<Self, Error> {
        if body.trim_ascii().is_empty() {
            return Err(Error::invalid("missing request body"));
        }
        let head = head::scan(&body).map_err(|error| Error::invalid(error.to_string()))?;
        let model = head.model.clone().filter(|name| !name.trim().is_empty());
        let model = model.ok_or_else(|| Error::invalid("model is required"))?;
        // A stream is what clients of this dialect get unless they say no.
        let wants_stream = route.shape().is_some() && head.stream.unwrap_or(true);
        let original = Original { route: route.relayed(), body, head };
        Ok(Self { route, model, wants_stream, original, read: OnceLock::new() })
    }

    /// What it asks of a backend that does not speak Ollama's API.
    fn asked(&self) -> Result<Asked, Unasked> {
        self.read.get_or_init(|| self.translated()).clone()
    }

    /// The same of a stored chain.
    ///
    /// # Errors
    /// 400 for a request that is none, and for what no chain can do.
    pub(super) fn for_chain(&self) -> Result<ForChain, Error> {
        match self.asked() {
            Ok(Asked::Chat(call)) => Ok(ForChain::Ask(call)),
            Ok(Asked::Embed(_)) => Err(Error::invalid("a chain has no vectors")),
            Err(Unasked::Loads { unloads }) => Ok(ForChain::Load { unloads }),
            Err(Unasked::Wrong(message) | Unasked::OllamaOnly(message)) => Err(Error::invalid(message)),
        }
    }

    fn translated(&self) -> Result<Asked, Unasked> {
        let body = ollama_front::decode(&self.original.body).map_err(Unasked::Wrong)?;
        match self.route.read(&body) {
            Ok(Wish::Ask(asked)) => Ok(asked),
            Ok(Wish::Load) => Err(Unasked::Loads { unloads: false }),
            Ok(Wish::Unload) => Err(Unasked::Loads { unloads: true }),
            Err(ReadError::Wrong(message)) => Err(Unasked::Wrong(message)),
            Err(ReadError::OllamaOnly(message)) => Err(Unasked::OllamaOnly(message)),
        }
    }

    /// Sends it to a backend. Where that one cannot be asked such a thing, an Ollama is looked for.
    ///
    /// # Errors
    /// 400, 404, the failure of the call, 503.
    pub(super) async fn send(
        &self,
        api: &Api,
        scope: &Scope,
        models: &ModelRoute,
    ) -> Result<(Outcome, Option<Served>), Error> {
        let failed = match self.exchange(api, models).await {
            Ok((answer, served)) => return Ok((Outcome::Answered(Box::new(answer)), Some(served))),
            Err(failed) => failed,
        };
        let unasked = match self.read.get() {
            Some(Err(unasked)) if is_ours(&failed) => unasked,
            _ => return Err(self.failed(api, scope, failed).await),
        };
        if let (Unasked::OllamaOnly(_) | Unasked::Loads { .. }, Some(models)) = (unasked, on_ollama(models)) {
            match self.exchange(api, &models).await {
                Ok((answer, served)) => return Ok((Outcome::Answered(Box::new(answer)), Some(served))),
                Err(none) if none.failure.refusal == Some(RefusalReason::NoBackend) => {}
                Err(failed) => return Err(failure::of_call(failed)),
            }
        }
        match unasked {
            Unasked::Loads { unloads } => {
                Ok((Outcome::Loaded { unloads: *unloads }, failed.served.map(|served| *served)))
            }
            Unasked::Wrong(message) | Unasked::OllamaOnly(message) => {
                Err(Error::invalid(message.as_str()).with_served(failed.served))
            }
        }
    }

    async fn exchange(&self, api: &Api, models: &ModelRoute) -> Result<(Answer, Served), DispatchError> {
        let translate = || self.asked().map_err(|unasked| unasked.to_string());
        let exchange =
            Exchange { original: Some(&self.original), translate: &translate, wants_stream: self.wants_stream };
        api.runtime.dispatcher.exchange(models, &exchange).await
    }

    /// The client's error. That nobody serves the model may be so because none of its kind could.
    async fn failed(&self, api: &Api, scope: &Scope, failed: DispatchError) -> Error {
        match incapable::capabilities(api, scope, &self.model, self.route.capability(), &failed).await {
            Some(_) => Error::invalid(format!("\"{}\" does not support {}", self.model, self.route.verb())),
            None => failure::of_call(failed),
        }
    }
}

/// Whether a call failed for what its request is, before any server was asked.
fn is_ours(failed: &DispatchError) -> bool {
    failed.failure.class == FailureClass::InvalidInput && failed.failure.status.is_none()
}

/// The same models on Ollama alone; `None` where that is not wanted.
fn on_ollama(models: &ModelRoute) -> Option<ModelRoute> {
    let mut models = models.clone();
    models.targets.retain(|target| target.providers.is_empty() || target.providers.contains(&ProviderKind::Ollama));
    models.targets.iter_mut().for_each(|target| target.providers = vec![ProviderKind::Ollama]);
    (!models.targets.is_empty()).then_some(models)
}
