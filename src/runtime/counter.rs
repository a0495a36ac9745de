//! How many tokens a call will be, as exactly as can be known without making it wait (`docs/operations.md`, token counts):
//! the tokenizer service where one is set, else a backend that would get the call and can count, else the built-in
//! vocabulary. A count is never a reason for a call to fail.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use super::dispatch::Dispatcher;
use crate::{domain::route::ModelRoute, engine::tokens, providers::TokenizerService};

/// Counts that ask a server at the same time, over all runs: enough to keep one busy, too few to drown it.
const CONCURRENT: usize = 32;
/// Texts larger than this in all are estimated: no model takes them, whatever their exact count.
const LARGEST_ASKED: usize = 4 << 20;
/// Longest wait for a server's count, the wait for a place included.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counts for all runs; cheap to clone.
#[derive(Clone)]
pub(super) struct TokenCounter {
    dispatcher: Dispatcher,
    service: Option<Arc<TokenizerService>>,
    places: Arc<Semaphore>,
}

impl TokenCounter {
    pub(super) fn new(dispatcher: Dispatcher, service: Option<TokenizerService>) -> Self {
        Self { dispatcher, service: service.map(Arc::new), places: Arc::new(Semaphore::new(CONCURRENT)) }
    }

    /// The tokens of all texts together, in the vocabulary of the model that the route leads to; within a small part of the
    /// time that is left for the call. Dropping the future stops the count.
    pub(super) async fn count(&self, route: &ModelRoute, texts: Vec<String>, time: Duration) -> u64 {
        // Some servers refuse to count nothing.
        let texts: Vec<String> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        if texts.is_empty() || texts.iter().map(String::len).sum::<usize>() > LARGEST_ASKED {
            return built_in(&texts);
        }
        let patience = PATIENCE.min(time / 4);
        match tokio::time::timeout(patience, self.ask(route, &texts)).await {
            Ok(Some(tokens)) => tokens,
            Ok(None) => built_in(&texts),
            Err(_) => {
                tracing::debug!(limit = ?patience, "tokens were not counted in time; they are estimated");
                built_in(&texts)
            }
        }
    }

    async fn ask(&self, route: &ModelRoute, texts: &[String]) -> Option<u64> {
        let _place = self.places.acquire().await.ok()?;
        // The service bears no label: what must not go just anywhere does not go there.
        if let Some(service) = self.service.as_ref().filter(|_| !self.dispatcher.is_bound_by_labels(route)) {
            return service.count(&self.dispatcher.likely_model(route), texts).await;
        }
        for (provider, model) in self.dispatcher.likely_backends(route) {
            match provider.count_tokens(&model, texts).await {
                Ok(Some(tokens)) => return Some(tokens),
                // Another that serves the model may be able to.
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%model, %error, "a backend could not count tokens; they are estimated");
                    return None;
                }
            }
        }
        None
    }
}

/// An estimate that asks nobody.
pub(super) fn built_in(texts: &[String]) -> u64 {
    texts.iter().map(|text| tokens::count(text)).sum()
}
