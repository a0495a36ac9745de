//! Columns that are more than a number or a text: times, names of closed sets, JSON.
//!
//! Owns how values look in the database. Used by the resource files when they read and write rows.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    domain::{page::Page, time::Timestamp},
    stores::{
        catalog::StoreError,
        sql::{
            errors::{Cause, SqlError},
            value::Row,
        },
    },
};

/// A time in microseconds.
pub(super) fn time(row: &Row<'_>, column: &'static str) -> Result<Timestamp, SqlError> {
    row.get(column).map(Timestamp::from_micros)
}

/// A name of a closed set; an unknown one means that another build wrote the row.
pub(super) fn named<T>(row: &Row<'_>, column: &'static str, parse: fn(&str) -> Option<T>) -> Result<T, SqlError> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| Cause::Unknown { what: column, found: text }.into())
}

/// A value kept as JSON.
pub(super) fn json<T: DeserializeOwned>(row: &Row<'_>, column: &'static str) -> Result<T, SqlError> {
    let text: String = row.get(column)?;
    serde_json::from_str(&text).map_err(|error| SqlError::Broken(Box::new(error)))
}

/// The JSON of a value to keep.
pub(super) fn to_json(value: &impl Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Internal(Box::new(error)))
}

/// The bounds of a page, as parameters of `created_at < ?1 … LIMIT ?2`.
pub(super) fn bounds(page: Page) -> (i64, i64) {
    let before = page.before.map_or(i64::MAX, Timestamp::as_micros);
    (before, i64::try_from(page.limit).unwrap_or(i64::MAX))
}
