//! The embedded store under the catalog's suite, and what only a store in files has to show.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::join_all;
use rusqlite::Connection;

use super::{EmbeddedSettings, EmbeddedStore, OpenError, SecretKey};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        page::Page,
        provider::CloudProvider,
        time::Timestamp,
    },
    stores::{
        catalog::{CatalogStore, StoreError},
        catalog_suite::{Home, backend, providers, refusal},
    },
};

struct Folder(tempfile::TempDir);

fn folder() -> Folder {
    Folder(tempfile::tempdir().unwrap())
}

impl Home for Folder {
    type Store = EmbeddedStore;

    async fn open_with_cap(&self, max_rows: u64) -> Arc<EmbeddedStore> {
        EmbeddedStore::open_with_cap(settings(self.0.path(), None), max_rows).unwrap()
    }

    async fn close(&self, store: Arc<EmbeddedStore>) {
        store.close().await;
    }
}

mod suite {
    catalog_suite!(crate::stores::embedded::tests::folder);
}

fn settings(data_dir: &Path, secret: Option<&str>) -> EmbeddedSettings {
    EmbeddedSettings { data_dir: data_dir.to_owned(), secret_key: secret.map(SecretKey::new) }
}

fn open(data_dir: &Path, secret: Option<&str>) -> Arc<EmbeddedStore> {
    EmbeddedStore::open(settings(data_dir, secret)).unwrap()
}

