//! The runtime's view: complete, ordered, with the right keys.

use super::{Home, backend, model, pool, providers};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::BackendId,
        provider::{CloudProvider, ProviderKind},
    },
    stores::catalog::CatalogStore,
};

pub(crate) async fn it_holds_everything_oldest_first(home: &impl Home) {
    let store = home.open().await;
    let p1 = store.create_pool(pool("p1")).await.unwrap();
    let p2 = store.create_pool(pool("p2")).await.unwrap();
    let b1 = store.create_backend(backend("b1")).await.unwrap();
    let b2 = store.create_backend(backend("b2")).await.unwrap();
    let m1 = store.create_model(model("m1")).await.unwrap();
    let m2 = store.create_model(model("m2")).await.unwrap();
    for (pool, backend, model) in [(&p2, &b1, &m2), (&p1, &b2, &m1)] {
        store.assign_backend(&pool.id, &backend.id).await.unwrap();
        store.assign_model(&pool.id, &model.id).await.unwrap();
    }

    let intent = store.intent().await.unwrap();
    assert_eq!(intent.pools, [p1.clone(), p2.clone()]);
    assert_eq!(intent.models, [m1.clone(), m2.clone()]);
    assert_eq!(intent.backends.iter().map(|stored| &stored.backend).collect::<Vec<_>>(), [&b1, &b2]);
    let members: Vec<_> = intent.backend_members.iter().map(|member| (&member.pool, &member.backend)).collect();
    assert_eq!(members, [(&p2.id, &b1.id), (&p1.id, &b2.id)]);
    let members: Vec<_> = intent.model_members.iter().map(|member| (&member.pool, &member.model)).collect();
    assert_eq!(members, [(&p2.id, &m2.id), (&p1.id, &m1.id)]);
    assert!(intent.backend_members[0].created_at < intent.backend_members[1].created_at);
}

pub(crate) async fn a_backend_uses_its_own_key_and_only_the_providers_backend_the_providers(home: &impl Home) {
    let store = home.open().await;
    let openai = CloudProvider::Openai;
    store.configure_provider(openai, providers::key(), providers::URL.to_owned(), false).await.unwrap();
    let own = BackendSpec { kind: ProviderKind::Openai, api_key: Some(ApiKey::new("own")), ..backend("own") };
    store.create_backend(own).await.unwrap();
    store.create_backend(BackendSpec { kind: ProviderKind::Openai, ..backend("local") }).await.unwrap();

    let keys = async || -> Vec<Option<ApiKey>> {
        store.intent().await.unwrap().backends.into_iter().map(|stored| stored.api_key).collect()
    };
    assert!(keys().await == [Some(providers::key()), Some(ApiKey::new("own")), None]);

    let same = BackendSpec { kind: ProviderKind::Openai, base_url: providers::URL.to_owned(), ..backend("openai") };
    let overriding = BackendSpec { api_key: Some(ApiKey::new("overriding")), ..same.clone() };
    store.update_backend(&BackendId::new("openai"), overriding).await.unwrap();
    assert!(keys().await[0] == Some(ApiKey::new("overriding")));
    // An update that names no key keeps it.
    store.update_backend(&BackendId::new("openai"), same).await.unwrap();
    assert!(keys().await[0] == Some(ApiKey::new("overriding")));
}
