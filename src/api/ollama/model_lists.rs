//! What is told about models, and about this server: from the views that backends publish, asking none of them.

use std::cmp::Reverse;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::{
    api::{
        Api, Reply,
        aside::aside,
        model_catalog::{self, CallableModel, Origin},
        scope::Scope,
        stream::{ByteStream, NDJSON},
    },
    dialect::ollama_front::{
        self,
        models::{self, Known, Running},
    },
    domain::{provider::ProviderKind, time::Timestamp},
    error::{Error, ErrorCode},
};

/// The version of Ollama whose API is spoken here: clients ask for it to know what they may use.
const SPOKEN_VERSION: &str = "0.30.1";
/// 2318-03-20: about what Ollama itself tells of a model that never leaves the memory.
const NEVER: Timestamp = Timestamp::from_micros(10_988_524_800_000_000);

/// `GET /`, with which Ollama's own command line looks whether somebody is there.
pub fn home() -> Reply {
    Reply::text("text/plain; charset=utf-8", "Ollama is running".to_owned())
}

/// `GET /api/version`.
///
/// # Errors
/// None that a caller could meet.
pub fn version() -> Result<Reply, Error> {
    Reply::json(&json!({"version": SPOKEN_VERSION, "penstock": env!("CARGO_PKG_VERSION")}))
}

/// `GET /api/tags`: every model that may be asked for, the newest first.
///
/// # Errors
/// Of the store only.
pub async fn tags(api: &Api, scope: &Scope) -> Result<Reply, Error> {
    let mut known: Vec<Known> = model_catalog::list(api, scope).await?.into_iter().map(known).collect();
    // As Ollama has them; those whose times nobody knows come last, by their names.
    known.sort_by_key(|model| Reverse(model.modified_at));
    Reply::json(&models::tags(&known))
}

/// `GET /api/ps`: the models in memory.
///
/// # Errors
/// Of the store only.
pub async fn running(api: &Api, scope: &Scope) -> Result<Reply, Error> {
    let is_in_memory = |model: &CallableModel| model.origin == Origin::Local && model.is_warm;
    let warm = model_catalog::list(api, scope).await?.into_iter().filter(is_in_memory);
    let running: Vec<Running> = warm.map(|model| Running { model: known(model), expires_at: NEVER }).collect();
    Reply::json(&models::running(&running))
}

/// `POST /api/show`.
///
/// # Errors
/// 400 for a body that names no model, 404 for one that is not known.
pub async fn show(api: &Api, scope: &Scope, body: &Bytes) -> Result<Reply, Error> {
    let name = named(&decoded(body)?, "model is required")?;
    let model = model_catalog::find(api, scope, &name).await?;
    Reply::json(&models::shown(&known(model)))
}

/// `POST /api/pull`: a model that is here is a success, as it is to Ollama.
///
/// # Errors
/// 400 for a body that names no model, 403 with words on what to do for one that is not here.
pub async fn pull(api: &Api, scope: &Scope, body: &Bytes) -> Result<Reply, Error> {
    let body = decoded(body)?;
    let name = named(&body, "invalid model name")?;
    match model_catalog::find(api, scope, &name).await {
        Err(unknown) if unknown.code() == ErrorCode::ModelNotFound => {
            let message = format!(
                "model '{name}' is not here, and models are not pulled through this API: declare it with POST /models and \
                 assign it to a pool with POST /model-associations/<pool>/models/<model>; Ollama backends of the pool \
                 then download it"
            );
            return Err(Error::new(ErrorCode::Immutable, message));
        }
        found => found?,
    };
    let success = json!({"status": "success"});
    if !ollama_front::streams(&body).map_err(Error::invalid)? {
        return Reply::json(&success);
    }
    let line = Bytes::from(format!("{success}\n"));
    Ok(Reply::stream(ByteStream::new(NDJSON, |_| futures_util::stream::once(std::future::ready(line)))))
}

/// `DELETE /api/delete`, `POST /api/create`, `/api/copy` and `/api/push`: nothing is changed here.
///
/// # Errors
/// Always 403, with words on what to do.
pub fn manage(what: &str) -> Result<Reply, Error> {
    let instead = match what {
        "delete" => {
            "remove the model with DELETE /models/<model>, or from a pool with DELETE /model-associations/<pool>/models/<model>"
        }
        "copy" => "give a model a further name with POST /aliases",
        "create" => "create it on a backend itself and declare it with POST /models",
        _ => "push it from a backend itself",
    };
    let message = format!("models are not managed through this API ({what}): {instead}");
    Err(Error::new(ErrorCode::Immutable, message))
}

fn decoded(body: &Bytes) -> Result<Json, Error> {
    aside(body.len(), || ollama_front::decode(body)).map_err(Error::invalid)
}

/// The model that a body names; `missing` is what Ollama says of one that names none.
fn named(body: &Json, missing: &'static str) -> Result<String, Error> {
    match ollama_front::model(body).map_err(Error::invalid)? {
        "" => Err(Error::invalid(missing)),
        name => Ok(name.to_owned()),
    }
}

/// A model of the catalog as clients are told of it.
fn known(model: CallableModel) -> Known {
    // What is not known to be impossible may be tried; clients take a missing word for a no.
    let may_call_tools = model.capabilities.can_chat && model.kinds.iter().any(|kind| *kind != ProviderKind::Ollama);
    let mut abilities = model.abilities;
    if may_call_tools && !abilities.iter().any(|word| word == "tools") {
        abilities.push("tools".to_owned());
    }
    Known {
        name: model.name,
        modified_at: model.modified_at,
        size: model.size,
        digest: model.digest,
        details: model.details,
        context_length: model.context_length,
        capabilities: model.capabilities,
        abilities,
    }
}
