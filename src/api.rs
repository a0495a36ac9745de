//! What each route does, free of HTTP: typed input in, a [`Reply`] or an [`Error`](crate::error::Error) out.
//!
//! One file a resource. Writes go to the store and then poke reconcile; reads of live state come from what the actors
//! publish. `http::router` is the only caller.

pub mod aliases;
mod aside;
pub mod associations;
pub mod backends;
pub mod chain_chat;
mod chain_model;
pub mod chain_programs;
mod diagnostics;
pub mod docs_page;
pub mod embed;
pub mod events;
pub mod execute;
mod failure;
mod fields;
pub mod hooks;
mod incapable;
pub mod keys;
pub mod live;
pub mod log_level;
pub mod model_catalog;
pub mod models;
pub mod ollama;
pub mod openai;
pub mod openapi;
pub mod pools;
pub mod providers;
pub mod queue;
mod registry;
pub mod reply;
mod run;
pub mod runs;
pub mod scope;
pub mod service;
pub mod stream;
mod suggestion;
pub mod taskchains;
pub mod tasks;
pub mod tokens;
pub mod validation;

use std::sync::Arc;

use crate::{
    config::{DefaultsConfig, UpstreamConfig},
    domain::{
        cluster::ClusterEvent,
        ids::{InstanceId, PoolId},
        model::same_model,
        pool::{EMBED_POOL, TASKS_POOL},
    },
    runtime::Runtime,
    stores::catalog::CatalogStore,
};

pub use self::{
    chain_programs::ChainPrograms,
    reply::{Reply, ReplyBody},
};

/// What handlers work with; cheap to clone.
#[derive(Clone)]
pub struct Api {
    /// Stored configuration.
    pub store: Arc<dyn CatalogStore>,
    /// The live side.
    pub runtime: Runtime,
    /// Default models and what is asked of them.
    pub defaults: Arc<DefaultsConfig>,
    /// Where the cloud providers are.
    pub upstream: Arc<UpstreamConfig>,
    /// Compiled stored chains.
    pub programs: ChainPrograms,
    /// Whether `TOKEN` is set, so that not everybody may do everything.
    pub is_protected: bool,
    /// This process: eight characters, new at every start.
    pub instance: InstanceId,
}

impl Api {
    /// Whether a pool was seeded and so may not be renamed or deleted.
    fn is_default_pool(id: &PoolId) -> bool {
        matches!(id.as_str(), EMBED_POOL | TASKS_POOL)
    }

    /// Whether a model is one of the two defaults.
    fn is_default_model(&self, name: &str) -> bool {
        same_model(name, &self.defaults.task_model) || same_model(name, &self.defaults.embed_model)
    }

    /// Whether the model is the default of this seeded pool.
    fn is_default_model_of(&self, pool: &PoolId, name: &str) -> bool {
        match pool.as_str() {
            EMBED_POOL => same_model(name, &self.defaults.embed_model),
            TASKS_POOL => same_model(name, &self.defaults.task_model),
            _ => false,
        }
    }

    /// A stored change that callers see in force by the time they get their answer.
    async fn put_in_force(&self) {
        self.runtime.peers.tell(ClusterEvent::Changed);
        if let Err(error) = self.runtime.reconcile.apply().await {
            tracing::warn!(%error, "a stored change is not in force yet");
        }
    }
}
