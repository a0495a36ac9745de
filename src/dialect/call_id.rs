//! Ids of tool calls for backends that give none: clients answer a call by its id.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The id of a reply's call: the same wherever the reply is read again, another in other replies. `reply`: what the backend
/// tells it from others by; where it has nothing for that, `bytes` are what the call came in, which count the tokens of the
/// conversation so far.
pub(super) fn made(reply: Option<&str>, bytes: &[u8], choice: u32, index: u32) -> String {
    let mut hasher = DefaultHasher::new();
    match reply.filter(|reply| !reply.is_empty()) {
        Some(reply) => reply.hash(&mut hasher),
        None => bytes.hash(&mut hasher),
    }
    (choice, index).hash(&mut hasher);
    format!("call_{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::made;

    #[test]
    fn calls_of_a_reply_and_of_other_replies_have_ids_of_their_own() {
        let first = made(Some("r1"), b"a", 0, 0);
        assert_eq!(first, made(Some("r1"), b"b", 0, 0), "its own name is enough");
        for other in [made(Some("r2"), b"a", 0, 0), made(Some("r1"), b"a", 1, 0), made(Some("r1"), b"a", 0, 1)] {
            assert_ne!(first, other);
        }
        assert_ne!(made(None, b"a", 0, 0), made(Some(""), b"b", 0, 0), "without a name its bytes tell it from others");
    }
}
