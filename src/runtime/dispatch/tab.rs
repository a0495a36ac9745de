//! What one call costs, written down once when it is over, however it ends: as the backend tells it, and where it does not,
//! as what has passed lets us guess. A call that was never answered costs nothing.
//!
//! Its counts are plain numbers of the one who reads the answer; the account is touched at the end alone, and where nobody
//! keeps one there is no tab.

use crate::domain::{
    chat::{ChatReply, ReplyEvent, Usage},
    embedding::{EmbedCall, Embedded},
    ledger::Spending,
    message::Completion,
};

/// Bytes of text that are about one token.
pub(super) const BYTES_A_TOKEN: usize = 4;
/// Longest prompt that is guessed from its size: pictures in it have many bytes and few tokens.
const MOST_GUESSED: u64 = 128 * 1024;

/// See the module.
pub(super) struct Tab {
    spending: Spending,
    /// A guess.
    sent: u64,
    /// A guess.
    heard: u64,
    told: Usage,
}

impl Tab {
    /// For a call that was answered, of so many bytes. `None` where nobody keeps an account.
    pub(super) fn open(spending: &Spending, sent_bytes: impl FnOnce() -> usize) -> Option<Self> {
        spending.is_counted().then(|| Self {
            spending: spending.clone(),
            sent: tokens_in(sent_bytes()).min(MOST_GUESSED),
            heard: 0,
            told: Usage::default(),
        })
    }

    /// The same for texts of which vectors were asked.
    pub(super) fn of_texts(spending: &Spending, call: &EmbedCall) -> Option<Self> {
        Self::open(spending, || call.inputs.iter().map(String::len).sum())
    }

    /// A piece of the reply has come.
    pub(super) fn hear(&mut self, event: &ReplyEvent) {
        match event {
            ReplyEvent::Text { text, .. } | ReplyEvent::Reasoning { text, .. } => self.heard += tokens_in(text.len()),
            ReplyEvent::ToolCall { piece, .. } => self.heard += tokens_in(piece.arguments.len()),
            ReplyEvent::Usage(usage) => self.told = *usage,
            ReplyEvent::Logprobs { .. } | ReplyEvent::Finish { .. } => {}
        }
    }

    /// So much has come, and so much was told, since the beginning.
    pub(super) fn now(&mut self, heard: u64, told: Usage) {
        (self.heard, self.told) = (heard, told);
    }

    /// A whole reply.
    pub(super) fn complete(mut self, completion: &Completion) {
        self.now(tokens_in(completion.text.len()), completion.usage);
    }

    /// A whole reply with all that belongs to it.
    pub(super) fn reply(mut self, reply: &ChatReply) {
        let calls = |said: &crate::domain::chat::Said| -> usize {
            said.tool_calls.iter().map(|call| call.arguments.len()).sum()
        };
        let bytes: usize = reply.choices.iter().map(|said| said.text.len() + said.reasoning.len() + calls(said)).sum();
        self.now(tokens_in(bytes), reply.usage);
    }

    /// Vectors, which cost what was sent.
    pub(super) fn embedded(mut self, embedded: &Embedded) {
        self.now(0, Usage { input_tokens: embedded.input_tokens, ..Usage::default() });
    }

    /// A whole answer that nobody has read.
    pub(super) fn unread(mut self, bytes: usize, told: Usage) {
        self.now(tokens_in(bytes), told);
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let Usage { input_tokens, output_tokens, .. } = self.told;
        let (input, output) = (input_tokens.unwrap_or(self.sent), output_tokens.unwrap_or(self.heard));
        self.spending.add(input.saturating_add(output));
    }
}

/// A guess; every piece is at least one.
fn tokens_in(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(BYTES_A_TOKEN)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use super::*;
    use crate::domain::ledger::TokenLedger;

    #[derive(Default)]
    struct Sum(AtomicU64);

    impl TokenLedger for Sum {
        fn spent(&self, tokens: u64) {
            self.0.fetch_add(tokens, Ordering::Relaxed);
        }
    }

    fn spent(sent_bytes: usize, call: impl FnOnce(Tab)) -> u64 {
        let sum = Arc::new(Sum::default());
        call(Tab::open(&Spending::on(Arc::clone(&sum) as _), || sent_bytes).unwrap());
        sum.0.load(Ordering::Relaxed)
    }

    fn text(text: &str) -> ReplyEvent {
        ReplyEvent::Text { choice: 0, text: text.to_owned() }
    }

    fn usage(input: Option<u64>, output: Option<u64>) -> Usage {
        Usage { input_tokens: input, output_tokens: output, ..Usage::default() }
    }

    #[test]
    fn what_is_told_counts_and_what_is_not_is_guessed() {
        for (told, cost) in [
            (usage(Some(7), Some(3)), 10),
            (usage(None, Some(3)), 103),
            (usage(Some(7), None), 7 + 2),
            (usage(None, None), 102),
        ] {
            let cost_of_stream = spent(400, |mut tab| {
                for event in [text("ab"), ReplyEvent::Reasoning { choice: 0, text: "c".to_owned() }] {
                    tab.hear(&event);
                }
                tab.hear(&ReplyEvent::Usage(told));
            });
            assert_eq!(cost_of_stream, cost, "{told:?}");
            assert_eq!(spent(400, |tab| tab.unread(8, told)), cost, "{told:?}");
        }
    }

    #[test]
    fn a_stream_that_is_left_costs_what_has_come_of_it() {
        assert_eq!(spent(40, |mut tab| tab.hear(&text("12345"))), 10 + 2);
        assert_eq!(spent(40, drop), 10);
        assert_eq!(spent(40, |tab| tab.embedded(&Embedded::default())), 10, "vectors cost what was sent");
    }

    #[test]
    fn a_prompt_full_of_pictures_is_not_taken_for_words() {
        assert_eq!(spent(10 << 20, drop), MOST_GUESSED);
    }

    #[test]
    fn nobody_is_told_where_nobody_counts() {
        assert!(Tab::open(&Spending::UNCOUNTED, || panic!("nobody asks")).is_none());
    }
}
