//! The model list of a hosted provider, kept for a day (`docs/backends.md`, probes). It is part of the adapter, and a
//! backend whose address or key changes gets a new adapter: nothing is kept across keys.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::model::ObservedModel;

const KEPT: Duration = Duration::from_hours(24);

#[derive(Default)]
pub(super) struct ModelCache(Mutex<Option<(Instant, Vec<ObservedModel>)>>);

impl ModelCache {
    /// The list, unless it is too old.
    pub(super) fn fresh(&self) -> Option<Vec<ObservedModel>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, models) = kept.as_ref().filter(|(since, _)| since.elapsed() < KEPT)?;
        Some(models.clone())
    }

    /// Keeps a list that was just read.
    pub(super) fn keep(&self, models: &[ObservedModel]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), models.to_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_list_is_kept_for_a_day() {
        let cache = ModelCache::default();
        assert!(cache.fresh().is_none());
        cache.keep(&[ObservedModel::named("a")]);
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert_eq!(cache.fresh().map(|models| models.len()), Some(1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(cache.fresh().is_none());
    }
}
