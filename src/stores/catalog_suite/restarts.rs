//! What is there after a clean stop and a new start.

use super::{Home, alias, backend, chain, hook, model, pool, providers};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::ChainId,
        model::ModelPatch,
        page::Page,
        provider::CloudProvider,
    },
    stores::catalog::CatalogStore,
};

pub(crate) async fn everything_is_there_after_a_restart(home: &impl Home) {
    let store = home.open().await;
    let own_key = BackendSpec { api_key: Some(ApiKey::new("sk-own")), ..backend("b") };
    let backend = store.create_backend(own_key).await.unwrap();
    let model = store.create_model(ModelPatch { can_embed: Some(true), ..model("m") }).await.unwrap();
    let pool = store.create_pool(pool("p")).await.unwrap();
    let hook = store.create_hook(None, hook("h")).await.unwrap();
    let alias = store.create_alias(alias("a")).await.unwrap();
    let first_version = store.put_chain(chain("c"), true).await.unwrap();
    let chain = store.put_chain(chain("c"), false).await.unwrap();
    let openai = CloudProvider::Openai;
    let config = store.configure_provider(openai, providers::key(), providers::URL.to_owned(), false).await.unwrap();
    store.assign_backend(&pool.id, &backend.id).await.unwrap();
    store.assign_model(&pool.id, &model.id).await.unwrap();
    let intent = store.intent().await.unwrap();
    home.close(store).await;

    let store = home.open().await;
    assert!(store.intent().await.unwrap() == intent);
    assert_eq!(store.backend(&backend.id).await.unwrap(), backend);
    assert_eq!(store.model("m").await.unwrap(), model);
    assert_eq!(store.pool(&pool.id).await.unwrap(), pool);
    assert_eq!(store.hook(&hook.id).await.unwrap(), hook);
    assert_eq!(store.alias("a").await.unwrap(), alias);
    let id = ChainId::new("c");
    assert_eq!(store.chain(&id, None).await.unwrap(), chain);
    assert_eq!(store.chain(&id, Some(1)).await.unwrap(), first_version);
    assert_eq!(store.provider(openai).await.unwrap(), config);
    assert_eq!(store.backends_of(&pool.id).await.unwrap(), [backend]);
    assert_eq!(store.models_of(&pool.id).await.unwrap(), [model]);
}

pub(crate) async fn times_keep_rising_after_a_restart(home: &impl Home) {
    let mut times = Vec::new();
    for start in 0..3 {
        let store = home.open().await;
        for number in 0..3 {
            times.push(store.create_backend(backend(&format!("b{start}-{number}"))).await.unwrap().created_at);
        }
        home.close(store).await;
    }
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    assert_eq!(home.open().await.backends(Page::default()).await.unwrap().len(), 9);
}
