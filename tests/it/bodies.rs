//! Request bodies: media types, spellings of fields, what is the user's and stays as it is (`docs/api.md`, request
//! bodies and field names).

use base64::Engine as _;
use loadtest::sim::{Routes, Rule, SimBackend, SimHook};
use serde_json::{Value, json};

use crate::support::{TestServer, shape::column};

/// The first chain of the project's introduction, exactly as it is printed there: two of its values are not strict YAML.
const SKY_QUESTION: &str = r#"# save as sky_question.yaml
input: "Is the sky blue?"
inputType: string
chain:
  id: sky-color-verification
  tasks:
    - id: validate
      handler: condition_key
      validConditions:
        valid: true
        invalid: true
      promptTemplate: |
        Is this a valid question? {{.input}}
        Respond exactly with either "valid" or "invalid"
      transition:
        branches:
          - when: valid
            goto: answer
          - when: invalid
            goto: reject

    - id: answer
      handler: raw_string
      promptTemplate: Answer this question: {{.input}}
      transition:
        branches:
          - operator: default
            goto: end

    - id: reject
      handler: raw_string
      promptTemplate: This is not a valid question: {{.input}}
      transition:
        branches:
          - operator: default
            goto: end
"#;

/// A chain in YAML that hands its input on.
fn passing(input: &str) -> String {
    format!(
        "input: {input}\ninputType: json\nchain:\n  tasks:\n    - id: pass\n      handler: noop\n      \
         transition:\n        branches:\n          - operator: default\n            goto: end\n"
    )
}

fn base64(text: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(text)
}

#[tokio::test]
async fn json_is_read_under_each_of_its_types_and_without_one() {
    let server = TestServer::start(&[]).await;
    for (number, content_type) in
        ["application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"].into_iter().enumerate()
    {
        let body = json!({"name": format!("p{number}")}).to_string();
        server.post_as("/pools", content_type, body).await.expect(201);
    }
    let untyped = server.request(reqwest::Method::POST, "/pools").body("{\"name\": \"untyped\"}");
    server.send(untyped).await.expect(201);
    let names = column(&server.get("/pools").await.json(), "name");
    assert_eq!(names, ["untyped", "p2", "p1", "p0", "Tasks", "Embedder"]);
}

#[tokio::test]
async fn yaml_is_read_under_each_of_its_types_in_base64_and_under_json() {
    let server = TestServer::start(&[]).await;
    let (yaml, packed) = ("name: NAME\npurposeType: p\n", base64("name: NAME\npurposeType: p\n"));
    for (number, (content_type, body)) in [
        ("application/yaml", yaml),
        ("text/yaml; charset=utf-8", yaml),
        ("application/x-yaml", yaml),
        ("TEXT/X-YAML", yaml),
        ("application/json", yaml),
        ("application/yaml; encoding=base64", packed.as_str()),
        ("application/yaml;encoding=\"BASE64\"", packed.as_str()),
        ("application/x-yaml-base64", packed.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let made = server.post_as("/pools", content_type, body).await.expect(201).json();
        assert_eq!((&made["name"], &made["purposeType"]), (&json!("NAME"), &json!("p")), "{content_type}");
        let path = format!("/pools/{}", made["id"].as_str().unwrap());
        let renamed = server.request(reqwest::Method::PUT, &path).header("content-type", "application/yaml");
        server.send(renamed.body(format!("name: n{number}"))).await.expect(200);
    }
}

#[tokio::test]
async fn other_types_are_415_and_broken_headers_400() {
    let server = TestServer::start(&[]).await;
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data; boundary=x"] {
        let answer = server.post_as("/pools", content_type, "{\"name\": \"a\"}").await.expect(415);
        assert!(answer.error().contains("application/json"), "{}", answer.text);
    }
    for content_type in ["json", "application/", "application/json; charset", "/"] {
        let answer = server.post_as("/pools", content_type, "{\"name\": \"a\"}").await.expect(400);
        assert!(answer.error().contains("Content-Type"), "{content_type}: {}", answer.text);
    }
}

