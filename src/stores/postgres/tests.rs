//! PostgreSQL under the catalog's suite, and what only a server that others use too has to show.

mod tls;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use futures_util::future::join_all;
use loadtest::services::postgres::{Durability, Postgres};

use super::{PostgresSettings, open, open_for_export, open_for_import, open_with_cap};
use crate::{
    domain::backend::{ApiKey, BackendSpec},
    stores::{
        catalog::{CatalogStore, StoreError},
        catalog_suite::{Home, backend, chain, pool, refusal, transfers},
        embedded,
        sql::{Changes, OpenError, SecretKey, SqlStore, Transfer},
    },
};

const SECRET: &str = "the secret of all instances";

struct Database {
    name: String,
    url: String,
}

/// A database of its own on the server that all tests share.
fn database() -> Option<Database> {
    let server = Postgres::shared()?;
    let name = server.database().unwrap();
    Some(Database { url: server.url_by(server.port(), &name), name })
}

fn settings(url: &str) -> PostgresSettings {
    PostgresSettings {
        address: url.parse().unwrap(),
        secret_key: Some(SecretKey::new(SECRET)),
        previous_key: None,
        key_file: PathBuf::from("/nowhere/secret.key"),
        wait: Duration::from_secs(20),
    }
}

fn with_secrets(url: &str, secret: &str, previous: Option<&str>) -> PostgresSettings {
    PostgresSettings {
        secret_key: Some(SecretKey::new(secret)),
        previous_key: previous.map(SecretKey::new),
        ..settings(url)
    }
}

async fn refused(settings: PostgresSettings) -> OpenError {
    match open(settings).await {
        Ok(_) => panic!("the store opened"),
        Err(error) => error,
    }
}

fn with_key(name: &str, key: &str) -> BackendSpec {
    BackendSpec { api_key: Some(ApiKey::new(key)), ..backend(name) }
}

impl Home for Database {
    async fn open_with_cap(&self, max_rows: u64) -> Arc<SqlStore> {
        open_with_cap(settings(&self.url), max_rows).await.unwrap()
    }

    async fn close(&self, store: Arc<SqlStore>) {
        store.close().await;
    }

    async fn open_for_export(&self) -> Transfer {
        open_for_export(settings(&self.url)).await.unwrap()
    }

    async fn open_for_import(&self) -> Transfer {
        open_for_import(settings(&self.url)).await.unwrap()
    }
}

mod suite {
    catalog_suite!(crate::stores::postgres::tests::database);
}

/// Waits until the store has heard of a change by somebody else.
async fn heard(changes: &mut Changes) {
    tokio::time::timeout(Duration::from_secs(10), changes.next()).await.expect("it hears of the change");
}

