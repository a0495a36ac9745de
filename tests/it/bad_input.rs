//! Input that is broken, hostile or too large is refused with a reason the sender gets to see, and harms nobody.

use std::time::Duration;

use loadtest::sim::SimBackend;
use serde_json::{Value, json};

use crate::support::{
    TestServer,
    raw::{RawClient, exchange},
};

/// A server with one backend that could answer, if anything got through.
struct Attacked {
    server: TestServer,
    backend: String,
    sim: SimBackend,
}

impl Attacked {
    async fn start() -> Self {
        Self::guard(TestServer::start(&[]).await).await
    }

    async fn guard(server: TestServer) -> Self {
        let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
        let backend = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
        server.wait_for_model(&backend, "chat:1b").await;
        Self { server, backend, sim }
    }

    /// The server answers, holds no lease, lets nobody wait, and its backend was asked nothing.
    async fn assert_unharmed(&self) {
        self.server.get("/health").await.expect(200);
        let slots = self.server.slots(&self.backend);
        assert_eq!((slots.in_use, slots.waiters), (0, 0));
        assert_eq!(self.sim.record().calls.max, 0, "nothing got through");
        self.server.post("/execute", json!({"prompt": "still there?"})).await.expect(200);
        assert_eq!(self.server.slots(&self.backend).in_use, 0);
    }

    async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        exchange(self.server.addr, request).await
    }
}

/// The head of a POST; the connection is closed after the answer.
fn head(path: &str, headers: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
    )
    .into_bytes()
}

#[track_caller]
fn assert_refused(answer: &str, status: u16, words: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let body: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error} in {answer}"));
    assert!(body["error"].as_str().unwrap().contains(words), "{answer}");
}

