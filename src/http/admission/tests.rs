//! Admission by itself: the order of its bounds, and that a refusal takes nothing.

use super::*;

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
    let first = admission.admit(now).unwrap();
    let _second = admission.admit(now).unwrap();
    assert_eq!(admission.admit(now).unwrap_err(), Refused::Overloaded { most: 2 });
    drop(first);
    let _third = admission.admit(now).unwrap();
    admission.admit(now).unwrap_err();
}

#[test]
fn nothing_is_bounded_where_nothing_is_set() {
    let (admission, now) = admission(0, None, None);
    let all: Vec<Admitted> = (0..10_000).map(|_| admission.admit(now).unwrap()).collect();
    assert!(all.iter().all(|admitted| admitted.place.is_none() && !admitted.spending.is_counted()));
    let mut headers = HeaderMap::new();
    admission.tell(now, &mut headers);
    assert!(headers.is_empty());
}

#[test]
fn a_refusal_takes_neither_a_place_nor_a_request() {
    let (admission, now) = admission(1, Some((60, 2)), Some(600));
    let first = admission.admit(now).unwrap();
    for _ in 0..5 {
        // Overload comes first, and the rates know nothing of it.
        assert_eq!(admission.admit(now).unwrap_err(), Refused::Overloaded { most: 1 });
    }
    first.spending.add(700);
    drop(first);
    for _ in 0..5 {
        let refused = admission.admit(now).unwrap_err();
        assert!(matches!(refused, Refused::TokenRate { .. }), "the place is free again: {refused:?}");
    }
    let later = now + Duration::from_secs(30);
    drop(admission.admit(later).unwrap());
    drop(admission.admit(later).unwrap());
    assert_eq!(admission.admit(later).unwrap_err(), Refused::RequestRate { wait: Duration::from_secs(1) });
}

#[test]
fn a_limited_caller_is_told_what_is_left() {
    let (admission, now) = admission(0, Some((60, 10)), Some(120_000));
    let admitted = admission.admit(now).unwrap();
    admitted.spending.add(2_000);
    let mut headers = HeaderMap::new();
    admission.tell(now, &mut headers);
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
