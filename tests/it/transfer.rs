//! `penstock export` and `penstock import`: a backup, and the way from one database to another
//! (`docs/operations.md`, backup and move).

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use loadtest::{services::postgres::Postgres, sim::SimBackend};
use serde_json::{Value, json};

use crate::support::{Client, Process, TASKS, eventually, left, spawn_command};

const KEY: &str = "sk-transfer-0123456789-wxyz";

/// Runs the command to its end: status, standard output, standard error.
async fn run(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> (i32, String, String) {
    left(spawn_command(folder, arguments, environment), "").await
}

async fn ask(client: &Client) -> Result<(), String> {
    let body = json!({"model": "gpt", "messages": [{"role": "user", "content": "x"}]});
    let answer = client.post("/v1/chat/completions", body).await;
    if answer.status == 200 { Ok(()) } else { Err(answer.text) }
}

#[tokio::test]
async fn what_is_configured_moves_from_the_data_folder_to_postgresql_and_works_there() {
    let Some(server) = Postgres::shared() else { return };
    let provider = SimBackend::openai().model("gpt").api_key(KEY).start().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut process, client) = Process::serve(&data, &[]).await;
    let backend = json!({"name": "b", "baseUrl": provider.url(), "type": "openai", "apiKey": KEY});
    let id = client.post("/backends", backend).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    client.post(&format!("/backend-associations/{TASKS}/backends/{id}"), Value::Null).await.expect(201);
    fs::write(folder.path().join("passphrase"), "correct horse battery\nnot this\n").unwrap();

    // Beside the running server.
    let embedded = [("DATA_DIR", data.to_str().unwrap())];
    let export = ["export", "backup.jsonl", "--with-secrets", "--passphrase-file", "passphrase"];
    let (status, out, words) = run(folder.path(), &export, &embedded).await;
    assert_eq!((status, out.as_str()), (0, ""), "{words}");
    assert!(words.starts_with("exported ") && words.ends_with(" rows\n"), "{words}");
    let backup = folder.path().join("backup.jsonl");
    let text = fs::read_to_string(&backup).unwrap();
    assert!(text.contains("internal_tasks_pool") && !text.contains(KEY) && !text.contains("correct horse"));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    let (status, plain, words) = run(folder.path(), &["export"], &embedded).await;
    assert_eq!(status, 0, "{words}");
    assert!(words.contains("API keys and tokens are not in it"), "{words}");
    assert!(
        plain.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()) && plain.contains("\"api_key\":null")
    );
    process.signal("TERM").await;
    process.ended().await;

    let url = server.database_url().unwrap();
    let shared =
        [("DATABASE_URL", url.as_str()), ("SECRET_KEY", "another"), ("PENSTOCK_PASSPHRASE", "correct horse battery")];
    let (status, out, words) = run(folder.path(), &["import", "backup.jsonl"], &shared).await;
    assert_eq!((status, out.as_str()), (0, ""), "{words}");
    assert!(words.starts_with("imported ") && words.ends_with(" rows\n"), "{words}");
    let settings = [("DATABASE_URL", url.as_str()), ("SECRET_KEY", "another")];
    let (_process, client) = Process::serve(&folder.path().join("other"), &settings).await;
    eventually("an answer by the imported key", || ask(&client)).await;
    assert_eq!(client.get(&format!("/backends/{id}")).await.expect(200).json()["name"], "b");
}

#[tokio::test]
async fn what_cannot_be_exported_or_imported_is_told_in_one_line_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let here = [("DATA_DIR", data.to_str().unwrap())];
    let said = async |arguments: &[&str], environment: &[(&str, &str)], input: &str| {
        let (status, out, words) = left(spawn_command(folder.path(), arguments, environment), input).await;
        assert!(out.is_empty() && words.lines().count() == 1 && words.starts_with("penstock: "), "{out}{words}");
        (status, words)
    };
    let (status, words) = said(&["export"], &here, "").await;
    assert_eq!(status, 1, "{words}");
    assert!(!data.exists(), "an export makes no store");

    let (_process, client) = Process::serve(&data, &[]).await;
    client.post("/aliases", json!({"name": "mine", "targets": [{"model": "chat:1b"}]})).await.expect(201);
    let (status, words) = said(&["export", "--with-secrets"], &here, "").await;
    assert_eq!(status, 2);
    assert!(words.contains("--passphrase-file") && words.contains("PENSTOCK_PASSPHRASE"), "{words}");
    let short = [here[0], ("PENSTOCK_PASSPHRASE", "too short")];
    let (status, words) = said(&["export", "--with-secrets"], &short, "").await;
    assert_eq!(status, 2);
    assert!(words.contains("shorter than 12 bytes") && !words.contains("too short"), "{words}");
    fs::write(folder.path().join("there"), "precious").unwrap();
    let (status, words) = said(&["export", "there"], &here, "").await;
    assert_eq!((status, fs::read_to_string(folder.path().join("there")).unwrap().as_str()), (1, "precious"), "{words}");
    let (status, words) = said(&["import", "-"], &here, "").await;
    assert_eq!(status, 1);
    assert!(words.contains("in use by another process"), "{words}");
    let (status, words) = said(&["import", "missing.jsonl"], &here, "").await;
    assert_eq!(status, 2, "{words}");
    let (status, words) = said(&["import", "there"], &[("DATABASE_URL", "mysql://u:hunter2@h/d")], "").await;
    assert_eq!(status, 64);
    assert!(words.contains("DATABASE_URL") && !words.contains("hunter2"), "{words}");

    let elsewhere = folder.path().join("elsewhere");
    let elsewhere = [("DATA_DIR", elsewhere.to_str().unwrap())];
    let (status, words) = said(&["import", "-"], &elsewhere, "{\"penstock_export\": 1}\n{\"table\": \"x\"}\n").await;
    assert_eq!(status, 1);
    assert!(words.starts_with("penstock: line 2: "), "{words}");
    assert_eq!(client.get("/aliases").await.expect(200).json()[0]["name"], "mine");
}
