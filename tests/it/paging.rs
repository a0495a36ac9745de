//! Pages of every list that has them: order, limits, cursors, nothing lost (`docs/api.md`, pagination).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    TestServer,
    shape::{assert_time, column},
};

/// Lists with pages that are plain arrays with `createdAt`.
const LISTS: [&str; 5] = ["/backends", "/internal/models", "/hooks/remote", "/pool-by-purpose/p", "/taskchains"];

/// Creates one entry of a list.
async fn create(server: &TestServer, list: &str, name: &str) {
    let body = match list {
        "/backends" => json!({"name": name, "baseUrl": format!("http://{name}.local"), "type": "ollama"}),
        "/internal/models" => json!({"model": name}),
        "/hooks/remote" => json!({"name": name, "endpointUrl": "http://h.local", "method": "POST", "timeoutMs": 1}),
        "/taskchains" => json!({"id": name, "tasks": [{"id": "t", "handler": "raise_error"}]}),
        _ => json!({"name": name, "purposeType": "p"}),
    };
    let path = match list {
        "/internal/models" => "/models",
        "/pool-by-purpose/p" => "/pools",
        other => other,
    };
    server.post(path, body).await.expect(201);
}

/// All pages of a list from the newest on, `limit` entries each.
async fn walk(server: &TestServer, list: &str, limit: usize) -> Vec<Value> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{list}?limit={limit}{cursor}")).await.expect(200).json();
        let page = page.as_array().unwrap().clone();
        let is_last = page.len() < limit;
        assert!(page.len() <= limit);
        all.extend(page);
        match all.last() {
            Some(last) if !is_last => {
                let next = format!("&cursor={}", last["createdAt"].as_str().unwrap());
                assert_ne!(next, cursor, "the same page again");
                cursor = next;
            }
            _ => return all,
        }
    }
}

