//! The command line and the start: settings that are refused, ports and folders that are taken, and a log without
//! secrets (`README.md`, configuration).

use std::net::TcpListener;

use loadtest::sim::{SimBackend, SimHook};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Process, TASKS, eventually};

/// The one line it wrote to standard error before it ended with this status.
async fn last_words(mut process: Process, status: i32) -> String {
    let ended = process.ended().await;
    let words = process.complaint();
    assert_eq!(ended.code(), Some(status), "log: {} complaint: {words}", process.log());
    assert_eq!(words.lines().count(), 1, "exactly one line: {words}");
    words
}

#[tokio::test]
async fn a_bad_setting_ends_the_start_with_one_line_before_any_socket_opens() {
    // Were a socket opened first, the taken port would be the complaint.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let all = [
        ("DATABASE_URL", "mysql://me:hunter2@db/x"),
        ("DATABASE_WAIT", "30s"),
        ("KV_HOST", "not a host:6379"),
        ("KV_PASSWORD", "hunter2"),
        ("NATS_URL", "http://me:hunter2@nats:4222"),
        ("NATS_USER", "me"),
        ("NATS_PASSWORD", "hunter2"),
        ("METRICS_ADDR", "127.0.0.1"),
        ("ACCESS_LOG", "some"),
        ("SLOW_REQUEST", "soon"),
        ("TOKENIZER_SERVICE_URL", "tokens:8080"),
        ("port", "http"),
        ("ADDR", "not an address"),
        ("TASK_PROVIDER", "acme"),
        ("TASK_MODEL_CONTEXT_LENGTH", "0"),
        ("MODEL_SYNC", "both"),
        ("MAX_OUTPUT_TOKENS", "-1"),
        ("MAX_BODY_BYTES", "many"),
        ("DRAIN_TIMEOUT", "soon"),
        ("OPENAI_BASE_URL", "api.openai.com"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "a=b=c"),
    ];
    for (name, value) in all {
        let standard = [("ADDR", "127.0.0.1"), ("PORT", port.as_str()), ("DATA_DIR", data.to_str().unwrap())];
        let standard = standard.into_iter().filter(|(other, _)| !other.eq_ignore_ascii_case(name));
        let settings: Vec<_> = standard.chain([(name, value)]).collect();
        let words = last_words(Process::spawn(&["serve"], &settings), 64).await;
        assert!(words.contains(&name.to_uppercase()), "{words}");
        assert!(!words.contains("hunter2"), "{words}");
    }
    assert!(!data.exists(), "nothing was written");
}

#[tokio::test]
async fn a_taken_port_is_told_before_anything_is_written() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let settings = [("ADDR", "127.0.0.1"), ("PORT", port.as_str()), ("DATA_DIR", data.to_str().unwrap())];
    let words = last_words(Process::spawn(&["serve"], &settings), 69).await;
    assert!(words.contains(&port) && words.contains("in use") && words.contains("PORT"), "{words}");
    assert!(!data.exists(), "nothing was written");
}

#[tokio::test]
async fn a_data_folder_that_is_in_use_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_process, client) = Process::serve(folder.path(), &[]).await;
    let settings = [("ADDR", "127.0.0.1"), ("PORT", "0"), ("DATA_DIR", folder.path().to_str().unwrap())];
    let words = last_words(Process::spawn(&["serve"], &settings), 69).await;
    assert!(words.contains("in use by another process") && words.contains("DATA_DIR"), "{words}");
    client.post("/pools", json!({"name": "mine"})).await.expect(201);
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let settings = [("ADDR", "127.0.0.1"), ("PORT", "0"), ("DATA_DIR", file.to_str().unwrap())];
    let words = last_words(Process::spawn(&["serve"], &settings), 69).await;
    assert!(words.contains(file.to_str().unwrap()), "{words}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[tokio::test]
async fn another_secret_key_than_the_datas_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, client) = Process::serve(folder.path(), &[("SECRET_KEY", "the first key")]).await;
    client.post("/providers/openai/configure", json!({"apiKey": "sk-1234567890abcd"})).await.expect(200);
    process.signal("TERM").await;
    process.ended().await;
    let settings = [("ADDR", "127.0.0.1"), ("PORT", "0"), ("DATA_DIR", folder.path().to_str().unwrap())];
    for key in [Some(("SECRET_KEY", "the second key")), None] {
        let settings: Vec<_> = settings.into_iter().chain(key).collect();
        let words = last_words(Process::spawn(&["serve"], &settings), 69).await;
        assert!(words.contains("SECRET_KEY"), "{words}");
        assert!(!words.contains("the first key") && !words.contains("the second key"), "{words}");
    }
}

