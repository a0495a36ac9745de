//! Operations of `docs/operations.md`, secrets.

use serde_json::json;

use super::{
    super::keys::Rotated,
    operation::{Operation, post},
};

pub(super) fn operations() -> Vec<Operation> {
    let operations = vec![
        post("/keys/rotate", "rotateSecret", "Encrypt all stored keys with the new secret")
            .says("The new secret is `SECRET_KEY`, the former one `SECRET_KEY_PREVIOUS`; a key file gets a new key.")
            .gives::<Rotated>(200, "How many keys were encrypted anew", json!({"rotated": 3}))
            .fails(&[422]),
    ];
    operations.into_iter().map(|operation| operation.of("keys")).collect()
}
