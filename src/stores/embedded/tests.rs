//! The embedded store under the catalog's suite, and what only a store in files has to show.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures_util::future::join_all;
use rusqlite::Connection;

use super::{EmbeddedSettings, open_for_export, open_for_import, open_with_cap};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        page::Page,
        provider::CloudProvider,
        time::Timestamp,
    },
    stores::{
        catalog::{CatalogStore, StoreError},
        catalog_suite::{Home, backend, providers, refusal, transfers},
        sql::{OpenError, SecretKey, SqlStore, Transfer, transfer::tables},
    },
};

pub(crate) struct Folder(pub(crate) tempfile::TempDir);

fn folder() -> Option<Folder> {
    Some(Folder(tempfile::tempdir().unwrap()))
}

impl Home for Folder {
    async fn open_with_cap(&self, max_rows: u64) -> Arc<SqlStore> {
        open_with_cap(&settings(self.0.path(), None), max_rows).unwrap()
    }

    async fn close(&self, store: Arc<SqlStore>) {
        store.close().await;
    }

    async fn open_for_export(&self) -> Transfer {
        open_for_export(&settings(self.0.path(), None)).unwrap()
    }

    async fn open_for_import(&self) -> Transfer {
        open_for_import(&settings(self.0.path(), None)).unwrap()
    }
}

mod suite {
    catalog_suite!(crate::stores::embedded::tests::folder);
}

fn settings(data_dir: &Path, secret: Option<&str>) -> EmbeddedSettings {
    EmbeddedSettings { data_dir: data_dir.to_owned(), secret_key: secret.map(SecretKey::new), previous_key: None }
}

fn open(data_dir: &Path, secret: Option<&str>) -> Arc<SqlStore> {
    super::open(&settings(data_dir, secret)).unwrap()
}

fn refused(data_dir: &Path, secret: Option<&str>) -> OpenError {
    match super::open(&settings(data_dir, secret)) {
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
    // What it has added is of a kind that this version can leave alone.
    open(temp.path(), None).close().await;
    let sql = "UPDATE meta SET value = CAST('999' AS BLOB) WHERE name = 'oldest_reader'";
    assert_eq!(database(temp.path()).execute(sql, ()).unwrap(), 1);
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

#[tokio::test]
async fn a_rotation_puts_a_new_key_into_the_file_and_everything_under_it() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("secret.key");
    let store = open(temp.path(), None);
    store.create_backend(with_key("b", "sk-own")).await.unwrap();
    store
        .configure_provider(CloudProvider::Openai, ApiKey::new("sk-p"), providers::URL.to_owned(), false)
        .await
        .unwrap();
    let former = fs::read(&file).unwrap();
    assert_eq!(store.rotate_secret().await.unwrap(), 2);
    assert_eq!(store.rotate_secret().await.unwrap(), 2, "as often as wanted");
    let keys = |intent: Vec<crate::domain::intent::BackendIntent>| intent.into_iter().map(|stored| stored.api_key);
    let wanted = [Some(ApiKey::new("sk-own")), Some(ApiKey::new("sk-p"))];
    assert!(keys(store.intent().await.unwrap().backends).eq(wanted.clone()));
    store.create_backend(with_key("c", "sk-later")).await.unwrap();
    store.close().await;

    let now = fs::read(&file).unwrap();
    assert!(now.len() == 32 && now != former && mode(&file) == 0o600);
    assert!(keys(open(temp.path(), None).intent().await.unwrap().backends).take(2).eq(wanted));
    fs::write(&file, former).unwrap();
    assert!(matches!(refused(temp.path(), None), OpenError::WrongSecret { .. }), "the former key opens nothing");
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_leaves_a_store_that_opens() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("secret.key");
    let store = open(temp.path(), None);
    store.create_backend(with_key("b", "sk-own")).await.unwrap();
    let former = fs::read(&file).unwrap();
    store.rotate_secret().await.unwrap();
    store.close().await;
    let now = fs::read(&file).unwrap();
    // After its values were written with the new key, and before.
    fs::write(&file, [&now[..], &former].concat()).unwrap();
    let store = open(temp.path(), None);
    store.rotate_secret().await.unwrap();
    store.close().await;
    let now = fs::read(&file).unwrap();
    assert_eq!(now.len(), 32);
    fs::write(&file, [&[7; 32][..], &now].concat()).unwrap();
    let store = open(temp.path(), None);
    store.create_backend(with_key("c", "sk-meanwhile")).await.unwrap();
    assert_eq!(store.rotate_secret().await.unwrap(), 2);
    let backends = store.intent().await.unwrap().backends;
    assert!(
        backends[0].api_key == Some(ApiKey::new("sk-own")) && backends[1].api_key == Some(ApiKey::new("sk-meanwhile"))
    );
    store.close().await;
    assert_eq!(fs::read(&file).unwrap(), [7; 32]);
}

#[tokio::test]
async fn a_key_that_cannot_be_decrypted_stops_a_rotation_before_it_changes_anything() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), Some("old"));
    store.create_backend(with_key("good", "sk-good")).await.unwrap();
    store.create_backend(with_key("bad", "sk-bad")).await.unwrap();
    store.close().await;
    let sql = "UPDATE backends SET api_key = (SELECT api_key FROM backends WHERE name = 'good') WHERE name = 'bad'";
    database(temp.path()).execute(sql, ()).unwrap();

    let both = EmbeddedSettings { previous_key: Some(SecretKey::new("old")), ..settings(temp.path(), Some("new")) };
    let store = super::open(&both).unwrap();
    let error = refusal(store.rotate_secret().await);
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("cannot be decrypted")), "{error:?}");
    store.close().await;
    let store = open(temp.path(), Some("old"));
    assert!(store.intent().await.unwrap().backends[0].api_key == Some(ApiKey::new("sk-good")));
}

