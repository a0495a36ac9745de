//! The API token (`docs/api.md`, authentication).

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use subtle::ConstantTimeEq;

/// Whether one of the two headers carries the token.
pub(super) fn is_authorized(headers: &HeaderMap, token: &str) -> bool {
    let matches = |presented: &[u8]| bool::from(presented.ct_eq(token.as_bytes()));
    let api_keys = headers.get_all("x-api-key").iter().map(HeaderValue::as_bytes);
    let bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes()));
    // A bare key may itself begin with "Bearer ", so both readings count.
    let api_keys = api_keys.flat_map(|value| [Some(value), bearer(value)].into_iter().flatten());
    // No short circuit: how long the answer takes must not tell which header was right.
    api_keys.chain(bearers).fold(false, |known, presented| matches(presented) | known)
}

/// What stands behind the scheme `Bearer`, in any case.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
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
}
