//! Order, cursors and the cap: the same for every type of resource.

use std::collections::BTreeSet;

use futures_util::future::join_all;

use super::{Home, alias, backend, chain, hook, model, pool, providers, refusal, token};
use crate::{
    domain::{ids::ChainId, page::Page, pool::PoolPatch, provider::CloudProvider, time::Timestamp, token::TokenText},
    stores::catalog::{CatalogStore, StoreError},
};

/// Pages through a list of `total` entries and checks that each comes once, newest first.
async fn walk(total: usize, list: impl AsyncFn(Page) -> Vec<Timestamp>) {
    let all = list(Page::default()).await;
    assert_eq!(all.len(), total);
    assert!(all.windows(2).all(|pair| pair[0] > pair[1]), "strictly newest first");

    for limit in 1..=total {
        let mut seen: Vec<Timestamp> = Vec::new();
        let mut before = None;
        // At most one page an entry and an empty one.
        for _ in 0..=total {
            let page = list(Page { before, limit }).await;
            assert!(page.len() <= limit);
            seen.extend(&page);
            before = page.last().copied();
            if page.len() < limit {
                break;
            }
        }
        assert_eq!(seen, all, "pages of {limit}");
    }
    assert!(list(Page { before: all.last().copied(), limit: 10 }).await.is_empty());
    assert!(list(Page { before: Some(Timestamp::ZERO), limit: 10 }).await.is_empty());
}

pub(crate) async fn backends_are_paged(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.create_backend(backend(&format!("b{number}"))).await.unwrap();
    }
    walk(5, async |page| store.backends(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn models_are_paged(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.create_model(model(&format!("m{number}"))).await.unwrap();
    }
    walk(5, async |page| store.models(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn hooks_are_paged(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.create_hook(None, hook(&format!("h{number}"))).await.unwrap();
    }
    walk(5, async |page| store.hooks(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn aliases_are_paged(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.create_alias(alias(&format!("a{number}"))).await.unwrap();
    }
    walk(5, async |page| store.aliases(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn tokens_are_paged(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.create_token(token(&format!("t{number}")), TokenText::from_random([number; 32])).await.unwrap();
    }
    walk(5, async |page| store.tokens(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn chains_are_paged_by_their_creation(home: &impl Home) {
    let store = home.open().await;
    for number in 0..5 {
        store.put_chain(chain(&format!("c{number}")), false).await.unwrap();
    }
    // A later version does not move a chain.
    store.put_chain(chain("c2"), true).await.unwrap();
    walk(5, async |page| store.chains(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
    walk(5, async |page| store.chain_names(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
    let named = store.chain_names(Page { limit: 3, ..Page::default() }).await.unwrap();
    let seen: Vec<_> = named.iter().map(|row| (row.id.as_str(), row.draft)).collect();
    assert_eq!(seen, [("c4", false), ("c3", false), ("c2", true)]);
    assert!(named[2].updated_at > named[2].created_at);
    let listed = store.chains(Page::default()).await.unwrap();
    let seen: Vec<_> = listed.iter().map(|row| (row.chain.id.as_str(), row.version, row.draft)).collect();
    assert_eq!(seen, [("c4", 1, false), ("c3", 1, false), ("c2", 2, true), ("c1", 1, false), ("c0", 1, false)]);
}

pub(crate) async fn providers_are_paged(home: &impl Home) {
    let store = home.open().await;
    for provider in CloudProvider::ALL {
        let url = format!("http://{}", provider.as_str());
        store.configure_provider(provider, providers::key(), url, false).await.unwrap();
    }
    walk(2, async |page| store.providers(page).await.unwrap().iter().map(|row| row.created_at).collect()).await;
}

pub(crate) async fn pools_of_a_purpose_are_paged_and_matched_exactly(home: &impl Home) {
    let store = home.open().await;
    for number in 0..3 {
        for purpose in ["Internal Tasks", "internal tasks", "Internal"] {
            let name = format!("{purpose}{number}");
            store.create_pool(PoolPatch { purpose_type: Some(purpose.to_owned()), ..pool(&name) }).await.unwrap();
        }
    }
    walk(3, async |page| {
        let pools = store.pools_by_purpose("Internal Tasks", page).await.unwrap();
        pools.iter().map(|row| row.created_at).collect()
    })
    .await;
    assert!(store.pools_by_purpose("no such purpose", Page::default()).await.unwrap().is_empty());
}

pub(crate) async fn a_hundred_concurrent_creations_have_distinct_rising_times(home: &impl Home) {
    let store = home.open().await;
    let created = join_all((0..100).map(|number| store.create_backend(backend(&format!("b{number}"))))).await;
    let times: BTreeSet<_> = created.into_iter().map(|outcome| outcome.unwrap().created_at).collect();
    assert_eq!(times.len(), 100);
    let stored = store.backends(Page::default()).await.unwrap();
    assert!(stored.iter().map(|row| row.created_at).eq(times.into_iter().rev()));
}

pub(crate) async fn each_type_is_full_at_the_cap_and_has_room_after_a_deletion(home: &impl Home) {
    let store = home.open_with_cap(1).await;
    let first_pool = store.create_pool(pool("1")).await.unwrap().id;
    let first_backend = store.create_backend(backend("1")).await.unwrap().id;
    store.create_model(model("1")).await.unwrap();
    let first_hook = store.create_hook(None, hook("1")).await.unwrap().id;
    store.put_chain(chain("1"), false).await.unwrap();
    store.create_alias(alias("1")).await.unwrap();
    let first_token = store.create_token(token("1"), TokenText::from_random([1; 32])).await.unwrap().id;

    let full = |refused| assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    full(refusal(store.create_pool(pool("2")).await));
    full(refusal(store.create_backend(backend("2")).await));
    full(refusal(store.create_model(model("2")).await));
    full(refusal(store.create_hook(None, hook("2")).await));
    full(refusal(store.put_chain(chain("2"), false).await));
    full(refusal(store.create_alias(alias("2")).await));
    full(refusal(store.create_token(token("2"), TokenText::from_random([2; 32])).await));
    store.put_chain(chain("1"), false).await.expect("another version is no other chain");
    let provider = CloudProvider::Openai;
    full(refusal(store.configure_provider(provider, providers::key(), "http://1".to_owned(), false).await));
    assert!(store.providers(Page::default()).await.unwrap().is_empty());

    store.delete_pool(&first_pool).await.unwrap();
    store.delete_backend(&first_backend).await.unwrap();
    store.delete_model("1").await.unwrap();
    store.delete_hook(&first_hook).await.unwrap();
    store.delete_chain(&ChainId::new("1")).await.unwrap();
    store.delete_alias("1").await.unwrap();
    store.delete_token(&first_token).await.unwrap();
    store.create_token(token("2"), TokenText::from_random([2; 32])).await.unwrap();
    store.create_pool(pool("2")).await.unwrap();
    store.create_backend(backend("2")).await.unwrap();
    store.create_model(model("2")).await.unwrap();
    store.create_hook(None, hook("2")).await.unwrap();
    store.put_chain(chain("2"), false).await.unwrap();
    store.create_alias(alias("2")).await.unwrap();
}
