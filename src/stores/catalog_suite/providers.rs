//! Cloud providers: a key and a backend that live and die together.

use super::{Home, backend, conflict, invalid, not_found, pool};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::BackendId,
        page::Page,
        provider::{
            CloudProvider::{Gemini, Openai},
            ProviderKind,
        },
    },
    stores::catalog::CatalogStore,
};

pub(crate) const URL: &str = "https://api.openai.com/v1";

pub(crate) fn key() -> ApiKey {
    ApiKey::new("sk-0123456789-last")
}

pub(crate) async fn configuring_stores_a_masked_key_and_makes_the_backend(home: &impl Home) {
    let store = home.open().await;
    let config = store.configure_provider(Openai, key(), URL.to_owned(), false).await.unwrap();
    assert_eq!((config.provider, config.masked_key.as_str()), (Openai, "****last"));
    assert_eq!(config.created_at, config.updated_at);
    assert_eq!(store.provider(Openai).await.unwrap(), config);
    assert_eq!(store.providers(Page::default()).await.unwrap(), [config]);

    let backend = store.backend(&BackendId::new("openai")).await.unwrap();
    assert_eq!((backend.name.as_str(), backend.kind), ("openai", ProviderKind::Openai));
    assert_eq!((backend.base_url.as_str(), backend.api_key_set), (URL, false));
    assert!(store.pools_of_backend(&backend.id).await.unwrap().is_empty());
}

pub(crate) async fn a_second_key_needs_upsert_and_keeps_backend_and_pools(home: &impl Home) {
    let store = home.open().await;
    let id = BackendId::new("openai");
    let first = store.configure_provider(Openai, key(), URL.to_owned(), true).await.unwrap();
    let made = store.backend(&id).await.unwrap();
    let pool = store.create_pool(pool("p")).await.unwrap();
    store.assign_backend(&pool.id, &id).await.unwrap();
    let weighted = BackendSpec { weight: Some(5), ..unmoved("renamed") };
    store.update_backend(&id, weighted).await.unwrap();

    let text = invalid(store.configure_provider(Openai, ApiKey::new("sk-refused"), URL.to_owned(), false).await);
    assert!(text.contains("openai") && text.contains("upsert"), "{text}");
    assert_eq!(store.provider(Openai).await.unwrap(), first);

    let other = ApiKey::new("sk-9876543210-next");
    let second = store.configure_provider(Openai, other.clone(), "http://proxy".to_owned(), true).await.unwrap();
    assert_eq!((second.masked_key.as_str(), second.created_at), ("****next", first.created_at));
    assert!(second.updated_at >= first.updated_at);

    let refreshed = store.backend(&id).await.unwrap();
    assert_eq!((refreshed.name.as_str(), refreshed.kind), ("openai", ProviderKind::Openai));
    assert_eq!((refreshed.base_url.as_str(), refreshed.weight), ("http://proxy", 5));
    assert_eq!(refreshed.created_at, made.created_at);
    assert_eq!(store.pools_of_backend(&id).await.unwrap(), [pool]);
    assert!(store.intent().await.unwrap().backends[0].api_key == Some(other));
}

/// The provider's backend under another name.
fn unmoved(name: &str) -> BackendSpec {
    BackendSpec { base_url: URL.to_owned(), kind: ProviderKind::Openai, ..backend(name) }
}

pub(crate) async fn a_providers_backend_cannot_be_sent_elsewhere(home: &impl Home) {
    let store = home.open().await;
    let id = BackendId::new("openai");
    store.configure_provider(Openai, key(), URL.to_owned(), false).await.unwrap();
    let elsewhere = BackendSpec { base_url: "https://elsewhere.example".to_owned(), ..unmoved("openai") };
    let other_path = BackendSpec { base_url: format!("{URL}/other"), ..unmoved("openai") };
    let other_kind = BackendSpec { kind: ProviderKind::Ollama, ..unmoved("openai") };
    for spec in [elsewhere, other_path, other_kind] {
        let text = invalid(store.update_backend(&id, spec).await);
        assert!(text.contains("/providers/openai/configure"), "{text}");
    }
    assert_eq!(store.backend(&id).await.unwrap().base_url, URL);
    let slash = BackendSpec { base_url: format!("{URL}/"), weight: Some(3), ..unmoved("mine") };
    assert_eq!(store.update_backend(&id, slash).await.unwrap().weight, 3);

    // A new address comes with a new key for it; a key of the backend's own was for the old one.
    let own = BackendSpec { api_key: Some(ApiKey::new("sk-own")), ..unmoved("openai") };
    assert!(store.update_backend(&id, own).await.unwrap().api_key_set);
    store.configure_provider(Openai, key(), "http://proxy".to_owned(), true).await.unwrap();
    let moved = store.backend(&id).await.unwrap();
    assert_eq!((moved.base_url.as_str(), moved.api_key_set), ("http://proxy", false));
}

pub(crate) async fn a_provider_and_its_backend_go_together(home: &impl Home) {
    let store = home.open().await;
    let pool = store.create_pool(pool("p")).await.unwrap();
    for (provider, url) in [(Openai, URL), (Gemini, "https://gemini.example")] {
        store.configure_provider(provider, key(), url.to_owned(), false).await.unwrap();
        store.assign_backend(&pool.id, &BackendId::new(provider.as_str())).await.unwrap();
    }

    store.delete_provider(Openai).await.unwrap();
    not_found(store.backend(&BackendId::new("openai")).await, "openai");
    not_found(store.provider(Openai).await, "openai");

    store.delete_backend(&BackendId::new("gemini")).await.unwrap();
    not_found(store.provider(Gemini).await, "gemini");
    assert!(store.backends_of(&pool.id).await.unwrap().is_empty());
    assert!(store.providers(Page::default()).await.unwrap().is_empty());

    store.configure_provider(Openai, key(), URL.to_owned(), false).await.unwrap();
}

pub(crate) async fn a_taken_name_or_url_refuses_the_whole_configuration(home: &impl Home) {
    let store = home.open().await;
    let named = store.create_backend(backend("openai")).await.unwrap();
    let text = conflict(store.configure_provider(Openai, key(), URL.to_owned(), false).await);
    assert_eq!(text, "a backend named 'openai' exists already");
    not_found(store.provider(Openai).await, "openai");

    let same_url = BackendSpec { base_url: format!("{URL}/"), ..backend("other") };
    store.update_backend(&named.id, same_url).await.unwrap();
    conflict(store.configure_provider(Openai, key(), URL.to_owned(), true).await);
    not_found(store.provider(Openai).await, "openai");
    assert_eq!(store.backends(Page::default()).await.unwrap().len(), 1);
}

pub(crate) async fn what_is_not_configured_is_not_found(home: &impl Home) {
    let store = home.open().await;
    not_found(store.provider(Gemini).await, "gemini");
    not_found(store.delete_provider(Gemini).await, "gemini");
    // A backend that a user gave the provider's name is not the provider's.
    let named = store.create_backend(backend("gemini")).await.unwrap();
    not_found(store.delete_provider(Gemini).await, "gemini");
    store.backend(&named.id).await.unwrap();
}
