//! One look at a backend: what it serves now, and in mirror mode the removal of what nobody declared, where that is
//! this instance's to do.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use super::BackendGoal;
use crate::{
    config::ModelSync,
    domain::{
        load::LoadSignal,
        model::{ObservedModel, same_model},
    },
    faults::fault,
    providers::{Provider, ProviderError},
    runtime::duty::SyncDuty,
};

const LOCAL_TIMEOUT: Duration = Duration::from_secs(5);
const CLOUD_TIMEOUT: Duration = Duration::from_secs(10);
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Parts in which the time of a probe is counted.
const SLICES: u32 = 50;

/// What a look at a backend showed.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    /// The models it serves.
    pub(crate) models: Vec<ObservedModel>,
    /// How busy it says it is; `None` where it does not tell, or nobody wants to know.
    pub(crate) load: Option<LoadSignal>,
}

/// Why nothing was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unseen {
    /// The words shown as the backend's `error`.
    pub(crate) words: String,
    /// It did not answer in time, which one that works as hard as it can may not do.
    pub(crate) is_late: bool,
}

impl From<String> for Unseen {
    fn from(words: String) -> Self {
        Self { words, is_late: false }
    }
}

#[cfg(feature = "faults")]
impl From<crate::faults::Fault> for Unseen {
    fn from(fault: crate::faults::Fault) -> Self {
        String::from(fault).into()
    }
}

/// What was seen, or why nothing was.
pub(crate) type ProbeOutcome = Result<Sight, Unseen>;

/// Probes within the time the kind of backend gets. `busy` is the model being downloaded, which is never deleted.
pub(super) async fn probe(
    provider: Arc<dyn Provider>,
    goal: &BackendGoal,
    (model_sync, duty): (ModelSync, &SyncDuty),
    busy: Option<&str>,
) -> ProbeOutcome {
    fault!("backend.probe", goal.backend.id);
    let limit = if goal.backend.is_cloud() { CLOUD_TIMEOUT } else { LOCAL_TIMEOUT };
    let look = || async {
        let seen = within(limit, provider.probe()).await;
        let late = || Unseen { words: format!("the backend did not answer within {limit:?}"), is_late: true };
        seen.ok_or_else(late)?.map_err(|error: ProviderError| Unseen::from(error.to_string()))
    };
    let mut models = look().await?;
    let surplus = surplus(&models, goal, model_sync, busy);
    // Asked last: whoever was asleep may have it no more.
    if !surplus.is_empty() && duty.is_confirmed().await && delete(provider.as_ref(), goal, surplus).await {
        models = look().await?;
    }
    // Where the limit is fixed nobody asks. A server that is too busy to tell is no failing one.
    let load = match goal.backend.max_concurrency {
        Some(_) => None,
        None => tokio::time::timeout(limit, provider.load()).await.ok().flatten(),
    };
    Ok(Sight { models, load })
}

/// Waits for a future for so long; `None` when it takes longer. Time in which nothing ran here, because the machine was busy
/// with something else, is no time that the backend had: however long such a rest was, it counts as one slice.
async fn within<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    for _ in 0..SLICES {
        if let Ok(done) = tokio::time::timeout(limit / SLICES, &mut future).await {
            return Some(done);
        }
    }
    None
}

/// What mirror mode removes. An empty declaration removes nothing: it is more likely a mistake than a wish.
fn surplus(observed: &[ObservedModel], goal: &BackendGoal, model_sync: ModelSync, busy: Option<&str>) -> Vec<String> {
    if model_sync == ModelSync::Additive || goal.declared.is_empty() {
        return Vec::new();
    }
    let is_wanted = |name: &str| {
        goal.declared.iter().any(|declared| same_model(&declared.name, name))
            || busy.is_some_and(|busy| same_model(busy, name))
    };
    observed.iter().map(|model| model.name.clone()).filter(|name| !is_wanted(name)).collect()
}

/// Deletes models; true when one was.
async fn delete(provider: &dyn Provider, goal: &BackendGoal, models: Vec<String>) -> bool {
    let Some(store) = provider.model_store() else { return false };
    let mut deleted = false;
    for model in models {
        let backend = &goal.backend.id;
        match tokio::time::timeout(DELETE_TIMEOUT, store.delete(&model)).await {
            Ok(Ok(())) => {
                deleted = true;
                tracing::warn!(%backend, %model, "model is not declared and was deleted (MODEL_SYNC=mirror)");
            }
            Ok(Err(error)) => {
                tracing::warn!(%backend, %model, %error, "model is not declared and could not be deleted");
            }
            Err(_) => tracing::warn!(%backend, %model, "model is not declared and was not deleted in time"),
        }
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::time::Timestamp,
        runtime::backend::{DeclaredModel, sample},
    };

    fn goal(declared: &[&str]) -> BackendGoal {
        BackendGoal {
            backend: sample(),
            api_key: None,
            in_pool: true,
            declared: declared
                .iter()
                .map(|name| DeclaredModel { name: (*name).to_owned(), since: Timestamp::ZERO })
                .collect(),
        }
    }

    fn seen(names: &[&str]) -> Vec<ObservedModel> {
        names.iter().map(|name| ObservedModel::named(*name)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_we_did_not_run_does_not_count_against_a_backend() {
        let limit = Duration::from_secs(5);
        let slow = async |rest: u64, wait: u64| {
            tokio::time::advance(Duration::from_secs(rest)).await;
            tokio::time::sleep(Duration::from_secs(wait)).await;
        };
        assert!(within(limit, slow(60, 4)).await.is_some());
        assert!(within(limit, slow(0, 6)).await.is_none());
    }

    #[test]
    fn mirror_mode_removes_what_is_neither_declared_nor_being_downloaded() {
        let observed = seen(&["nomic-embed-text:latest", "qwen3:4b", "new:1b"]);
        let goal = goal(&["nomic-embed-text"]);
        assert_eq!(surplus(&observed, &goal, ModelSync::Mirror, Some("new:1b")), ["qwen3:4b"]);
        assert!(surplus(&observed, &goal, ModelSync::Additive, None).is_empty());
    }

    #[test]
    fn an_empty_declaration_removes_nothing() {
        assert!(surplus(&seen(&["a"]), &goal(&[]), ModelSync::Mirror, None).is_empty());
    }
}
