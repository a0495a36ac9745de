//! API tokens: what they open, what they do not, until when, how much of it, and that nobody sees them again
//! (`docs/api.md`, tokens and scopes).

use std::collections::{BTreeMap, BTreeSet};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    openapi::{rows, shape},
    support::{Answer, Client, Process, TestServer, eventually, left, spawn_command},
};

const OWNER: &str = "owner-open-sesame";
const DOCS: &str = include_str!("../../docs/api.md");

async fn guarded() -> TestServer {
    TestServer::start(&[("TOKEN", OWNER)]).await
}

async fn ask(client: &Client, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let request = client.request(method.parse().unwrap(), path).bearer_auth(token);
    let request = match body {
        Some(body) => request.header("content-type", "application/json").body(body.to_string()),
        None => request,
    };
    client.send(request).await
}

/// Makes a token; its text and its id.
async fn make(client: &Client, body: Value) -> (String, String) {
    let made = ask(client, OWNER, "POST", "/tokens", Some(body)).await.expect(201).json();
    (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned())
}

/// The rows of the documented table: a scope, or who else, and the routes that are for it.
fn documented() -> BTreeMap<String, BTreeSet<String>> {
    let section = DOCS.split("\n### Scopes\n").nth(1).unwrap().split("\n#").next().unwrap();
    let table = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| scope"));
    table
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|');
            let who = cells.next().unwrap().trim().trim_matches('`').to_owned();
            let routes = cells.next().unwrap().split('`').skip(1).step_by(2).map(|route| {
                let (method, path) = route.split_once(' ').unwrap();
                format!("{method} {}", shape(path))
            });
            (who, routes.collect())
        })
        .collect()
}

#[tokio::test]
async fn every_route_is_for_whom_the_documents_say() {
    let documented = documented();
    let known: BTreeSet<String> =
        rows().into_iter().map(|(path, method, _)| format!("{} {path}", method.to_uppercase())).collect();
    let mut told: Vec<&String> = documented.values().flatten().collect();
    told.sort();
    assert_eq!(told, known.iter().collect::<Vec<_>>(), "every route stands in one row");

    let server = guarded().await;
    let mut tokens = BTreeMap::new();
    for scope in ["run", "read", "admin"] {
        tokens.insert(scope, make(&server, json!({"name": scope, "scopes": [scope]})).await.0);
    }
    for (who, routes) in &documented {
        for route in routes {
            let (method, path) = route.split_once(' ').unwrap();
            let path = path.replace("{}", "none");
            // Of some answers the body never ends.
            let status = async |token: Option<&str>| {
                let request = server.request(method.parse::<Method>().unwrap(), &path);
                let request = match token {
                    Some(token) => request.bearer_auth(token),
                    None => request,
                };
                let answer = request.send().await.unwrap();
                let status = answer.status();
                // What may not be changed at all is 403, too.
                let is_scope = status != 403 || answer.text().await.unwrap().contains("this token does not allow it");
                if is_scope { status } else { StatusCode::OK }
            };
            let without = status(None).await;
            assert_eq!(without == StatusCode::UNAUTHORIZED, who != "everybody", "{route} without a token: {without}");
            for (scope, token) in &tokens {
                let is_allowed = *scope == "admin" || !["run", "read", "admin"].contains(&who.as_str()) || who == scope;
                let answered = status(Some(token)).await;
                assert_eq!(answered == StatusCode::FORBIDDEN, !is_allowed, "{route} with {scope}: {answered}");
            }
        }
    }
}

#[tokio::test]
async fn a_token_is_shown_once_and_opens_until_it_is_revoked() {
    let server = guarded().await;
    let (token, id) = make(&server, json!({"name": "ci", "scopes": ["read"]})).await;
    assert!(token.starts_with("psk_") && token.len() > 40, "{token}");
    ask(&server, &token, "GET", "/backends", None).await.expect(200);
    server.send(server.request(Method::GET, "/backends").header("x-api-key", &token)).await.expect(200);
    let refused = ask(&server, &token, "DELETE", "/backends/none", None).await.expect(403);
    assert!(refused.error().contains("scope admin"), "{}", refused.text);

    for path in ["/tokens".to_owned(), format!("/tokens/{id}")] {
        let shown = ask(&server, OWNER, "GET", &path, None).await.expect(200);
        assert!(!shown.text.contains(&token) && shown.text.contains(&token[token.len() - 4..]), "{}", shown.text);
    }
    let more = json!({"name": "ci", "scopes": ["read", "admin"]});
    ask(&server, OWNER, "PUT", &format!("/tokens/{id}"), Some(more)).await.expect(200);
    ask(&server, &token, "DELETE", "/backends/none", None).await.expect(404);

    ask(&server, &token, "DELETE", &format!("/tokens/{id}"), None).await.expect(200);
    ask(&server, &token, "GET", "/backends", None).await.expect(401);
    ask(&server, &format!("{token}x"), "GET", "/backends", None).await.expect(401);
}

#[tokio::test]
async fn a_token_ends_when_it_says() {
    let server = guarded().await;
    let end = penstock::domain::time::Timestamp::now().after(std::time::Duration::from_millis(1500));
    let (token, _) = make(&server, json!({"name": "short", "scopes": ["read"], "expiresAt": end.to_string()})).await;
    ask(&server, &token, "GET", "/backends", None).await.expect(200);
    eventually("its end", || async {
        let status = ask(&server, &token, "GET", "/backends", None).await.status;
        if status == 401 { Ok(()) } else { Err(status.to_string()) }
    })
    .await;
    assert!(penstock::domain::time::Timestamp::now() >= end);
}

