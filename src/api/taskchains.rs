//! `/taskchains`: chains kept under their id, every version of each (`docs/api.md`, stored chains).

use super::{
    Api, Reply,
    diagnostics::{self, Sent},
    fields,
};
use crate::{
    dialect::document::{Document, DocumentError},
    domain::{chain::Chain, ids::ChainId, page::Page},
    engine::{self, Written},
    error::Error,
};

/// `POST /taskchains`: a new chain, or the next version of the one that has the id. `draft`: stored without a check.
///
/// # Errors
/// 422 for what cannot be a stored chain, and unless it is a draft for what cannot run; 429.
pub async fn create(api: &Api, document: Result<Document, DocumentError>, draft: bool) -> Result<Reply, Error> {
    let sent: Sent<Chain> = diagnostics::read(document, Written::Chain).await?;
    check_id(&sent.value.id)?;
    let (chain, warnings) = checked(api, sent, draft).await?;
    let id = ChainId::new(chain.id.as_str());
    let stored = api.store.put_chain(chain, draft).await?;
    api.programs.forget(&id);
    Ok(Reply::created(&stored)?.warning(warnings))
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
pub async fn update(
    api: &Api,
    id: &str,
    document: Result<Document, DocumentError>,
    draft: bool,
) -> Result<Reply, Error> {
    let mut sent: Sent<Chain> = diagnostics::read(document, Written::Chain).await?;
    if !sent.value.id.is_empty() && sent.value.id != id {
        return Err(Error::unprocessable(format!("field 'id' is '{}', the path says '{id}'", sent.value.id)));
    }
    sent.value.id = id.to_owned();
    let (chain, warnings) = checked(api, sent, draft).await?;
    let id = ChainId::new(id);
    let stored = api.store.update_chain(chain, draft).await?;
    api.programs.forget(&id);
    Ok(Reply::json(&stored)?.warning(warnings))
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

/// The chain, if it may be stored, and warnings.
async fn checked(api: &Api, sent: Sent<Chain>, draft: bool) -> Result<(Chain, Vec<String>), Error> {
    let Sent { value: chain, source, has_unknown } = sent;
    if chain.tasks.is_empty() {
        return Err(Error::unprocessable("field 'tasks' is required, a chain has at least one task"));
    }
    if draft {
        let ignored = if has_unknown { diagnostics::ignored_fields(source, Written::Chain).await } else { Vec::new() };
        return Ok((chain, ignored));
    }
    let (chain, _, source) = diagnostics::compile(chain, source, Written::Chain, Error::unprocessable).await?;
    Ok((chain, diagnostics::warnings(api, source, Written::Chain).await))
}
