//! What is broken or hostile on the routes of a dialect is refused in that dialect's own form, and harms nobody.

use loadtest::sim::SimBackend;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{
    Answer, TASKS, TestServer,
    dialects::Front,
    raw::{RawClient, exchange},
};

/// A server with a backend of each dialect.
struct Attacked {
    server: TestServer,
    sims: Vec<(String, SimBackend)>,
}

impl Attacked {
    async fn start() -> Self {
        let server = TestServer::start(&[("MAX_BODY_BYTES", "200000")]).await;
        let mut sims = Vec::new();
        for (name, kind, sim) in [("a", "vllm", SimBackend::vllm()), ("b", "ollama", SimBackend::ollama())] {
            let sim = sim.model(format!("{name}-chat:1b")).start().await.unwrap();
            let id = server.register(name, kind, &sim, &[TASKS]).await;
            server.post("/models", json!({"model": format!("{name}-chat:1b")})).await.expect(201);
            let path = format!("/model-associations/{TASKS}/models/{name}-chat:1b");
            server.post(&path, Value::Null).await.expect(200);
            server.wait_for_model(&id, &format!("{name}-chat:1b")).await;
            sims.push((id, sim));
        }
        Self { server, sims }
    }

    /// Nothing runs or waits, and nobody was asked.
    async fn assert_unharmed(&self) {
        self.server.get("/health").await.expect(200);
        for (id, sim) in &self.sims {
            let slots = self.server.slots(id);
            assert_eq!((slots.in_use, slots.waiters, sim.record().calls.max), (0, 0, 0));
        }
    }
}

/// The text of an error, which must be in the form of this dialect.
#[track_caller]
fn words(front: Front, body: &Value) -> String {
    let error = &body["error"];
    match front {
        Front::Openai => {
            crate::support::shape::assert_keys(error, "message type param code");
            assert!(error["code"].is_string() || error["code"].is_null(), "{error}");
            error["message"].as_str().unwrap().to_owned()
        }
        Front::Ollama => error.as_str().unwrap_or_else(|| panic!("{body}")).to_owned(),
    }
}

#[track_caller]
fn refused(front: Front, answer: Answer, status: u16) -> String {
    words(front, &answer.expect(status).json())
}

/// The head of a chat; the connection is closed after the answer.
fn head(front: Front, headers: &str) -> Vec<u8> {
    let path = front.chat();
    format!(
        "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-type: application/json\r\n{headers}\r\n\r\n"
    )
    .into_bytes()
}

