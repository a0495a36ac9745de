//! One call of a client: its head read at once, the rest only when a backend of another dialect gets it.

use std::sync::OnceLock;

use bytes::Bytes;

use super::{
    of_model,
    route::{OpenaiRoute, Translated},
};
use crate::{
    api::{Api, aside::aside, failure, incapable, scope::Scope},
    dialect::{
        head::{self, HeadError},
        openai_front::{self, ReadError},
    },
    domain::{message::Served, model::Capability, route::ModelRoute},
    error::Error,
    runtime::dispatch::{
        DispatchError,
        exchange::{Answer, Exchange, Original},
    },
};

/// See the module.
pub(super) struct ClientCall {
    pub(super) route: OpenaiRoute,
    /// The model's name as the client wrote it; empty for none.
    pub(super) model: String,
    pub(super) wants_stream: bool,
    original: Original,
    /// What it asks for; read once.
    read: OnceLock<Result<Translated, ReadError>>,
}

impl ClientCall {
    /// Reads the head of a request.
    ///
    /// # Errors
    /// 400 for a body that is none.
    pub(super) fn new(route: OpenaiRoute, body: Bytes) -> Result<Self, Error> {
        if body.trim_ascii().is_empty() {
            return Err(Error::invalid("the request body is empty"));
        }
        let head = head::scan(&body).map_err(of_head)?;
        let model = head.model.clone().unwrap_or_default();
        let wants_stream = route != OpenaiRoute::Embeddings && head.stream == Some(true);
        let original = Original { route: route.relayed(), body, head };
        Ok(Self { route, model, wants_stream, original, read: OnceLock::new() })
    }

    /// The request in no dialect, decoded when it is first asked for.
    fn translation(&self) -> &Result<Translated, ReadError> {
        self.read.get_or_init(|| {
            let body = &self.original.body;
            aside(body.len(), || self.route.read(&openai_front::decode(body)?))
        })
    }

    /// The same for who speaks no dialect at all.
    ///
    /// # Errors
    /// 400 for a request that is none.
    pub(super) fn translate(&self) -> Result<&Translated, Error> {
        self.translation().as_ref().map_err(|error| Error::from(error.clone()))
    }

    /// What was translated; `None` while a backend of this dialect has had its bytes only.
    pub(super) fn translated(&self) -> Option<&Translated> {
        self.read.get().and_then(|read| read.as_ref().ok())
    }

    /// Whether a stream is to end with the tokens it took.
    pub(super) fn include_usage(&self) -> bool {
        match self.translated() {
            Some(translated) => translated.include_usage,
            None => self.original.head.include_usage == Some(true),
        }
    }

    /// Sends it to a backend.
    ///
    /// # Errors
    /// 400 for what the backend's dialect has no words for, or the model cannot do; the failure of the call, 503.
    pub(super) async fn send(&self, api: &Api, scope: &Scope, models: &ModelRoute) -> Result<(Answer, Served), Error> {
        let translate = || match self.translation() {
            Ok(translated) => Ok(translated.asked.clone()),
            Err(error) => Err(error.message.clone()),
        };
        let exchange =
            Exchange { original: Some(&self.original), translate: &translate, wants_stream: self.wants_stream };
        match api.runtime.dispatcher.exchange(models, &exchange).await {
            Ok(answered) => Ok(answered),
            Err(failed) => match self.read.get() {
                // Nobody was asked: the words are ours, and the field is known.
                Some(Err(error)) if failed.failure.status.is_none() && failed.failure.message == error.message => {
                    Err(Error::from(error.clone()).with_served(failed.served))
                }
                _ => Err(of_failed(api, scope, &self.model, self.route.capability(), failed).await),
            },
        }
    }
}

/// The error of a client whose call of a model failed.
pub(super) async fn of_failed(
    api: &Api,
    scope: &Scope,
    model: &str,
    wanted: Capability,
    failed: DispatchError,
) -> Error {
    match incapable::capabilities(api, scope, model, wanted, &failed).await {
        Some(have) => of_model(incapable::error(api, scope, model, wanted, have).await),
        None => failure::of_call(failed),
    }
}

fn of_head(error: HeadError) -> Error {
    let param = match &error {
        HeadError::Type { field, .. } | HeadError::Twice(field) | HeadError::Spelling { field, .. } => *field,
        HeadError::LongModel => "model",
        HeadError::Malformed(_) | HeadError::NoObject => "",
    };
    Error::invalid(error.to_string()).with_param(param)
}
