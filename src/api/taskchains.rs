//! `/taskchains`: chains kept under their id, every version of each (`docs/api.md`, stored chains).

use super::{Api, Reply, fields};
use crate::{
    domain::{chain::Chain, ids::ChainId, page::Page},
    engine::{self, InvalidChain},
    error::Error,
};

/// `POST /taskchains`: a new chain, or the next version of the one that has the id. `draft`: stored without a check.
///
/// # Errors
/// 422 for what cannot be a stored chain, and unless it is a draft for what cannot run; 429.
pub async fn create(api: &Api, chain: Chain, draft: bool) -> Result<Reply, Error> {
    check_id(&chain.id)?;
    check(&chain, draft)?;
    let id = ChainId::new(chain.id.as_str());
    let stored = api.store.put_chain(chain, draft).await?;
    api.programs.forget(&id);
    Reply::created(&stored)
}

/// `GET /taskchains`: the latest version of each.
///
/// # Errors
/// Of the store; 422 when the page would be too large.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    Reply::json(&api.store.chains(page).await?)
}

/// `GET /taskchains/{id}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, id: &str, version: Option<u64>) -> Result<Reply, Error> {
    Reply::json(&api.store.chain(&ChainId::new(id), version).await?)
}

/// `PUT /taskchains/{id}`: its next version.
///
/// # Errors
/// 404, and 422 as for POST or when the body names another id.
pub async fn update(api: &Api, id: &str, mut chain: Chain, draft: bool) -> Result<Reply, Error> {
    if !chain.id.is_empty() && chain.id != id {
        return Err(Error::unprocessable(format!("field 'id' is '{}', the path says '{id}'", chain.id)));
    }
    chain.id = id.to_owned();
    check(&chain, draft)?;
    let id = ChainId::new(id);
    let stored = api.store.update_chain(chain, draft).await?;
    api.programs.forget(&id);
    Reply::json(&stored)
}

/// `DELETE /taskchains/{id}`: with all its versions.
///
/// # Errors
/// 404.
pub async fn delete(api: &Api, id: &str) -> Result<Reply, Error> {
    let id = ChainId::new(id);
    api.store.delete_chain(&id).await?;
    api.programs.forget(&id);
    Reply::json(&format!("task chain {id} deleted"))
}

/// `GET /taskchains/{id}/versions`: those that are kept, newest first.
///
/// # Errors
/// 404.
pub async fn versions(api: &Api, id: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.chain_versions(&ChainId::new(id)).await?)
}

/// `GET /taskchains/{id}/graph`: a drawing of it.
///
/// # Errors
/// 404; 400 for a format that is not `mermaid`, the default.
pub async fn graph(api: &Api, id: &str, version: Option<u64>, format: Option<&str>) -> Result<Reply, Error> {
    match format.unwrap_or_default().trim() {
        "" | "mermaid" => {}
        other => return Err(Error::invalid(format!("query parameter 'format' is '{other}', it can be mermaid"))),
    }
    let stored = api.store.chain(&ChainId::new(id), version).await?;
    Ok(Reply::text("text/plain; charset=utf-8", engine::mermaid(&stored.chain)))
}

/// An id that a path can name.
fn check_id(id: &str) -> Result<(), Error> {
    fields::short("id", id)?;
    // Clients resolve these two before they send a path, percent-encoded or not.
    if matches!(id, "." | "..") {
        return Err(Error::unprocessable(format!("field 'id' is '{id}', which no path can name")));
    }
    Ok(())
}

fn check(chain: &Chain, draft: bool) -> Result<(), Error> {
    if chain.tasks.is_empty() {
        return Err(Error::unprocessable("field 'tasks' is required, a chain has at least one task"));
    }
    if draft { Ok(()) } else { engine::compile(chain).map(drop).map_err(|invalid| refused(&invalid)) }
}

fn refused(invalid: &InvalidChain) -> Error {
    let findings = serde_json::to_value(&invalid.findings).unwrap_or_default();
    Error::unprocessable(invalid.to_string()).with_field("diagnostics", findings)
}
