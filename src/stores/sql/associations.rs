//! Rows of `pool_backends` and `pool_models`: what belongs to which pool, since when.
//!
//! Owns both tables' SQL; rows go with the pool, backend or model they name. Called by `catalog` and `seed`.

use crate::{
    domain::{
        backend::Backend,
        ids::{BackendId, PoolId},
        model::Model,
        pool::Pool,
    },
    stores::{
        catalog::StoreError,
        sql::{
            backends, models, pools,
            session::{Session, Statements, Table},
        },
    },
};

pub(super) fn assign_backend(session: &Session, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError> {
    pools::get(session, pool)?;
    backends::get(session, backend)?;
    let created_at = session.admit(Table::PoolBackends)?;
    let sql = "INSERT INTO pool_backends (pool_id, backend_id, created_at) VALUES (?1, ?2, ?3)";
    match session.execute(sql, (pool.as_str(), backend.as_str(), created_at)) {
        Ok(_) => Ok(()),
        Err(error) if error.taken().is_some() => {
            Err(StoreError::Conflict(format!("backend '{backend}' is assigned to pool '{pool}' already")))
        }
        Err(error) => Err(error.into()),
    }
}

pub(super) fn unassign_backend(session: &Session, pool: &PoolId, backend: &BackendId) -> Result<(), StoreError> {
    let sql = "DELETE FROM pool_backends WHERE pool_id = ?1 AND backend_id = ?2";
    match session.execute(sql, (pool.as_str(), backend.as_str()))? {
        0 => Err(StoreError::NotFound(format!("backend '{backend}' not found in pool '{pool}'"))),
        _ => Ok(()),
    }
}

pub(super) fn backends_of(session: &Session, pool: &PoolId) -> Result<Vec<Backend>, StoreError> {
    let sql = "SELECT b.* FROM pool_backends p JOIN backends b ON b.id = p.backend_id
               WHERE p.pool_id = ?1 ORDER BY p.created_at DESC";
    Ok(session.list(sql, (pool.as_str(),), backends::from_row)?)
}

pub(super) fn pools_of_backend(session: &Session, backend: &BackendId) -> Result<Vec<Pool>, StoreError> {
    let sql = "SELECT p.* FROM pool_backends b JOIN pools p ON p.id = b.pool_id
               WHERE b.backend_id = ?1 ORDER BY b.created_at DESC";
    Ok(session.list(sql, (backend.as_str(),), pools::from_row)?)
}

pub(super) fn assign_model(session: &Session, pool: &PoolId, model: &str) -> Result<(), StoreError> {
    pools::get(session, pool)?;
    let model = models::get(session, model)?;
    let created_at = session.admit(Table::PoolModels)?;
    if insert_model(session, pool, &model, created_at)? {
        Ok(())
    } else {
        Err(StoreError::Conflict(format!("model '{}' is assigned to pool '{pool}' already", model.id)))
    }
}

/// Puts a model into a pool; false when it is in already.
pub(super) fn insert_model(
    session: &Session,
    pool: &PoolId,
    model: &Model,
    created_at: i64,
) -> Result<bool, StoreError> {
    let sql = "INSERT INTO pool_models (pool_id, model_id, created_at) VALUES (?1, ?2, ?3)
               ON CONFLICT (pool_id, model_id) DO NOTHING";
    Ok(session.execute(sql, (pool.as_str(), &model.id, created_at))? > 0)
}

pub(super) fn unassign_model(session: &Session, pool: &PoolId, model: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM pool_models
               WHERE pool_id = ?1 AND model_id IN (SELECT id FROM models WHERE id = ?2 OR name = ?2)";
    match session.execute(sql, (pool.as_str(), model))? {
        0 => Err(StoreError::NotFound(format!("model '{model}' not found in pool '{pool}'"))),
        _ => Ok(()),
    }
}

pub(super) fn models_of(session: &Session, pool: &PoolId) -> Result<Vec<Model>, StoreError> {
    let sql = "SELECT m.* FROM pool_models p JOIN models m ON m.id = p.model_id
               WHERE p.pool_id = ?1 ORDER BY p.created_at DESC";
    Ok(session.list(sql, (pool.as_str(),), models::from_row)?)
}

pub(super) fn pools_of_model(session: &Session, model: &str) -> Result<Vec<Pool>, StoreError> {
    let sql = "SELECT p.* FROM pool_models m JOIN pools p ON p.id = m.pool_id
               WHERE m.model_id IN (SELECT id FROM models WHERE id = ?1 OR name = ?1) ORDER BY m.created_at DESC";
    Ok(session.list(sql, (model,), pools::from_row)?)
}
