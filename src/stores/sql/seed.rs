//! The pools and models that exist from the first start on (`docs/operations.md`, created at startup).
//!
//! Owns what a repeated start may change: nothing a user has set. Called by `catalog`.

use crate::{
    domain::{
        ids::PoolId,
        model::{Capabilities, Model},
        pool::PoolPatch,
    },
    stores::{
        catalog::{SeedModel, SeedPool, StoreError},
        sql::{
            associations, models, pools,
            session::{Session, Table},
        },
    },
};

pub(super) fn seed(session: &Session, pools: Vec<SeedPool>, models: &[SeedModel]) -> Result<(), StoreError> {
    for pool in pools {
        ensure_pool(session, pool)?;
    }
    for model in models {
        ensure_model(session, model)?;
    }
    Ok(())
}

fn ensure_pool(session: &Session, seed: SeedPool) -> Result<(), StoreError> {
    if pools::find(session, &seed.id)?.is_none() {
        let patch = PoolPatch { name: Some(seed.name), purpose_type: Some(seed.purpose_type), ..PoolPatch::default() };
        let created_at = session.next_created_at(Table::Pools)?;
        pools::insert(session, &seed.id, &patch, created_at)?;
    }
    Ok(())
}

/// A second seed of the same model comes here as one that exists and is new to its pool.
fn ensure_model(session: &Session, seed: &SeedModel) -> Result<(), StoreError> {
    let Some(stored) = models::find_same(session, &seed.name)? else {
        // Another model by now, and as long as it keeps its id there can be none of that name beside it.
        if let Some(renamed) = models::find(session, &seed.name)? {
            tracing::warn!(
                model = %seed.name,
                renamed = %renamed.name,
                "the default model is not declared: a model declared under its name was renamed since; \
                 remove that one and start again"
            );
            return Ok(());
        }
        let created_at = session.next_created_at(Table::Models)?;
        let model = models::insert(session, &seed.name, seed.context_length, Some(seed.capabilities), created_at)?;
        assign(session, &seed.pool, &model)?;
        return Ok(());
    };
    let newly_assigned = assign(session, &seed.pool, &stored)?;
    let wanted = Model {
        context_length: if stored.context_length == 0 { seed.context_length } else { stored.context_length },
        // Once it is in the pool, what it can do is the user's to say; until then it must be of use there.
        capabilities: if newly_assigned { Some(with_seeded(&stored, seed.capabilities)) } else { stored.capabilities },
        ..stored.clone()
    };
    if wanted != stored {
        models::replace(session, &wanted)?;
    }
    Ok(())
}

fn with_seeded(stored: &Model, seeded: Capabilities) -> Capabilities {
    stored.known_capabilities().union(seeded)
}

fn assign(session: &Session, pool: &PoolId, model: &Model) -> Result<bool, StoreError> {
    let created_at = session.next_created_at(Table::PoolModels)?;
    associations::insert_model(session, pool, model, created_at)
}
