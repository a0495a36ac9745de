//! Members of an object by the fields they fill, and pointers of the canonical document as pointers of the written one.

use serde_json::{Map, Value};

use super::{
    shape::{Field, Shape},
    walk::LONGEST_NAME,
};
use crate::domain::spelling::{folded, replaces};

/// The member that fills a field: its name as written.
pub(super) fn member<'a>(object: &'a Map<String, Value>, field: &Field) -> Option<(&'a String, &'a Value)> {
    // The canonical spelling wins; asking for it first spares a walk through objects with very many members.
    if let Some(canonical) = object.get_key_value(&field.name).filter(|(_, value)| !value.is_null()) {
        return Some(canonical);
    }
    let mut taken: Option<(bool, (&String, &Value))> = None;
    for (name, value) in object {
        if !value.is_null() && name.len() <= LONGEST_NAME && (*name == field.name || folded(name) == field.folded) {
            let is_canonical = *name == field.name;
            if replaces(is_canonical, taken.map(|(is_canonical, _)| is_canonical)) {
                taken = Some((is_canonical, (name, value)));
            }
        }
    }
    taken.map(|(_, member)| member)
}

/// One step of a JSON Pointer.
pub(super) fn step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Where a canonical pointer leads in the document as written: as far as the document goes, so that what is missing is
/// told of what it is missing in.
pub(super) fn pointer(canonical: &str, written: &Value, shape: &Shape) -> String {
    let (mut at, mut shape, mut path) = (written, shape, String::new());
    for name in canonical.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        shape = shape.chosen(at);
        let next = match (shape, at) {
            (Shape::Fields(fields), Value::Object(object)) => fields
                .iter()
                .find(|field| field.name == name)
                .and_then(|field| member(object, field).map(|(name, value)| (name.clone(), value, &field.shape))),
            (Shape::Map(of), Value::Object(object)) => object.get(&name).map(|value| (name, value, &**of)),
            // Entries of the wrong kind are left out of the canonical document.
            (Shape::List(of), Value::Array(items)) => name.parse().ok().and_then(|nth: usize| {
                let kept = items.iter().enumerate().filter(|(_, item)| of.accepts(item));
                kept.map(|(at, item)| (at.to_string(), item, &**of)).nth(nth)
            }),
            _ => None,
        };
        let Some((name, value, of)) = next else { break };
        path.push('/');
        path.push_str(&step(&name));
        (at, shape) = (value, of);
    }
    path
}
