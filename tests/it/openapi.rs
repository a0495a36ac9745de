//! The machine-readable description says what the server does: routes and operations are the same, examples and real answers
//! fit their schemas, and the page that shows it asks nobody else (`docs/api.md`, machine-readable description).

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, Scene, TASKS, TestServer};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
const ROUTER: &str = include_str!("../../src/http/router.rs");

async fn description() -> Value {
    TestServer::start(&[]).await.get("/openapi.json").await.expect(200).json()
}

/// Path, method and operation, in the order of the document.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = METHODS.iter().filter_map(|method| Some((*method, item.get(*method)?)));
        methods.map(|(method, operation)| (path.clone(), method.to_owned(), operation.clone())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// A path without the names of its parameters.
pub fn shape(path: &str) -> String {
    let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

/// The rows of the router's table as path, method and route. A parameter is a name that begins with `_`.
pub fn rows() -> Vec<(String, String, String)> {
    let table = ROUTER.split("pub(super) fn methods").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut rows = Vec::new();
    let mut path = None;
    for line in table.lines().map(str::trim) {
        if let Some(pattern) = line.strip_prefix('[').or_else(|| line.strip_prefix("if let [")) {
            let pattern = pattern.split(']').next().unwrap();
            // What follows a parameter that may hold slashes is a part of it.
            let segments = pattern.split(',').map(str::trim).filter(|segment| *segment != "..");
            let segments = segments.map(|segment| match segment.strip_prefix('_') {
                Some(_) => "{}".to_owned(),
                None => segment.trim_matches('"').to_owned(),
            });
            path = Some(format!("/{}", segments.collect::<Vec<_>>().join("/")));
        }
        for entry in line.split("(Method::").skip(1) {
            let (method, rest) = entry.split_once(',').unwrap();
            let route = rest.split(')').next().unwrap().trim();
            rows.push((path.clone().unwrap(), method.to_lowercase(), route.to_owned()));
        }
    }
    assert!(rows.len() > 50, "the router's table is read no more: {rows:?}");
    rows
}

/// Whether a path of the table is a case of a more general one.
fn is_case_of(path: &str, general: &str) -> bool {
    let (path, general): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), general.split('/').collect());
    path.len() == general.len() && path.iter().zip(&general).all(|(own, other)| own == other || *other == "{}")
}

#[tokio::test]
async fn every_route_has_an_operation() {
    let described: BTreeSet<(String, String)> =
        operations(&description().await).into_iter().map(|(path, method, _)| (shape(&path), method)).collect();
    let rows = rows();
    // A word in the place of a parameter must not lose the parameter's methods; that is no route of its own.
    let repeats = |(path, method, route): &(String, String, String)| {
        let mut others = rows.iter().filter(|(other, ..)| other != path);
        others.any(|(other, known, same)| is_case_of(path, other) && known == method && same == route)
    };
    let missing: Vec<_> = rows
        .iter()
        .filter(|(path, method, _)| !described.contains(&(path.clone(), method.clone())))
        .filter(|row| !repeats(row))
        .collect();
    assert!(missing.is_empty(), "routes without an operation in src/api/openapi/: {missing:#?}");
}

#[tokio::test]
async fn every_operation_has_a_route() {
    let server = TestServer::start(&[]).await;
    let document = server.get("/openapi.json").await.expect(200).json();
    let mut described: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(&document) {
        described.entry(path).or_default().insert(method.to_uppercase());
    }
    let routes: BTreeSet<(String, String)> = rows().into_iter().map(|(path, method, _)| (path, method)).collect();
    for (path, mut methods) in described {
        for method in &methods {
            assert!(routes.contains(&(shape(&path), method.to_lowercase())), "no route for {method} {path}");
        }
        // The server itself: a method that no path knows is answered with those that it does.
        let filled: Vec<&str> = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect();
        let answer = server.send(server.request(Method::OPTIONS, &filled.join("/"))).await.expect(405);
        let allowed: BTreeSet<String> = answer.header("allow").split(", ").map(str::to_owned).collect();
        if methods.contains("GET") {
            methods.insert("HEAD".to_owned());
        }
        assert!(methods.is_subset(&allowed), "{path} is described with {methods:?}, but takes {allowed:?}");
    }
}

