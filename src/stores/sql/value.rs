//! What goes into a statement and comes out of a row, in the types that both databases know.
//!
//! A statement names its parameters: `?1`, `?2`, … or `:name`. Used by the resource files through `session`, and by each
//! database's connection, which turns values into its driver's.

use std::borrow::Cow;

use super::errors::{Cause, SqlError};

/// One value of a statement or a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::stores) enum Value<'a> {
    /// Nothing.
    Null,
    /// A whole number.
    Int(i64),
    /// A truth value; SQLite keeps it as 0 or 1.
    Bool(bool),
    /// Text without a NUL.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(Cow<'a, [u8]>),
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Vec<u8>> for Value<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(Cow::Owned(bytes))
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement.
#[derive(Debug)]
pub(in crate::stores) enum Params<'a> {
    /// Of `?1`, `?2`, …
    Numbered(Vec<Value<'a>>),
    /// Of `:name`, each once.
    Named(Vec<(&'static str, Value<'a>)>),
}

impl Params<'_> {
    /// The same, if both databases can keep it: text with a NUL in it SQLite would take and PostgreSQL not.
    pub(super) fn fit(self) -> Result<Self, SqlError> {
        let holds_nul = |value: &Value<'_>| matches!(value, Value::Text(text) if text.contains('\0'));
        let is_unfit = match &self {
            Self::Numbered(values) => values.iter().any(holds_nul),
            Self::Named(values) => values.iter().any(|(_, value)| holds_nul(value)),
        };
        if is_unfit {
            Err(SqlError::Unfit("a text that is to be stored or looked up holds the character U+0000"))
        } else {
            Ok(self)
        }
    }
}

/// `:name => value` for each parameter of a statement that names them.
macro_rules! named {
    ($($name:literal: $value:expr),* $(,)?) => {
        crate::stores::sql::value::Params::Named(vec![
            $(($name, crate::stores::sql::value::Value::from($value))),*
        ])
    };
}
pub(in crate::stores) use named;

macro_rules! numbered {
    ($($name:ident)*) => {
        impl<'a, $($name: Into<Value<'a>>),*> From<($($name,)*)> for Params<'a> {
            #[expect(clippy::allow_attributes, reason = "the empty one binds nothing")]
            fn from(#[allow(non_snake_case)] ($($name,)*): ($($name,)*)) -> Self {
                Self::Numbered(vec![$($name.into()),*])
            }
        }
    };
}
numbered!();
numbered!(A);
numbered!(A B);
numbered!(A B C);
numbered!(A B C D);

/// What a value of a row is read as.
pub(in crate::stores) trait FromValue: Sized {
    /// `None` when the value is of another type.
    fn from_value(value: Value<'_>) -> Option<Self>;
}

impl FromValue for i64 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Int(number) => Some(number),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::Bytes(_) => None,
        }
    }
}

impl FromValue for u32 {
    fn from_value(value: Value<'_>) -> Option<Self> {
        i64::from_value(value).and_then(|number| Self::try_from(number).ok())
    }
}

impl FromValue for bool {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bool(is) => Some(is),
            Value::Int(number @ (0 | 1)) => Some(number == 1),
            Value::Null | Value::Int(_) | Value::Text(_) | Value::Bytes(_) => None,
        }
    }
}

impl FromValue for String {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.into_owned()),
            Value::Null | Value::Int(_) | Value::Bool(_) | Value::Bytes(_) => None,
        }
    }
}

impl FromValue for Vec<u8> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.into_owned()),
            Value::Null | Value::Int(_) | Value::Bool(_) | Value::Text(_) => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Value<'_>) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

/// A row as a driver gives it.
pub(in crate::stores) trait Columns {
    /// The value in the column of this name.
    fn named(&self, column: &str) -> Result<Value<'_>, SqlError>;
    /// The value in the column of this number, from 0.
    fn at(&self, column: usize) -> Result<Value<'_>, SqlError>;
}

/// A row, read by type.
pub(in crate::stores) struct Row<'r>(pub(in crate::stores) &'r dyn Columns);

impl Row<'_> {
    /// The value of a column.
    pub(in crate::stores) fn get<T: FromValue>(&self, column: &'static str) -> Result<T, SqlError> {
        T::from_value(self.0.named(column)?).ok_or_else(|| Cause::OtherType { column }.into())
    }

    /// The value of the only column.
    pub(in crate::stores) fn only<T: FromValue>(&self) -> Result<T, SqlError> {
        T::from_value(self.0.at(0)?).ok_or_else(|| Cause::OtherType { column: "0" }.into())
    }
}