#[tokio::test]
async fn a_key_that_cannot_be_decrypted_is_named_when_it_should_be_exported() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), Some("mine"));
    let id = store.create_backend(with_key("b", "sk-b")).await.unwrap().id;
    store.close().await;
    let exported = |secret, passphrase| {
        let transfer = open_for_export(&settings(temp.path(), Some(secret))).unwrap();
        transfer.export(&mut Vec::new(), passphrase, &mut |_| ()).map_err(|error| error.to_string())
    };
    let passphrase = transfers::passphrase();
    let problem = exported("another", Some(&passphrase)).unwrap_err();
    assert!(problem.starts_with(&format!("the key stored for '{id}' cannot be decrypted")), "{problem}");
    assert_eq!(exported("another", None), Ok(1), "without secrets nothing is decrypted");
    assert_eq!(exported("mine", Some(&passphrase)), Ok(1));
}

#[tokio::test]
async fn every_column_goes_along_in_an_export_but_those_that_are_about_one_place() {
    let temp = tempfile::tempdir().unwrap();
    open(temp.path(), None).close().await;
    let database = database(temp.path());
    let sql = "SELECT tables.name || '.' || columns.name FROM sqlite_schema AS tables, pragma_table_info(tables.name) AS columns
        WHERE tables.type = 'table' AND tables.name NOT IN ('meta', 'schema_migrations', 'leases', 'sqlite_sequence')";
    let mut statement = database.prepare(sql).unwrap();
    let all = statement.query_map((), |row| row.get::<_, String>(0)).unwrap().map(Result::unwrap);
    // Which deletion came first is told by the order of the lines.
    let all: BTreeSet<String> = all.filter(|column| column != "deleted_chains.place").collect();
    assert_eq!(tables::columns(), all);
}

#[tokio::test]
async fn an_export_reads_beside_a_server_and_makes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let nothing = temp.path().join("nothing");
    assert!(open_for_export(&settings(&nothing, None)).is_err() && !nothing.exists());
    let store = open(temp.path(), None);
    store.create_backend(backend("b")).await.unwrap();
    let transfer = open_for_export(&settings(temp.path(), None)).unwrap();
    assert_eq!(transfer.export(&mut Vec::new(), None, &mut |_| ()).unwrap(), 1);
    let refused = open_for_import(&settings(temp.path(), None)).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
    store.close().await;
    database(temp.path()).execute("DELETE FROM schema_migrations WHERE version > 5", ()).unwrap();
    let refused = open_for_export(&settings(temp.path(), None)).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::OlderSchema { .. }), "{refused}");
}

#[tokio::test]
async fn the_database_is_copied_aside_before_its_schema_changes() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    store.create_backend(backend("kept")).await.unwrap();
    store.close().await;
    assert!(!temp.path().join("penstock.db.schema-3").exists(), "a first start has nothing to copy");
    // As the version before the latest step would have left it.
    let before = "DROP TABLE tokens; DROP TABLE leases; ALTER TABLE pools DROP COLUMN calls;
        DELETE FROM schema_migrations WHERE version > 3";
    database(temp.path()).execute_batch(before).unwrap();
    let store = open(temp.path(), None);
    store.create_backend(backend("later")).await.unwrap();
    store.close().await;

    let copy = temp.path().join("penstock.db.schema-3");
    assert_eq!(mode(&copy), 0o600);
    let copied = Connection::open(&copy).unwrap();
    let count = |sql: &str| copied.query_row(sql, (), |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!((count("SELECT COUNT(*) FROM backends"), count("SELECT MAX(version) FROM schema_migrations")), (1, 3));
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let store = open(temp.path(), None);
    for number in 0..200 {
        store.create_backend(backend(&format!("b{number}"))).await.unwrap();
    }
    store.close().await;
    let path = temp.path().join("penstock.db");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0x5a);
    fs::write(&path, &bytes).unwrap();
    let error = refused(temp.path(), None);
    assert!(matches!(error, OpenError::Damaged { .. } | OpenError::Database { .. }), "{error:?}");
    assert!(error.to_string().contains("penstock.db") && !error.to_string().contains('\n'), "{error}");
    assert_eq!(fs::read(&path).unwrap(), bytes);
}
