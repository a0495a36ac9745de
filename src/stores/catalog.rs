//! The configuration store: backends, models, pools, their associations, provider keys, hooks,
//! aliases and chains.
//!
//! Implementations keep the rules of uniqueness, cascades, strictly rising `created_at` per resource type and the cap
//! on rows; who may change what (the default pools and models) is decided above, in `api`.

use async_trait::async_trait;

use crate::domain::{
    alias::{Alias, AliasSpec},
    backend::{ApiKey, Backend, BackendSpec},
    chain::Chain,
    hook::{Hook, HookSpec},
    ids::{BackendId, ChainId, HookId, PoolId, TokenId},
    intent::Intent,
    model::{Capabilities, Model, ModelPatch},
    page::Page,
    pool::{Pool, PoolPatch},
    provider::{CloudProvider, ProviderConfig},
    stored_chain::{ChainVersion, NamedChain, StoredChain},
    token::{Token, TokenSpec, TokenText},
};

/// Rows one resource type may have (`docs/api.md`, errors: 429).
pub const MAX_ROWS: u64 = 100_000;
/// Versions that are kept of one chain, the latest ones (`docs/api.md`, stored chains).
pub const MAX_CHAIN_VERSIONS: u64 = 100;
/// Bytes of JSON that the chains of one page may have together.
pub const MAX_CHAIN_PAGE_BYTES: u64 = 64 * 1024 * 1024;

/// Why the store did not do it. Messages are fit for the caller; driver texts go to the log only.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The named thing is not there; the text contains "not found".
    #[error("{0}")]
    NotFound(String),
    /// Something unique is taken, or an association exists already.
    #[error("{0}")]
    Conflict(String),
    /// The resource type holds as many rows as it may.
    #[error("the limit of {MAX_ROWS} {0} is reached; delete some first")]
    Full(&'static str),
    /// The well-formed request cannot be carried out on the stored record.
    #[error("{0}")]
    Invalid(String),
    /// The store did not answer in time or at all; trying again may work.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store answered something it should not; a fault of ours or a damaged file.
    #[error("the store failed")]
    Internal(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreStanding {
    /// `sqlite` or `postgresql`.
    pub kind: &'static str,
    /// Whether it answered the last time that it was asked.
    pub is_up: bool,
}

/// A model that is declared at start and assigned to a seeded pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedModel {
    /// Its name, as configured.
    pub name: String,
    /// Configured tokens of context, 0 = unknown.
    pub context_length: i64,
    /// What the seed declares it can do.
    pub capabilities: Capabilities,
    /// The pool it is assigned to.
    pub pool: PoolId,
}

/// A pool that exists from the first start on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedPool {
    /// Its fixed id.
    pub id: PoolId,
    /// Its fixed name.
    pub name: String,
    /// Its fixed purpose.
    pub purpose_type: String,
}

