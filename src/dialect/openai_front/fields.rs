//! An object of a request, read field by field. `null` is absent, as it is to OpenAI.

use serde_json::{Map, Value as Json};

use super::{MAX_IGNORED, MAX_NAME_CHARS, Read, ReadError};
use crate::domain::value::one_or_several;

/// See the module.
pub(super) struct Fields<'a> {
    fields: &'a Map<String, Json>,
    /// What stands before a field's name in messages.
    path: String,
}

impl<'a> Fields<'a> {
    /// Those of the whole body.
    pub(super) fn of(body: &'a Json) -> Read<Self> {
        let fields = body.as_object().ok_or_else(|| "the request body must be a JSON object".to_owned())?;
        Ok(Self { fields, path: String::new() })
    }

    /// Those of an object within, at this place: `messages[0]`.
    pub(super) fn within(&self, place: &str, value: &'a Json) -> Read<Self> {
        let path = self.path_of(place);
        let Some(fields) = value.as_object() else {
            return Err(ReadError::of(&path, format!("field '{path}' must be an object")));
        };
        Ok(Self { fields, path: format!("{path}.") })
    }

    /// A field's name from the top of the body.
    pub(super) fn path_of(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }

    /// A field that is there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The error of a field; `what` follows its name.
    pub(super) fn fault(&self, name: &str, what: &str) -> ReadError {
        let path = self.path_of(name);
        let message = format!("field '{path}' {what}");
        ReadError::of(path, message)
    }

    /// The error of a field that is missing.
    pub(super) fn missing<T>(&self, name: &str) -> Read<T> {
        Err(self.fault(name, "is required"))
    }

    /// The error of a field of the wrong type.
    pub(super) fn wrong<T>(&self, name: &str, wanted: &str) -> Read<T> {
        Err(self.fault(name, &format!("must be {wanted}")))
    }

    /// An object in a field.
    pub(super) fn object(&self, name: &str) -> Read<Option<Self>> {
        self.get(name).map(|value| self.within(name, value)).transpose()
    }

    /// A text, empty when absent.
    pub(super) fn text(&self, name: &str) -> Read<&'a str> {
        match self.get(name) {
            None => Ok(""),
            Some(Json::String(text)) => Ok(text),
            Some(_) => self.wrong(name, "a string"),
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&self, name: &str) -> Read<&'a str> {
        match self.text(name)? {
            "" => self.missing(name),
            text => Ok(text),
        }
    }

    pub(super) fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(name, "true or false"),
        }
    }

    pub(super) fn number(&self, name: &str) -> Read<Option<f64>> {
        match self.get(name).map(Json::as_f64) {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number)),
            Some(None) => self.wrong(name, "a number"),
        }
    }

    pub(super) fn integer(&self, name: &str) -> Read<Option<i64>> {
        match self.get(name).map(Json::as_i64) {
            None => Ok(None),
            Some(Some(number)) => Ok(Some(number)),
            Some(None) => self.wrong(name, "a whole number"),
        }
    }

    pub(super) fn count(&self, name: &str) -> Read<Option<u32>> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let count = value.as_u64().and_then(|count| u32::try_from(count).ok());
        count.map_or_else(
            || self.wrong(name, &format!("a whole number from 0 to {}", u32::MAX)),
            |count| Ok(Some(count)),
        )
    }

    /// A bound of tokens: at least 1. `-1` is no bound, as servers on the own network read it.
    pub(super) fn bound(&self, name: &str) -> Read<Option<u32>> {
        if self.get(name).and_then(Json::as_i64) == Some(-1) {
            return Ok(None);
        }
        match self.count(name)? {
            Some(0) => self.wrong(name, "at least 1"),
            bound => Ok(bound),
        }
    }

    /// A list, if it is there.
    pub(super) fn list(&self, name: &str) -> Read<Option<&'a [Json]>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Array(items)) => Ok(Some(items)),
            Some(_) => self.wrong(name, "an array"),
        }
    }

    /// One text or several.
    pub(super) fn texts(&self, name: &str) -> Read<Vec<String>> {
        one_or_several(self.get(name)).map_or_else(|| self.wrong(name, "a string or an array of strings"), Ok)
    }

    /// What a field holds, named in an error message.
    pub(super) fn shown(value: &str) -> String {
        value.chars().take(MAX_NAME_CHARS).collect()
    }

    /// Names of fields that were sent and are not among these.
    pub(super) fn beside(&self, known: &[&[&str]]) -> Vec<String> {
        let is_known = |name: &str| known.iter().any(|names| names.contains(&name));
        let unread = self.fields.iter().filter(|(name, value)| !value.is_null() && !is_known(name));
        unread.take(MAX_IGNORED).map(|(name, _)| Self::shown(name)).collect()
    }
}
