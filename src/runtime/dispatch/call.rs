//! The kinds of call that are dispatched, each as it is made on whichever backend gets it.

use crate::{
    domain::message::{ChatCall, Completion},
    providers::{ProviderError, ProviderErrorKind},
    runtime::pool::Candidate,
};

/// One kind of call, as it is made on whichever candidate gets it.
pub(super) trait Call: Sync {
    type Answer;

    fn on(&self, candidate: &Candidate) -> impl Future<Output = Result<Self::Answer, ProviderError>> + Send;
}

pub(super) struct Embed<'a>(pub(super) &'a str);

impl Call for Embed<'_> {
    type Answer = Vec<f64>;

    async fn on(&self, candidate: &Candidate) -> Result<Vec<f64>, ProviderError> {
        candidate.provider.embed(&candidate.model, self.0).await
    }
}

pub(super) struct Generate<'a>(pub(super) &'a ChatCall);

impl Call for Generate<'_> {
    type Answer = Completion;

    /// A constrained reply that the backend refuses is asked for again without the constraint, and the refusal
    /// remembered once the plain call has worked.
    async fn on(&self, candidate: &Candidate) -> Result<Completion, ProviderError> {
        let (call, Candidate { provider, model, backend, .. }) = (self.0, candidate);
        if call.constraint.is_none() {
            return provider.generate(model, call).await;
        }
        let plain = ChatCall { constraint: None, ..call.clone() };
        if backend.unconstrained.load().contains(model) {
            return provider.generate(model, &plain).await;
        }
        match provider.generate(model, call).await {
            Err(refused) if refused.kind == ProviderErrorKind::Caller && refused.status == Some(400) => {
                let completion = provider.generate(model, &plain).await?;
                tracing::info!(backend = %backend.id, %model, "backend refuses constrained replies; asked without now");
                backend.unconstrained.rcu(|known| {
                    let mut known = known.as_ref().clone();
                    known.insert(model.clone());
                    known
                });
                Ok(completion)
            }
            other => other,
        }
    }
}
