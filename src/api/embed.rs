//! `POST /embed`: the vector of one text (`docs/api.md`, execution).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Reply,
    scope::{self, Scope},
};
use crate::{
    domain::{embedding::EmbedCall, model::Capability},
    error::Error,
};

/// Body of the request.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default)]
pub struct EmbedInput {
    #[schema(required)]
    text: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct EmbedReply {
    vector: Vec<f64>,
}

/// Asks the default embedding model, where `scope` allows it.
///
/// # Errors
/// 400, 404 for an unknown pool, 500 when the call failed, 503 when nothing can serve it.
pub async fn embed(api: &Api, input: EmbedInput, scope: Scope) -> Result<Reply, Error> {
    if input.text.trim().is_empty() {
        return Err(Error::invalid("field 'text' is required and must not be empty"));
    }
    let route = scope::default_route(api, &scope, Capability::Embed)?;
    let (embedded, served) = api.runtime.dispatcher.embed(&route, &EmbedCall::of(input.text)).await?;
    let vector = embedded.vectors.into_iter().next().unwrap_or_default();
    Ok(Reply::json(&EmbedReply { vector })?.served_by(Some(served)))
}
