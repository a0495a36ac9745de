//! The catalog's methods, each one job for the writer or the readers.
//!
//! Owns nothing: arguments are moved to the thread that serves the call, the resource files do the work.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    domain::{
        alias::{Alias, AliasSpec},
        backend::{ApiKey, Backend, BackendSpec},
        chain::Chain,
        hook::{Hook, HookSpec},
        ids::{BackendId, ChainId, HookId, InstanceId, PoolId, TokenId},
        intent::Intent,
        model::{Model, ModelPatch},
        page::Page,
        pool::{Pool, PoolPatch},
        provider::{CloudProvider, ProviderConfig},
        stored_chain::{ChainVersion, NamedChain, StoredChain},
        token::{Token, TokenSpec, TokenText},
    },
    stores::{
        catalog::{CatalogStore, SeedModel, SeedPool, StoreError, StoreStanding},
        leases::LeaseStore,
        sql::{
            SqlStore, aliases, associations, backends, chains, hooks, intent, leases, models, pools, providers, seed,
            session::Statements, tokens, unlock,
        },
    },
};

#[async_trait]
impl CatalogStore for SqlStore {
    async fn seed(&self, pools: Vec<SeedPool>, models: Vec<SeedModel>) -> Result<(), StoreError> {
        self.write(move |session| seed::seed(session, pools, &models)).await
    }

    async fn intent(&self) -> Result<Intent, StoreError> {
        self.read(intent::read).await
    }

    fn standing(&self) -> StoreStanding {
        StoreStanding { kind: if self.has_others() { "postgresql" } else { "sqlite" }, is_up: self.is_up() }
    }

    async fn ping(&self) -> Result<(), StoreError> {
        self.read(|session| {
            session.exists("SELECT 1", ())?;
            Ok(())
        })
        .await
    }

    async fn rotate_secret(&self) -> Result<u64, StoreError> {
        let rotated = self.write(unlock::rotate).await?;
        // Only now that it is durable.
        self.write(unlock::forget_former).await?;
        Ok(rotated)
    }

    async fn create_backend(&self, spec: BackendSpec) -> Result<Backend, StoreError> {
        self.write(move |session| backends::create(session, &spec)).await
    }

    async fn update_backend(&self, id: &BackendId, spec: BackendSpec) -> Result<Backend, StoreError> {
        let id = id.clone();
        self.write(move |session| backends::update(session, &id, &spec)).await
    }

