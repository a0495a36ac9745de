//! A call of a client that speaks some dialect: where the backend speaks it too, the client's own bytes go through; everywhere
//! else they are translated, event by event.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    DispatchError, Dispatcher, HeldCall,
    call::{Call, says_at_most, words_of},
    prefix::{conversation_prefix, raw_prefix, text_prefix},
    tab::Tab,
};
use crate::{
    domain::{
        chat::{ChatCall, ChatReply, ReplyEvent, Usage},
        embedding::{EmbedCall, Embedded},
        failure::{Failure, ToldFault},
        message::Served,
        model::Capability,
        route::ModelRoute,
    },
    providers::{ProviderError, ProviderErrorKind, RelayStream, Relayed, ReplyStream},
    runtime::pool::Candidate,
};

pub use crate::providers::{Original, RelayRoute, RelayedBody};

/// What a client asks for, in no dialect.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Replies of a generating model.
    Chat(Arc<ChatCall>),
    /// Vectors.
    Embed(Arc<EmbedCall>),
}

/// One call of a client.
pub struct Exchange<'a> {
    /// The client's own bytes, for backends that speak its dialect; `None` where they cannot go anywhere as they are.
    pub original: Option<&'a Original>,
    /// What the client asks for, made when a backend of another dialect gets the call; the error is the client's.
    pub translate: &'a (dyn Fn() -> Result<Asked, String> + Send + Sync),
    /// Whether the reply is wanted piece by piece.
    pub wants_stream: bool,
}

/// What a backend answers.
pub enum Answer {
    /// All of a reply.
    Whole(ChatReply),
    /// A reply that arrives.
    Pieces(HeldReply),
    /// Vectors.
    Embedded(Embedded),
    /// The backend's own bytes, in the client's dialect.
    Relayed(RelayedReply),
}

/// The answer of a backend that speaks the client's dialect.
pub enum RelayedReply {
    /// All of it.
    Whole(RelayedBody),
    /// A stream that arrives.
    Stream(HeldRelay),
}

/// The same before the slot is part of it.
pub(super) enum Begun {
    Whole(ChatReply),
    Pieces(Box<ReplyStream>),
    Embedded(Embedded),
    RelayedWhole(RelayedBody),
    RelayedStream(Box<RelayStream>),
}

/// A stream that is relayed, and the slot it is made in. Dropping it aborts the call and frees the slot.
pub struct HeldRelay {
    stream: Box<RelayStream>,
    call: Box<HeldCall>,
    tab: Option<Tab>,
}

impl HeldRelay {
    /// The next whole lines; `None` at the clean end. After a failure there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let next = self.stream.next().await;
        if let Some(tab) = &mut self.tab {
            tab.now(self.stream.pieces(), self.stream.usage());
        }
        match next {
            Some(Ok(lines)) => Some(Ok(lines)),
            Some(Err(error)) => {
                self.call.failed(&error);
                Some(Err(error.into()))
            }
            None => {
                self.call.ended(self.stream.usage());
                None
            }
        }
    }
}

/// A reply that arrives, and the slot it is made in. Dropping it aborts the call and frees the slot.
pub struct HeldReply {
    reply: Box<ReplyStream>,
    call: Box<HeldCall>,
    tab: Option<Tab>,
    usage: Usage,
}

impl HeldReply {
    /// The next event; `None` at the clean end. After a failure there is nothing more.
    pub async fn next(&mut self) -> Option<Result<ReplyEvent, Failure>> {
        let next = self.reply.next().await;
        match &next {
            Some(Ok(event)) => self.hear(event),
            Some(Err(error)) => self.call.failed(error),
            None => self.call.is_read(|| self.usage),
        }
        next.map(|next| next.map_err(Failure::from))
    }

    /// The next event if it is there already.
    pub fn next_ready(&mut self) -> Option<ReplyEvent> {
        let event = self.reply.next_ready()?;
        self.hear(&event);
        Some(event)
    }

    fn hear(&mut self, event: &ReplyEvent) {
        if let ReplyEvent::Usage(usage) = event {
            self.usage = *usage;
        }
        if let Some(tab) = &mut self.tab {
            tab.hear(event);
        }
    }
}