fn times(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["createdAt"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_list_is_newest_first_and_its_pages_make_up_the_whole() {
    let server = TestServer::start(&[]).await;
    for list in LISTS {
        for number in 0..5 {
            create(&server, list, &format!("n{number}")).await;
        }
        let whole = server.get(list).await.expect(200).json();
        let whole = whole.as_array().unwrap().clone();
        assert!(times(&whole).windows(2).all(|pair| pair[0] > pair[1]), "{list}: {whole:?}");
        whole.iter().for_each(|entry| assert_time(&entry["createdAt"]));
        for limit in [1, 2, 5, 1000] {
            assert_eq!(walk(&server, list, limit).await, whole, "{list} by {limit}");
        }
    }
}

#[tokio::test]
async fn limits_and_cursors_are_checked_on_every_list() {
    let server = TestServer::start(&[]).await;
    for list in LISTS.iter().chain(&["/models", "/providers/configs"]) {
        let get = async |query: &str| server.get(&format!("{list}?{query}")).await;
        for query in ["limit=0", "limit=-1", "limit=ten", "limit=1.5", "cursor=yesterday", "cursor=2025-08-08"] {
            let name = query.split('=').next().unwrap();
            assert!(get(query).await.expect(422).error().contains(name), "{list}?{query}");
        }
        for query in ["limit=1001", "limit=99999999999999999999"] {
            assert!(get(query).await.expect(400).error().contains("limit"), "{list}?{query}");
        }
        for query in
            ["limit=1", "limit=1000", "cursor=2025-08-08T12:00:00Z", "cursor=2025-08-08T14:00:00.123456789+02:00"]
        {
            get(query).await.expect(200);
        }
    }
}

#[tokio::test]
async fn a_hundred_entries_are_a_page_unless_asked_otherwise() {
    let server = TestServer::start(&[]).await;
    for number in 0..99 {
        create(&server, "/internal/models", &format!("m{number}")).await;
    }
    assert_eq!(server.get("/internal/models").await.json().as_array().unwrap().len(), 100);
    let models = server.get("/models").await.json();
    assert_eq!(models["data"].as_array().unwrap().len(), 100);
    assert_eq!(server.get("/models?limit=1000").await.json()["data"].as_array().unwrap().len(), 101);
    let unpaged = server.get("/pools?limit=1").await.expect(200).json();
    assert_eq!(unpaged.as_array().unwrap().len(), 2, "/pools has no pages");
}

#[tokio::test]
async fn the_openai_list_of_models_takes_the_precise_cursor_of_the_internal_one() {
    let server = TestServer::start(&[]).await;
    for number in 0..4 {
        create(&server, "/internal/models", &format!("m{number}")).await;
    }
    let internal = server.get("/internal/models?limit=3").await.json();
    let cursor = internal[2]["createdAt"].as_str().unwrap();
    let rest = server.get(&format!("/models?cursor={cursor}")).await.expect(200).json();
    assert_eq!(column(&rest["data"], "id"), ["m0", "chat:1b", "embed:1b"]);
}

#[tokio::test]
async fn a_cursor_counts_to_the_nanosecond_and_in_any_offset() {
    let server = TestServer::start(&[]).await;
    create(&server, "/hooks/remote", "a").await;
    let entry = server.get("/hooks/remote").await.json()[0].clone();
    let at = entry["createdAt"].as_str().unwrap().trim_end_matches('Z').to_owned();
    let seen = async |cursor: String| {
        server.get(&format!("/hooks/remote?cursor={cursor}")).await.expect(200).json().as_array().unwrap().len()
    };
    assert_eq!(seen(format!("{at}Z")).await, 0, "strictly before");
    assert_eq!(seen(format!("{at}000Z")).await, 0);
    assert_eq!(seen(format!("{at}001Z")).await, 1, "a nanosecond later it was there");
    // The same moment with an offset whose plus sign nobody encoded.
    let encoded = format!("{at}%2B00:00");
    assert_eq!((seen(format!("{at}+00:00")).await, seen(encoded).await), (0, 0));
}

#[tokio::test]
async fn configured_providers_have_pages_by_their_first_key() {
    let server = TestServer::start(&[]).await;
    for provider in ["openai", "gemini"] {
        let body = json!({"apiKey": "sk-0123456789-0123"});
        server.post(&format!("/providers/{provider}/configure"), body).await.expect(200);
    }
    let all = server.get("/providers/configs").await.expect(200).json();
    assert_eq!(column(&all, "Type"), ["gemini", "openai"]);
    let first = server.get("/providers/configs?limit=1").await.json();
    assert_eq!(column(&first, "Type"), ["gemini"]);
    // The list itself shows no time; the provider's backend was made in the same write.
    let status = server.get("/providers/gemini/status").await.json();
    let rest = server.get(&format!("/providers/configs?cursor={}", status["updatedAt"].as_str().unwrap())).await;
    assert_eq!(column(&rest.expect(200).json(), "Type"), ["openai"]);
}

#[tokio::test]
async fn pages_lose_and_repeat_nothing_while_others_create() {
    let server = TestServer::start(&[]).await;
    let names: Vec<String> = (0..60).map(|number| format!("c{number}")).collect();
    let creates = names.chunks(10).map(|some| {
        let server = &server;
        async move {
            for name in some {
                create(server, "/hooks/remote", name).await;
            }
        }
    });
    let walking = async {
        for _ in 0..20 {
            let seen = walk(&server, "/hooks/remote", 3).await;
            assert!(times(&seen).windows(2).all(|pair| pair[0] > pair[1]), "{seen:?}");
        }
    };
    tokio::join!(futures_util::future::join_all(creates), walking);
    let seen = walk(&server, "/hooks/remote", 7).await;
    let seen: Vec<&str> = seen.iter().map(|hook| hook["name"].as_str().unwrap()).collect();
    assert_eq!(seen.len(), 60);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), names.iter().map(String::as_str).collect());
}
