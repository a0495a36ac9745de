//! What answers look like: which keys, which times.

use serde_json::Value;

/// Panics unless the object has exactly these keys, separated by blanks, in any order.
#[track_caller]
pub fn assert_keys(value: &Value, keys: &str) {
    let mut wanted: Vec<&str> = keys.split_whitespace().collect();
    let mut seen: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    wanted.sort_unstable();
    seen.sort_unstable();
    assert_eq!(seen, wanted, "{value}");
}

/// Panics unless the text is a time in UTC with six fraction digits.
#[track_caller]
pub fn assert_time(value: &Value) {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    let like_a_time = text.len() == 27 && text.ends_with('Z') && text.as_bytes()[19] == b'.' && text > "2025";
    assert!(like_a_time, "{text}");
}

/// Panics unless the resource was just created: both times are there and equal.
#[track_caller]
pub fn assert_new(resource: &Value) {
    assert_time(&resource["createdAt"]);
    assert_eq!(resource["createdAt"], resource["updatedAt"]);
}

/// Panics unless the resource was written again after its creation.
#[track_caller]
pub fn assert_rewritten(resource: &Value, created_at: &Value) {
    assert_eq!(&resource["createdAt"], created_at);
    assert_time(&resource["updatedAt"]);
    assert!(resource["updatedAt"].as_str() > created_at.as_str(), "{resource}");
}

/// One text member of each element of an array.
#[track_caller]
pub fn column(list: &Value, member: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|element| element[member].as_str().unwrap().to_owned()).collect()
}