/// Tries until the store is there again.
async fn back(store: &SqlStore) {
    let began = tokio::time::Instant::now();
    while let Err(error) = store.pools().await {
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come back: {error:?}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn writes_of_two_instances_never_overlap() {
    let Some(database) = database() else { return };
    let stores = [database.open_with_cap(70).await, database.open_with_cap(70).await];
    let create = |number: usize| stores[number % 2].create_backend(backend(&format!("b{number}")));
    let created = join_all((0..100).map(create)).await;
    let times: BTreeSet<_> = created.iter().flatten().map(|made| made.created_at).collect();
    assert_eq!(times.len(), 70, "each has a time of its own, and the cap holds for all together");
    assert!(created.iter().filter_map(|made| made.as_ref().err()).all(|error| matches!(error, StoreError::Full(_))));

    let same = join_all((0..20).map(|number| stores[number % 2].create_pool(pool("one")))).await;
    assert_eq!(same.iter().filter(|made| made.is_ok()).count(), 1, "a name is taken once");
    assert!(same.iter().filter_map(|made| made.as_ref().err()).all(|error| matches!(error, StoreError::Conflict(_))));

    let versions = join_all((0..40).map(|number| stores[number % 2].put_chain(chain("c"), false))).await;
    let numbers: BTreeSet<u64> = versions.into_iter().map(|stored| stored.unwrap().version).collect();
    assert!(numbers.into_iter().eq(1..=40), "versions have no gaps");
}

#[tokio::test]
async fn many_first_starts_at_once_make_one_schema() {
    let Some(database) = database() else { return };
    let stores = join_all((0..6).map(|_| database.open())).await;
    stores[0].create_pool(pool("p")).await.unwrap();
    assert_eq!(stores[5].pools().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_is_heard_of_by_the_others() {
    let Some(database) = database() else { return };
    let (mine, other) = (database.open().await, database.open().await);
    let mut changes = other.changes();
    // The connection that listens stands; whatever was changed before is read then.
    heard(&mut changes).await;
    mine.create_pool(pool("p")).await.unwrap();
    heard(&mut changes).await;
    assert_eq!(other.pools().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_goes_costs_what_is_asked_meanwhile_and_is_used_again_when_it_is_back() {
    if !Postgres::is_installed() {
        return;
    }
    let mut server = Postgres::start(Durability::Full).unwrap();
    let store = open(settings(&server.database_url().unwrap())).await.unwrap();
    let mut changes = store.changes();
    heard(&mut changes).await;
    store.create_pool(pool("before")).await.unwrap();

    server.stop();
    assert!(matches!(refusal(store.pools().await), StoreError::Unavailable(_)));
    assert!(matches!(refusal(store.create_pool(pool("meanwhile")).await), StoreError::Unavailable(_)));

    server.resume().unwrap();
    back(&store).await;
    store.create_pool(pool("after")).await.unwrap();
    let names: Vec<String> = store.pools().await.unwrap().into_iter().map(|pool| pool.name).collect();
    assert_eq!(names, ["after", "before"]);
    heard(&mut changes).await;
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_in_vain_for_a_bounded_time_only() {
    if !Postgres::is_installed() {
        return;
    }
    let server = Postgres::start(Durability::None).unwrap();
    let store = open(settings(&server.database_url().unwrap())).await.unwrap();
    store.create_pool(pool("before")).await.unwrap();
    let process = server.server().unwrap();
    process.freeze();
    let asked = tokio::time::timeout(super::PATIENCE, store.pools()).await.expect("it is answered in time");
    assert!(matches!(refusal(asked), StoreError::Unavailable(_)));
    assert!(matches!(refusal(store.create_pool(pool("meanwhile")).await), StoreError::Unavailable(_)));
    process.thaw();
    back(&store).await;
    store.create_pool(pool("after")).await.unwrap();
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_given_up_in_one_line_without_a_password() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://me:hush-hush@127.0.0.1:{nobody}/penstock");
    let error = refused(PostgresSettings { wait: Duration::from_millis(700), ..settings(&url) }).await;
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(&format!("127.0.0.1:{nobody}")) && text.contains("DATABASE_URL"), "{text}");
    assert!(!text.contains("hush") && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_server_that_says_no_is_not_asked_again() {
    let Some(database) = database() else { return };
    let server = Postgres::shared().unwrap();
    for (url, told) in [
        (database.url.replace(loadtest::services::postgres::PASSWORD, "hush-hush"), "password authentication failed"),
        (server.url_by(server.port(), "nowhere"), "does not exist"),
    ] {
        let settings = PostgresSettings { wait: Duration::from_secs(3600), ..settings(&url) };
        let error = tokio::time::timeout(Duration::from_secs(10), refused(settings)).await.expect("it is told at once");
        assert!(matches!(error, OpenError::Refused { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(told) && !text.contains("hush") && !text.contains('\n'), "{text}");
    }
}

#[tokio::test]
async fn a_schema_that_is_later_than_ours_is_refused() {
    let Some(database) = database() else { return };
    database.open().await.close().await;
    let server = Postgres::shared().unwrap();
    let later = "INSERT INTO schema_migrations VALUES (999, 'future', 'x', 0);
        UPDATE meta SET value = '999' WHERE name = 'oldest_reader'";
    server.sql(&database.name, later).unwrap();
    let error = refused(settings(&database.url)).await;
    assert!(matches!(error, OpenError::NewerSchema { found: 999, .. }), "{error}");
    server.sql(&database.name, "UPDATE meta SET value = '1' WHERE name = 'oldest_reader'").unwrap();
    database.open().await;
}

#[tokio::test]
async fn keys_are_encrypted_in_the_database_and_open_with_their_secret_only() {
    let Some(database) = database() else { return };
    let store = database.open().await;
    store.create_backend(with_key("b", "sk-own-0123456789")).await.unwrap();
    let dump = Postgres::shared().unwrap().sql(&database.name, "SELECT b.*, encode(api_key, 'escape') FROM backends b");
    let dump = dump.unwrap();
    assert!(dump.contains("http://b:11434") && !dump.contains("0123456789"), "{dump}");
    store.close().await;

    let error = refused(with_secrets(&database.url, "another", None)).await;
    assert!(matches!(error, OpenError::WrongSecret { given: "SECRET_KEY", .. }), "{error}");
    let keys = database.open().await.intent().await.unwrap();
    assert!(keys.backends[0].api_key == Some(ApiKey::new("sk-own-0123456789")));
}

#[tokio::test]
async fn an_instance_with_another_secret_stores_no_key_that_the_others_cannot_read() {
    let Some(database) = database() else { return };
    let first = database.open().await;
    // No key is stored yet, so its secret is taken over.
    let second = open(with_secrets(&database.url, "another", None)).await.unwrap();
    let error = refusal(first.create_backend(with_key("b", "sk-own")).await);
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("SECRET_KEY")), "{error:?}");
    second.create_backend(with_key("b", "sk-own")).await.unwrap();
}

#[tokio::test]
async fn a_secret_is_changed_while_instances_go_on() {
    let Some(database) = database() else { return };
    let store = database.open().await;
    store.create_backend(with_key("b", "sk-own")).await.unwrap();
    let error = refusal(store.rotate_secret().await);
    assert!(matches!(&error, StoreError::Invalid(text) if text.contains("SECRET_KEY_PREVIOUS")), "{error:?}");
    store.close().await;

    let both = async || open(with_secrets(&database.url, "new", Some(SECRET))).await.unwrap();
    let (first, second) = (both().await, both().await);
    // One that is not started anew yet can read what the others store meanwhile.
    let behind = database.open().await;
    first.create_backend(with_key("c", "sk-meanwhile")).await.unwrap();
    let keys = async |store: &SqlStore| -> Vec<Option<ApiKey>> {
        store.intent().await.unwrap().backends.into_iter().map(|stored| stored.api_key).collect()
    };
    let wanted = [Some(ApiKey::new("sk-own")), Some(ApiKey::new("sk-meanwhile"))];
    assert!(keys(&behind).await == wanted);
    assert_eq!(first.rotate_secret().await.unwrap(), 2);
    assert!(keys(&second).await == wanted);
    second.create_backend(with_key("d", "sk-later")).await.unwrap();

    let new_alone = open(with_secrets(&database.url, "new", None)).await.unwrap();
    assert!(keys(&new_alone).await[..2] == wanted);
    assert!(matches!(refused(settings(&database.url)).await, OpenError::WrongSecret { .. }));
}

#[tokio::test]
async fn everything_moves_between_the_two_databases_and_back() {
    let (Some(database), folder) = (database(), tempfile::tempdir().unwrap()) else { return };
    let folder = embedded::tests::Folder(folder);
    transfers::fill(&folder).await;
    let first = transfers::exported(&folder, None).await.unwrap();
    let sealed = transfers::exported(&folder, Some(transfers::passphrase())).await.unwrap();

    transfers::imported(&database, sealed, Some(transfers::passphrase()), false).await.unwrap();
    let store = database.open().await;
    let intent = store.intent().await.unwrap();
    let keys = intent.backends.iter().filter(|backend| backend.api_key.is_some()).count();
    assert_eq!((keys, intent.tokens.len()), (2, 1), "the keys open under the other store's secret");
    database.close(store).await;
    let second = transfers::exported(&database, None).await.unwrap();
    assert_eq!(transfers::rows(&second), transfers::rows(&first));

    transfers::imported(&folder, second, None, true).await.unwrap();
    let third = transfers::exported(&folder, None).await.unwrap();
    assert_eq!(transfers::rows(&third), transfers::rows(&first));
}

#[tokio::test]
async fn an_import_is_heard_of_by_the_instances() {
    let Some(database) = database() else { return };
    transfers::fill(&database).await;
    let lines = transfers::exported(&database, None).await.unwrap();
    let store = database.open().await;
    let mut changes = store.changes();
    store.delete_backend(&store.intent().await.unwrap().backends[0].backend.id).await.unwrap();
    transfers::imported(&database, lines, None, true).await.unwrap();
    heard(&mut changes).await;
    assert_eq!(store.intent().await.unwrap().backends.len(), 3);
}
