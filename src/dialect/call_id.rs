//! Ids of tool calls for backends that give none: clients answer a call by its id.

use std::hash::{DefaultHasher, Hash, Hasher};

/// The id of a reply's call: the same wherever the reply is read again, another in other replies. `reply`: what tells the
/// reply from others.
pub(super) fn made(reply: &str, index: u32) -> String {
    let mut hasher = DefaultHasher::new();
    (reply, index).hash(&mut hasher);
    format!("call_{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::made;

    #[test]
    fn calls_of_a_reply_and_of_other_replies_have_ids_of_their_own() {
        assert_eq!(made("r1", 0), made("r1", 0));
        assert_ne!(made("r1", 0), made("r1", 1));
        assert_ne!(made("r1", 0), made("r2", 0));
    }
}
