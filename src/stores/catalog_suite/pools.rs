//! Pools: defaults, updates, uniqueness.

use std::collections::BTreeMap;

use super::{Home, conflict, not_found, pool};
use crate::{
    domain::{
        ids::PoolId,
        pool::{CallSettings, Policy, PoolPatch, QueueLimits},
    },
    stores::catalog::CatalogStore,
};

pub(crate) async fn a_pool_is_stored_with_the_defaults_and_found_by_name(home: &impl Home) {
    let store = home.open().await;
    let created = store.create_pool(pool("my pool/ü")).await.unwrap();
    assert_eq!((created.purpose_type.as_str(), created.policy), ("", Policy::LeastLoaded));
    assert_eq!((created.queue, created.require_labels.len()), (QueueLimits::default(), 0));
    assert_eq!(created.created_at, created.updated_at);
    assert_eq!(store.pool(&created.id).await.unwrap(), created);
    assert_eq!(store.pool_by_name("my pool/ü").await.unwrap(), created);

    let later = store.create_pool(pool("later")).await.unwrap();
    assert_eq!(store.pools().await.unwrap(), [later, created]);
}

pub(crate) async fn an_update_keeps_what_it_does_not_name(home: &impl Home) {
    let store = home.open().await;
    let labels = BTreeMap::from([("zone".to_owned(), "on-prem".to_owned())]);
    let full = PoolPatch {
        purpose_type: Some("purpose".to_owned()),
        policy: Some(Policy::RoundRobin),
        queue: Some(QueueLimits { capacity: 1, max_wait_ms: 2 }),
        require_labels: Some(labels.clone()),
        calls: Some(CallSettings { single_flight: true, ..CallSettings::default() }),
        ..pool("full")
    };
    let created = store.create_pool(full).await.unwrap();
    let updated = store.update_pool(&created.id, pool("renamed")).await.unwrap();
    assert_eq!((updated.name.as_str(), updated.purpose_type.as_str()), ("renamed", "purpose"));
    assert_eq!((updated.policy, updated.queue.capacity, &updated.require_labels), (Policy::RoundRobin, 1, &labels));
    assert!(updated.calls.single_flight);
    assert_eq!(updated.created_at, created.created_at);
    assert!(updated.updated_at >= created.updated_at);

    let cleared = PoolPatch { purpose_type: Some(String::new()), ..PoolPatch::default() };
    let cleared = store.update_pool(&created.id, cleared).await.unwrap();
    assert_eq!((cleared.name.as_str(), cleared.purpose_type.as_str()), ("renamed", ""));
    assert_eq!(store.pool(&created.id).await.unwrap(), cleared);
}

pub(crate) async fn names_are_unique(home: &impl Home) {
    let store = home.open().await;
    store.create_pool(pool("first")).await.unwrap();
    let second = store.create_pool(pool("second")).await.unwrap();
    for outcome in [store.create_pool(pool("first")).await, store.update_pool(&second.id, pool("first")).await] {
        assert_eq!(conflict(outcome), "a pool named 'first' exists already");
    }
    assert_eq!(store.pool(&second.id).await.unwrap(), second);
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    let unknown = PoolId::new("no-such-pool");
    not_found(store.pool(&unknown).await, "no-such-pool");
    not_found(store.pool_by_name("no-such-pool").await, "no-such-pool");
    not_found(store.update_pool(&unknown, pool("any")).await, "no-such-pool");
    not_found(store.delete_pool(&unknown).await, "no-such-pool");
}
