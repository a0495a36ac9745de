//! Reads a struct from a JSON value whose field names may be spelled `baseURL`, `base_url` or `baseurl`
//! (`docs/api.md`, field names).
//!
//! Names are compared in lower case without `_`. The canonical spelling wins over others, else the last one counts;
//! `null` equals absent; unknown fields are ignored. Only fields of structs are matched this way: keys of maps and
//! everything inside an untyped value are the user's data and stay as they are. Errors carry the path of the field.

use std::{cell::Cell, fmt};

use serde::{
    Deserialize,
    de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

use crate::domain::spelling::{is_same_field, replaces};

/// What does not fit, and where: `chain.tasks[2].retry_on_failure`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LooseError {
    /// Path of the field; empty for the whole document.
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
}

impl LooseError {
    fn under(mut self, segment: &str) -> Self {
        let glue = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        self.path = format!("{segment}{glue}{}", self.path);
        self
    }
}

impl fmt::Display for LooseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.as_str() {
            "" => f.write_str(&self.message),
            path => write!(f, "field '{path}': {}", self.message),
        }
    }
}

impl std::error::Error for LooseError {}

impl de::Error for LooseError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { path: String::new(), message: message.to_string() }
    }
}

/// Reads `T` from `value`.
///
/// # Errors
/// The first field that is missing or of the wrong type.
pub fn from_value<'de, T: Deserialize<'de>>(value: Value) -> Result<T, LooseError> {
    from_value_noting(value).map(|(read, _)| read)
}

/// Reads `T` from `value`, and tells whether fields were ignored because nobody knows their names.
///
/// # Errors
/// As [`from_value`].
pub fn from_value_noting<'de, T: Deserialize<'de>>(value: Value) -> Result<(T, bool), LooseError> {
    let ignored = Cell::new(false);
    let read = T::deserialize(Loose(value, &ignored))?;
    Ok((read, ignored.get()))
}

/// A value, and where to note that a field was ignored.
struct Loose<'c>(Value, &'c Cell<bool>);

impl Loose<'_> {
    /// What is wrong, without the text that was found: it may be a key in the wrong place.
    fn strict(error: &serde_json::Error) -> LooseError {
        let mut message = error.to_string();
        if let (Some(from), Some(to)) = (message.find(" \""), message.rfind("\", expected "))
            && from < to
        {
            message.replace_range(from..=to, "");
        }
        de::Error::custom(message)
    }
}

/// Everything but structs and what may hold structs reads as plain JSON does.
macro_rules! as_plain_json {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, LooseError> {
            de::Deserializer::$method(self.0, visitor).map_err(|error| Self::strict(&error))
        }
    )*};
}

impl<'de> de::Deserializer<'de> for Loose<'_> {
    type Error = LooseError;

    as_plain_json! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit
        deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, LooseError> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, LooseError> {
        de::Deserializer::deserialize_unit_struct(self.0, name, visitor).map_err(|error| Self::strict(&error))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, LooseError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, LooseError> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items { items: items.into_iter(), next: 0, ignored: self.1 }),
            other => de::Deserializer::deserialize_seq(other, visitor).map_err(|error| Self::strict(&error)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, LooseError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, LooseError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, LooseError> {
        match self.0 {
            Value::Object(object) => {
                visitor.visit_map(Entries { entries: object.into_iter(), value: None, ignored: self.1 })
            }
            other => de::Deserializer::deserialize_map(other, visitor).map_err(|error| Self::strict(&error)),
        }
    }

    /// Only an object: plain JSON would also take an array of the fields' values in their order.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, LooseError> {
        let found = match self.0 {
            Value::Object(object) => {
                return visitor.visit_map(Fields {
                    entries: matched(object, fields, self.1).into_iter(),
                    value: None,
                    ignored: self.1,
                });
            }
            Value::Array(_) => "an array",
            Value::String(_) => "a string",
            Value::Number(_) => "a number",
            Value::Bool(_) => "a boolean",
            Value::Null => "null",
        };
        Err(de::Error::custom(format_args!("invalid type: {found}, expected an object")))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, LooseError> {
        de::Deserializer::deserialize_enum(self.0, name, variants, visitor).map_err(|error| Self::strict(&error))
    }
}

/// Which of the sent members fills which field.
fn matched(
    object: Map<String, Value>,
    fields: &'static [&'static str],
    ignored: &Cell<bool>,
) -> Vec<(&'static str, Value)> {
    let mut taken: Vec<Option<(bool, Value)>> = fields.iter().map(|_| None).collect();
    for (name, value) in object {
        if value.is_null() {
            continue;
        }
        // Most names are spelled as here.
        let exact = fields.iter().position(|field| *field == name);
        let Some(at) = exact.or_else(|| fields.iter().position(|field| is_same_field(field, &name))) else {
            ignored.set(true);
            continue;
        };
        let is_canonical = fields[at] == name;
        if replaces(is_canonical, taken[at].as_ref().map(|(is_canonical, _)| *is_canonical)) {
            taken[at] = Some((is_canonical, value));
        }
    }
    fields.iter().zip(taken).filter_map(|(field, value)| Some((*field, value?.1))).collect()
}

