//! What came of a call, as the client reads it.

use super::{OpenaiRoute, call::ClientCall};
use crate::{
    api::{
        Reply,
        failure::openai_error,
        reply::EVENT_STREAM,
        stream::{self, EventSource, translated},
    },
    dialect::openai_front::{
        Stamp,
        chunks::{self, ChatChunks},
        reply::{chat_completion, text_completion},
        text_chunks::TextChunks,
        vectors::Vectors,
    },
    domain::{chat::ChatReply, embedding::Embedded, time::Timestamp},
    error::Error,
    runtime::dispatch::exchange::{Answer, Asked},
};

/// Writes the answer to one call.
pub(super) struct Writer<'a> {
    call: &'a ClientCall,
    model: &'a str,
}

/// What is new in an answer of this model, by the name it has where it is served: so do OpenAI's own servers, and so do
/// answers that go back as they came.
pub(in crate::api) fn stamp(model: &str) -> Stamp {
    let id = uuid::Uuid::new_v4().simple().to_string();
    Stamp { id, created: Timestamp::now().as_unix_seconds(), model: model.to_owned() }
}

/// The warning that tells what had no effect.
pub(super) fn not_used(ignored: &[String]) -> Option<String> {
    (!ignored.is_empty()).then(|| format!("not used: {}", ignored.join(", ")))
}

impl<'a> Writer<'a> {
    /// `model`: the name of what answered.
    pub(super) const fn new(call: &'a ClientCall, model: &'a str) -> Self {
        Self { call, model }
    }

    pub(super) fn answer(self, answer: Answer) -> Result<Reply, Error> {
        match answer {
            // Nothing of it is ours: what a backend of the dialect ignores it does not tell.
            Answer::Relayed(relayed) => {
                let failed = |failure: &_, out: &mut _| chunks::write_error(failure, openai_error, out);
                Ok(stream::relayed(EVENT_STREAM, relayed, failed))
            }
            Answer::Whole(reply) => Ok(self.whole(&reply)?.warning(self.fewer(&reply))),
            Answer::Pieces(held) => Ok(self.pieces(held)),
            Answer::Embedded(embedded) => self.embedded(&embedded),
        }
    }

    /// All of a reply.
    pub(super) fn whole(&self, reply: &ChatReply) -> Result<Reply, Error> {
        let stamp = stamp(self.model);
        let written = match self.call.route {
            OpenaiRoute::Completions => text_completion(reply, &stamp, &self.echo()),
            OpenaiRoute::Chat | OpenaiRoute::Embeddings => chat_completion(reply, &stamp),
        };
        Ok(Reply::json(&written)?.warning(self.unused()))
    }

    /// A reply while it arrives.
    pub(super) fn pieces(self, events: impl EventSource) -> Reply {
        let unused = self.unused();
        let (stamp, include_usage) = (stamp(self.model), self.call.include_usage());
        let bytes = if self.call.route == OpenaiRoute::Completions {
            let echo = self.echo();
            translated(EVENT_STREAM, events, TextChunks::new(stamp, include_usage, openai_error, echo))
        } else {
            translated(EVENT_STREAM, events, ChatChunks::new(stamp, include_usage, openai_error))
        };
        Reply::stream(bytes).warning(unused)
    }

    fn embedded(&self, embedded: &Embedded) -> Result<Reply, Error> {
        let encoding = self.call.translated().map(|translated| translated.encoding).unwrap_or_default();
        Ok(Reply::json(&Vectors::of(embedded, self.model, encoding))?.warning(self.unused()))
    }

    fn echo(&self) -> String {
        self.call.translated().map(|translated| translated.echo.clone()).unwrap_or_default()
    }

    fn unused(&self) -> Option<String> {
        self.call.translated().and_then(|translated| not_used(&translated.ignored))
    }

    /// Who knows one reply only gives one.
    fn fewer(&self, reply: &ChatReply) -> Option<String> {
        let Asked::Chat(call) = &self.call.translated()?.asked else { return None };
        let given = reply.choices.len();
        let is_fewer = u32::try_from(given).is_ok_and(|given| given < call.choices);
        is_fewer.then(|| format!("n is {}, the backend gives {given}", call.choices))
    }
}
