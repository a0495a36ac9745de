//! Aliases: names, targets in their order, replacement.

use super::{Home, alias, conflict, not_found};
use crate::{
    domain::{
        alias::{AliasSpec, AliasTarget},
        page::Page,
        provider::ProviderKind,
    },
    stores::catalog::CatalogStore,
};

pub(crate) async fn an_alias_keeps_its_targets_in_their_order(home: &impl Home) {
    let store = home.open().await;
    let cloud = AliasTarget {
        model: "gpt-4o".to_owned(),
        providers: vec![ProviderKind::Openai, ProviderKind::Gemini],
        pool: Some("night shift".to_owned()),
    };
    let mut spec = alias("fast/ü");
    spec.targets.insert(0, cloud);
    let created = store.create_alias(spec.clone()).await.unwrap();
    assert_eq!((&created.name, &created.targets, created.created_at), (&spec.name, &spec.targets, created.updated_at));
    assert_eq!(store.alias("fast/ü").await.unwrap(), created);
    assert_eq!(store.aliases(Page::default()).await.unwrap(), std::slice::from_ref(&created));
    assert_eq!(store.intent().await.unwrap().aliases, [created]);
}

pub(crate) async fn an_update_replaces_targets_and_name_and_keeps_the_creation(home: &impl Home) {
    let store = home.open().await;
    let created = store.create_alias(alias("before")).await.unwrap();
    let target = AliasTarget { model: "other".to_owned(), providers: Vec::new(), pool: None };
    let spec = AliasSpec { name: "after".to_owned(), targets: vec![target] };
    let updated = store.update_alias("before", spec.clone()).await.unwrap();
    assert_eq!((&updated.name, &updated.targets, updated.created_at), (&spec.name, &spec.targets, created.created_at));
    assert!(updated.updated_at >= created.updated_at);
    not_found(store.alias("before").await, "before");
    assert_eq!(store.alias("after").await.unwrap(), updated);
}

pub(crate) async fn names_are_unique(home: &impl Home) {
    let store = home.open().await;
    store.create_alias(alias("first")).await.unwrap();
    let second = store.create_alias(alias("second")).await.unwrap();
    for outcome in [store.create_alias(alias("first")).await, store.update_alias("second", alias("first")).await] {
        assert_eq!(conflict(outcome), "an alias named 'first' exists already");
    }
    assert_eq!(store.alias("second").await.unwrap(), second);
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    store.create_alias(alias("gone")).await.unwrap();
    store.delete_alias("gone").await.unwrap();
    for unknown in ["gone", "no-such-alias"] {
        not_found(store.alias(unknown).await, unknown);
        not_found(store.update_alias(unknown, alias("any")).await, unknown);
        not_found(store.delete_alias(unknown).await, unknown);
    }
}
