//! API tokens: what is kept of them, replacement, uniqueness.

use super::{Home, conflict, not_found, token};
use crate::{
    domain::{
        ids::TokenId,
        page::Page,
        time::Timestamp,
        token::{Scope, TokenLimits, TokenSpec, TokenText},
    },
    stores::catalog::CatalogStore,
};

fn text(byte: u8) -> TokenText {
    TokenText::from_random([byte; 32])
}

pub(crate) async fn a_token_is_recognised_by_its_hash_and_shown_by_its_end(home: &impl Home) {
    let store = home.open().await;
    let limits = TokenLimits { requests_per_minute: 60.try_into().ok(), ..TokenLimits::default() };
    let end = Timestamp::from_micros(4_000_000_000_000_000);
    let spec = TokenSpec { scopes: vec![Scope::Run, Scope::Read], limits, expires_at: Some(end), ..token("ci") };
    let created = store.create_token(spec, text(1)).await.unwrap();
    assert_eq!((created.name.as_str(), &created.scopes[..]), ("ci", &[Scope::Run, Scope::Read][..]));
    assert_eq!((created.limits, created.expires_at), (limits, Some(end)));
    assert!(text(1).expose().ends_with(&created.hint) && created.hint.len() == 4);
    assert_eq!(store.token(&created.id).await.unwrap(), created);
    assert_eq!(store.tokens(Page::default()).await.unwrap(), std::slice::from_ref(&created));
    let known = store.intent().await.unwrap().tokens;
    assert!(known.len() == 1 && known[0].token == created && known[0].hash == text(1).hash());
}

pub(crate) async fn an_update_replaces_what_is_said_of_it_and_keeps_the_token(home: &impl Home) {
    let store = home.open().await;
    let created = store.create_token(token("before"), text(1)).await.unwrap();
    let spec = TokenSpec { scopes: vec![Scope::Admin], ..token("after") };
    let updated = store.update_token(&created.id, spec).await.unwrap();
    assert_eq!((updated.name.as_str(), &updated.scopes[..]), ("after", &[Scope::Admin][..]));
    assert_eq!((&updated.hint, updated.created_at), (&created.hint, created.created_at));
    assert!(store.intent().await.unwrap().tokens[0].hash == text(1).hash());
}

pub(crate) async fn names_are_unique(home: &impl Home) {
    let store = home.open().await;
    store.create_token(token("first"), text(1)).await.unwrap();
    let second = store.create_token(token("second"), text(2)).await.unwrap();
    let taken =
        [store.create_token(token("first"), text(3)).await, store.update_token(&second.id, token("first")).await];
    for outcome in taken {
        assert_eq!(conflict(outcome), "a token named 'first' exists already");
    }
    assert_eq!(store.token(&second.id).await.unwrap(), second);
}

pub(crate) async fn what_is_unknown_is_not_found_by_any_method(home: &impl Home) {
    let store = home.open().await;
    let gone = store.create_token(token("gone"), text(1)).await.unwrap().id;
    store.delete_token(&gone).await.unwrap();
    for unknown in [gone, TokenId::new("no-such-token")] {
        not_found(store.token(&unknown).await, unknown.as_str());
        not_found(store.update_token(&unknown, token("any")).await, unknown.as_str());
        not_found(store.delete_token(&unknown).await, unknown.as_str());
    }
    assert!(store.intent().await.unwrap().tokens.is_empty());
}