    async fn delete_backend(&self, id: &BackendId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |session| backends::delete(session, &id)).await
    }

    async fn backend(&self, id: &BackendId) -> Result<Backend, StoreError> {
        let id = id.clone();
        self.read(move |session| backends::get(session, &id)).await
    }

    async fn backends(&self, page: Page) -> Result<Vec<Backend>, StoreError> {
        self.read(move |session| backends::list(session, page)).await
    }

    async fn create_model(&self, patch: ModelPatch) -> Result<Model, StoreError> {
        self.write(move |session| models::create(session, &patch)).await
    }

    async fn update_model(&self, id: &str, patch: ModelPatch) -> Result<Model, StoreError> {
        let id = id.to_owned();
        self.write(move |session| models::update(session, &id, &patch)).await
    }

    async fn delete_model(&self, id: &str) -> Result<Model, StoreError> {
        let id = id.to_owned();
        self.write(move |session| models::delete(session, &id)).await
    }

    async fn model(&self, id: &str) -> Result<Model, StoreError> {
        let id = id.to_owned();
        self.read(move |session| models::get(session, &id)).await
    }

    async fn models(&self, page: Page) -> Result<Vec<Model>, StoreError> {
        self.read(move |session| models::list(session, page)).await
    }

    async fn create_pool(&self, patch: PoolPatch) -> Result<Pool, StoreError> {
        self.write(move |session| pools::create(session, &patch)).await
    }

    async fn update_pool(&self, id: &PoolId, patch: PoolPatch) -> Result<Pool, StoreError> {
        let id = id.clone();
        self.write(move |session| pools::update(session, &id, &patch)).await
    }

    async fn delete_pool(&self, id: &PoolId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |session| pools::delete(session, &id)).await
    }

    async fn pool(&self, id: &PoolId) -> Result<Pool, StoreError> {
        let id = id.clone();
        self.read(move |session| pools::get(session, &id)).await
    }

    async fn pool_by_name(&self, name: &str) -> Result<Pool, StoreError> {
        let name = name.to_owned();
        self.read(move |session| pools::get_by_name(session, &name)).await
    }

    async fn pools(&self) -> Result<Vec<Pool>, StoreError> {
        self.read(pools::list).await
    }

    async fn pools_by_purpose(&self, purpose: &str, page: Page) -> Result<Vec<Pool>, StoreError> {
        let purpose = purpose.to_owned();
        self.read(move |session| pools::list_by_purpose(session, &purpose, page)).await
    }

    async fn assign_backend(&self, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError> {
        let (pool, backend) = (pool.clone(), backend.clone());
        self.write(move |session| associations::assign_backend(session, &pool, &backend)).await
    }

    async fn unassign_backend(&self, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError> {
        let (pool, backend) = (pool.clone(), backend.clone());
        self.write(move |session| associations::unassign_backend(session, &pool, &backend)).await
    }

    async fn backends_of(&self, pool: &PoolId) -> Result<Vec<Backend>, StoreError> {
        let pool = pool.clone();
        self.read(move |session| associations::backends_of(session, &pool)).await
    }

    async fn pools_of_backend(&self, backend: &BackendId) -> Result<Vec<Pool>, StoreError> {
        let backend = backend.clone();
        self.read(move |session| associations::pools_of_backend(session, &backend)).await
    }

    async fn assign_model(&self, pool: &PoolId, model: &str) -> Result<(), StoreError> {
        let (pool, model) = (pool.clone(), model.to_owned());
        self.write(move |session| associations::assign_model(session, &pool, &model)).await
    }

    async fn unassign_model(&self, pool: &PoolId, model: &str) -> Result<(), StoreError> {
        let (pool, model) = (pool.clone(), model.to_owned());
        self.write(move |session| associations::unassign_model(session, &pool, &model)).await
    }

    async fn models_of(&self, pool: &PoolId) -> Result<Vec<Model>, StoreError> {
        let pool = pool.clone();
        self.read(move |session| associations::models_of(session, &pool)).await
    }

    async fn pools_of_model(&self, model: &str) -> Result<Vec<Pool>, StoreError> {
        let model = model.to_owned();
        self.read(move |session| associations::pools_of_model(session, &model)).await
    }

    async fn configure_provider(
        &self,
        provider: CloudProvider,
        key: ApiKey,
        base_url: String,
        upsert: bool,
    ) -> Result<ProviderConfig, StoreError> {
        self.write(move |session| providers::configure(session, provider, &key, base_url, upsert)).await
    }

    async fn provider(&self, provider: CloudProvider) -> Result<ProviderConfig, StoreError> {
        self.read(move |session| providers::get(session, provider)).await
    }

    async fn delete_provider(&self, provider: CloudProvider) -> Result<(), StoreError> {
        self.write(move |session| providers::delete(session, provider)).await
    }

    async fn providers(&self, page: Page) -> Result<Vec<ProviderConfig>, StoreError> {
        self.read(move |session| providers::list(session, page)).await
    }

    async fn create_hook(&self, id: Option<HookId>, spec: HookSpec) -> Result<Hook, StoreError> {
        let id = id.unwrap_or_else(HookId::random);
        self.write(move |session| hooks::create(session, &id, &spec)).await
    }

    async fn update_hook(&self, id: &HookId, spec: HookSpec) -> Result<Hook, StoreError> {
        let id = id.clone();
        self.write(move |session| hooks::update(session, &id, &spec)).await
    }

    async fn delete_hook(&self, id: &HookId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |session| hooks::delete(session, &id)).await
    }

    async fn hook(&self, id: &HookId) -> Result<Hook, StoreError> {
        let id = id.clone();
        self.read(move |session| hooks::get(session, &id)).await
    }

    async fn hook_by_name(&self, name: &str) -> Result<Hook, StoreError> {
        let name = name.to_owned();
        self.read(move |session| hooks::get_by_name(session, &name)).await
    }

    async fn hooks(&self, page: Page) -> Result<Vec<Hook>, StoreError> {
        self.read(move |session| hooks::list(session, page)).await
    }

    async fn hook_names(&self) -> Result<Vec<String>, StoreError> {
        self.read(hooks::names).await
    }

    async fn create_alias(&self, spec: AliasSpec) -> Result<Alias, StoreError> {
        self.write(move |session| aliases::create(session, &spec)).await
    }

    async fn update_alias(&self, name: &str, spec: AliasSpec) -> Result<Alias, StoreError> {
        let name = name.to_owned();
        self.write(move |session| aliases::update(session, &name, &spec)).await
    }

    async fn delete_alias(&self, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |session| aliases::delete(session, &name)).await
    }

    async fn alias(&self, name: &str) -> Result<Alias, StoreError> {
        let name = name.to_owned();
        self.read(move |session| aliases::get(session, &name)).await
    }

    async fn aliases(&self, page: Page) -> Result<Vec<Alias>, StoreError> {
        self.read(move |session| aliases::list(session, page)).await
    }

    async fn create_token(&self, spec: TokenSpec, text: TokenText) -> Result<Token, StoreError> {
        self.write(move |session| tokens::create(session, &spec, &text)).await
    }

    async fn update_token(&self, id: &TokenId, spec: TokenSpec) -> Result<Token, StoreError> {
        let id = id.clone();
        self.write(move |session| tokens::update(session, &id, &spec)).await
    }

    async fn delete_token(&self, id: &TokenId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |session| tokens::delete(session, &id)).await
    }

    async fn token(&self, id: &TokenId) -> Result<Token, StoreError> {
        let id = id.clone();
        self.read(move |session| tokens::get(session, &id)).await
    }

    async fn tokens(&self, page: Page) -> Result<Vec<Token>, StoreError> {
        self.read(move |session| tokens::list(session, page)).await
    }

    async fn put_chain(&self, chain: Chain, draft: bool) -> Result<StoredChain, StoreError> {
        self.write(move |session| chains::put(session, chain, draft)).await
    }

    async fn update_chain(&self, chain: Chain, draft: bool) -> Result<StoredChain, StoreError> {
        self.write(move |session| chains::update(session, chain, draft)).await
    }

    async fn delete_chain(&self, id: &ChainId) -> Result<(), StoreError> {
        let id = id.clone();
        self.write(move |session| chains::delete(session, &id)).await
    }

    async fn chain(&self, id: &ChainId, version: Option<u64>) -> Result<StoredChain, StoreError> {
        let id = id.clone();
        self.read(move |session| chains::get(session, &id, version)).await
    }

    async fn chain_version(&self, id: &ChainId, version: Option<u64>) -> Result<ChainVersion, StoreError> {
        let id = id.clone();
        self.read(move |session| chains::version(session, &id, version)).await
    }

    async fn chain_versions(&self, id: &ChainId) -> Result<Vec<ChainVersion>, StoreError> {
        let id = id.clone();
        self.read(move |session| chains::versions(session, &id)).await
    }

    async fn chains(&self, page: Page) -> Result<Vec<StoredChain>, StoreError> {
        self.read(move |session| chains::list(session, page)).await
    }

    async fn chain_names(&self, page: Page) -> Result<Vec<NamedChain>, StoreError> {
        self.read(move |session| chains::names(session, page)).await
    }
}