struct Fields<'c> {
    entries: std::vec::IntoIter<(&'static str, Value)>,
    value: Option<(&'static str, Value)>,
    ignored: &'c Cell<bool>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = LooseError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, LooseError> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some((name, value));
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, LooseError> {
        let (name, value) = self.value.take().ok_or_else(|| de::Error::custom("value asked for before its key"))?;
        seed.deserialize(Loose(value, self.ignored)).map_err(|error| error.under(name))
    }
}

struct Entries<'c> {
    entries: serde_json::map::IntoIter,
    value: Option<(String, Value)>,
    ignored: &'c Cell<bool>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = LooseError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, LooseError> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        let key = seed.deserialize(name.as_str().into_deserializer())?;
        self.value = Some((name, value));
        Ok(Some(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, LooseError> {
        let (name, value) = self.value.take().ok_or_else(|| de::Error::custom("value asked for before its key"))?;
        seed.deserialize(Loose(value, self.ignored)).map_err(|error| error.under(&name))
    }
}

struct Items<'c> {
    items: std::vec::IntoIter<Value>,
    next: usize,
    ignored: &'c Cell<bool>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = LooseError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, LooseError> {
        let Some(item) = self.items.next() else { return Ok(None) };
        let at = self.next;
        self.next += 1;
        seed.deserialize(Loose(item, self.ignored)).map(Some).map_err(|error| error.under(&format!("[{at}]")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Inner {
        on_failure: String,
        valid_conditions: BTreeMap<String, bool>,
        free: Value,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Outer {
        base_url: String,
        count: Option<i64>,
        tasks: Vec<Inner>,
    }

    fn outer(value: Value) -> Result<Outer, LooseError> {
        from_value(value)
    }

    #[test]
    fn every_spelling_of_a_field_is_one_field() {
        for name in ["baseUrl", "baseURL", "base_url", "BASEURL", "baseurl"] {
            assert_eq!(outer(json!({ name: "x" })).unwrap().base_url, "x", "{name}");
        }
    }

    #[test]
    fn the_canonical_spelling_wins_and_else_the_last_one() {
        assert_eq!(outer(json!({"baseUrl": "canonical", "base_url": "other"})).unwrap().base_url, "canonical");
        assert_eq!(outer(json!({"BASEURL": "first", "base_url": "last"})).unwrap().base_url, "last");
    }

    #[test]
    fn null_equals_absent_and_unknown_fields_are_ignored() {
        assert_eq!(outer(json!({"baseUrl": null, "count": null, "who": 1})).unwrap(), Outer::default());
    }

    #[test]
    fn ignored_fields_are_noted_and_user_data_is_not_taken_for_them() {
        let noted = |value: Value| from_value_noting::<Outer>(value).unwrap().1;
        assert!(!noted(json!({"baseURL": "x", "tasks": [{"free": {"who": 1}, "valid_conditions": {"who": true}}]})));
        assert!(noted(json!({"who": 1})) && noted(json!({"tasks": [{}, {"who": 1}]})));
        assert!(!noted(json!({"who": null})), "null is absent");
    }

    #[test]
    fn user_data_keeps_its_keys() {
        let sent = json!({"tasks": [{
            "onFailure": "a", "validConditions": {"Not_Valid": true}, "free": {"Some_Key": {"on_failure": null}}
        }]});
        let read = outer(sent).unwrap();
        assert_eq!(read.tasks[0].on_failure, "a");
        assert!(read.tasks[0].valid_conditions["Not_Valid"]);
        assert_eq!(read.tasks[0].free, json!({"Some_Key": {"on_failure": null}}));
    }

    #[test]
    fn an_error_names_the_path() {
        let error = outer(json!({"tasks": [{}, {"valid_conditions": {"a": "yes"}}]})).unwrap_err();
        assert_eq!(error.path, "tasks[1].valid_conditions.a");
        assert!(error.to_string().contains("expected a boolean"), "{error}");
        assert!(outer(json!({"tasks": [["a"]]})).unwrap_err().to_string().starts_with("field 'tasks[0]': "));
        assert!(outer(json!(["x", 1, []])).unwrap_err().to_string().contains("an array, expected an object"));
        assert!(outer(json!({"count": "4"})).unwrap_err().to_string().starts_with("field 'count': "));
    }
}
