//! Remote hooks: ids, names, replacement.

use super::{Home, conflict, hook, not_found};
use crate::{
    domain::{hook::HookSpec, ids::HookId, page::Page},
    stores::catalog::CatalogStore,
};

pub(crate) async fn a_hook_keeps_a_given_id_and_gets_one_otherwise(home: &impl Home) {
    let store = home.open().await;
    let given = store.create_hook(Some(HookId::new("mine")), hook("given")).await.unwrap();
    assert_eq!(given.id.as_str(), "mine");
    assert_eq!((given.method.as_str(), given.timeout_ms, given.created_at), ("POST", 1000, given.updated_at));
    let made = store.create_hook(None, hook("made")).await.unwrap();
    assert!(!made.id.as_str().is_empty());
    assert_eq!(store.hook(&made.id).await.unwrap(), made);
    assert_eq!(store.hook_by_name("given").await.unwrap(), given);
}

pub(crate) async fn an_update_replaces_all_but_id_and_creation(home: &impl Home) {
    let store = home.open().await;
    let created = store.create_hook(None, hook("before")).await.unwrap();
    let spec = HookSpec { method: "PUT".to_owned(), timeout_ms: i64::from(u32::MAX), ..hook("after") };
    let updated = store.update_hook(&created.id, spec.clone()).await.unwrap();
    assert_eq!((updated.name, updated.endpoint_url), (spec.name, spec.endpoint_url));
    assert_eq!((updated.method, updated.timeout_ms), (spec.method, spec.timeout_ms));
    assert_eq!((updated.id, updated.created_at), (created.id, created.created_at));
    assert!(updated.updated_at >= created.updated_at);
}

pub(crate) async fn name_and_id_are_unique(home: &impl Home) {
    let store = home.open().await;
    store.create_hook(Some(HookId::new("mine")), hook("first")).await.unwrap();
    let second = store.create_hook(None, hook("second")).await.unwrap();
    let id_taken = store.create_hook(Some(HookId::new("mine")), hook("third")).await;
    assert_eq!(conflict(id_taken), "a hook with the id 'mine' exists already");
    for outcome in [store.create_hook(None, hook("first")).await, store.update_hook(&second.id, hook("first")).await] {
        assert_eq!(conflict(outcome), "a hook named 'first' exists already");
    }
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    let unknown = HookId::new("no-such-hook");
    not_found(store.hook(&unknown).await, "no-such-hook");
    not_found(store.hook_by_name("no-such-hook").await, "no-such-hook");
    not_found(store.update_hook(&unknown, hook("any")).await, "no-such-hook");
    not_found(store.delete_hook(&unknown).await, "no-such-hook");
}

pub(crate) async fn names_are_listed_in_order(home: &impl Home) {
    let store = home.open().await;
    for name in ["b", "c", "a"] {
        store.create_hook(None, hook(name)).await.unwrap();
    }
    let c = store.hook_by_name("c").await.unwrap();
    store.delete_hook(&c.id).await.unwrap();
    assert_eq!(store.hook_names().await.unwrap(), ["a", "b"]);
    assert_eq!(store.hooks(Page::default()).await.unwrap().len(), 2);
}