/// Every `$ref` below a value.
fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn references_lead_somewhere_and_nothing_is_described_for_nobody() {
    let document = description().await;
    let mut named = BTreeSet::new();
    references(&document, &mut named);
    for reference in &named {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leaves the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let unused = |name: &&String| !named.contains(&format!("#/components/schemas/{name}"));
    let unused: Vec<&String> = schemas.keys().filter(unused).collect();
    assert!(unused.is_empty(), "no operation uses {unused:?}");
}

#[tokio::test]
async fn operations_have_one_name_each_a_known_tag_and_an_answer() {
    let document = description().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().filter_map(|tag| tag["name"].as_str()).collect();
    let (mut ids, mut used) = (BTreeSet::new(), BTreeSet::new());
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id.clone()), "{id} is the name of two operations");
        let tag = operation["tags"][0].as_str().unwrap().to_owned();
        assert!(tags.contains(tag.as_str()), "{tag} of {method} {path} is not described");
        used.insert(tag);
        let answers = operation["responses"].as_object().unwrap();
        let is_refused = operation["summary"] == "Refused";
        assert_eq!(answers.keys().any(|status| status.starts_with('2')), !is_refused, "{method} {path}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let in_path = |parameter: &&Value| {
            parameter["in"] == "path" && !parameter["description"].as_str().unwrap_or("").is_empty()
        };
        assert_eq!(parameters.iter().filter(in_path).count(), path.matches('{').count(), "{method} {path}");
    }
    assert_eq!(used.len(), tags.len(), "tags without an operation");
}

/// A checker of one schema that may refer to the components of the document.
fn checker(document: &Value, schema: &Value) -> jsonschema::Validator {
    let whole = json!({"$schema": "https://json-schema.org/draft/2020-12/schema", "allOf": [schema],
        "components": document["components"]});
    jsonschema::options()
        .should_validate_formats(true)
        .build(&whole)
        .unwrap_or_else(|error| panic!("{error} in {schema}"))
}

