//! An object of a request, read field by field. `null` is absent, as it is to Ollama.

use serde_json::{Map, Value as Json};

use super::Read;

/// See the module.
pub(super) struct Fields<'a> {
    fields: &'a Map<String, Json>,
    /// What stands before a field's name in messages.
    path: String,
}

impl<'a> Fields<'a> {
    /// Those of the whole body.
    pub(super) fn of(body: &'a Json) -> Read<Self> {
        let fields = body.as_object().ok_or("the request body must be a JSON object")?;
        Ok(Self { fields, path: String::new() })
    }

    /// Those of an object within.
    pub(super) fn within(&self, place: &str, value: &'a Json) -> Read<Self> {
        let path = format!("{}{place}", self.path);
        let fields = value.as_object().ok_or_else(|| format!("field '{path}' must be an object"))?;
        Ok(Self { fields, path: format!("{path}.") })
    }

    /// A field that is there.
    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    /// The words for a field of the wrong type.
    pub(super) fn wrong<T>(&self, name: &str, wanted: &str) -> Read<T> {
        Err(format!("field '{}{name}' must be {wanted}", self.path))
    }

    /// The words for a field that is missing.
    pub(super) fn missing<T>(&self, name: &str) -> Read<T> {
        Err(format!("field '{}{name}' is required", self.path))
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

    pub(super) fn flag(&self, name: &str) -> Read<Option<bool>> {
        match self.get(name) {
            None => Ok(None),
            Some(Json::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => self.wrong(name, "true or false"),
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

    /// A list, empty when absent.
    pub(super) fn list(&self, name: &str) -> Read<&'a [Json]> {
        match self.get(name) {
            None => Ok(&[]),
            Some(Json::Array(items)) => Ok(items),
            Some(_) => self.wrong(name, "an array"),
        }
    }
}