#[tokio::test]
async fn bodies_that_cannot_be_decoded_are_400_on_every_route_that_reads_one() {
    let server = TestServer::start(&[]).await;
    let bodies = [
        ("application/json", ""),
        ("application/json", " \n"),
        ("application/json", "{\"name\":"),
        ("application/json", "hello"),
        ("application/json", "[]"),
        ("application/json", "[\"a\"]"),
        ("application/json", "7"),
        ("application/yaml", "a: [1"),
        ("application/yaml", "- a\n- b\n"),
        ("application/yaml", "just words"),
        ("application/x-yaml-base64", "%%%"),
        ("application/x-yaml-base64", "AAA"),
    ];
    for path in [
        "/backends",
        "/models",
        "/pools",
        "/hooks/remote",
        "/providers/openai/configure",
        "/execute",
        "/embed",
        "/tasks",
    ] {
        for (content_type, body) in bodies {
            let answer = server.post_as(path, content_type, body).await.expect(400);
            assert!(!answer.error().is_empty(), "{path} {content_type} {body}");
        }
    }
    let broken = server.post_as("/pools", "application/json", "{\n  \"name\": x\n}").await.expect(400);
    assert!(broken.error().contains("line 2"), "{}", broken.text);
}

#[tokio::test]
async fn every_spelling_of_a_field_is_one_field_and_answers_use_the_canonical_one() {
    let server = TestServer::start(&[]).await;
    for (number, spelling) in ["baseUrl", "baseURL", "base_url", "baseurl", "BASE_URL"].into_iter().enumerate() {
        let url = format!("http://h{number}.local");
        let body = json!({"NAME": format!("n{number}"), spelling: url, "_type_": "ollama", "MAX_concurrency": 2});
        let made = server.post("/backends", body).await.expect(201).json();
        assert_eq!((&made["baseUrl"], &made["maxConcurrency"]), (&json!(url), &json!(2)), "{spelling}");
        let yaml = format!("name: y{number}\n{spelling}: http://y{number}.local\ntype: ollama\n");
        server.post_as("/backends", "application/yaml", yaml).await.expect(201);
    }
}

