//! Encrypted connections, to a server that lets nobody in without encryption and shows a certificate of an authority of our own.

use std::{fs, path::PathBuf, time::Duration};

use loadtest::services::postgres::{Durability, PASSWORD, Postgres};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use super::{open, refused, settings};
use crate::stores::{catalog::CatalogStore, catalog_suite::pool, postgres::PostgresSettings, sql::OpenError};

/// The only name in the server's certificate.
const NAME: &str = "localhost";
/// The same server by a name that is not in it.
const OTHER_NAME: &str = "127.0.0.1";

const CONFIGURATION: &str = "ssl = on\n";
const WHO_IS_LET_IN: &str = "hostssl all all all scram-sha-256\nhost all all all reject\n";

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// The server, and the files of two authorities: the one that has signed its certificate, and another one.
struct Guarded {
    server: Postgres,
    folder: TempDir,
}

impl Guarded {
    fn start() -> Option<Self> {
        if !Postgres::is_installed() {
            return None;
        }
        let (ours, other) = (authority("ours"), authority("another"));
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new([NAME.to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
        let files = [
            ("server.crt", certificate.pem()),
            ("server.key", key.serialize_pem()),
            ("postgresql.auto.conf", CONFIGURATION.to_owned()),
            ("pg_hba.conf", WHO_IS_LET_IN.to_owned()),
        ];
        let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
        let server = Postgres::start_with(Durability::None, &files).unwrap();
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("ours.pem"), ours.pem()).unwrap();
        fs::write(folder.path().join("other.pem"), other.pem()).unwrap();
        Some(Self { server, folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Long enough for whoever waits in vain to be noticed.
    fn settings(&self, host: &str, query: &str) -> PostgresSettings {
        let port = self.server.port();
        let query = query.replace("{}", self.folder.path().to_str().unwrap());
        let url = format!("postgres://penstock:{PASSWORD}@{host}:{port}/postgres?{query}");
        PostgresSettings { wait: Duration::from_secs(3600), ..settings(&url) }
    }

    /// The one line that a start ends with, at once.
    async fn refusal(&self, host: &str, query: &str) -> String {
        let refused = refused(self.settings(host, query));
        let error = tokio::time::timeout(Duration::from_secs(10), refused).await;
        let text = error.unwrap_or_else(|_| panic!("{query}: it goes on waiting")).to_string();
        assert!(text.contains(&format!("{host}:{}", self.server.port())), "{query}: {text}");
        assert!(!text.contains(PASSWORD) && !text.contains('\n'), "{query}: {text}");
        text
    }
}

#[tokio::test]
async fn a_server_is_let_in_by_its_authority_and_its_name_as_far_as_the_mode_asks_for_them() {
    let Some(guarded) = Guarded::start() else { return };
    for (host, query) in [
        (NAME, "sslmode=verify-full&sslrootcert={}/ours.pem"),
        (OTHER_NAME, "sslmode=verify-ca&sslrootcert={}/ours.pem"),
        (OTHER_NAME, "sslmode=require&sslrootcert={}/ours.pem"),
        (OTHER_NAME, "sslmode=require"),
        (OTHER_NAME, "sslmode=prefer"),
        (OTHER_NAME, ""),
    ] {
        let store = open(guarded.settings(host, query)).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        store.create_pool(pool(&format!("by {query}"))).await.unwrap();
        let mut changes = store.changes();
        super::heard(&mut changes).await;
        store.close().await;
    }
}

#[tokio::test]
async fn a_server_that_is_not_the_right_one_is_refused_at_once_and_told_what_to_look_at() {
    let Some(guarded) = Guarded::start() else { return };
    for (host, query, told) in [
        (NAME, "sslmode=verify-full&sslrootcert={}/other.pem", "UnknownIssuer"),
        (NAME, "sslmode=verify-ca&sslrootcert={}/other.pem", "UnknownIssuer"),
        (NAME, "sslmode=require&sslrootcert={}/other.pem", "UnknownIssuer"),
        (OTHER_NAME, "sslmode=verify-full&sslrootcert={}/ours.pem", "not valid for name \"127.0.0.1\""),
    ] {
        let text = guarded.refusal(host, query).await;
        assert!(text.contains(told), "{query}: {text}");
        assert!(text.contains("DATABASE_URL") && text.contains("sslrootcert"), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_connection_without_encryption_is_refused_in_the_servers_words() {
    let Some(guarded) = Guarded::start() else { return };
    let text = guarded.refusal(NAME, "sslmode=disable").await;
    assert!(text.contains("no encryption") && text.contains("DATABASE_URL"), "{text}");
}

#[tokio::test]
async fn a_file_of_authorities_that_is_none_is_named() {
    let Some(guarded) = Guarded::start() else { return };
    fs::write(guarded.file("words.pem"), "these are words").unwrap();
    for name in ["missing.pem", "words.pem"] {
        let query = format!("sslmode=verify-full&sslrootcert={{}}/{name}");
        let error = refused(guarded.settings(NAME, &query)).await;
        assert!(matches!(error, OpenError::Database { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&format!("sslrootcert {}", guarded.file(name).display())), "{text}");
        assert!(!text.contains(PASSWORD) && !text.contains('\n'), "{text}");
    }
}
