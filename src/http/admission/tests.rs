//! Admission by itself: the order of its bounds, and that a refusal takes nothing.

use std::num::NonZeroU64;

use super::*;
use crate::domain::{time::Timestamp, token::Scope};

fn admission(most: usize, requests: Option<(u64, u64)>, tokens: Option<u64>) -> (Admission, Instant) {
    let limits = LimitConfig { max_in_flight: most, ..LimitConfig::default() };
    let rates = RateConfig {
        requests_per_minute: requests.and_then(|(rate, _)| NonZeroU64::new(rate)),
        request_burst: requests.and_then(|(_, burst)| NonZeroU64::new(burst)),
        tokens_per_minute: tokens.and_then(NonZeroU64::new),
    };
    let now = tokio::time::Instant::now().into_std();
    (Admission::new(&limits, &rates, now), now)
}

#[test]
fn so_many_are_in_flight_and_the_next_only_when_one_has_ended() {
    let (admission, now) = admission(2, None, None);
    let first = admission.admit(now, None).unwrap();
    let _second = admission.admit(now, None).unwrap();
    assert_eq!(admission.admit(now, None).unwrap_err(), Refused::Overloaded { most: 2 });
    drop(first);
    let _third = admission.admit(now, None).unwrap();
    admission.admit(now, None).unwrap_err();
}

#[test]
fn nothing_is_bounded_where_nothing_is_set() {
    let (admission, now) = admission(0, None, None);
    let all: Vec<Admitted> = (0..10_000).map(|_| admission.admit(now, None).unwrap()).collect();
    assert!(all.iter().all(|admitted| admitted.place.is_none() && !admitted.spending.is_counted()));
    let mut headers = HeaderMap::new();
    admission.tell(now, None, &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_refusal_takes_neither_a_place_nor_a_request() {
    let (admission, now) = admission(1, Some((60, 2)), Some(600));
    let first = admission.admit(now, None).unwrap();
    for _ in 0..5 {
        // Overload comes first, and the rates know nothing of it.
        assert_eq!(admission.admit(now, None).unwrap_err(), Refused::Overloaded { most: 1 });
    }
    first.spending.add(700);
    drop(first);
    for _ in 0..5 {
        let refused = admission.admit(now, None).unwrap_err();
        assert!(matches!(refused, Refused::TokenRate { .. }), "the place is free again: {refused:?}");
    }
    let later = now + Duration::from_secs(30);
    drop(admission.admit(later, None).unwrap());
    drop(admission.admit(later, None).unwrap());
    assert_eq!(admission.admit(later, None).unwrap_err(), Refused::RequestRate { wait: Duration::from_secs(1) });
}

#[test]
fn a_limited_caller_is_told_what_is_left() {
    let (admission, now) = admission(0, Some((60, 10)), Some(120_000));
    let admitted = admission.admit(now, None).unwrap();
    admitted.spending.add(2_000);
    let mut headers = HeaderMap::new();
    admission.tell(now, None, &mut headers);
    let told = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        ["limit", "remaining", "reset"].map(|part| told(&format!("x-ratelimit-{part}-requests"))),
        ["10", "9", "1s"]
    );
    assert_eq!(
        (told("x-ratelimit-limit-tokens"), told("x-ratelimit-remaining-tokens").len()),
        ("120000".to_owned(), 6)
    );
}

#[test]
fn times_are_written_as_openais_servers_do() {
    for (micros, text) in [
        (0, "0s"),
        (1, "1ms"),
        (120_000, "120ms"),
        (999_001, "1s"),
        (1_500_000, "1.5s"),
        (8_640_000, "8.64s"),
        (360_000_000, "6m0s"),
        (90_951_000, "1m30.951s"),
        (3_603_250_000, "1h0m3.25s"),
    ] {
        assert_eq!(written(Duration::from_micros(micros)), text);
    }
}

#[test]
fn refusals_have_their_status_reason_and_wait() {
    let rate = Error::from(Refused::RequestRate { wait: Duration::from_millis(1_200) });
    assert_eq!((rate.code().meaning().status, rate.reason()), (429, Some(RefusalReason::RequestRate)));
    assert_eq!(rate.retry_after_seconds(), Some(2), "rounded up");
    let full = Error::from(Refused::Overloaded { most: 3 });
    assert_eq!((full.code().meaning().status, full.reason()), (503, Some(RefusalReason::Overloaded)));
    let mut headers = HeaderMap::new();
    headers.insert(RETRY_AFTER, HeaderValue::from(2));
    tell_wait(&rate, &mut headers);
    assert_eq!(headers["retry-after-ms"], "1200");
}

fn token(id: &str, requests_per_minute: Option<u64>) -> Token {
    let requests_per_minute = requests_per_minute.and_then(NonZeroU64::new);
    Token {
        id: TokenId::new(id),
        name: id.to_owned(),
        scopes: vec![Scope::Run],
        limits: TokenLimits { requests_per_minute, ..TokenLimits::default() },
        hint: String::new(),
        expires_at: None,
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    }
}

#[test]
fn the_owner_of_each_token_has_rates_of_its_own() {
    let (admission, now) = admission(0, Some((1, 1)), None);
    let (narrow, wide, as_all) = (token("narrow", Some(2)), token("wide", Some(3)), token("as all", None));
    let admitted = |token: Option<&Token>| (0..5).filter(|_| admission.admit(now, token).is_ok()).count();
    assert_eq!([Some(&narrow), Some(&wide), Some(&as_all), None].map(admitted), [2, 3, 1, 1]);
    let refused = admission.admit(now, Some(&narrow)).unwrap_err();
    assert_eq!(refused, Refused::RequestRate { wait: Duration::from_secs(30) });
    let mut headers = HeaderMap::new();
    admission.tell(now, Some(&wide), &mut headers);
    assert_eq!(headers["x-ratelimit-limit-requests"], "3");
    // Other limits begin anew.
    assert_eq!(admitted(Some(&token("narrow", Some(4)))), 4);
}

#[test]
fn owners_of_tokens_that_have_used_nothing_are_forgotten() {
    let (admission, now) = admission(0, None, None);
    let used = token("used", Some(1));
    admission.admit(now, Some(&used)).unwrap();
    for number in 0..2 * MANY_HOLDERS {
        admission.tell(now, Some(&token(&number.to_string(), Some(1))), &mut HeaderMap::new());
    }
    assert!(admission.holders.lock().unwrap().len() <= MANY_HOLDERS);
    admission.admit(now, Some(&used)).unwrap_err();
}
