//! The kinds of call that are dispatched, each as it is made on whichever backend gets it.

use crate::{
    domain::{
        chat::ChatCall,
        embedding::{EmbedCall, Embedded},
        message::{Completion, Constraint},
    },
    providers::{ProviderError, ProviderErrorKind},
    runtime::pool::Candidate,
};

use super::prefix::{conversation_prefix, text_prefix};

/// One kind of call, as it is made on whichever candidate gets it.
pub(super) trait Call: Sync {
    type Answer;

    /// What the call begins with, as a number: the same for calls that a backend's prompt cache may serve alike.
    fn prefix(&self) -> u64;

    /// Bytes of what the caller says.
    fn sent_bytes(&self) -> usize;

    /// Whether the answer has only begun.
    fn is_stream(_: &Self::Answer) -> bool {
        false
    }

    /// Whether the answer is short: vectors, or at most so many tokens. What may be long is made once.
    fn is_short(&self, max_tokens: u32) -> bool;

    fn on(&self, candidate: &Candidate) -> impl Future<Output = Result<Self::Answer, ProviderError>> + Send;
}

pub(super) struct Embed<'a>(pub(super) &'a EmbedCall);

impl Call for Embed<'_> {
    type Answer = Embedded;

    fn prefix(&self) -> u64 {
        text_prefix(self.0.inputs.first().map_or("", String::as_str))
    }

    fn sent_bytes(&self) -> usize {
        self.0.inputs.iter().map(String::len).sum()
    }

    fn is_short(&self, _: u32) -> bool {
        true
    }

    async fn on(&self, candidate: &Candidate) -> Result<Embedded, ProviderError> {
        candidate.provider.embed(&candidate.model, self.0).await
    }
}

pub(super) struct Generate<'a>(pub(super) &'a ChatCall);

impl Call for Generate<'_> {
    type Answer = Completion;

    fn prefix(&self) -> u64 {
        conversation_prefix(&self.0.messages)
    }

    fn sent_bytes(&self) -> usize {
        words_of(self.0)
    }

    fn is_short(&self, max_tokens: u32) -> bool {
        says_at_most(self.0, max_tokens)
    }

    /// A constrained reply that the backend refuses is asked for again without the constraint. Once the plain call has
    /// worked, the refusal is remembered for this model and kind of constraint: a server that knows no patterns may know
    /// enumerations.
    async fn on(&self, candidate: &Candidate) -> Result<Completion, ProviderError> {
        let (call, Candidate { provider, model, backend, .. }) = (self.0, candidate);
        let Some(kind) = call.constraint.as_ref().map(Constraint::kind) else {
            return provider.generate(model, call).await;
        };
        let plain = ChatCall { constraint: None, ..call.clone() };
        let refusal = (model.clone(), kind);
        if backend.unconstrained.load().contains(&refusal) {
            return provider.generate(model, &plain).await;
        }
        match provider.generate(model, call).await {
            Err(refused) if refused.kind == ProviderErrorKind::Caller && refused.status == Some(400) => {
                let completion = provider.generate(model, &plain).await?;
                tracing::info!(
                    backend = %backend.id, %model, ?kind, error = %refused,
                    "backend refuses replies of this form; asked without now"
                );
                backend.unconstrained.rcu(|known| {
                    let mut known = known.as_ref().clone();
                    known.insert(refusal.clone());
                    known
                });
                Ok(completion)
            }
            other => other,
        }
    }
}

/// Whether all replies to a call have at most so many tokens.
pub(super) fn says_at_most(call: &ChatCall, tokens: u32) -> bool {
    call.sampling.max_tokens.is_some_and(|each| each.saturating_mul(call.choices.max(1)) <= tokens)
}

/// Bytes of all that a model is told.
pub(super) fn words_of(call: &ChatCall) -> usize {
    call.messages.iter().flat_map(|turn| &turn.parts).filter_map(|part| part.as_text()).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chat::ChatTurn;

    #[test]
    fn what_is_said_is_the_text_of_all_turns() {
        let call = ChatCall { messages: vec![ChatTurn::text("user", "four"); 3], ..ChatCall::default() };
        assert_eq!(words_of(&call), 12);
    }
}
