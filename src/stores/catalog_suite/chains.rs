//! Stored chains: their versions, what deletion leaves behind, concurrent writes.

use futures_util::future::join_all;

use super::{Home, chain, invalid, not_found};
use crate::{
    domain::{
        chain::{Chain, Task},
        ids::ChainId,
        page::Page,
    },
    stores::catalog::{CatalogStore, MAX_CHAIN_PAGE_BYTES, MAX_CHAIN_VERSIONS},
};

fn described(id: &str, description: &str) -> Chain {
    Chain { description: description.to_owned(), ..chain(id) }
}

async fn numbers(store: &impl CatalogStore, id: &ChainId) -> Vec<u64> {
    store.chain_versions(id).await.unwrap().iter().map(|version| version.version).collect()
}

pub(crate) async fn a_chain_is_stored_as_sent_under_its_id(home: &impl Home) {
    let store = home.open().await;
    let id = ChainId::new("a/b ü '%'");
    let sent: Chain = serde_json::from_str(
        r#"{"id": "a/b ü '%'", "debug": true, "token_limit": 7, "input_schema": {"b": 1, "a": 0.5},
            "tasks": [{"id": "t", "handler": "condition_key", "valid_conditions": {"z": true, "a": false},
                "execute_config": {"temperature": 0.1}, "transition": {"branches": [{"when": 7, "goto": "end"}]}}]}"#,
    )
    .unwrap();
    let stored = store.put_chain(sent.clone(), true).await.unwrap();
    assert_eq!((stored.version, stored.draft, stored.created_at), (1, true, stored.updated_at));
    assert_eq!(stored.chain, sent);
    assert_eq!(store.chain(&id, None).await.unwrap(), stored);
    assert_eq!(store.chains(Page::default()).await.unwrap(), [stored]);
}

pub(crate) async fn every_write_makes_a_version_and_all_of_them_can_be_read(home: &impl Home) {
    let (store, id) = (home.open().await, ChainId::new("c"));
    let first = store.put_chain(described("c", "one"), false).await.unwrap();
    let second = store.update_chain(described("c", "two"), true).await.unwrap();
    let third = store.put_chain(described("c", "two"), false).await.unwrap();
    assert_eq!([first.version, second.version, third.version], [1, 2, 3]);
    assert_eq!([second.created_at, third.created_at], [first.created_at; 2]);
    assert!(first.updated_at <= second.updated_at && second.updated_at <= third.updated_at);
    for stored in [&first, &second, &third] {
        assert_eq!(store.chain(&id, Some(stored.version)).await.unwrap(), *stored);
        let listed = store.chain_version(&id, Some(stored.version)).await.unwrap();
        assert_eq!((listed.version, listed.draft), (stored.version, stored.draft));
        assert_eq!(listed.created_at, stored.updated_at);
    }
    assert_eq!(store.chain(&id, None).await.unwrap(), third);
    assert_eq!(store.chain_version(&id, None).await.unwrap().version, 3);
    assert_eq!(numbers(&*store, &id).await, [3, 2, 1]);
}

pub(crate) async fn the_latest_hundred_versions_are_kept(home: &impl Home) {
    let (store, id) = (home.open().await, ChainId::new("c"));
    store.put_chain(chain("other"), false).await.unwrap();
    for _ in 0..MAX_CHAIN_VERSIONS + 3 {
        store.put_chain(chain("c"), false).await.unwrap();
    }
    let kept: Vec<u64> = (4..=MAX_CHAIN_VERSIONS + 3).rev().collect();
    assert_eq!(numbers(&*store, &id).await, kept);
    not_found(store.chain(&id, Some(3)).await, "version 3 of task chain 'c'");
    assert_eq!(store.chain(&id, Some(4)).await.unwrap().version, 4);
    assert_eq!(numbers(&*store, &ChainId::new("other")).await, [1]);
}

pub(crate) async fn numbers_go_on_after_a_deletion(home: &impl Home) {
    let (store, id) = (home.open_with_cap(2).await, ChainId::new("c"));
    for _ in 0..3 {
        store.put_chain(chain("c"), false).await.unwrap();
    }
    store.delete_chain(&id).await.unwrap();
    not_found(store.chain(&id, Some(3)).await, "task chain 'c'");
    not_found(store.chain_versions(&id).await, "task chain 'c'");
    assert!(store.chains(Page::default()).await.unwrap().is_empty());
    let again = store.put_chain(chain("c"), false).await.unwrap();
    assert_eq!((again.version, again.created_at), (4, again.updated_at));
    assert_eq!(numbers(&*store, &id).await, [4]);
    store.delete_chain(&id).await.unwrap();
    // As many deletions are remembered as there may be chains.
    for other in ["x", "y"] {
        store.put_chain(chain(other), false).await.unwrap();
        store.delete_chain(&ChainId::new(other)).await.unwrap();
    }
    assert_eq!(store.put_chain(chain("y"), false).await.unwrap().version, 2);
    assert_eq!(store.put_chain(chain("c"), false).await.unwrap().version, 1);
}

pub(crate) async fn concurrent_writes_make_versions_without_gaps(home: &impl Home) {
    let (store, id) = (home.open().await, ChainId::new("c"));
    store.put_chain(chain("c"), false).await.unwrap();
    let writes = (0..60).map(|number| store.update_chain(described("c", &number.to_string()), false));
    let mut written = join_all(writes).await.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    written.sort_by_key(|stored| stored.version);
    assert!(written.iter().map(|stored| stored.version).eq(2..=61));
    for stored in &written {
        assert_eq!(store.chain(&id, Some(stored.version)).await.unwrap(), *stored);
    }
    assert!(written.windows(2).all(|pair| pair[0].updated_at <= pair[1].updated_at));
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    let unknown = ChainId::new("no-such-chain");
    not_found(store.chain(&unknown, None).await, "no-such-chain");
    not_found(store.chain_version(&unknown, None).await, "no-such-chain");
    not_found(store.chain_versions(&unknown).await, "no-such-chain");
    not_found(store.update_chain(chain("no-such-chain"), false).await, "no-such-chain");
    not_found(store.delete_chain(&unknown).await, "no-such-chain");
    store.put_chain(chain("c"), false).await.unwrap();
    for version in [0, 2, u64::MAX] {
        not_found(store.chain(&ChainId::new("c"), Some(version)).await, &format!("version {version}"));
        not_found(store.chain_version(&ChainId::new("c"), Some(version)).await, &format!("version {version}"));
    }
}

pub(crate) async fn a_page_larger_than_its_bound_is_refused_and_a_shorter_one_is_not(home: &impl Home) {
    let store = home.open().await;
    // Some bytes below a third of the bound: with what is around the text, three are above it.
    let text = "x".repeat(usize::try_from(MAX_CHAIN_PAGE_BYTES / 3).unwrap());
    for number in 0..3 {
        let task = Task { prompt_template: text.clone(), ..Task::default() };
        let large = Chain { tasks: vec![task], ..chain(&format!("c{number}")) };
        store.put_chain(large, true).await.unwrap();
    }
    assert!(invalid(store.chains(Page::default()).await).contains("lower 'limit'"));
    assert_eq!(store.chains(Page { limit: 2, ..Page::default() }).await.unwrap().len(), 2);
}
