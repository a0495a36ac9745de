//! Backends: defaults, updates, uniqueness.

use std::collections::BTreeMap;

use super::{Home, backend, conflict, not_found};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::BackendId,
        page::Page,
        provider::ProviderKind,
    },
    stores::catalog::CatalogStore,
};

fn full(name: &str) -> BackendSpec {
    BackendSpec {
        base_url: format!("https://{name}.example/v1/"),
        kind: ProviderKind::Openai,
        api_key: Some(ApiKey::new("sk-own")),
        max_concurrency: Some(7),
        weight: Some(3),
        tier: Some(2),
        cloud: Some(false),
        enabled: Some(false),
        labels: Some(BTreeMap::from([("zone".to_owned(), "on-prem".to_owned())])),
        ..backend(name)
    }
}

pub(crate) async fn a_backend_is_stored_as_sent_with_the_defaults(home: &impl Home) {
    let store = home.open().await;
    let plain = store.create_backend(backend("plain")).await.unwrap();
    assert_eq!((plain.weight, plain.tier, plain.enabled, plain.cloud), (1, 0, true, None));
    assert_eq!((plain.max_concurrency, plain.api_key_set, plain.labels.len()), (None, false, 0));
    assert_eq!(plain.created_at, plain.updated_at);
    assert_eq!(store.backend(&plain.id).await.unwrap(), plain);

    let full = store.create_backend(full("full")).await.unwrap();
    assert_eq!((full.base_url.as_str(), full.kind), ("https://full.example/v1/", ProviderKind::Openai));
    assert_eq!((full.weight, full.tier, full.enabled, full.cloud), (3, 2, false, Some(false)));
    assert_eq!((full.max_concurrency, full.api_key_set), (Some(7), true));
    assert_eq!(full.labels["zone"], "on-prem");
    assert_eq!(store.backend(&full.id).await.unwrap(), full);
    assert_ne!(full.id, plain.id);
}

pub(crate) async fn an_update_keeps_what_it_does_not_name(home: &impl Home) {
    let store = home.open().await;
    let before = store.create_backend(full("before")).await.unwrap();
    let after = store.update_backend(&before.id, backend("after")).await.unwrap();
    assert_eq!((after.name.as_str(), after.base_url.as_str()), ("after", "http://after:11434"));
    assert_eq!((&after.id, after.created_at, after.kind), (&before.id, before.created_at, ProviderKind::Ollama));
    assert_eq!((after.weight, after.tier, after.enabled, after.cloud), (3, 2, false, Some(false)));
    assert_eq!((after.max_concurrency, &after.labels), (Some(7), &before.labels));
    assert!(after.updated_at >= before.updated_at);
    assert_eq!(store.backend(&before.id).await.unwrap(), after);

    let cleared = BackendSpec { labels: Some(BTreeMap::new()), enabled: Some(true), ..backend("after") };
    let cleared = store.update_backend(&before.id, cleared).await.unwrap();
    assert!(cleared.labels.is_empty() && cleared.enabled);
}

pub(crate) async fn a_key_does_not_follow_a_backend_to_another_server(home: &impl Home) {
    let store = home.open().await;
    let id = store.create_backend(full("b")).await.unwrap().id;
    let at = |url: &str| BackendSpec { api_key: None, base_url: url.to_owned(), ..full("b") };
    let restored = async || {
        assert!(store.update_backend(&id, full("b")).await.unwrap().api_key_set);
    };
    let own_key = async || store.intent().await.unwrap().backends[0].api_key.clone();

    for same in ["https://b.example", "https://B.example:443/v2", "https://b.example/v1/"] {
        assert!(store.update_backend(&id, at(same)).await.unwrap().api_key_set, "{same}");
        assert!(own_key().await == Some(ApiKey::new("sk-own")));
    }
    for other in ["http://b.example/v1/", "https://b.example:8443/v1/", "https://c.example/v1/"] {
        assert!(!store.update_backend(&id, at(other)).await.unwrap().api_key_set, "{other}");
        assert!(own_key().await.is_none());
        restored().await;
    }
    let other_kind = BackendSpec { kind: ProviderKind::Vllm, ..at("https://b.example/v1/") };
    assert!(!store.update_backend(&id, other_kind).await.unwrap().api_key_set);

    let moved = BackendSpec { api_key: Some(ApiKey::new("sk-new")), ..at("https://d.example") };
    assert!(store.update_backend(&id, moved).await.unwrap().api_key_set);
    assert!(own_key().await == Some(ApiKey::new("sk-new")));
}

pub(crate) async fn name_and_url_are_unique_and_a_trailing_slash_makes_no_difference(home: &impl Home) {
    let store = home.open().await;
    let first = store.create_backend(backend("first")).await.unwrap();
    let second = store.create_backend(backend("second")).await.unwrap();
    let same_name = BackendSpec { base_url: "http://other".to_owned(), ..backend("first") };
    let same_url = BackendSpec { base_url: "http://first:11434/".to_owned(), ..backend("other") };

    for outcome in [store.create_backend(same_name.clone()).await, store.update_backend(&second.id, same_name).await] {
        assert_eq!(conflict(outcome), "a backend named 'first' exists already");
    }
    for outcome in [store.create_backend(same_url.clone()).await, store.update_backend(&second.id, same_url).await] {
        assert_eq!(conflict(outcome), "a backend with the baseUrl 'http://first:11434/' exists already");
    }
    let itself = BackendSpec { base_url: "http://first:11434/".to_owned(), ..backend("first") };
    assert_eq!(store.update_backend(&first.id, itself).await.unwrap().base_url, "http://first:11434/");
}

pub(crate) async fn a_refused_update_changes_nothing(home: &impl Home) {
    let store = home.open().await;
    store.create_backend(backend("first")).await.unwrap();
    let second = store.create_backend(backend("second")).await.unwrap();
    conflict(store.update_backend(&second.id, full("first")).await);
    assert_eq!(store.backend(&second.id).await.unwrap(), second);
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    let unknown = BackendId::new("no-such-backend");
    not_found(store.backend(&unknown).await, "no-such-backend");
    not_found(store.update_backend(&unknown, backend("any")).await, "no-such-backend");
    not_found(store.delete_backend(&unknown).await, "no-such-backend");

    let known = store.create_backend(backend("known")).await.unwrap();
    store.delete_backend(&known.id).await.unwrap();
    not_found(store.backend(&known.id).await, known.id.as_str());
    assert!(store.backends(Page::default()).await.unwrap().is_empty());
}