#[tokio::test]
async fn a_body_that_is_no_request_is_refused() {
    let attacked = Attacked::start().await;
    let deep = |open: &str, close: &str| open.repeat(500) + &close.repeat(500);
    let long = "m".repeat(20_000);
    for front in Front::ALL {
        for (body, said) in [
            ("{".to_owned(), "the request body"),
            ("[]".to_owned(), "object"),
            ("\"a\"".to_owned(), "object"),
            ("{'model': 'a-chat:1b'}".to_owned(), "not JSON"),
            ("model: a-chat:1b".to_owned(), "not JSON"),
            ("{\"model\":\"a-chat:1b\"} x".to_owned(), "something follows"),
            ("{\"model\":\"a-chat:1b\",\"temperature\":NaN}".to_owned(), "not JSON"),
            (format!("{{\"model\":\"a-chat:1b\",\"messages\":{}}}", deep("[", "]")), "128 levels"),
            (deep("{\"a\":", "}").replacen("{}", "{\"a\":1}", 1), "128 levels"),
            ("{\"model\":7}".to_owned(), "'model'"),
            ("{\"model\":\"\\ud800\"}".to_owned(), "'model'"),
            ("{\"model\":\"a\u{0}b\"}".to_owned(), "'model'"),
            ("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}".to_owned(), "twice"),
            ("{\"Model\":\"a\"}".to_owned(), "'model'"),
            (format!("{{\"model\":\"{long}\"}}"), "too long"),
            (format!("{{\"model\":\"{}\"}}", &long[..600]), "longer than 512"),
            ("{\"model\":\"a-chat:1b\",\"stream\":\"yes\"}".to_owned(), "'stream'"),
        ] {
            let answer = attacked.server.post_as(front.chat(), "application/json", body.as_str()).await;
            let text = refused(front, answer, 400);
            assert!(text.contains(said), "{} of {:.80}: {text}", front.chat(), body);
        }
        let bytes = &b"{\"model\":\"\xff\xfe\"}"[..];
        let answer = attacked.server.post_as(front.chat(), "application/json", bytes).await;
        assert!(refused(front, answer, 400).contains("'model'"));
        for escaped in ["a\\u0000b", "nobody\\u003a7b", "../../etc/passwd", "\u{202e}evil"] {
            let body = format!("{{\"model\":\"{escaped}\",\"messages\":[]}}");
            let answer = attacked.server.post_as(front.chat(), "application/json", body).await;
            assert!(refused(front, answer, 404).contains("not found"), "{escaped}");
        }
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_model_is_found_however_its_name_is_escaped() {
    let attacked = Attacked::start().await;
    for front in Front::ALL {
        for name in ["a-chat:1b", "b-chat:1b"] {
            let escaped: String = name.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
            let said = "[{\"role\":\"user\",\"content\":\"Hi\"}]";
            let body = format!("{{\"m\\u006fdel\":\"{escaped}\",\"messages\":{said},\"stream\":false}}");
            let answer = attacked.server.post_as(front.chat(), "application/json", body).await.expect(200);
            assert_eq!(answer.header("x-penstock-model"), name);
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_arrive_whole_is_refused() {
    let attacked = Attacked::start().await;
    for front in Front::ALL {
        for (headers, body) in [
            ("content-length: 500", "{\"model\":"),
            ("transfer-encoding: chunked", "fff\r\n{\"model\":"),
            ("transfer-encoding: chunked", "2\r\n{}\r\n"),
            ("transfer-encoding: chunked", "zz\r\n{}\r\n0\r\n\r\n"),
        ] {
            let mut client = RawClient::connect(attacked.server.addr).await;
            client.send(head(front, headers)).await;
            client.send(body).await;
            client.end().await;
            let answer = client.rest().await;
            let (top, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(top.starts_with("HTTP/1.1 400 "), "{headers} {body}: {answer}");
            let text = words(front, &serde_json::from_str(body).unwrap());
            assert!(text.contains("broke off"), "{text}");
        }
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_or_packed_is_refused() {
    let attacked = Attacked::start().await;
    for front in Front::ALL {
        let large = format!("{{\"model\":\"a-chat:1b\",\"x\":\"{}\"}}", "x".repeat(200_000));
        let answer = attacked.server.post_as(front.chat(), "application/json", large).await;
        assert!(refused(front, answer, 413).contains("MAX_BODY_BYTES"));
        for encoding in ["gzip", "identity, br"] {
            let request = attacked.server.request(Method::POST, front.chat()).header("content-encoding", encoding);
            let answer = attacked.server.send(request.body("\u{1f}\u{8b}")).await;
            assert!(refused(front, answer, 415).contains("Content-Encoding"), "{encoding}");
        }
        let announced = head(front, "content-length: 99999999999");
        let answer = exchange(attacked.server.addr, announced).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    }
    attacked.assert_unharmed().await;
}

#[tokio::test]
async fn wrong_methods_paths_and_headers_are_refused() {
    let attacked = Attacked::start().await;
    for front in Front::ALL {
        for method in [Method::GET, Method::OPTIONS, Method::PUT, Method::DELETE, Method::TRACE] {
            let answer = attacked.server.send(attacked.server.request(method.clone(), front.chat())).await;
            assert_eq!(answer.header("allow"), "POST", "{method}");
            refused(front, answer, 405);
        }
        assert_eq!(
            attacked.server.send(attacked.server.request(Method::HEAD, front.chat())).await.expect(405).text,
            ""
        );
        for (name, value, status) in [
            ("x-penstock-pool", "", 400),
            ("x-penstock-pool", "nobody", 404),
            ("x-penstock-provider", "azure", 400),
            ("x-penstock-provider", ",", 400),
            ("x-penstock-require", "zone", 400),
            ("x-penstock-require", "a=b, a=c", 400),
            ("x-penstock-require", "zone=moon", 503),
            ("x-penstock-session", " ", 400),
        ] {
            let body = front.question("Hi", false).to_string().replace("chat:1b", "a-chat:1b");
            let request = attacked.server.request(Method::POST, front.chat()).header(name, value).body(body);
            refused(front, attacked.server.send(request).await, status);
        }
    }
    for (path, status) in [
        ("/v1/models/", 404),
        ("/v1/models/a//b", 404),
        ("/v1/models/%ff", 400),
        ("/v1/models/%zz", 404),
        ("/v1/models/a%00b", 404),
        ("/v1/models/%2e%2e%2fhealth", 404),
        ("/v1/models/chain%2F", 404),
        ("/v1/models/%20", 400),
        ("/v1/models/pool%2Fx", 400),
        ("/v1/models/pool%2Fnobody%2Fa-chat:1b", 404),
    ] {
        refused(Front::Openai, attacked.server.get(path).await, status);
    }
    refused(Front::Openai, attacked.server.get(&format!("/v1/models/{}", "m".repeat(600))).await, 400);
    attacked.assert_unharmed().await;
}
