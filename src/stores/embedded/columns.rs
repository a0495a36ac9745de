//! Columns that are more than a number or a text: times, names of closed sets, JSON.
//!
//! Owns how values look in the file. Used by the resource files when they read and write rows.

use rusqlite::{Row, types::Type};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::time::Timestamp,
    stores::{catalog::StoreError, embedded::errors::Cause},
};

/// A time in microseconds.
pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp::from_micros)
}

/// A name of a closed set; an unknown one means that another build wrote the file.
pub(super) fn named<T>(row: &Row<'_>, column: &'static str, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| {
        let cause = Cause::Unknown { what: column, found: text };
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(cause))
    })
}

/// A value kept as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// The JSON of a value to keep.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(Box::new(error)))
}

/// The bounds of a page, as parameters of `created_at < ?1 … LIMIT ?2`.
pub(super) fn bounds(page: crate::domain::page::Page) -> (i64, i64) {
    let before = page.before.map_or(i64::MAX, Timestamp::as_micros);
    (before, i64::try_from(page.limit).unwrap_or(i64::MAX))
}