/// The configuration store. Every method is atomic; when it returns, the change is durable.
#[async_trait]
pub trait CatalogStore: Send + Sync + 'static {
    /// Makes the pools and models that must exist, and the assignments between them; keeps what is there already.
    /// Two seeds of one name become one model with the capabilities of both, in both pools; a missing tag means `:latest`.
    /// A model that exists keeps its record, with two exceptions: an undeclared context length is filled in, and when it
    /// is new to the pool it gains the seed's capabilities. A seed whose name is only the id of a renamed model is left
    /// out, with a warning in the log. The cap on rows does not apply.
    async fn seed(&self, pools: Vec<SeedPool>, models: Vec<SeedModel>) -> Result<(), StoreError>;
    /// Everything the runtime acts on, with keys decrypted. A provider's key goes to the provider's own backend only,
    /// never to another server of the same kind; a key that cannot be decrypted is absent.
    async fn intent(&self) -> Result<Intent, StoreError>;

    /// What kind of store it is, and whether it answered the last time that it was asked.
    fn standing(&self) -> StoreStanding;

    /// Asks it for nothing, to see whether it answers.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Encrypts all stored keys with a new secret: `SECRET_KEY`, where the one in force is `SECRET_KEY_PREVIOUS`, or a new
    /// one in the key file. Says how many they were. `Invalid` when there is no new one, or a key cannot be decrypted;
    /// nothing is changed then.
    async fn rotate_secret(&self) -> Result<u64, StoreError>;

    /// Stores a backend under a new UUID. `Conflict` when name or URL (without trailing `/`) is taken.
    async fn create_backend(&self, spec: BackendSpec) -> Result<Backend, StoreError>;
    /// Replaces name, URL and kind, and the optional fields that are present. When scheme, host, port or kind changes and
    /// no key is sent, the stored key is dropped. `Invalid` when the URL or kind of a provider's backend would change.
    async fn update_backend(&self, id: &BackendId, spec: BackendSpec) -> Result<Backend, StoreError>;
    /// Removes a backend and its pool assignments, and with a provider's backend the provider's key.
    async fn delete_backend(&self, id: &BackendId) -> Result<(), StoreError>;
    /// One backend.
    async fn backend(&self, id: &BackendId) -> Result<Backend, StoreError>;
    /// A page of backends.
    async fn backends(&self, page: Page) -> Result<Vec<Backend>, StoreError>;

    /// Declares a model (`patch.model` is its name and becomes its id). `Conflict` when the name is another model's
    /// name or id, `Invalid` when it is declared to do nothing at all.
    async fn create_model(&self, patch: ModelPatch) -> Result<Model, StoreError>;
    /// Changes the fields present, of the model with this id or name; capabilities over those declared or guessed.
    /// `Invalid` when it would be left with none, `Conflict` as on creation.
    async fn update_model(&self, id: &str, patch: ModelPatch) -> Result<Model, StoreError>;
    /// Removes the model with this id or name and its pool assignments.
    async fn delete_model(&self, id: &str) -> Result<Model, StoreError>;
    /// The model with this id or name.
    async fn model(&self, id: &str) -> Result<Model, StoreError>;
    /// A page of models.
    async fn models(&self, page: Page) -> Result<Vec<Model>, StoreError>;

    /// Stores a pool under a new UUID (`patch.name` is required). `Conflict` when the name is taken.
    async fn create_pool(&self, patch: PoolPatch) -> Result<Pool, StoreError>;
    /// Changes the fields present.
    async fn update_pool(&self, id: &PoolId, patch: PoolPatch) -> Result<Pool, StoreError>;
    /// Removes a pool and its assignments.
    async fn delete_pool(&self, id: &PoolId) -> Result<(), StoreError>;
    /// One pool.
    async fn pool(&self, id: &PoolId) -> Result<Pool, StoreError>;
    /// The pool of this name.
    async fn pool_by_name(&self, name: &str) -> Result<Pool, StoreError>;
    /// All pools, newest first.
    async fn pools(&self) -> Result<Vec<Pool>, StoreError>;
    /// A page of the pools of exactly this purpose.
    async fn pools_by_purpose(&self, purpose: &str, page: Page) -> Result<Vec<Pool>, StoreError>;

    /// Puts a backend into a pool. `NotFound` when either is unknown, `Conflict` when it is in already.
    async fn assign_backend(&self, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError>;
    /// Takes a backend out of a pool. `NotFound` when it is not in.
    async fn unassign_backend(&self, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError>;
    /// Backends of a pool, latest assignment first; empty for an unknown pool.
    async fn backends_of(&self, pool: &PoolId) -> Result<Vec<Backend>, StoreError>;
    /// Pools of a backend, latest assignment first; empty for an unknown backend.
    async fn pools_of_backend(&self, backend: &BackendId) -> Result<Vec<Pool>, StoreError>;
    /// Puts the model with this id or name into a pool. Errors as for backends.
    async fn assign_model(&self, pool: &PoolId, model: &str) -> Result<(), StoreError>;
    /// Takes a model out of a pool. `NotFound` when it is not in.
    async fn unassign_model(&self, pool: &PoolId, model: &str) -> Result<(), StoreError>;
    /// Models of a pool, latest assignment first; empty for an unknown pool.
    async fn models_of(&self, pool: &PoolId) -> Result<Vec<Model>, StoreError>;
    /// Pools of the model with this id or name, latest assignment first; empty for an unknown model.
    async fn pools_of_model(&self, model: &str) -> Result<Vec<Pool>, StoreError>;

    /// Stores a provider's key and creates or refreshes its backend (id = name = the provider's name) in one
    /// transaction; its pools, weight and the like are kept. `Invalid` when a key is stored already and `upsert` is
    /// false; `Conflict` when another backend has the provider's name or URL.
    async fn configure_provider(
        &self,
        provider: CloudProvider,
        key: ApiKey,
        base_url: String,
        upsert: bool,
    ) -> Result<ProviderConfig, StoreError>;
    /// What is stored for a provider; `NotFound` when nothing is.
    async fn provider(&self, provider: CloudProvider) -> Result<ProviderConfig, StoreError>;
    /// Removes the key, the provider's backend and its pool assignments in one transaction.
    async fn delete_provider(&self, provider: CloudProvider) -> Result<(), StoreError>;
    /// A page of the configured providers.
    async fn providers(&self, page: Page) -> Result<Vec<ProviderConfig>, StoreError>;

    /// Stores a hook under the given id or a new UUID. `Conflict` when name or id is taken.
    async fn create_hook(&self, id: Option<HookId>, spec: HookSpec) -> Result<Hook, StoreError>;
    /// Replaces a hook.
    async fn update_hook(&self, id: &HookId, spec: HookSpec) -> Result<Hook, StoreError>;
    /// Removes a hook.
    async fn delete_hook(&self, id: &HookId) -> Result<(), StoreError>;
    /// One hook.
    async fn hook(&self, id: &HookId) -> Result<Hook, StoreError>;
    /// The hook of this name; `NotFound` when there is none.
    async fn hook_by_name(&self, name: &str) -> Result<Hook, StoreError>;
    /// A page of hooks.
    async fn hooks(&self, page: Page) -> Result<Vec<Hook>, StoreError>;
    /// The names of all hooks, in order.
    async fn hook_names(&self) -> Result<Vec<String>, StoreError>;

    /// Stores an alias. `Conflict` when its name is another alias's.
    async fn create_alias(&self, spec: AliasSpec) -> Result<Alias, StoreError>;
    /// Replaces the alias of this name, which may get another one. `Conflict` as on creation.
    async fn update_alias(&self, name: &str, spec: AliasSpec) -> Result<Alias, StoreError>;
    /// Removes an alias.
    async fn delete_alias(&self, name: &str) -> Result<(), StoreError>;
    /// One alias.
    async fn alias(&self, name: &str) -> Result<Alias, StoreError>;
    /// A page of aliases.
    async fn aliases(&self, page: Page) -> Result<Vec<Alias>, StoreError>;

    /// Stores a token of which only the hash is kept. `Conflict` when its name is another token's.
    async fn create_token(&self, spec: TokenSpec, text: TokenText) -> Result<Token, StoreError>;
    /// Replaces what is said of a token; the token itself stays. `Conflict` as on creation.
    async fn update_token(&self, id: &TokenId, spec: TokenSpec) -> Result<Token, StoreError>;
    /// Removes a token: it opens nothing any more.
    async fn delete_token(&self, id: &TokenId) -> Result<(), StoreError>;
    /// One token.
    async fn token(&self, id: &TokenId) -> Result<Token, StoreError>;
    /// A page of tokens.
    async fn tokens(&self, page: Page) -> Result<Vec<Token>, StoreError>;

    /// Stores a chain under its own id, as version 1, or as the next version of the chain that has the id; its
    /// `created_at` is kept then. Numbers go on where they ended when a chain of this id was deleted, and only the latest
    /// [`MAX_CHAIN_VERSIONS`] are kept. `draft` is remembered.
    async fn put_chain(&self, chain: Chain, draft: bool) -> Result<StoredChain, StoreError>;
    /// The same for a chain that exists.
    async fn update_chain(&self, chain: Chain, draft: bool) -> Result<StoredChain, StoreError>;
    /// Removes a chain and all its versions.
    async fn delete_chain(&self, id: &ChainId) -> Result<(), StoreError>;
    /// One version of a chain, or the latest.
    async fn chain(&self, id: &ChainId, version: Option<u64>) -> Result<StoredChain, StoreError>;
    /// What is listed of that version, without reading the chain itself.
    async fn chain_version(&self, id: &ChainId, version: Option<u64>) -> Result<ChainVersion, StoreError>;
    /// The versions that are kept, newest first.
    async fn chain_versions(&self, id: &ChainId) -> Result<Vec<ChainVersion>, StoreError>;
    /// A page of chains, the latest version of each. `Invalid` when they are together larger than
    /// [`MAX_CHAIN_PAGE_BYTES`].
    async fn chains(&self, page: Page) -> Result<Vec<StoredChain>, StoreError>;
    /// The same page, of which only names and times are read.
    async fn chain_names(&self, page: Page) -> Result<Vec<NamedChain>, StoreError>;
}
