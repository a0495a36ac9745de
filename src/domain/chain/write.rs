//! Writing the fields of a chain that have a form of their own.

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{Condition, FallbackModel};

pub(super) fn is_empty(text: &str) -> bool {
    text.is_empty()
}

pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The allowed replies as a map, in order.
pub(super) fn conditions<S: Serializer>(conditions: &[Condition], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(conditions.len()))?;
    for condition in conditions {
        map.serialize_entry(&condition.key, &condition.flag)?;
    }
    map.end()
}

impl Serialize for FallbackModel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.provider.is_empty() {
            return serializer.serialize_str(&self.model);
        }
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("model", &self.model)?;
        map.serialize_entry("provider", &self.provider)?;
        map.end()
    }
}
