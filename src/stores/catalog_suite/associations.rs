//! What belongs to which pool, and what a deletion takes with it.

use super::{Home, backend, conflict, model, not_found, pool};
use crate::{
    domain::ids::{BackendId, PoolId},
    stores::catalog::CatalogStore,
};

pub(crate) async fn assigning_needs_both_sides_and_happens_once(home: &impl Home) {
    let store = home.open().await;
    let pool = store.create_pool(pool("p")).await.unwrap().id;
    let backend = store.create_backend(backend("b")).await.unwrap().id;
    store.create_model(model("m")).await.unwrap();
    let nowhere = PoolId::new("no-such-pool");

    not_found(store.assign_backend(&nowhere, &backend).await, "no-such-pool");
    not_found(store.assign_backend(&pool, &BackendId::new("no-such-backend")).await, "no-such-backend");
    not_found(store.assign_model(&nowhere, "m").await, "no-such-pool");
    not_found(store.assign_model(&pool, "no-such-model").await, "no-such-model");

    store.assign_backend(&pool, &backend).await.unwrap();
    store.assign_model(&pool, "m").await.unwrap();
    let text = conflict(store.assign_backend(&pool, &backend).await);
    assert!(text.contains(backend.as_str()) && text.contains(pool.as_str()), "{text}");
    let text = conflict(store.assign_model(&pool, "m").await);
    assert!(text.contains("'m'") && text.contains(pool.as_str()), "{text}");
}

pub(crate) async fn lists_are_latest_assignment_first_and_empty_for_the_unknown(home: &impl Home) {
    let store = home.open().await;
    let pools = [store.create_pool(pool("p1")).await.unwrap(), store.create_pool(pool("p2")).await.unwrap()];
    let b1 = store.create_backend(backend("b1")).await.unwrap();
    let b2 = store.create_backend(backend("b2")).await.unwrap();
    let m1 = store.create_model(model("m1")).await.unwrap();
    let m2 = store.create_model(model("m2")).await.unwrap();

    // Against the order of creation.
    for backend in [&b2, &b1] {
        store.assign_backend(&pools[0].id, &backend.id).await.unwrap();
    }
    for model in ["m2", "m1"] {
        store.assign_model(&pools[0].id, model).await.unwrap();
    }
    store.assign_backend(&pools[1].id, &b1.id).await.unwrap();
    store.assign_model(&pools[1].id, "m1").await.unwrap();

    let [p1, p2] = pools;
    assert_eq!(store.backends_of(&p1.id).await.unwrap(), [b1.clone(), b2]);
    assert_eq!(store.models_of(&p1.id).await.unwrap(), [m1, m2]);
    assert_eq!(store.pools_of_backend(&b1.id).await.unwrap(), [p2.clone(), p1.clone()]);
    assert_eq!(store.pools_of_model("m1").await.unwrap(), [p2, p1]);

    assert!(store.backends_of(&PoolId::new("no-such-pool")).await.unwrap().is_empty());
    assert!(store.models_of(&PoolId::new("no-such-pool")).await.unwrap().is_empty());
    assert!(store.pools_of_backend(&BackendId::new("no-such-backend")).await.unwrap().is_empty());
    assert!(store.pools_of_model("no-such-model").await.unwrap().is_empty());
}

pub(crate) async fn models_are_assigned_by_id_or_name(home: &impl Home) {
    let store = home.open().await;
    let pool = store.create_pool(pool("p")).await.unwrap();
    store.create_model(model("id")).await.unwrap();
    store.update_model("id", model("name")).await.unwrap();

    store.assign_model(&pool.id, "name").await.unwrap();
    conflict(store.assign_model(&pool.id, "id").await);
    for either in ["id", "name"] {
        assert_eq!(store.pools_of_model(either).await.unwrap(), std::slice::from_ref(&pool));
    }
    store.unassign_model(&pool.id, "id").await.unwrap();
    store.assign_model(&pool.id, "id").await.unwrap();
    store.unassign_model(&pool.id, "name").await.unwrap();
    assert!(store.models_of(&pool.id).await.unwrap().is_empty());
}

pub(crate) async fn taking_out_what_is_not_in_is_not_found(home: &impl Home) {
    let store = home.open().await;
    let pool = store.create_pool(pool("p")).await.unwrap().id;
    let backend = store.create_backend(backend("b")).await.unwrap().id;
    store.create_model(model("m")).await.unwrap();
    not_found(store.unassign_backend(&pool, &backend).await, backend.as_str());
    not_found(store.unassign_model(&pool, "m").await, "'m'");

    store.assign_backend(&pool, &backend).await.unwrap();
    store.unassign_backend(&pool, &backend).await.unwrap();
    assert!(store.backends_of(&pool).await.unwrap().is_empty());
    not_found(store.unassign_backend(&pool, &backend).await, backend.as_str());
}

pub(crate) async fn deleting_either_side_deletes_the_assignment_only(home: &impl Home) {
    let store = home.open().await;
    let kept = store.create_pool(pool("kept")).await.unwrap().id;
    let gone = store.create_pool(pool("gone")).await.unwrap().id;
    let b1 = store.create_backend(backend("b1")).await.unwrap().id;
    let b2 = store.create_backend(backend("b2")).await.unwrap().id;
    store.create_model(model("m1")).await.unwrap();
    store.create_model(model("m2")).await.unwrap();
    for pool in [&kept, &gone] {
        for backend in [&b1, &b2] {
            store.assign_backend(pool, backend).await.unwrap();
        }
        for model in ["m1", "m2"] {
            store.assign_model(pool, model).await.unwrap();
        }
    }

    store.delete_pool(&gone).await.unwrap();
    assert_eq!(store.pools_of_backend(&b1).await.unwrap().len(), 1);
    assert_eq!(store.pools_of_model("m1").await.unwrap().len(), 1);

    store.delete_backend(&b1).await.unwrap();
    store.delete_model("m1").await.unwrap();
    assert_eq!(store.backends_of(&kept).await.unwrap().len(), 1);
    assert_eq!(store.models_of(&kept).await.unwrap().len(), 1);
    let intent = store.intent().await.unwrap();
    assert_eq!((intent.backend_members.len(), intent.model_members.len(), intent.pools.len()), (1, 1, 1));
}
