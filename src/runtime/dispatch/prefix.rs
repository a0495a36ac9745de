//! What a call begins with, as a number: `prefix-affinity` sends calls of the same number to the same backend, whose
//! prompt cache has seen that beginning before.

use crate::{
    domain::chat::{ChatTurn, Part},
    runtime::pool::stable_hash,
};

/// Bytes of a call that are looked at.
const BOUND: usize = 1024;

/// The beginning of a conversation up to its first user message: all turns of one conversation have it in common.
pub(super) fn conversation_prefix(messages: &[ChatTurn]) -> u64 {
    let end = messages.iter().position(|message| message.role == "user").map_or(messages.len(), |at| at + 1);
    let mut left = BOUND;
    let texts = messages[..end].iter().flat_map(|message| {
        // A byte that no UTF-8 text has ends each part: where one stops and the next begins matters.
        let said = message.parts.iter().filter_map(Part::as_text).map(str::as_bytes);
        [message.role.as_bytes(), &[0xff]].into_iter().chain(said).chain([&[0xff][..]])
    });
    stable_hash(texts.map_while(move |text| {
        let taken = &text[..text.len().min(left)];
        left -= taken.len();
        (!taken.is_empty() || text.is_empty()).then_some(taken)
    }))
}

/// The beginning of a text.
pub(super) fn text_prefix(text: &str) -> u64 {
    stable_hash([&text.as_bytes()[..text.len().min(BOUND)]])
}

/// The beginning of a client's words, as it wrote them.
pub(super) fn raw_prefix(opening: &[u8]) -> u64 {
    stable_hash([&opening[..opening.len().min(BOUND)]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(messages: &[(&str, &str)]) -> u64 {
        let message = |(role, text): &(&str, &str)| ChatTurn::text(*role, *text);
        conversation_prefix(&messages.iter().map(message).collect::<Vec<_>>())
    }

    #[test]
    fn all_turns_of_a_conversation_begin_alike_and_other_conversations_differently() {
        let first = prefix(&[("system", "be brief"), ("user", "hi")]);
        assert_eq!(prefix(&[("system", "be brief"), ("user", "hi"), ("assistant", "ho"), ("user", "and?")]), first);
        for other in [
            prefix(&[("system", "be brief"), ("user", "hey")]),
            prefix(&[("system", "be long"), ("user", "hi")]),
            prefix(&[("user", "hi")]),
            prefix(&[("system", "be briefh"), ("user", "i")]),
        ] {
            assert_ne!(other, first);
        }
    }

    #[test]
    fn no_more_than_the_first_kibibyte_is_looked_at() {
        let long = "ä".repeat(1024);
        assert_eq!(prefix(&[("system", &long), ("user", "a")]), prefix(&[("system", &long), ("user", "b")]));
        assert_eq!(text_prefix(&format!("{long}a")), text_prefix(&format!("{long}b")));
        let short = &long[..1000];
        assert_ne!(prefix(&[("system", short), ("user", "a")]), prefix(&[("system", short), ("user", "b")]));
        assert_ne!(text_prefix("a"), text_prefix("b"));
    }

    #[test]
    fn a_conversation_without_a_user_or_without_a_word_has_a_beginning_too() {
        assert_ne!(prefix(&[("assistant", "a")]), prefix(&[("assistant", "b")]));
        assert_eq!(prefix(&[]), stable_hash([]));
    }
}
