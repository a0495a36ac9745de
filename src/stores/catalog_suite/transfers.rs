//! Export and import: everything or nothing, secrets only under a passphrase.

use std::io::BufReader;

use super::{Home, alias, backend, chain, hook, model, pool, providers, token};
use crate::{
    domain::{
        backend::{ApiKey, BackendSpec},
        ids::ChainId,
        model::ModelPatch,
        page::Page,
        pool::PoolPatch,
        provider::CloudProvider,
        token::TokenText,
    },
    stores::{
        catalog::CatalogStore,
        sql::{Passphrase, TransferError},
    },
};

const KEY: &str = "sk-planted-in-a-backend";

pub(crate) fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery").unwrap()
}

/// All that is configured, in a store of this kind.
pub(crate) async fn fill(home: &impl Home) {
    let store = home.open().await;
    let with_key = BackendSpec {
        api_key: Some(ApiKey::new(KEY)),
        max_concurrency: Some(3),
        labels: Some([("zone".to_owned(), "a".to_owned())].into()),
        enabled: Some(false),
        ..backend("b")
    };
    let made = store.create_backend(with_key).await.unwrap();
    store.create_backend(backend("bare")).await.unwrap();
    let model = ModelPatch { can_embed: Some(true), context_length: Some(4096), ..model("m") };
    let model = store.create_model(model).await.unwrap();
    let pool = store.create_pool(PoolPatch { purpose_type: Some("Tasks".to_owned()), ..pool("p") }).await.unwrap();
    store.assign_backend(&pool.id, &made.id).await.unwrap();
    store.assign_model(&pool.id, &model.id).await.unwrap();
    store.create_hook(None, hook("h")).await.unwrap();
    store.create_alias(alias("a")).await.unwrap();
    store.put_chain(chain("c"), true).await.unwrap();
    store.put_chain(chain("c"), false).await.unwrap();
    store.put_chain(chain("gone"), false).await.unwrap();
    store.delete_chain(&ChainId::new("gone")).await.unwrap();
    let (openai, url) = (CloudProvider::Openai, providers::URL.to_owned());
    store.configure_provider(openai, providers::key(), url, false).await.unwrap();
    store.create_token(token("t"), TokenText::from_random([7; 32])).await.unwrap();
    home.close(store).await;
}

/// The lines of an export.
pub(crate) async fn exported(home: &impl Home, passphrase: Option<Passphrase>) -> Result<Vec<u8>, TransferError> {
    let transfer = home.open_for_export().await;
    let export = move || {
        let mut lines = Vec::new();
        let rows = transfer.export(&mut lines, passphrase.as_ref(), &mut |_| ())?;
        assert_eq!(rows as usize + 1, lines.iter().filter(|byte| **byte == b'\n').count());
        Ok(lines)
    };
    tokio::task::spawn_blocking(export).await.unwrap()
}

/// Imports the lines.
pub(crate) async fn imported(
    home: &impl Home,
    lines: impl Into<Vec<u8>>,
    passphrase: Option<Passphrase>,
    replace: bool,
) -> Result<u64, TransferError> {
    let transfer = home.open_for_import().await;
    let lines = lines.into();
    let import =
        move || transfer.import(&mut BufReader::new(lines.as_slice()), passphrase.as_ref(), replace, &mut |_| ());
    tokio::task::spawn_blocking(import).await.unwrap()
}

/// Asserts that it was refused; why.
fn refused<T>(outcome: Result<T, TransferError>) -> String {
    match outcome {
        Ok(_) => panic!("it was done"),
        Err(error) => error.to_string(),
    }
}

/// The rows of an export: all lines but the first, which names the moment.
pub(crate) fn rows(lines: &[u8]) -> String {
    let (_, rows) = std::str::from_utf8(lines).unwrap().split_once('\n').unwrap();
    rows.to_owned()
}