#[tokio::test]
async fn secrets_never_reach_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TOKEN", "token-secret-1"), ("SECRET_KEY", "sealing-secret-2"), ("LOG_LEVEL", "debug")];
    let (mut process, client) = Process::serve(folder.path(), &settings).await;
    let sim = SimBackend::openai().model("chat:1b").api_key("sk-secret-3").start().await.unwrap();
    let hook = SimHook::start().await.unwrap();
    let send = |method: Method, path: &str, body: Value| {
        let request = client.request(method, path).bearer_auth("token-secret-1").body(body.to_string());
        let client = client.clone();
        async move { client.send(request).await }
    };
    let backend = json!({"name": "o", "baseUrl": sim.url(), "type": "openai", "apiKey": "sk-secret-3"});
    let id = send(Method::POST, "/backends", backend).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    send(Method::POST, &format!("/backend-associations/{TASKS}/backends/{id}"), Value::Null).await.expect(201);
    send(Method::POST, "/providers/gemini/configure", json!({"apiKey": "gem-secret-4"})).await.expect(200);
    let remote = json!({"name": "h", "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 1000});
    send(Method::POST, "/hooks/remote", remote).await.expect(201);
    eventually("an answer", || async {
        let answer = send(Method::POST, "/execute", json!({"prompt": "words-secret-5"})).await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
    let chain = json!({"tasks": [{"id": "h", "handler": "hook", "hook": {"name": "h"},
        "transition": {"branches": [{"operator": "default"}]}}]});
    send(Method::POST, "/tasks", json!({"input": "hi", "chain": chain})).await.expect(200);
    // A wrong key at the backend, a wrong token, a body that is no JSON: failures tell most.
    let wrong = json!({"name": "o", "baseUrl": sim.url(), "type": "openai", "apiKey": "sk-wrong-6"});
    send(Method::PUT, &format!("/backends/{id}"), wrong).await.expect(200);
    eventually("a failing backend", || async {
        let shown = send(Method::GET, &format!("/backends/{id}"), Value::Null).await;
        if shown.json().get("error").is_some() { Ok(()) } else { Err(shown.text) }
    })
    .await;
    let request = client.request(Method::GET, "/backends").bearer_auth("token-wrong-7");
    client.send(request).await.expect(401);
    let request = client.request(Method::POST, "/backends").bearer_auth("token-secret-1");
    client.send(request.body(r#"{"apiKey": "sk-broken-8""#)).await.expect(400);
    process.signal("TERM").await;
    process.ended().await;
    let log = process.stdout() + &process.log() + &process.complaint();
    assert!(log.contains("\"level\":\"DEBUG\""), "{log}");
    for secret in ["secret-1", "secret-2", "secret-3", "secret-4", "secret-5", "wrong-6", "wrong-7", "broken-8"] {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

#[tokio::test]
async fn a_setting_nobody_knows_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let (process, _) = Process::serve(folder.path(), &[("PENSTOCK_SPEED", "11"), ("OTHER", "x")]).await;
    let log = process.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    let warned = |part: &str| {
        lines.iter().any(|line| line["level"] == "WARN" && line["message"].as_str().unwrap().contains(part))
    };
    assert!(warned("PENSTOCK_SPEED") && !warned("OTHER"), "{log}");
}

#[tokio::test]
async fn the_log_can_be_text() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        [("ADDR", "127.0.0.1"), ("PORT", "0"), ("LOG_FORMAT", "text"), ("DATA_DIR", folder.path().to_str().unwrap())];
    let mut process = Process::spawn(&["serve"], &settings);
    eventually("the server's readiness", || async {
        let log = process.log();
        if log.contains("penstock is ready") { Ok(()) } else { Err(log) }
    })
    .await;
    assert!(!process.log().contains('{') && !process.log().contains('\u{1b}'), "{}", process.log());
    process.signal("TERM").await;
    assert_eq!(process.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_command_tells_its_version_and_its_use() {
    let mut process = Process::spawn(&["version"], &[]);
    assert!(process.ended().await.success());
    assert_eq!(process.stdout(), format!("penstock {}\n", env!("CARGO_PKG_VERSION")));
    for arguments in [&[][..], &["fly"]] {
        let mut process = Process::spawn(arguments, &[]);
        assert_eq!(process.ended().await.code(), Some(2));
        assert!(process.log().contains("Usage"), "{}", process.log());
    }
}

#[tokio::test]
async fn every_log_line_of_a_request_carries_its_ids_at_every_level() {
    let folder = tempfile::tempdir().unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (level, path, body) in [
        ("debug", "/version", None),
        // Printed by a chain: a line of the run, in another task than the request's.
        (
            "info",
            "/tasks",
            Some(json!({"input": "x", "chain": {"tasks": [{"id": "t", "handler": "noop",
            "print": "said {{.input}}", "transition": {"branches": [{"operator": "default"}]}}]}})),
        ),
    ] {
        let (mut process, client) = Process::serve(folder.path(), &[("LOG_LEVEL", level)]).await;
        let method = if body.is_some() { Method::POST } else { Method::GET };
        let request = client
            .request(method, path)
            .header("x-request-id", "my-request-7")
            .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
            .body(body.map(|body| body.to_string()).unwrap_or_default());
        client.send(request).await.expect(200);
        process.signal("TERM").await;
        process.ended().await;
        let log = process.log() + &process.stdout();
        let mine: Vec<&str> = log.lines().filter(|line| line.contains("my-request-7")).collect();
        assert!(!mine.is_empty(), "{log}");
        if level == "debug" {
            assert!(mine.iter().any(|line| line.contains(trace) && line.contains("answered")), "{log}");
        } else {
            assert!(mine.iter().any(|line| line.contains("said x")), "{log}");
            assert_eq!(process.stdout().lines().count(), 1, "nothing else is printed: {}", process.stdout());
        }
    }
}
