//! Who sends a request: `TOKEN`, or one of the stored tokens (`docs/api.md`, authentication).

use std::{collections::HashMap, sync::Arc};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

use super::scopes::Needs;
use crate::domain::{
    time::Timestamp,
    token::{TOKEN_PREFIX, Token, TokenHash},
};

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// No token is set, so everybody may do everything.
    Anybody,
    /// Whoever has `TOKEN`.
    Owner,
    /// Whoever has one of the stored tokens.
    Holder(Arc<Token>),
}

impl Caller {
    /// Whether the caller may use a route.
    pub(super) fn may(&self, needs: Needs) -> bool {
        match (self, needs) {
            (Self::Anybody | Self::Owner, _) | (Self::Holder(_), Needs::Nothing | Needs::Token) => true,
            (Self::Holder(token), Needs::Scope(scope)) => token.allows(scope),
        }
    }

    /// The stored token, where it is one.
    pub(super) fn token(&self) -> Option<&Token> {
        match self {
            Self::Holder(token) => Some(token),
            Self::Anybody | Self::Owner => None,
        }
    }
}

/// Who has sent these headers; `None` without a valid token where one is required.
pub(super) fn identify(
    headers: &HeaderMap,
    owner: Option<&str>,
    known: &HashMap<TokenHash, Arc<Token>>,
    now: Timestamp,
) -> Option<Caller> {
    let Some(owner) = owner else { return Some(Caller::Anybody) };
    // No short circuit: how long the answer takes must not tell which header was right.
    if presented(headers).fold(false, |is_owner, text| bool::from(text.ct_eq(owner.as_bytes())) | is_owner) {
        return Some(Caller::Owner);
    }
    let ours = presented(headers).filter(|text| text.starts_with(TOKEN_PREFIX.as_bytes()));
    // How long it takes to find a hash tells nothing of the token.
    let mut held = ours.filter_map(|text| known.get(&TokenHash::of(text)));
    held.find(|token| !token.is_expired(now)).map(|token| Caller::Holder(Arc::clone(token)))
}

/// Everything that may be meant as a token.
fn presented(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let api_keys = headers.get_all("x-api-key").iter().map(HeaderValue::as_bytes);
    let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    // A bare key may itself begin with "Bearer ", so both readings count.
    let api_keys = api_keys.flat_map(|value| [Some(value), bearer(value)].into_iter().flatten());
    api_keys.chain(bearers)
}

/// What stands behind the scheme `Bearer`, in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        ids::TokenId,
        token::{Scope, TokenLimits, TokenText},
    };

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
        identify(headers, Some(token), &HashMap::new(), Timestamp::ZERO) == Some(Caller::Owner)
    }

    #[test]
    fn either_header_in_every_documented_form_is_enough() {
        for pairs in [
            &[("x-api-key", "secret")][..],
            &[("x-api-key", "Bearer secret")],
            &[("authorization", "Bearer secret")],
            &[("authorization", "bEaReR secret")],
            &[("authorization", "Bearer wrong"), ("x-api-key", "secret")],
            &[("authorization", "Bearer secret"), ("x-api-key", "wrong")],
        ] {
            assert!(is_authorized(&headers(pairs), "secret"), "{pairs:?}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for pairs in [
            &[][..],
            &[("x-api-key", "Secret")],
            &[("x-api-key", "secre")],
            &[("x-api-key", "")],
            &[("authorization", "secret")],
            &[("authorization", "Basic secret")],
            &[("authorization", "Bearer")],
        ] {
            assert!(!is_authorized(&headers(pairs), "secret"), "{pairs:?}");
        }
    }

    #[test]
    fn a_stored_token_is_recognised_until_it_ends_and_allows_what_it_says() {
        let text = TokenText::from_random([7; 32]);
        let end = Timestamp::from_micros(1_000);
        let token = Arc::new(Token {
            id: TokenId::new("t"),
            name: "ci".to_owned(),
            scopes: vec![Scope::Run],
            limits: TokenLimits::default(),
            hint: text.hint(),
            expires_at: Some(end),
            created_at: Timestamp::ZERO,
            updated_at: Timestamp::ZERO,
        });
        let known = HashMap::from([(text.hash(), Arc::clone(&token))]);
        let sent = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {text}")).unwrap());
            headers
        };
        let identify = |text: &str, now| identify(&sent(text), Some("owner"), &known, Timestamp::from_micros(now));
        assert_eq!(identify(text.expose(), 999), Some(Caller::Holder(Arc::clone(&token))));
        assert_eq!(identify(text.expose(), 1_000), None, "it has expired");
        assert_eq!(identify(TokenText::from_random([8; 32]).expose(), 0), None);
        assert_eq!(identify("owner", 0), Some(Caller::Owner));

        let caller = Caller::Holder(token);
        assert!(caller.may(Needs::Scope(Scope::Run)) && caller.may(Needs::Token) && caller.may(Needs::Nothing));
        assert!(!caller.may(Needs::Scope(Scope::Read)) && !caller.may(Needs::Scope(Scope::Admin)));
    }
}
