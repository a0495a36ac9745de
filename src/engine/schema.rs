//! The JSON Schema (2020-12) of a chain, made of the structs that chains are read into: one description for editors, for
//! [`check`](crate::engine::check) and for the reader itself.

use std::sync::LazyLock;

use serde_json::Value;

use crate::domain::chain::Chain;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| schemars::schema_for!(Chain).to_value());

/// The schema. Names in it are the canonical ones; other spellings are read, too.
pub fn schema() -> &'static Value {
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_describes_all_fields_down_to_branches() {
        assert!(schema()["properties"]["tasks"].is_object());
        for (of, field) in [("Task", "prompt_template"), ("Branch", "goto"), ("RetryPolicy", "jitter")] {
            assert!(schema()["$defs"][of]["properties"][field].is_object(), "{of}.{field}");
        }
    }
}
