//! `POST /embed`: the vector of one text (`docs/api.md`, execution).

use serde::{Deserialize, Serialize};

use super::{Api, Reply};
use crate::{
    domain::{model::Capability, route::ModelRoute},
    error::Error,
};

/// Body of the request.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct EmbedInput {
    text: String,
}

#[derive(Serialize)]
struct EmbedReply {
    vector: Vec<f64>,
}

/// Asks the default embedding model.
///
/// # Errors
/// 400, 500 when the call failed, 503 when nothing can serve it.
pub async fn embed(api: &Api, input: EmbedInput) -> Result<Reply, Error> {
    if input.text.trim().is_empty() {
        return Err(Error::invalid("field 'text' is required and must not be empty"));
    }
    let route = ModelRoute::default_model(Capability::Embed);
    let (vector, served) = api.runtime.dispatcher.embed(&route, &input.text).await?;
    Ok(Reply::json(&EmbedReply { vector })?.served_by(Some(served)))
}