fn refused(data_dir: &Path, secret: Option<&str>) -> OpenError {
    match EmbeddedStore::open(settings(data_dir, secret)) {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

/// The closed store's database, to look at or to spoil.
fn database(data_dir: &Path) -> Connection {
    Connection::open(data_dir.join("penstock.db")).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn with_key(name: &str, key: &str) -> BackendSpec {
    BackendSpec { api_key: Some(ApiKey::new(key)), ..backend(name) }
}

#[tokio::test]
async fn a_first_start_makes_a_private_folder_with_private_files() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("deep/data");
    let store = open(&data, None);
    store.create_backend(backend("b")).await.unwrap();
    assert_eq!(mode(&data), 0o700);
    let mut names: Vec<PathBuf> = fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(names.iter().all(|file| mode(file) == 0o600), "{names:?}");

    store.close().await;
    let left = ["penstock.db", "penstock.lock", "secret.key"].map(|name| data.join(name));
    names.retain(|file| file.exists());
    assert_eq!(names, left, "the log is moved into the database");
}

#[tokio::test]
async fn a_second_process_is_refused_until_the_first_has_closed() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    let error = refused(temp.path(), None);
    assert!(matches!(error, OpenError::InUse { .. }));
    assert!(error.to_string().contains("in use"), "{error}");
    store.close().await;
    drop(open(temp.path(), None));
    // Dropping frees it too.
    open(temp.path(), None).close().await;
}

#[test]
fn a_folder_that_cannot_be_used_is_refused_by_name() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = refused(&path, None);
        assert!(matches!(error, OpenError::Folder { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()) && !text.contains('\n'), "{text}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let text = "certainly not a database ".repeat(100);
    fs::write(temp.path().join("penstock.db"), &text).unwrap();
    assert!(matches!(refused(temp.path(), None), OpenError::Database { .. }));
    assert_eq!(fs::read_to_string(temp.path().join("penstock.db")).unwrap(), text);
}

#[tokio::test]
async fn a_later_versions_file_is_refused_with_a_clear_line() {
    let temp = tempfile::tempdir().unwrap();
    open(temp.path(), None).close().await;
    let sql = "INSERT INTO schema_migrations VALUES (999, 'future', 'x', 0)";
    database(temp.path()).execute(sql, ()).unwrap();
    let error = refused(temp.path(), None);
    assert!(matches!(error, OpenError::NewerSchema { found: 999, .. }));
    assert!(error.to_string().contains("later version"), "{error}");
}

#[tokio::test]
async fn keys_are_encrypted_in_every_file() {
    let temp = tempfile::tempdir().unwrap();
    let (own, providers_key) = ("sk-own-key-0123456789", "sk-provider-0123456789");
    let store = open(temp.path(), Some("a secret of the operator"));
    store.create_backend(with_key("b", own)).await.unwrap();
    let url = providers::URL.to_owned();
    store.configure_provider(CloudProvider::Openai, ApiKey::new(providers_key), url, false).await.unwrap();

    let holds = |needle: &str| {
        let files = fs::read_dir(temp.path()).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap());
        files.into_iter().any(|bytes| bytes.windows(needle.len()).any(|window| window == needle.as_bytes()))
    };
    let clear_of_keys = || [own, providers_key, "0123456789", "a secret of the operator"].iter().all(|key| !holds(key));
    assert!(holds(providers::URL), "the files are the right ones");
    assert!(clear_of_keys(), "while open");
    store.close().await;
    assert!(holds(providers::URL) && clear_of_keys(), "when closed");
}

#[tokio::test]
async fn another_secret_is_refused_once_a_key_is_stored_and_taken_over_before() {
    let temp = tempfile::tempdir().unwrap();
    open(temp.path(), None).close().await;
    open(temp.path(), Some("first")).close().await;
    let store = open(temp.path(), Some("second"));
    store.create_backend(with_key("b", "sk-own")).await.unwrap();
    store.close().await;

    for (secret, given) in [(Some("first"), "SECRET_KEY does not fit"), (None, "the key file does not fit")] {
        let error = refused(temp.path(), secret);
        assert!(matches!(error, OpenError::WrongSecret { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(given) && !text.contains("first") && !text.contains('\n'), "{text}");
    }
    let store = open(temp.path(), Some("second"));
    assert!(store.intent().await.unwrap().backends[0].api_key == Some(ApiKey::new("sk-own")));
}

#[tokio::test]
async fn a_missing_key_file_is_not_replaced_while_keys_are_stored() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    store.create_backend(with_key("b", "sk-own")).await.unwrap();
    store.close().await;
    let key_file = temp.path().join("secret.key");
    fs::rename(&key_file, temp.path().join("elsewhere")).unwrap();
    assert!(matches!(refused(temp.path(), None), OpenError::MissingSecret { .. }));
    assert!(!key_file.exists());
    fs::rename(temp.path().join("elsewhere"), &key_file).unwrap();
    open(temp.path(), None).close().await;
}

#[tokio::test]
async fn a_key_copied_to_another_row_is_not_used_and_costs_that_backend_only() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    store.create_backend(with_key("good", "sk-good")).await.unwrap();
    store.create_backend(with_key("bad", "sk-bad")).await.unwrap();
    store.close().await;
    let sql = "UPDATE backends SET api_key = (SELECT api_key FROM backends WHERE name = 'good') WHERE name = 'bad'";
    assert_eq!(database(temp.path()).execute(sql, ()).unwrap(), 1);

    let backends = open(temp.path(), None).intent().await.unwrap().backends;
    assert!(backends[0].api_key == Some(ApiKey::new("sk-good")));
    assert!(backends[1].api_key.is_none() && backends[1].backend.api_key_set);
}

#[tokio::test]
async fn a_clock_that_was_set_back_does_not_stop_times_from_rising() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    let ahead = store.create_backend(backend("ahead")).await.unwrap();
    store.close().await;
    let future = Timestamp::now().as_micros() + 3_600_000_000;
    let sql = "UPDATE backends SET created_at = ?1, updated_at = ?1";
    database(temp.path()).execute(sql, (future,)).unwrap();

    let store = open(temp.path(), None);
    let outcomes = join_all((1..=20).map(|number| store.create_backend(backend(&format!("b{number}"))))).await;
    let mut times: Vec<i64> = outcomes.into_iter().map(|made| made.unwrap().created_at.as_micros()).collect();
    times.sort_unstable();
    assert!(times.into_iter().eq(future + 1..=future + 20), "each a microsecond after the one before");
    let updated = store.update_backend(&ahead.id, backend("renamed")).await.unwrap();
    assert_eq!((updated.created_at.as_micros(), updated.updated_at.as_micros()), (future, future));
}

#[tokio::test]
async fn a_store_that_was_not_closed_keeps_what_it_confirmed() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    store.create_backend(backend("confirmed")).await.unwrap();
    // As after a crash: the files as they are now, log and all, without their owner's last deeds.
    let copy = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(temp.path()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let survivor = open(copy.path(), None);
    assert_eq!(survivor.backends(Page::default()).await.unwrap()[0].name, "confirmed");
}

#[tokio::test]
async fn a_closed_store_is_unavailable() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    store.clone().close().await;
    assert!(matches!(refusal(store.create_backend(backend("b")).await), StoreError::Unavailable(_)));
    assert!(matches!(refusal(store.intent().await), StoreError::Unavailable(_)));
    store.close().await;
}

#[tokio::test]
async fn closing_finishes_what_waits() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    let creations = join_all((0..50).map(|number| store.create_backend(backend(&format!("b{number}")))));
    let (created, ()) = tokio::join!(creations, store.clone().close());
    assert!(created.iter().all(Result::is_ok));
    drop(store);
    assert_eq!(open(temp.path(), None).backends(Page::default()).await.unwrap().len(), 50);
}