#[async_trait]
impl LeaseStore for SqlStore {
    async fn hold_lease(&self, name: &str, holder: &InstanceId, time: Duration) -> Result<Option<u64>, StoreError> {
        let (name, holder) = (name.to_owned(), holder.clone());
        self.record(move |session| leases::hold(session, &name, &holder, time)).await
    }

    async fn holds_lease(&self, name: &str, holder: &InstanceId, epoch: u64) -> Result<bool, StoreError> {
        let (name, holder) = (name.to_owned(), holder.clone());
        self.read(move |session| leases::holds(session, &name, &holder, epoch)).await
    }

    async fn release_lease(&self, name: &str, holder: &InstanceId) -> Result<(), StoreError> {
        let (name, holder) = (name.to_owned(), holder.clone());
        self.record(move |session| leases::release(session, &name, &holder)).await
    }

    async fn be_present(&self, me: &InstanceId, time: Duration) -> Result<Vec<InstanceId>, StoreError> {
        let me = me.clone();
        self.record(move |session| leases::be_present(session, &me, time)).await
    }

    async fn leave(&self, me: &InstanceId) -> Result<(), StoreError> {
        let me = me.clone();
        self.record(move |session| leases::leave(session, &me)).await
    }

    fn is_shared(&self) -> bool {
        self.has_others()
    }
}