impl Dispatcher {
    /// Makes a client's call. A reply that arrives holds its slot until it is dropped.
    ///
    /// # Errors
    /// As for [`Dispatcher::generate`]; `InvalidInput` with the words of `translate`.
    pub async fn exchange(
        &self,
        route: &ModelRoute,
        exchange: &Exchange<'_>,
    ) -> Result<(Answer, Served), DispatchError> {
        // Texts of several clients in one call are nobody's own bytes.
        if route.capability == Capability::Embed
            && self.batches_embeddings()
            && let Ok(Asked::Embed(call)) = (exchange.translate)()
            && let Some(outcome) = Box::pin(self.embed_with_others(route, &call)).await
        {
            return outcome.map(|(embedded, served)| (Answer::Embedded(embedded), served));
        }
        let (held, served) = self.run(route, exchange).await?;
        let (begun, mut call) = held.into_parts();
        match &begun {
            Begun::Pieces(_) | Begun::RelayedStream(_) => {}
            Begun::Whole(reply) => call.is_read(|| reply.usage),
            Begun::Embedded(_) => call.is_read(Usage::default),
            Begun::RelayedWhole(body) => call.is_read(|| exchange.usage_of(body)),
        }
        let tab = Tab::open(&route.spending, || exchange.sent_bytes());
        let answer = match begun {
            Begun::Whole(reply) => {
                tab.into_iter().for_each(|tab| tab.reply(&reply));
                Answer::Whole(reply)
            }
            Begun::Pieces(reply) => {
                Answer::Pieces(HeldReply { reply, call: Box::new(call), tab, usage: Usage::default() })
            }
            Begun::Embedded(embedded) => {
                tab.into_iter().for_each(|tab| tab.embedded(&embedded));
                Answer::Embedded(embedded)
            }
            Begun::RelayedWhole(body) => {
                if let Some((tab, original)) = tab.zip(exchange.original) {
                    let words = if original.route.gives_vectors() { 0 } else { body.bytes.len() };
                    tab.unread(words, exchange.usage_of(&body));
                }
                Answer::Relayed(RelayedReply::Whole(body))
            }
            Begun::RelayedStream(stream) => {
                Answer::Relayed(RelayedReply::Stream(HeldRelay { stream, call: Box::new(call), tab }))
            }
        };
        Ok((answer, served))
    }
}

impl Exchange<'_> {
    /// What a backend told in an answer that is passed on.
    fn usage_of(&self, body: &RelayedBody) -> Usage {
        self.original.map_or_else(Usage::default, |original| body.usage(original.route))
    }
}

/// The error of a backend that cannot be told what stands behind the reply.
fn no_place_behind() -> ProviderError {
    let message = "field 'suffix' is served by backends of the types ollama, openai and vllm only, and not by the one of this \
                   model; to have one of them chosen, send X-Penstock-Provider: ollama";
    let told = ToldFault { param: "suffix".to_owned(), code: String::new() };
    ProviderError { told: Some(Box::new(told)), ..ProviderError::new(ProviderErrorKind::Caller, message) }
}

impl Call for &Exchange<'_> {
    type Answer = Begun;

    fn sent_bytes(&self) -> usize {
        if let Some(original) = self.original {
            return original.body.len();
        }
        match (self.translate)() {
            Ok(Asked::Chat(call)) => words_of(&call),
            Ok(Asked::Embed(call)) => call.inputs.iter().map(String::len).sum(),
            Err(_) => 0,
        }
    }

    fn is_stream(begun: &Begun) -> bool {
        matches!(begun, Begun::Pieces(_) | Begun::RelayedStream(_))
    }

    /// Of the raw bytes where they are there: reading a long conversation for its beginning would cost more than the call.
    fn prefix(&self) -> u64 {
        if let Some(original) = self.original {
            return raw_prefix(original.opening());
        }
        match (self.translate)() {
            Ok(Asked::Chat(call)) => conversation_prefix(&call.messages),
            Ok(Asked::Embed(call)) => text_prefix(call.inputs.first().map_or("", String::as_str)),
            Err(_) => 0,
        }
    }

    fn is_short(&self, max_tokens: u32) -> bool {
        match (self.translate)() {
            Ok(Asked::Chat(call)) => says_at_most(&call, max_tokens),
            Ok(Asked::Embed(_)) => true,
            Err(_) => false,
        }
    }

    async fn on(&self, candidate: &Candidate) -> Result<Begun, ProviderError> {
        let Candidate { provider, model, .. } = candidate;
        if let Some(original) = self.original.filter(|original| original.route.dialect() == provider.dialect())
            && let Some(relayed) = provider.relay(model, original, self.wants_stream).await?
        {
            return Ok(match relayed {
                Relayed::Whole(body) => Begun::RelayedWhole(body),
                Relayed::Stream(stream) => Begun::RelayedStream(stream),
                Relayed::Pieces(reply) => Begun::Pieces(reply),
            });
        }
        let asked = (self.translate)().map_err(|message| ProviderError::new(ProviderErrorKind::Caller, message))?;
        match asked {
            Asked::Chat(call) if !call.suffix.is_empty() && !provider.takes_suffix() => Err(no_place_behind()),
            Asked::Chat(call) if self.wants_stream => {
                let mut reply = provider.stream(model, &call).await?;
                reply.begin().await?;
                Ok(Begun::Pieces(Box::new(reply)))
            }
            Asked::Chat(call) => Ok(Begun::Whole(provider.converse(model, &call).await?)),
            Asked::Embed(call) => Ok(Begun::Embedded(provider.embed(model, &call).await?)),
        }
    }
}