#[tokio::test]
async fn the_canonical_spelling_wins_else_the_last_and_null_is_absent() {
    let server = TestServer::start(&[]).await;
    for (sent, wanted) in [
        (r#"{"name":"a","purposeType":"canonical","purpose_type":"other"}"#, "canonical"),
        (r#"{"name":"b","purpose_type":"other","purposeType":"canonical"}"#, "canonical"),
        (r#"{"name":"c","PURPOSETYPE":"first","purpose_type":"last"}"#, "last"),
        (r#"{"name":"d","purpose_type":"other","purposeType":null}"#, "other"),
        (r#"{"name":"e","purposeType":null,"nobody":{"knows":1}}"#, ""),
    ] {
        let made = server.post_as("/pools", "application/json", sent).await.expect(201).json();
        assert_eq!(made["purposeType"], wanted, "{sent}");
    }
}

#[tokio::test]
async fn keys_and_values_inside_an_input_are_the_users() {
    let server = TestServer::start(&[]).await;
    let input = json!({"base_URL": null, "on_failure": {"Valid_Conditions": [1, 2.5, null]}, "": "", "ключ": "é"});
    let pass = json!({"id": "pass", "handler": "noop", "transition": {"branches": [{"operator": "default"}]}});
    let body = json!({"input": input, "input_type": "json", "chain": {"tasks": [pass]}});
    let answer = server.post("/tasks", body).await.expect(200).json();
    assert_eq!((&answer["output"], &answer["outputType"]), (&input, &json!("json")));
}

#[tokio::test]
async fn yaml_keys_and_words_that_look_like_booleans_or_numbers_stay_text() {
    let server = TestServer::start(&[]).await;
    let body = passing("\n  yes: a\n  no: on\n  on: b\n  off: c\n  true: d\n  1: e\n  1.0: f\n  y: yes");
    let answer = server.post_as("/tasks", "application/yaml", body).await.expect(200).json();
    let wanted = json!({"yes": "a", "no": "on", "on": "b", "off": "c", "true": "d", "1": "e", "1.0": "f", "y": "yes"});
    assert_eq!(answer["output"], wanted);
}

#[tokio::test]
async fn arguments_of_hooks_keep_their_keys() {
    let server = TestServer::start(&[]).await;
    let hook = SimHook::start().await.unwrap();
    hook.reply("found", "string", "ok");
    let body = json!({"name": "lookup", "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 5000});
    server.post("/hooks/remote", body).await.expect(201);
    let call = json!({"name": "lookup", "args": {"Top_K": 3, "deepSearch": true, "Yes": "no"}});
    let task = json!({"id": "a", "handler": "hook", "hook": call, "transition": {"branches": [{"goto": "end"}]}});
    let body = json!({"input": "x", "chain": {"tasks": [task]}});
    assert_eq!(server.post("/tasks", body).await.expect(200).json()["output"], "found");
    let seen = hook.record().requests[0].json();
    let wanted = json!({"Top_K": "3", "Yes": "no", "deepSearch": "true"});
    assert!(contains(&seen, &wanted), "{seen}");
}

/// Whether a value is somewhere inside another.
fn contains(inside: &Value, wanted: &Value) -> bool {
    inside == wanted
        || inside.as_object().is_some_and(|object| object.values().any(|value| contains(value, wanted)))
        || inside.as_array().is_some_and(|array| array.iter().any(|value| contains(value, wanted)))
}

#[tokio::test]
async fn the_first_chain_runs_as_printed_and_is_told_what_was_repaired() {
    let server = TestServer::start(&[]).await;
    let sim = SimBackend::ollama().model("chat:1b").start().await.unwrap();
    sim.script(Rule::on(Routes::GENERATING).containing("Is this a valid question?").reply("Valid."));
    sim.script(Rule::on(Routes::GENERATING).containing("Answer this question: Is the sky").reply("Yes, mostly."));
    let id = server.register("a", "ollama", &sim, &["internal_tasks_pool"]).await;
    server.wait_for_model(&id, "chat:1b").await;
    for content_type in ["application/json", "application/yaml"] {
        let answer = server.post_as("/tasks", content_type, SKY_QUESTION).await.expect(200);
        assert_eq!(answer.json()["output"], "Yes, mostly.");
        let warnings: Vec<&str> =
            answer.headers.get_all("x-penstock-warning").iter().map(|w| w.to_str().unwrap()).collect();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        for (warning, line, quoted) in [
            (warnings[0], "line 24, column 23", "'Answer this question: {{.input}}'"),
            (warnings[1], "line 32, column 23", "'This is not a valid question: {{.input}}'"),
        ] {
            assert!(warning.contains(line) && warning.contains(quoted), "{warning}");
        }
    }
    let strict = SKY_QUESTION
        .replace("Template: Answer this question: {{.input}}", "Template: 'Answer this question: {{.input}}'");
    let strict = strict.replace("Template: This is not a valid question: {{.input}}", "Template: 'no'");
    let answer = server.post_as("/tasks", "application/yaml", strict).await.expect(200);
    assert_eq!(answer.header("x-penstock-warning"), "");
}

#[tokio::test]
async fn a_file_without_its_line_breaks_gets_told_how_to_send_it() {
    let server = TestServer::start(&[]).await;
    let collapsed = SKY_QUESTION.replace('\n', "");
    let without_comment = collapsed.replace("# save as sky_question.yaml", "");
    for content_type in ["application/json", "application/yaml"] {
        for body in [&collapsed, &without_comment] {
            let answer = server.post_as("/tasks", content_type, body.as_str()).await.expect(400);
            assert!(answer.error().contains("--data-binary"), "{content_type}: {}", answer.text);
            assert!(answer.error().contains("application/yaml"), "{}", answer.text);
        }
    }
}
