//! Stored intent: everything the runtime acts on, read from the store in one consistent step.

use crate::domain::{
    alias::Alias,
    backend::{ApiKey, Backend},
    ids::{BackendId, PoolId},
    model::Model,
    pool::Pool,
    time::Timestamp,
    token::{Token, TokenHash},
};

/// A backend with the key its calls use: its own, else, for the backend made from a provider's key, that key.
#[derive(Clone, PartialEq)]
pub struct BackendIntent {
    /// The stored record.
    pub backend: Backend,
    /// Key for upstream calls.
    pub api_key: Option<ApiKey>,
}

/// That a backend belongs to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendMembership {
    /// The pool.
    pub pool: PoolId,
    /// The backend in it.
    pub backend: BackendId,
    /// Since when.
    pub created_at: Timestamp,
}

/// That a model belongs to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelMembership {
    /// The pool.
    pub pool: PoolId,
    /// The model's id (not its name).
    pub model: String,
    /// Since when.
    pub created_at: Timestamp,
}

/// An API token and by what it is recognised.
#[derive(Clone, PartialEq)]
pub struct TokenIntent {
    /// The stored record.
    pub token: Token,
    /// Of the token itself.
    pub hash: TokenHash,
}

/// All of it. Oldest first in every list.
#[derive(Clone, PartialEq, Default)]
pub struct Intent {
    /// All backends.
    pub backends: Vec<BackendIntent>,
    /// All pools.
    pub pools: Vec<Pool>,
    /// All declared models.
    pub models: Vec<Model>,
    /// Which backends are in which pools.
    pub backend_members: Vec<BackendMembership>,
    /// Which models are in which pools.
    pub model_members: Vec<ModelMembership>,
    /// All aliases.
    pub aliases: Vec<Alias>,
    /// All API tokens.
    pub tokens: Vec<TokenIntent>,
}
