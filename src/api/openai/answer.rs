//! What came of a call, as the client reads it.

use super::{OpenaiRoute, call::ClientCall};
use crate::{
    api::{
        Reply,
        failure::openai_error,
        reply::EVENT_STREAM,
        stream::{self, translated},
    },
    dialect::openai_front::{
        Stamp,
        chunks::{self, ChatChunks},
        reply::{chat_completion, text_completion},
        text_chunks::TextChunks,
        vectors::Vectors,
    },
    domain::{chat::ChatReply, message::Served, time::Timestamp},
    error::Error,
    runtime::dispatch::exchange::{Answer, Asked},
};

/// Writes the answer to one call.
pub(super) struct Writer<'a> {
    call: &'a ClientCall,
    stamp: Stamp,
}

/// What is new in an answer of this model, by the name it has where it is served: so do OpenAI's own servers, and so do
/// answers that go back as they came.
pub(super) fn stamp(model: &str) -> Stamp {
    let id = uuid::Uuid::new_v4().simple().to_string();
    Stamp { id, created: Timestamp::now().as_unix_seconds(), model: model.to_owned() }
}

/// The warning that tells what had no effect.
pub(super) fn not_used(ignored: &[String]) -> Option<String> {
    (!ignored.is_empty()).then(|| format!("not used: {}", ignored.join(", ")))
}

impl<'a> Writer<'a> {
    pub(super) fn new(call: &'a ClientCall, served: &Served) -> Self {
        Self { call, stamp: stamp(&served.model) }
    }

    pub(super) fn answer(self, answer: Answer) -> Result<Reply, Error> {
        let translation = self.call.translated();
        let include_usage = translation.is_some_and(|translation| translation.include_usage);
        let unused = translation.and_then(|translation| not_used(&translation.ignored));
        let reply = match answer {
            // Nothing of it is ours: what a backend of the dialect ignores it does not tell.
            Answer::Relayed(relayed) => {
                let failed = |failure: &_, out: &mut _| chunks::write_error(failure, openai_error, out);
                return Ok(stream::relayed(EVENT_STREAM, relayed, failed));
            }
            Answer::Whole(reply) => Reply::json(&self.whole(&reply))?.warning(self.fewer(&reply)),
            Answer::Pieces(held) if self.call.route == OpenaiRoute::Completions => {
                let encoder = TextChunks::new(self.stamp, include_usage, openai_error);
                Reply::stream(translated(EVENT_STREAM, held, encoder))
            }
            Answer::Pieces(held) => {
                let encoder = ChatChunks::new(self.stamp, include_usage, openai_error);
                Reply::stream(translated(EVENT_STREAM, held, encoder))
            }
            Answer::Embedded(embedded) => {
                let encoding = translation.map(|translation| translation.encoding).unwrap_or_default();
                Reply::json(&Vectors::of(&embedded, &self.stamp.model, encoding))?
            }
        };
        Ok(reply.warning(unused))
    }

    fn whole(&self, reply: &ChatReply) -> serde_json::Value {
        if self.call.route == OpenaiRoute::Completions {
            text_completion(reply, &self.stamp)
        } else {
            chat_completion(reply, &self.stamp)
        }
    }

    /// A backend that knows one reply only gives one.
    fn fewer(&self, reply: &ChatReply) -> Option<String> {
        let Asked::Chat(call) = &self.call.translated()?.asked else { return None };
        let given = reply.choices.len();
        let is_fewer = u32::try_from(given).is_ok_and(|given| given < call.choices);
        is_fewer.then(|| format!("n is {}, the backend gives {given}", call.choices))
    }
}
