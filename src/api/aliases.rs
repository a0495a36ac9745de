//! `/aliases`: names of our own for models, with further ones to fall back on (`docs/api.md`, aliases).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Api, Reply, fields,
    scope::{CHAIN_PREFIX, POOL_PREFIX},
};
use crate::{
    domain::{
        alias::{AliasSpec, AliasTarget, MAX_ALIAS_TARGETS, alias_key},
        ids::MAX_ID_BYTES,
        page::Page,
        provider::ProviderKind,
        slip::Slip,
    },
    error::Error,
};

/// Body of POST and PUT.
#[derive(Deserialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct AliasInput {
    #[schema(required)]
    name: String,
    #[schema(required, min_items = 1, max_items = 10)]
    targets: Vec<TargetInput>,
}

#[derive(Deserialize, Serialize, Default, ToSchema)]
#[serde(default, rename_all = "camelCase")]
#[schema(as = AliasTargetInput)]
struct TargetInput {
    #[schema(required)]
    model: String,
    #[schema(value_type = Option<ProviderKind>)]
    provider: Option<String>,
    #[schema(value_type = Option<Vec<ProviderKind>>)]
    providers: Option<Vec<String>>,
    pool: Option<String>,
}

impl AliasInput {
    fn check(self) -> Result<AliasSpec, Error> {
        let name = fields::required("name", &self.name)?;
        let name = fields::at_most("name", name.trim(), MAX_ID_BYTES)?;
        check_name("name", &name)?;
        if alias_key(&name) != name {
            return Err(Error::unprocessable(
                "field 'name' must not end in ':latest': the alias is found with it and without it",
            ));
        }
        // Clients resolve these two before they send a path, percent-encoded or not.
        if matches!(name.as_str(), "." | "..") {
            return Err(Error::unprocessable(format!("field 'name' is '{name}', which no path can name")));
        }
        if self.targets.is_empty() || self.targets.len() > MAX_ALIAS_TARGETS {
            let (most, sent) = (MAX_ALIAS_TARGETS, self.targets.len());
            return Err(Error::unprocessable(format!("field 'targets' must have 1 to {most} entries, not {sent}")));
        }
        let targets = self.targets.into_iter().enumerate().map(|(at, target)| target.check(at));
        Ok(AliasSpec { name, targets: targets.collect::<Result<_, _>>()? })
    }
}

impl TargetInput {
    fn check(self, at: usize) -> Result<AliasTarget, Error> {
        let field = |name: &str| format!("targets[{at}].{name}");
        let model = fields::required(&field("model"), &self.model)?.trim().to_owned();
        check_name(&field("model"), &model)?;
        let mut providers = Vec::new();
        for name in self.provider.into_iter().chain(self.providers.unwrap_or_default()) {
            let kind = ProviderKind::parse(&name).ok_or_else(|| {
                let field = field("providers");
                Error::unprocessable(format!(
                    "field '{field}' must name ollama, vllm, openai or gemini, not {}",
                    Slip(&name)
                ))
            })?;
            if !providers.contains(&kind) {
                providers.push(kind);
            }
        }
        let pool = self.pool.filter(|pool| !pool.trim().is_empty());
        let pool = pool.map(|pool| fields::text(&field("pool"), pool.trim())).transpose()?;
        Ok(AliasTarget { model, providers, pool })
    }
}

/// A name that means a model, and nothing else.
fn check_name(field: &str, name: &str) -> Result<(), Error> {
    for prefix in [CHAIN_PREFIX, POOL_PREFIX] {
        if name.starts_with(prefix) {
            return Err(Error::unprocessable(format!(
                "field '{field}' must not begin with '{prefix}': such names mean something else already"
            )));
        }
    }
    if name.chars().any(char::is_control) {
        return Err(Error::unprocessable(format!("field '{field}' must not hold control characters")));
    }
    Ok(())
}

/// Pools that targets name and that do not exist, which may be made later.
fn warnings(api: &Api, targets: &[AliasTarget]) -> Vec<String> {
    let unknown = targets.iter().filter_map(|target| target.pool.as_deref());
    let unknown = unknown.filter(|pool| api.runtime.directory.pool_named(pool).is_none());
    unknown.map(|pool| format!("pool '{pool}' not found: its target serves nobody until it exists")).collect()
}

/// `POST /aliases`.
///
/// # Errors
/// 422, 409, 429.
pub async fn create(api: &Api, input: AliasInput) -> Result<Reply, Error> {
    let alias = api.store.create_alias(input.check()?).await?;
    api.put_in_force().await;
    Ok(Reply::created(&alias)?.warning(warnings(api, &alias.targets)))
}

/// `GET /aliases`.
///
/// # Errors
/// Of the store only.
pub async fn list(api: &Api, page: Page) -> Result<Reply, Error> {
    Reply::json(&api.store.aliases(page).await?)
}

/// `GET /aliases/{name}`.
///
/// # Errors
/// 404.
pub async fn get(api: &Api, name: &str) -> Result<Reply, Error> {
    Reply::json(&api.store.alias(name).await?)
}

/// `PUT /aliases/{name}`: other targets; a name in the body renames it.
///
/// # Errors
/// 404, 409, 422.
pub async fn update(api: &Api, name: &str, mut input: AliasInput) -> Result<Reply, Error> {
    if input.name.trim().is_empty() {
        name.clone_into(&mut input.name);
    }
    let alias = api.store.update_alias(name, input.check()?).await?;
    api.put_in_force().await;
    Ok(Reply::json(&alias)?.warning(warnings(api, &alias.targets)))
}

/// `DELETE /aliases/{name}`.
///
/// # Errors
/// 404.
pub async fn delete(api: &Api, name: &str) -> Result<Reply, Error> {
    api.store.delete_alias(name).await?;
    api.put_in_force().await;
    Reply::json(&"deleted")
}
