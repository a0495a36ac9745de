//! What is read of a request's head.

use super::*;
use crate::http::admission::bodies::HeldBodies;

type TestBody = http_body_util::Full<Bytes>;

const LIMITS: BodyLimits = BodyLimits { bytes: 100, time: Duration::from_secs(1) };

fn request(uri: &str) -> Request<TestBody> {
    let request = hyper::Request::builder().uri(uri).body(TestBody::default()).unwrap();
    let mut request = Request::new(RequestId::new("r"), request, LIMITS, HeldBody::of(&HeldBodies::new(0)));
    request.decode_path().unwrap();
    request
}

fn page_code(query: &str) -> Option<ErrorCode> {
    request(&format!("/backends?{query}")).page().err().map(|error| error.code())
}

#[test]
fn path_segments_are_decoded_once_and_may_hold_slashes() {
    assert_eq!(request("/models/hf.co%2Forg%2Fname:tag").path, ["models", "hf.co/org/name:tag"]);
    assert_eq!(request("/pool-by-purpose/Internal%20Tasks").path[1], "Internal Tasks");
    assert_eq!(request("/x/100%2525").path[1], "100%25");
    assert_eq!(request("/backends/").path, ["backends", ""]);
}

#[test]
fn page_parameters_are_checked_as_documented() {
    assert_eq!(request("/backends").page().unwrap(), Page::default());
    assert_eq!(request("/backends?limit=1000").page().unwrap().limit, 1000);
    for large in ["limit=1001", "limit=99999999999999999999"] {
        assert_eq!(page_code(large), Some(ErrorCode::InvalidRequest), "{large}");
    }
    for bad in ["limit=0", "limit=-1", "limit=ten", "limit=", "cursor=yesterday"] {
        assert_eq!(page_code(bad), Some(ErrorCode::Unprocessable), "{bad}");
    }
}

#[test]
fn an_unencoded_plus_in_a_cursor_is_understood() {
    let page = request("/backends?cursor=2025-08-08T14:00:00.5+02:00").page().unwrap();
    assert_eq!(page.before.unwrap().to_string(), "2025-08-08T12:00:00.500000Z");
}

#[test]
fn request_ids_are_kept_when_printable_and_short() {
    let id = |text: &str| {
        let mut headers = header::HeaderMap::new();
        headers.insert("x-request-id", header::HeaderValue::from_bytes(text.as_bytes()).unwrap());
        request_id(&headers)
    };
    assert_eq!(id("my-id 7").as_str(), "my-id 7");
    assert_ne!(id("ünprintable").as_str(), "ünprintable");
    let long = "x".repeat(129);
    assert_ne!(id(&long).as_str(), long);
}

#[test]
fn a_traceparent_is_read_only_when_it_is_well_formed() {
    let mut headers = header::HeaderMap::new();
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    headers.insert("traceparent", header::HeaderValue::from_static(text));
    assert_eq!(trace_parent(&headers), Some(("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7")));
    headers.insert("traceparent", header::HeaderValue::from_static("00-zz-01"));
    assert_eq!(trace_parent(&headers), None);
}
