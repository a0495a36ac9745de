//! Everything that is configured as JSON Lines: out of one store and into another, whichever database they are in
//! (`docs/operations.md`, backup and move).
//!
//! The first line says what follows and how secrets in it are encrypted, every other line is one row. Keys and tokens are left
//! out, or encrypted with a passphrase: never with the store's own secret, which does not go along. What is about one place
//! only (leases, the name of the cluster, the schema's history) stays where it is.

pub(in crate::stores) mod tables;

use std::io::{BufRead, Write};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use self::tables::{Kind, TABLES, Table};
use crate::{
    domain::time::Timestamp,
    stores::sql::{
        errors::{OpenError, SqlError, with_causes},
        secrets::{Key, Passphrase, Place, Salt},
        session::{Session, Statements, Step},
        unlock,
        value::{Params, Row, Value},
    },
};

/// The form of the lines.
const FORMAT: u32 = 1;
/// Longest line: a chain and what is around it.
const MOST_LINE_BYTES: usize = 64 * 1024 * 1024;
/// Rows between two words about how it is going.
const PROGRESS: u64 = 1_000;

/// Why nothing was moved, or not everything. Each text is one line; nothing is changed in the store then.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// The store.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store, while it was read or written.
    #[error("the store failed: {0}")]
    Store(String),
    /// What is written or read.
    #[error("the export cannot be read or written: {0}")]
    Io(#[from] std::io::Error),
    /// A line that is not one of ours.
    #[error("line {line}: {problem}")]
    Line {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// The store holds something.
    #[error("the store is not empty ({found}): import into a new one, or with --replace, which deletes what is there")]
    Occupied {
        /// What it holds.
        found: String,
    },
    /// The export holds secrets.
    #[error("the export holds secrets: give the passphrase it was made with")]
    NoPassphrase,
    /// They do not open.
    #[error("the passphrase is not the one that the export was made with")]
    WrongPassphrase,
    /// A key that is stored cannot be decrypted.
    #[error("the key stored for '{0}' cannot be decrypted: store it again or remove it, or export without secrets")]
    Unreadable(String),
    /// The system gives no random bytes.
    #[error("the secrets cannot be encrypted")]
    Encrypt,
}

impl From<SqlError> for TransferError {
    fn from(error: SqlError) -> Self {
        Self::Store(with_causes(&error))
    }
}

impl From<crate::stores::catalog::StoreError> for TransferError {
    fn from(error: crate::stores::catalog::StoreError) -> Self {
        Self::Store(with_causes(&error))
    }
}

/// The first line.
#[derive(Serialize, Deserialize)]
struct Header {
    penstock_export: u32,
    #[serde(default)]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secrets: Option<Lock>,
}

/// How secrets are encrypted: XChaCha20-Poly1305 with a key that Argon2id makes of the passphrase.
#[derive(Serialize, Deserialize)]
struct Lock {
    #[serde(flatten)]
    salt: Salt,
    /// A known text, encrypted.
    check: String,
}

/// Every other line.
#[derive(Serialize, Deserialize)]
struct Line {
    table: String,
    row: Map<String, Json>,
}

const CHECK: (Place<'static>, &[u8]) = (Place { table: "export", row: "check" }, b"penstock");

/// Writes everything as lines, as of one moment; how many rows. With a passphrase secrets go along. `progress` is told now and
/// then how many rows that were.
pub(in crate::stores) fn export(
    session: &Session,
    out: &mut dyn Write,
    passphrase: Option<&Passphrase>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    let lock = passphrase.map(|passphrase| -> Result<(Key, Salt), TransferError> {
        let salt = Salt::random().map_err(|_| TransferError::Encrypt)?;
        Ok((Key::from_passphrase(passphrase, &salt).map_err(|_| TransferError::Encrypt)?, salt))
    });
    let lock = lock.transpose()?;
    let check = lock.as_ref().map(|(key, salt)| -> Result<Lock, TransferError> {
        let check = key.seal(CHECK.0, CHECK.1).map_err(|_| TransferError::Encrypt)?;
        Ok(Lock { salt: salt.clone(), check: BASE64_STANDARD.encode(check) })
    });
    let header = Header {
        penstock_export: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created_at: Some(Timestamp::now()),
        secrets: check.transpose()?,
    };
    write_line(out, &header)?;
    let key = lock.map(|(key, _)| key);
    session.conn().step(Step::BeginReading)?;
    let written = rows_out(session, out, key.as_ref(), progress);
    session.conn().step(Step::RollBack)?;
    session.conn().rest();
    out.flush()?;
    written
}

fn rows_out(
    session: &Session,
    out: &mut dyn Write,
    key: Option<&Key>,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    let mut count = 0;
    for table in TABLES.iter().filter(|table| key.is_some() || !table.is_secret) {
        let columns: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
        let select = format!("SELECT {} FROM {}", columns.join(", "), table.name);
        // One chain's versions at a time: all of them may be larger than the memory.
        let queries: Vec<(String, Option<String>)> = if table.name == "chain_versions" {
            let chains: Vec<String> =
                session.list("SELECT id FROM chains ORDER BY created_at", (), |row| row.only())?;
            let query = format!("{select} WHERE chain_id = ?1 ORDER BY {}", table.order);
            chains.into_iter().map(|chain| (query.clone(), Some(chain))).collect()
        } else {
            vec![(format!("{select} ORDER BY {}", table.order), None)]
        };
        for (query, chain) in queries {
            let params = Params::Numbered(chain.as_deref().map(Value::from).into_iter().collect());
            let lines = session.list(&query, params, |row| read_row(table, row))?;
            for mut row in lines {
                seal_out(session, table, &mut row, key)?;
                write_line(out, &Line { table: table.name.to_owned(), row })?;
                count += 1;
                if count % PROGRESS == 0 {
                    progress(count);
                }
            }
        }
    }
    Ok(count)
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> Result<(), TransferError> {
    serde_json::to_writer(&mut *out, line).map_err(|error| TransferError::Io(error.into()))?;
    Ok(out.write_all(b"\n")?)
}

/// A row with its bytes in base64.
fn read_row(table: &Table, row: &Row<'_>) -> Result<Map<String, Json>, SqlError> {
    let value = |(name, kind): &(&'static str, Kind)| -> Result<(String, Json), SqlError> {
        let json = match kind {
            Kind::Int => row.get::<Option<i64>>(name)?.map(Json::from),
            Kind::Bool => row.get::<Option<bool>>(name)?.map(Json::from),
            Kind::Text => row.get::<Option<String>>(name)?.map(Json::from),
            Kind::Secret | Kind::Hash => {
                row.get::<Option<Vec<u8>>>(name)?.map(|bytes| BASE64_STANDARD.encode(bytes).into())
            }
        };
        Ok(((*name).to_owned(), json.unwrap_or(Json::Null)))
    };
    table.columns.iter().map(value).collect()
}

/// Puts the passphrase's encryption in the place of the store's; without one the secret is left out.
fn seal_out(
    session: &Session,
    table: &Table,
    row: &mut Map<String, Json>,
    key: Option<&Key>,
) -> Result<(), TransferError> {
    for (column, kind) in table.secrets() {
        let Some(Json::String(kept)) = row.get(*column) else { continue };
        let Some(key) = key else {
            row.insert((*column).to_owned(), Json::Null);
            continue;
        };
        let id = table.id_of(row);
        let place = Place { table: table.name, row: &id };
        let mut plain = BASE64_STANDARD.decode(kept).unwrap_or_default();
        if *kind == Kind::Secret {
            plain = session.sealer.open(place, &plain).ok_or_else(|| TransferError::Unreadable(id.clone()))?;
        }
        let sealed = key.seal(place, &plain).map_err(|_| TransferError::Encrypt)?;
        row.insert((*column).to_owned(), BASE64_STANDARD.encode(sealed).into());
    }
    Ok(())
}

/// Stores all lines, or none; how many rows. Into a store that holds nothing but what a first start makes, or with `replace`
/// in place of what it holds.
pub(in crate::stores) fn import(
    session: &Session,
    input: &mut dyn BufRead,
    passphrase: Option<&Passphrase>,
    replace: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    session.conn().step(Step::BeginWriting)?;
    let outcome = rows_in(session, input, passphrase, replace, progress);
    if outcome.is_ok() {
        // The mark is for those who listen: they are told of what is kept behind it.
        session.conn().step(Step::Mark)?;
        session.conn().step(Step::Keep)?;
        session.conn().step(Step::Commit)?;
    }
    // What is open is undone.
    session.conn().rest();
    outcome
}

fn rows_in(
    session: &Session,
    input: &mut dyn BufRead,
    passphrase: Option<&Passphrase>,
    replace: bool,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, TransferError> {
    let mut lines = Lines { input, number: 0 };
    let header: Header =
        lines.next()?.ok_or_else(|| lines.wrong("it is empty; it should begin with an export's first line"))?;
    if header.penstock_export != FORMAT {
        return Err(lines.wrong(&format!("it has the form {}, this version reads {FORMAT}", header.penstock_export)));
    }
    let key = match (&header.secrets, passphrase) {
        (None, _) => None,
        (Some(_), None) => return Err(TransferError::NoPassphrase),
        (Some(lock), Some(passphrase)) => {
            let key =
                Key::from_passphrase(passphrase, &lock.salt).map_err(|_| lines.wrong("its salt cannot be used"))?;
            let check = BASE64_STANDARD.decode(&lock.check).unwrap_or_default();
            if key.open(CHECK.0, &check).as_deref() != Some(CHECK.1) {
                return Err(TransferError::WrongPassphrase);
            }
            Some(key)
        }
    };
    make_room(session, replace)?;
    let mut count = 0;
    while let Some(Line { table: name, mut row }) = lines.next()? {
        let table = TABLES.iter().find(|table| table.name == name);
        let table = table.ok_or_else(|| lines.wrong(&format!("there is no table '{name}'")))?;
        seal_in(session, table, &mut row, key.as_ref(), &lines)?;
        insert(session, table, &row, &lines)?;
        count += 1;
        if count % PROGRESS == 0 {
            progress(count);
        }
    }
    let without = "SELECT id FROM chains WHERE NOT EXISTS (
        SELECT 1 FROM chain_versions WHERE chain_id = chains.id AND chain_versions.version = chains.version)";
    match session.value::<String>(without, ())? {
        Some(chain) => Err(lines.wrong(&format!("the export ends without the latest version of chain '{chain}'"))),
        None => Ok(count),
    }
}

/// The lines that are read, one after another.
struct Lines<'i> {
    input: &'i mut dyn BufRead,
    number: u64,
}

impl Lines<'_> {
    /// The next one that is not empty.
    fn next<T: for<'de> Deserialize<'de>>(&mut self) -> Result<Option<T>, TransferError> {
        loop {
            let mut text = Vec::new();
            let read =
                std::io::Read::take(&mut *self.input, MOST_LINE_BYTES as u64 + 1).read_until(b'\n', &mut text)?;
            self.number += 1;
            if read == 0 {
                return Ok(None);
            }
            if text.len() > MOST_LINE_BYTES {
                return Err(self.wrong("it is longer than any line of an export"));
            }
            if !text.trim_ascii().is_empty() {
                let wrong = |error: serde_json::Error| self.wrong(&format!("it is no line of an export: {error}"));
                return serde_json::from_slice(&text).map(Some).map_err(wrong);
            }
        }
    }

    fn wrong(&self, problem: &str) -> TransferError {
        TransferError::Line { line: self.number.max(1), problem: problem.to_owned() }
    }
}

/// Deletes what a first start has made, or with `replace` everything.
fn make_room(session: &Session, replace: bool) -> Result<(), TransferError> {
    let count = |what: &str| -> Result<i64, SqlError> {
        Ok(session.value::<i64>(&format!("SELECT COUNT(*) FROM {what}"), ())?.unwrap_or(0))
    };
    if !replace {
        let mut found = Vec::new();
        for (what, noun) in [
            ("backends", "backends"),
            ("hooks", "hooks"),
            ("aliases", "aliases"),
            ("chains", "chains"),
            ("tokens", "tokens"),
            ("pools WHERE id NOT IN ('internal_embed_pool', 'internal_tasks_pool')", "pools"),
            ("models", "models"),
        ] {
            // A first start declares one for each of its pools.
            let made = if noun == "models" { 2 } else { 0 };
            match count(what)? {
                rows if rows <= made => {}
                rows => found.push(format!("{rows} {noun}")),
            }
        }
        if !found.is_empty() {
            return Err(TransferError::Occupied { found: found.join(", ") });
        }
    }
    for table in TABLES.iter().rev() {
        session.execute(&format!("DELETE FROM {}", table.name), ())?;
    }
    Ok(())
}

/// Puts the store's encryption in the place of the passphrase's.
fn seal_in(
    session: &Session,
    table: &Table,
    row: &mut Map<String, Json>,
    key: Option<&Key>,
    lines: &Lines<'_>,
) -> Result<(), TransferError> {
    for (column, kind) in table.secrets() {
        let Some(Json::String(sealed)) = row.get(*column) else { continue };
        let id = table.id_of(row);
        let place = Place { table: table.name, row: &id };
        let sealed = BASE64_STANDARD.decode(sealed).ok();
        let plain = key.zip(sealed).and_then(|(key, sealed)| key.open(place, &sealed));
        let mut kept = plain.ok_or_else(|| lines.wrong(&format!("its '{column}' cannot be decrypted")))?;
        if *kind == Kind::Secret {
            kept = unlock::seal_bytes(session, place, &kept)?;
        }
        row.insert((*column).to_owned(), BASE64_STANDARD.encode(kept).into());
    }
    Ok(())
}

fn insert(session: &Session, table: &Table, row: &Map<String, Json>, lines: &Lines<'_>) -> Result<(), TransferError> {
    let mut names = Vec::new();
    let mut values = Vec::new();
    for (name, json) in row {
        let column = table.columns.iter().find(|(known, _)| known == name);
        let (name, kind) = column.ok_or_else(|| lines.wrong(&format!("'{}' has no column '{name}'", table.name)))?;
        let value = match (kind, json) {
            (_, Json::Null) => Value::Null,
            (Kind::Int, Json::Number(number)) if number.is_i64() => Value::Int(number.as_i64().unwrap_or_default()),
            (Kind::Bool, Json::Bool(is)) => Value::Bool(*is),
            (Kind::Text, Json::String(text)) => Value::from(text),
            (Kind::Secret | Kind::Hash, Json::String(text)) => {
                let bytes = BASE64_STANDARD.decode(text);
                Value::from(bytes.map_err(|_| lines.wrong(&format!("'{name}' is no base64")))?)
            }
            _ => return Err(lines.wrong(&format!("'{name}' is of another type"))),
        };
        names.push(*name);
        values.push(value);
    }
    let places: Vec<String> = (1..=values.len()).map(|number| format!("?{number}")).collect();
    let (columns, places) = (names.join(", "), places.join(", "));
    let sql = format!("INSERT INTO {} ({columns}) VALUES ({places}) RETURNING *", table.name);
    match session.find(&sql, Params::Numbered(values), table.check) {
        Ok(_) => Ok(()),
        Err(error @ SqlError::Unavailable(_)) => Err(error.into()),
        Err(SqlError::Taken(columns)) => Err(lines.wrong(&format!("its {columns} is there already"))),
        Err(error) => Err(lines.wrong(&format!("the row does not fit: {}", with_causes(&error)))),
    }
}