#[tokio::test]
async fn each_token_has_rates_of_its_own() {
    let server = guarded().await;
    let (token, _) = make(&server, json!({"name": "two", "scopes": ["run"], "requestsPerMinute": 2})).await;
    let prompt = || ask(&server, &token, "POST", "/execute", Some(json!({"prompt": "x"})));
    for _ in 0..2 {
        // No backend is there; that is another matter.
        let answer = prompt().await.expect(503);
        assert_eq!(answer.header("x-ratelimit-limit-requests"), "2");
    }
    let refused = prompt().await.expect(429);
    assert_eq!(refused.header("x-penstock-reason"), "request_rate");
    ask(&server, OWNER, "POST", "/execute", Some(json!({"prompt": "x"}))).await.expect(503);
}

#[tokio::test]
async fn bad_tokens_are_refused_with_the_field_at_fault() {
    let server = guarded().await;
    for (body, told) in [
        (json!({"scopes": ["run"]}), "name"),
        (json!({"name": "a"}), "scopes"),
        (json!({"name": "a", "scopes": ["root"]}), "run, read or admin"),
        (json!({"name": "a", "scopes": ["run"], "expiresAt": "tomorrow"}), "expiresAt"),
        (json!({"name": "a", "scopes": ["run"], "expiresAt": "2001-01-01T00:00:00Z"}), "over already"),
        (json!({"name": "a", "scopes": ["run"], "requestsPerMinute": 0}), "requestsPerMinute"),
        (json!({"name": "a", "scopes": ["run"], "requestBurst": 5}), "requestBurst"),
    ] {
        let answer = ask(&server, OWNER, "POST", "/tokens", Some(body)).await.expect(422);
        assert!(answer.error().contains(told), "{}", answer.text);
    }
    make(&server, json!({"name": "a", "scopes": ["run"]})).await;
    let taken = ask(&server, OWNER, "POST", "/tokens", Some(json!({"name": "a", "scopes": ["run"]}))).await;
    taken.expect(409);
    ask(&server, OWNER, "GET", "/tokens/none", None).await.expect(404);
    assert_eq!(ask(&server, OWNER, "GET", "/tokens", None).await.json().as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn where_everybody_may_do_everything_a_token_is_not_made() {
    let server = TestServer::start(&[]).await;
    let answer = server.post("/tokens", json!({"name": "a", "scopes": ["run"]})).await.expect(422);
    assert!(answer.error().contains("TOKEN"), "{}", answer.text);
}

#[tokio::test]
async fn tokens_are_there_after_a_restart_and_none_is_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [("TOKEN", OWNER)];
    let server = TestServer::start_in(folder.path(), &settings).await;
    let (token, _) = make(&server, json!({"name": "ci", "scopes": ["read"]})).await;
    server.stop().await;
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }
    let server = TestServer::start_in(folder.path(), &settings).await;
    ask(&server, &token, "GET", "/backends", None).await.expect(200);
}

#[tokio::test]
async fn the_command_line_makes_lists_and_revokes_tokens_and_changes_the_secret() {
    let folder = tempfile::tempdir().unwrap();
    let (process, client) = Process::serve(folder.path(), &[("TOKEN", OWNER)]).await;
    let server = format!("http://{}", client.addr());
    let keys = async |arguments: &[&str]| {
        let arguments = [&["keys"], arguments, &["--server", &server]].concat();
        left(spawn_command(folder.path(), &arguments, &[("PENSTOCK_TOKEN", OWNER)]), "").await
    };
    let (status, token, told) = keys(&["create", "ci", "--scope", "run", "--expires", "90d", "--rpm", "60"]).await;
    assert_eq!((status, told.trim()), (0, "Keep it: it is not shown again."));
    let token = token.trim();
    ask(&client, token, "GET", "/version", None).await.expect(200);

    let (_, listed, _) = keys(&["list"]).await;
    assert!(listed.contains("ci") && listed.contains("run") && !listed.contains(token), "{listed}");
    let (_, listed, _) = keys(&["list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["requestsPerMinute"]), (&json!("ci"), &json!(60)));

    assert_eq!(keys(&["create", "ci", "--scope", "run"]).await.0, 1, "its name is taken");
    assert_eq!(keys(&["create", "x", "--scope", "run", "--expires", "soon"]).await.0, 2);
    assert_eq!(keys(&["revoke", "nobody"]).await.0, 1);
    assert_eq!(keys(&["revoke", "ci"]).await.0, 0);
    ask(&client, token, "GET", "/version", None).await.expect(401);

    let key = json!({"name": "b", "baseUrl": "http://127.0.0.1:9", "type": "vllm", "apiKey": "sk-planted-0123456789"});
    ask(&client, OWNER, "POST", "/backends", Some(key)).await.expect(201);
    let (status, told, _) = keys(&["rotate"]).await;
    assert_eq!((status, told.as_str()), (0, "1 stored key encrypted with the new secret\n"));
    for secret in [token, OWNER, "sk-planted-0123456789"] {
        assert!(!process.log().contains(secret) && !process.stdout().contains(secret));
    }
    drop(process);
    assert_eq!(keys(&["list"]).await.0, 3, "no server");
}