pub(crate) async fn everything_comes_back_as_it_was(home: &impl Home) {
    fill(home).await;
    let store = home.open().await;
    let before = store.intent().await.unwrap();
    let versions = store.chain_versions(&ChainId::new("c")).await.unwrap();
    let hooks = store.hooks(Page::default()).await.unwrap();
    let provider = store.provider(CloudProvider::Openai).await.unwrap();
    home.close(store).await;

    let lines = exported(home, Some(passphrase())).await.unwrap();
    let secrets = [KEY, providers::key().expose()].map(str::to_owned);
    let text = String::from_utf8(lines.clone()).unwrap();
    assert!(secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    let count = imported(home, lines, Some(passphrase()), true).await.unwrap();
    assert_eq!(count, rows(text.as_bytes()).lines().count() as u64);

    let store = home.open().await;
    assert!(store.intent().await.unwrap() == before, "backends, pools, models, keys, members, aliases, tokens");
    assert_eq!(store.chain_versions(&ChainId::new("c")).await.unwrap(), versions);
    assert_eq!(store.hooks(Page::default()).await.unwrap(), hooks);
    assert_eq!(store.provider(CloudProvider::Openai).await.unwrap(), provider);
    let again = store.put_chain(chain("gone"), false).await.unwrap();
    assert_eq!(again.version, 2, "numbers go on where they ended");
    let newer = store.create_backend(backend("newer")).await.unwrap();
    assert!(before.backends.iter().all(|known| known.backend.created_at < newer.created_at));
}

pub(crate) async fn secrets_stay_behind_without_a_passphrase(home: &impl Home) {
    fill(home).await;
    let lines = exported(home, None).await.unwrap();
    let text = rows(&lines);
    assert!(!text.contains(r#""table":"tokens""#) && !text.contains("provider_keys"), "{text}");
    imported(home, lines, None, true).await.unwrap();
    let store = home.open().await;
    let intent = store.intent().await.unwrap();
    assert!(intent.backends.iter().all(|backend| backend.api_key.is_none()) && intent.tokens.is_empty());
    assert_eq!(intent.backends.len(), 3, "the provider's backend waits for its key");
    let (openai, url) = (CloudProvider::Openai, providers::URL.to_owned());
    store.configure_provider(openai, providers::key(), url, false).await.unwrap();
    assert_eq!(store.intent().await.unwrap().backends.len(), 3);
}

pub(crate) async fn an_export_is_refused_without_its_passphrase(home: &impl Home) {
    fill(home).await;
    let lines = exported(home, Some(passphrase())).await.unwrap();
    let problem = refused(imported(home, lines.clone(), None, true).await);
    assert_eq!(problem, "the export holds secrets: give the passphrase it was made with");
    let wrong = Passphrase::new("incorrect horse battery");
    let problem = refused(imported(home, lines.clone(), wrong, true).await);
    assert_eq!(problem, "the passphrase is not the one that the export was made with");
    assert!(Passphrase::new("short").is_none());
    // A secret under another row's name opens nothing: it belongs to its row.
    let text = String::from_utf8(lines).unwrap();
    let (first, second) = (field(&text, "backends", "api_key"), field(&text, "provider_keys", "api_key"));
    let problem = refused(imported(home, text.replace(&first, &second), Some(passphrase()), true).await);
    assert!(problem.ends_with("its 'api_key' cannot be decrypted"), "{problem}");
}

/// What the first row of a table has in a column.
fn field(text: &str, table: &str, column: &str) -> String {
    let mut lines = text.lines().skip(1).map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let line = lines.find(|line| line["table"] == table && line["row"][column].is_string()).unwrap();
    line["row"][column].as_str().unwrap().to_owned()
}

pub(crate) async fn a_store_that_holds_something_is_replaced_only_on_demand(home: &impl Home) {
    fill(home).await;
    let lines = exported(home, None).await.unwrap();
    let problem = refused(imported(home, lines.clone(), None, false).await);
    assert!(problem.contains("3 backends, 1 hooks, 1 aliases, 1 chains, 1 tokens, 1 pools"), "{problem}");
    let store = home.open().await;
    assert_eq!(store.intent().await.unwrap().tokens.len(), 1, "nothing was deleted");
    home.close(store).await;
    imported(home, lines, None, true).await.unwrap();
    assert!(home.open().await.intent().await.unwrap().tokens.is_empty(), "it has the export's rows and no others");
}

pub(crate) async fn a_line_that_does_not_fit_is_named_and_nothing_is_stored(home: &impl Home) {
    fill(home).await;
    let text = String::from_utf8(exported(home, None).await.unwrap()).unwrap();
    let before = rows(text.as_bytes());
    let last = text.lines().count();
    let version = text.lines().find(|line| line.contains("chain_versions") && line.contains(r#""version":2"#)).unwrap();
    let cases = [
        (String::new(), "line 1: it is empty; it should begin with an export's first line".to_owned()),
        ("{\"a\": 1}\n".to_owned(), "line 1: it is no line of an export: missing field `penstock_export`".to_owned()),
        (text.replacen("export\":1", "export\":2", 1), "line 1: it has the form 2, this version reads 1".to_owned()),
        (format!("{text}{{\"table\""), format!("line {}: it is no line of an export", last + 1)),
        (text.replacen("\"pools\"", "\"lakes\"", 1), "line 2: there is no table 'lakes'".to_owned()),
        (text.replacen("\"policy\"", "\"police\"", 1), "line 2: 'pools' has no column 'police'".to_owned()),
        (text.replacen("\"name\":\"p\"", "\"name\":7", 1), "line 2: 'name' is of another type".to_owned()),
        (text.replacen("\"ollama\"", "\"llama\"", 1), "line 3: the row does not fit".to_owned()),
        (format!("{text}{version}\n"), format!("line {}: its", last + 1)),
        (text.replacen(version, "", 1), "without the latest version of chain 'c'".to_owned()),
    ];
    for (lines, expected) in cases {
        let problem = refused(imported(home, lines, None, true).await);
        assert!(problem.contains(&expected) && !problem.contains('\n'), "{problem}\n{expected}");
        assert_eq!(rows(&exported(home, None).await.unwrap()), before, "{expected}");
    }
}