/// What is wrong with a value.
fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    checker(document, schema).iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// Every place with an example and a schema for it.
fn examples<'a>(at: &str, value: &'a Value, found: &mut Vec<(String, &'a Value, &'a Value)>) {
    match value {
        Value::Object(fields) => {
            if let (Some(schema), Some(example)) = (fields.get("schema"), fields.get("example")) {
                found.push((at.to_owned(), schema, example));
            }
            fields.iter().for_each(|(name, value)| examples(&format!("{at}/{name}"), value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| examples(at, value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_schema_is_one_and_every_example_fits_its_own() {
    let document = description().await;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if let Err(error) = jsonschema::meta::validate(schema) {
            panic!("{name} is no JSON Schema: {error}");
        }
    }
    let mut found = Vec::new();
    examples("", &document["paths"], &mut found);
    assert!(found.len() > 60, "{}", found.len());
    for (at, schema, example) in found {
        let faults = faults(&document, schema, example);
        assert!(faults.is_empty(), "the example at {at} does not fit: {faults:?}");
    }
}

/// Requests with bodies and answers with bodies have an example.
#[tokio::test]
async fn every_body_has_an_example() {
    for (path, method, operation) in operations(&description().await) {
        let answers = operation["responses"].as_object().unwrap().values();
        let bodies = answers.chain([&operation["requestBody"]]).filter_map(|body| body["content"].as_object());
        for content in bodies.flat_map(|content| content.values()) {
            assert!(content.get("example").is_some(), "{method} {path}");
        }
    }
}

/// The answers of one session, each held against the description.
struct Held {
    scene: Scene,
    document: Value,
    seen: BTreeSet<String>,
}

impl Held {
    async fn ask(&mut self, method: Method, path: &str, template: &str, body: Option<Value>) -> Value {
        let request = self.scene.server.request(method.clone(), path);
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        };
        let answer = self.scene.server.send(request).await;
        self.check(&method, template, &answer);
        if answer.text.is_empty() { Value::Null } else { answer.json() }
    }

    #[track_caller]
    fn check(&mut self, method: &Method, template: &str, answer: &Answer) {
        let operation = &self.document["paths"][template][method.as_str().to_lowercase()];
        assert!(operation.is_object(), "{method} {template} is not described");
        let mut described = &operation["responses"][answer.status.to_string()];
        assert!(!described.is_null(), "{method} {template} answered {}: {}", answer.status, answer.text);
        if let Some(reference) = described["$ref"].as_str() {
            described = self.document.pointer(&reference[1..]).unwrap();
        }
        let content = &described["content"]["application/json"];
        if content.is_null() {
            assert!(answer.text.is_empty(), "{method} {template}: {}", answer.text);
        } else {
            let faults = faults(&self.document, &content["schema"], &answer.json());
            assert!(faults.is_empty(), "{method} {template}: {faults:?} in {}", answer.text);
        }
        // Every header of ours that was sent is described.
        let headers = described["headers"].as_object().unwrap();
        for name in answer.headers.keys().map(|name| name.as_str()).filter(|name| name.starts_with("x-penstock-")) {
            assert!(headers.keys().any(|known| known.eq_ignore_ascii_case(name)), "{method} {template}: {name}");
        }
        self.seen.insert(format!("{method} {template} {}", answer.status));
    }
}

#[tokio::test]
async fn real_answers_fit_their_schemas() {
    let scene = Scene::start(&[]).await;
    let document = scene.server.get("/openapi.json").await.json();
    let mut held = Held { scene, document, seen: BTreeSet::new() };
    let id = held.scene.id.clone();
    for path in [
        "/health",
        "/ready",
        "/version",
        "/defaultmodel",
        "/state",
        "/supported",
        "/alerts",
        "/backends",
        "/models",
        "/internal/models",
        "/pools",
        "/providers/configs",
        "/queue",
        "/hooks/remote",
        "/taskchains",
        "/openapi.json",
    ] {
        held.ask(Method::GET, path, path, None).await;
    }
    held.ask(Method::GET, &format!("/backends/{id}"), "/backends/{id}", None).await;
    held.ask(Method::GET, "/backends/none", "/backends/{id}", None).await;
    held.ask(Method::GET, "/backends?limit=0", "/backends", None).await;
    let backend = json!({"name": "spare", "baseUrl": "http://127.0.0.1:9", "type": "openai"});
    let made = held.ask(Method::POST, "/backends", "/backends", Some(backend.clone())).await;
    held.ask(Method::POST, "/backends", "/backends", Some(backend.clone())).await;
    held.ask(Method::POST, "/backends", "/backends", Some(json!({"name": "x"}))).await;
    let spare = made["id"].as_str().unwrap().to_owned();
    held.ask(Method::PUT, &format!("/backends/{spare}"), "/backends/{id}", Some(backend)).await;
    let assignment = "/backend-associations/{poolID}/backends/{backendID}";
    let at = format!("/backend-associations/{TASKS}/backends/{spare}");
    for method in [Method::POST, Method::POST, Method::DELETE, Method::DELETE] {
        held.ask(method, &at, assignment, None).await;
    }
    held.ask(
        Method::GET,
        &format!("/backend-associations/{TASKS}/backends"),
        "/backend-associations/{poolID}/backends",
        None,
    )
    .await;
    held.ask(
        Method::GET,
        &format!("/backend-associations/{id}/pools"),
        "/backend-associations/{backendID}/pools",
        None,
    )
    .await;
    held.ask(Method::DELETE, &format!("/backends/{spare}"), "/backends/{id}", None).await;

    held.ask(Method::POST, "/models", "/models", Some(json!({"model": "other:1b", "canChat": true}))).await;
    held.ask(Method::PUT, "/models/other:1b", "/models/{id}", Some(json!({"contextLength": 4096}))).await;
    let assignment = "/model-associations/{poolID}/models/{modelID}";
    for method in [Method::POST, Method::DELETE] {
        held.ask(method, &format!("/model-associations/{TASKS}/models/other:1b"), assignment, None).await;
    }
    let defaults = format!("/model-associations/{EMBED}/models");
    held.ask(Method::GET, &defaults, "/model-associations/{poolID}/models", None).await;
    held.ask(Method::GET, "/model-associations/embed:1b/pools", "/model-associations/{modelID}/pools", None).await;
    held.ask(Method::DELETE, "/models/embed:1b", "/models/{id}", None).await;
    held.ask(Method::DELETE, "/models/other:1b?purge=true", "/models/{id}", None).await;

    let pool = held.ask(Method::POST, "/pools", "/pools", Some(json!({"name": "night", "purposeType": "batch"}))).await;
    let pool = format!("/pools/{}", pool["id"].as_str().unwrap());
    held.ask(Method::GET, &pool, "/pools/{id}", None).await;
    held.ask(Method::PUT, &pool, "/pools/{id}", Some(json!({"name": "night", "policy": "weighted"}))).await;
    held.ask(Method::GET, "/pool-by-name/night", "/pool-by-name/{name}", None).await;
    held.ask(Method::GET, "/pool-by-purpose/batch", "/pool-by-purpose/{purpose}", None).await;
    held.ask(Method::DELETE, &pool, "/pools/{id}", None).await;
    held.ask(Method::DELETE, "/pools/internal_tasks_pool", "/pools/{id}", None).await;

    let key = json!({"apiKey": "sk-0123456789-wxyz"});
    held.ask(Method::POST, "/providers/gemini/configure", "/providers/{provider}/configure", Some(key)).await;
    held.ask(Method::GET, "/providers/gemini/status", "/providers/{provider}/status", None).await;
    held.ask(Method::GET, "/providers/gemini/config", "/providers/{provider}/config", None).await;
    held.ask(Method::DELETE, "/providers/gemini/config", "/providers/{provider}/config", None).await;

    held.ask(Method::DELETE, "/queue/none", "/queue/{model}", None).await;
    held.ask(Method::DELETE, "/queue/cancel?model=none", "/queue/cancel", None).await;
    held.ask(Method::DELETE, "/queue/cancel", "/queue/cancel", None).await;

    let hook = json!({"name": "lookup", "endpointUrl": "http://127.0.0.1:9/x", "method": "POST", "timeoutMs": 200});
    let made = held.ask(Method::POST, "/hooks/remote", "/hooks/remote", Some(hook.clone())).await;
    let at = format!("/hooks/remote/{}", made["id"].as_str().unwrap());
    held.ask(Method::GET, &at, "/hooks/remote/{id}", None).await;
    held.ask(Method::PUT, &at, "/hooks/remote/{id}", Some(hook)).await;
    held.ask(Method::GET, "/supported", "/supported", None).await;
    held.ask(Method::DELETE, &at, "/hooks/remote/{id}", None).await;

    let chain =
        held.document["paths"]["/taskchains"]["post"]["requestBody"]["content"]["application/json"]["example"].clone();
    held.ask(Method::POST, "/taskchains", "/taskchains", Some(chain.clone())).await;
    held.ask(
        Method::POST,
        "/taskchains",
        "/taskchains",
        Some(json!({"id": "x", "tasks": [{"id": "a", "handler": "b"}]})),
    )
    .await;
    held.ask(Method::GET, "/taskchains", "/taskchains", None).await;
    held.ask(Method::GET, "/taskchains/front%20desk", "/taskchains/{id}", None).await;
    held.ask(Method::GET, "/taskchains/front%20desk?version=9", "/taskchains/{id}", None).await;
    held.ask(Method::PUT, "/taskchains/front%20desk", "/taskchains/{id}", Some(chain.clone())).await;
    held.ask(Method::GET, "/taskchains/front%20desk/versions", "/taskchains/{id}/versions", None).await;
    held.ask(Method::POST, "/taskchains/validate", "/taskchains/validate", Some(chain.clone())).await;
    held.ask(Method::POST, "/taskchains/validate", "/taskchains/validate", Some(json!({"tasks": [{"idd": 1}]}))).await;
    held.ask(Method::DELETE, "/taskchains/front%20desk", "/taskchains/{id}", None).await;

    held.ask(Method::POST, "/execute", "/execute", Some(json!({"prompt": "hello"}))).await;
    held.ask(Method::POST, "/execute", "/execute", Some(json!({"prompt": ""}))).await;
    held.ask(Method::POST, "/execute", "/execute", Some(json!({"prompt": "hi", "model_name": "none"}))).await;
    held.ask(Method::POST, "/embed", "/embed", Some(json!({"text": "hello"}))).await;
    held.ask(Method::POST, "/tasks", "/tasks", Some(json!({"input": "Ada", "chain": chain}))).await;
    held.ask(Method::POST, "/tasks", "/tasks", Some(json!({"input": "Ada", "chain": {"tasks": [{"id": "a"}]}}))).await;
    let fails = json!({"tasks": [{"id": "a", "handler": "hook", "hook": {"name": "none"}, "transition": {"branches": [{"operator": "default"}]}}]});
    held.ask(Method::POST, "/tasks", "/tasks", Some(json!({"input": "Ada", "chain": fails}))).await;

    let alias = json!({"name": "assistant", "targets": [{"model": "chat:1b", "providers": ["ollama"]}]});
    held.ask(Method::POST, "/aliases", "/aliases", Some(alias.clone())).await;
    held.ask(Method::POST, "/aliases", "/aliases", Some(alias.clone())).await;
    held.ask(Method::GET, "/aliases", "/aliases", None).await;
    held.ask(Method::GET, "/aliases/assistant", "/aliases/{name}", None).await;
    held.ask(Method::PUT, "/aliases/assistant", "/aliases/{name}", Some(alias)).await;
    held.ask(Method::DELETE, "/aliases/assistant", "/aliases/{name}", None).await;
    held.ask(Method::DELETE, "/aliases/assistant", "/aliases/{name}", None).await;

    let asked = json!({"model": "chat:1b", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let unknown = json!({"model": "none:1b", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    for path in ["/v1/chat/completions", "/api/chat"] {
        for body in [asked.clone(), unknown.clone(), json!({"model": 1})] {
            held.ask(Method::POST, path, path, Some(body)).await;
        }
    }
    let prompt = json!({"model": "chat:1b", "prompt": "hi", "stream": false});
    for path in ["/v1/completions", "/api/generate"] {
        held.ask(Method::POST, path, path, Some(prompt.clone())).await;
    }
    let texts = json!({"model": "embed:1b", "input": ["a", "b"]});
    for path in ["/v1/embeddings", "/api/embed"] {
        held.ask(Method::POST, path, path, Some(texts.clone())).await;
    }
    held.ask(Method::POST, "/api/embeddings", "/api/embeddings", Some(json!({"model": "embed:1b", "prompt": "a"})))
        .await;
    held.ask(Method::POST, "/v1/responses", "/v1/responses", Some(json!({"model": "chat:1b", "input": "hi"}))).await;
    for path in ["/v1/models", "/api/tags", "/api/ps", "/api/version"] {
        held.ask(Method::GET, path, path, None).await;
    }
    held.ask(Method::GET, "/v1/models/chat:1b", "/v1/models/{modelName}", None).await;
    held.ask(Method::GET, "/v1/models/none", "/v1/models/{modelName}", None).await;
    for path in ["/api/show", "/api/pull"] {
        for name in ["chat:1b", "none:1b"] {
            held.ask(Method::POST, path, path, Some(json!({"model": name}))).await;
        }
    }
    held.ask(Method::DELETE, "/api/delete", "/api/delete", None).await;
    assert!(held.seen.len() > 90, "{} answers were held against the description", held.seen.len());
}

#[tokio::test]
async fn with_a_token_set_the_description_and_its_page_need_it() {
    let server = TestServer::start(&[("TOKEN", "open-sesame-42")]).await;
    for path in ["/openapi.json", "/docs", "/docs/swagger-ui.css", "/docs/nowhere.js"] {
        server.get(path).await.expect(401);
    }
    for path in ["/openapi.json", "/docs", "/docs/start.js"] {
        server.send(server.request(Method::GET, path).bearer_auth("open-sesame-42")).await.expect(200);
    }
}

#[tokio::test]
async fn the_page_is_whole_compressed_and_names_no_other_host() {
    let server = TestServer::start(&[]).await;
    let page = server.get("/docs").await.expect(200);
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    let policy = page.header("content-security-policy").to_owned();
    assert!(
        policy.starts_with("default-src 'none';") && !policy.contains("unsafe") && !policy.contains("http"),
        "{policy}"
    );
    assert!(!page.text.contains("//"), "the page names a host: {}", page.text);
    let mut loaded = 0;
    for file in page.text.split(['"', '\'']).filter(|part| part.starts_with("docs/")) {
        let answer = server.get(&format!("/{file}")).await.expect(200);
        let is_style = file.ends_with(".css");
        assert!(answer.header("content-type").starts_with(if is_style { "text/css" } else { "text/javascript" }));
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("content-encoding") == "gzip", !file.ends_with("start.js"), "{file}");
        loaded += 1;
    }
    assert_eq!(loaded, 3);
    for unknown in ["/docs/index.html", "/docs/%2e%2e%2fCargo.toml", "/docs/swagger-ui.js", "/docs/"] {
        server.get(unknown).await.expect(404);
    }
}