#[tokio::test]
async fn malformed_utf8_is_refused_wherever_it_comes() {
    let attacked = Attacked::start().await;
    let server = &attacked.server;
    for (content_type, body) in [
        ("application/json", &b"{\"prompt\": \"\xff\xfe\"}"[..]),
        ("application/json", b"\xff"),
        ("application/json", b"{\"prompt\": \"\\ud800\"}"),
        ("application/yaml", b"prompt: \xff\xfe\n"),
        // `prompt: \xff` in base64
        ("application/x-yaml-base64", b"cHJvbXB0OiD/"),
    ] {
        server.post_as("/execute", content_type, body).await.expect(400);
    }
    for path in ["/backends/%ff", "/pool-by-name/a%c3", "/%ff"] {
        assert!(server.get(path).await.expect(400).error().contains("UTF-8"), "{path}");
    }
    server.get("/backends?limit=%ff").await.expect(422);
    let raw_path = attacked.exchange(b"GET /pools/\xff HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    assert!(raw_path.starts_with("HTTP/1.1 400") || raw_path.starts_with("HTTP/1.1 404"), "{raw_path}");
    let raw_id = b"GET /health HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-request-id: \xff\r\n\r\n";
    assert!(attacked.exchange(raw_id).await.starts_with("HTTP/1.1 200"));
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused_and_a_client_that_vanishes_is_forgotten() {
    let attacked = Attacked::start().await;
    let mut half = RawClient::connect(attacked.server.addr).await;
    half.send(head("/execute", "content-length: 500")).await;
    half.send("{\"prompt\": \"hal").await;
    half.end().await;
    assert_refused(&half.rest().await, 400, "broke off");
    let mut gone = RawClient::connect(attacked.server.addr).await;
    gone.send(head("/execute", "content-length: 500")).await;
    drop(gone);
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn chunks_that_are_none_are_refused() {
    let attacked = Attacked::start().await;
    for chunks in
        ["zz\r\n{}\r\n0\r\n\r\n", "5\r\n{\"prompt\": 1}\r\n0\r\n\r\n", "fffffffffffffffffff\r\n{}\r\n", "-1\r\n"]
    {
        let mut request = head("/execute", "transfer-encoding: chunked");
        request.extend_from_slice(chunks.as_bytes());
        assert_refused(&attacked.exchange(request).await, 400, "");
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused() {
    let attacked = Attacked::start().await;
    for bytes in [
        "\u{0}\u{1}\u{2}\r\n\r\n",
        "GET\r\n\r\n",
        "POST /execute HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        "POST /execute HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = attacked.exchange(bytes).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{bytes:?}: {answer}");
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn ten_mebibytes_are_read_and_one_byte_more_is_refused_in_words_that_arrive() {
    let attacked = Attacked::start().await;
    let limit = 10 * 1024 * 1024;
    let body = |bytes: usize| {
        let start = "{\"prompt\": \"\", \"more\": \"";
        format!("{start}{}\"}}", "x".repeat(bytes - start.len() - 2))
    };
    let fits = attacked.server.post_as("/execute", "application/json", body(limit)).await.expect(400);
    assert!(fits.error().contains("prompt"), "read to its end: {}", fits.text);

    let too_large = body(limit + 1);
    let send = async |request: Vec<u8>| {
        let mut client = RawClient::connect(attacked.server.addr).await;
        client.send_whole(request).await;
        client.rest().await
    };
    let mut sized = head("/execute", &format!("content-length: {}", too_large.len()));
    sized.extend_from_slice(too_large.as_bytes());
    assert_refused(&send(sized).await, 413, "MAX_BODY_BYTES");

    let mut chunked = head("/execute", "transfer-encoding: chunked");
    // Much more is sent than read before the limit shows: what follows must be taken, too.
    for chunk in body(2 * limit).as_bytes().chunks(100_000) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    assert_refused(&send(chunked).await, 413, "MAX_BODY_BYTES");
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_smaller_limit_is_a_setting() {
    let server = TestServer::start(&[("MAX_BODY_BYTES", "20")]).await;
    server.post_as("/pools", "application/json", "{\"name\": \"12345678\"}").await.expect(201);
    let refused = server.post_as("/pools", "application/json", "{\"name\": \"123456789\"}").await.expect(413);
    assert!(refused.error().contains("20 bytes"), "{}", refused.text);
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let attacked = Attacked::start().await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for levels in [200, 100_000] {
        let body = format!("{{\"input\": {}, \"chain\": {{}}}}", deep(levels));
        let answer = attacked.server.post_as("/tasks", "application/json", body).await.expect(400);
        assert!(answer.error().contains("128 levels"), "{}", answer.text);
        let yaml = format!("input: {}\n", deep(levels));
        attacked.server.post_as("/tasks", "application/yaml", yaml).await.expect(400);
        attacked.server.post_as("/tasks", "application/json", deep(levels)).await.expect(400);
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn an_alias_bomb_in_yaml_is_refused() {
    let attacked = Attacked::start().await;
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in "bcdefghij".chars().zip("abcdefghi".chars()) {
        bomb.push_str(&format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(",")));
    }
    for content_type in ["application/yaml", "application/json"] {
        attacked.server.post_as("/execute", content_type, bomb.as_str()).await.expect(400);
    }
    attacked.server.post_as("/execute", "application/yaml", "a: &a [*a]\n").await.expect(400);
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn headers_that_do_not_come_to_an_end_in_time_cost_the_connection() {
    let short = Duration::from_millis(100);
    let server = TestServer::start_tuned(&[], |config| config.limits.header_timeout = short).await;
    let attacked = Attacked::guard(server).await;
    let mut slow = RawClient::connect(attacked.server.addr).await;
    slow.send("GET /health HTTP/1.1\r\nhost: h\r\nx-slow: ").await;
    assert!(!slow.rest().await.starts_with("HTTP/1.1 200"));
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_to_an_end_in_time_is_refused() {
    let short = Duration::from_millis(100);
    let server = TestServer::start_tuned(&[], |config| config.limits.body_timeout = short).await;
    let attacked = Attacked::guard(server).await;
    let mut slow = RawClient::connect(attacked.server.addr).await;
    slow.send(head("/execute", "content-length: 500")).await;
    slow.send("{").await;
    assert_refused(&slow.rest().await, 408, "in time");
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn huge_and_countless_headers_are_refused() {
    let attacked = Attacked::start().await;
    let huge = format!("x-huge: {}", "x".repeat(200_000));
    let countless: Vec<String> = (0..1000).map(|number| format!("x-{number}: 1")).collect();
    for headers in [huge, countless.join("\r\n")] {
        let answer = attacked.exchange(head("/execute", &headers)).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let long_path = attacked.exchange(format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000))).await;
    assert!(long_path.is_empty() || long_path.starts_with("HTTP/1.1 4"), "{long_path}");
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_refusal_that_needs_no_body_is_seen_by_a_client_that_sends_a_large_one() {
    let server = TestServer::start(&[("TOKEN", "t")]).await;
    let length = 10 * 1024 * 1024 + 1;
    for (path, token, status, words) in
        [("/execute", "", 401, "token"), ("/nowhere", "t", 404, "not found"), ("/state", "t", 405, "method")]
    {
        let mut request = head(path, &format!("content-length: {length}\r\nx-api-key: {token}"));
        request.resize(request.len() + length, b'x');
        let mut client = RawClient::connect(server.addr).await;
        client.send_whole(request).await;
        assert_refused(&client.rest().await, status, words);
    }
}
