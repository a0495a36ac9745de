//! A call of a client that speaks some dialect: where the backend speaks it too, the client's own bytes go through; everywhere
//! else they are translated, event by event.

use std::sync::Arc;

use super::{
    DispatchError, Dispatcher,
    admission::Plan,
    call::{Call, says_at_most, words_of},
    memory::{Kept, Memory},
    prefix::{conversation_prefix, raw_prefix, text_prefix},
    repeat::Spent,
    single_flight::{Question, Sharing},
    tab::Tab,
};
use crate::{
    domain::{
        chat::{ChatCall, ChatReply, Usage},
        embedding::{EmbedCall, Embedded},
        failure::ToldFault,
        message::Served,
        model::Capability,
        route::ModelRoute,
    },
    providers::{ProviderError, ProviderErrorKind, RelayStream, Relayed, ReplyStream},
    runtime::pool::Candidate,
};

pub use super::held::{HeldRelay, HeldReply};
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
        let mut memory = Memory::none();
        let (answer, mut served) = match self.shared(route, Question::Exchange(exchange), &mut memory).await? {
            Sharing::Known(known) => return known.answer(),
            Sharing::Shared(shared) => shared.answer(route, exchange)?,
            Sharing::Alone(plan, spent) => self.exchange_alone(plan, route, exchange, spent).await?,
        };
        memory.keep(&mut served, || Kept::of_answer(&answer));
        Ok((answer, served))
    }

    pub(super) async fn exchange_alone(
        &self,
        plan: Plan,
        route: &ModelRoute,
        exchange: &Exchange<'_>,
        spent: Spent,
    ) -> Result<(Answer, Served), DispatchError> {
        // Texts of several clients in one call are nobody's own bytes.
        if route.capability == Capability::Embed
            && plan.pool.calls().batching.window_ms > 0.0
            && let Ok(Asked::Embed(call)) = (exchange.translate)()
            && let Some(outcome) = Box::pin(self.embed_with_others(&plan.pool, route, &call)).await
        {
            return outcome.map(|(embedded, served)| (Answer::Embedded(embedded), served));
        }
        let (held, served) = self.run_from(plan, route, exchange, spent).await?;
        let (begun, mut call) = held.into_parts();
        match &begun {
            Begun::Pieces(_) | Begun::RelayedStream(_) => {}
            Begun::Whole(reply) => call.is_read(|| reply.usage),
            Begun::Embedded(embedded) => call.is_read(|| Usage::of_texts(embedded.input_tokens)),
            Begun::RelayedWhole(body) => call.is_read(|| body.usage),
        }
        let tab = Tab::open(&route.spending, || exchange.sent());
        let answer = match begun {
            Begun::Whole(reply) => {
                tab.into_iter().for_each(|tab| tab.reply(&reply));
                Answer::Whole(reply)
            }
            Begun::Pieces(reply) => Answer::Pieces(HeldReply::own(reply, call, tab)),
            Begun::Embedded(embedded) => {
                tab.into_iter().for_each(|tab| tab.embedded(&embedded));
                Answer::Embedded(embedded)
            }
            Begun::RelayedWhole(body) => {
                exchange.settle(tab, &body);
                Answer::Relayed(RelayedReply::Whole(body))
            }
            Begun::RelayedStream(stream) => Answer::Relayed(RelayedReply::Stream(HeldRelay::own(stream, call, tab))),
        };
        Ok((answer, served))
    }
}

impl Exchange<'_> {
    /// Writes down what an answer has cost that is passed on whole.
    pub(super) fn settle(&self, tab: Option<Tab>, body: &RelayedBody) {
        if let Some((tab, original)) = tab.zip(self.original) {
            let words = if original.route.gives_vectors() { 0 } else { body.bytes.len() };
            tab.unread(words, body.usage);
        }
    }

    /// Bytes of what the client says.
    pub(super) fn sent(&self) -> usize {
        if let Some(original) = self.original {
            return original.body.len();
        }
        match (self.translate)() {
            Ok(Asked::Chat(call)) => words_of(&call),
            Ok(Asked::Embed(call)) => call.inputs.iter().map(String::len).sum(),
            Err(_) => 0,
        }
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
        self.sent()
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
