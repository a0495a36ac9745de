//! Answers that are given again instead of being made again, where their pool wants that and instances share a Valkey
//! (`docs/api.md`, kept answers).
//!
//! What has one answer wherever it goes is known by its [`Key`](super::key::Key); whole answers to it are kept, streams are made
//! each time. Nobody waits long for what may be kept, and what cannot be kept is made again.

mod kept;

use std::{sync::Arc, time::Duration};

pub(super) use self::kept::Kept;
use super::{
    DispatchError,
    exchange::{Answer, RelayedReply},
    single_flight::{Question, of_another_kind},
};
use crate::{
    domain::{
        embedding::Embedded,
        message::{Completion, Served},
        pool::AnswerKeeping,
        route::{Keeping, ModelRoute},
    },
    runtime::directory::PoolCell,
    stores::shared::AnswerCache,
};

/// What becomes of the answer to one question.
pub(super) struct Memory(Option<Place>);

/// Where it is kept.
struct Place {
    pool: Arc<PoolCell>,
    answers: Arc<dyn AnswerCache>,
    key: [u8; 32],
    settings: AnswerKeeping,
    keeping: Keeping,
}

/// An answer that was kept, and who made it.
pub(super) struct Known(Kept, Served);

impl Memory {
    /// Nothing is kept.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Of a question that has one answer, and may be answered with one that is kept.
    pub(super) fn of(
        answers: &Arc<dyn AnswerCache>,
        pool: &Arc<PoolCell>,
        route: &ModelRoute,
        question: &Question<'_>,
    ) -> Self {
        if route.keeping == Keeping::Forbidden || question.wants_stream() {
            return Self(None);
        }
        let place = question.key(pool, route).map(|key| Place {
            pool: Arc::clone(pool),
            answers: Arc::clone(answers),
            key: key.fingerprint(),
            settings: pool.calls().cache,
            keeping: route.keeping,
        });
        Self(place)
    }

    /// The answer, if it is kept.
    pub(super) async fn recall(&self) -> Option<Known> {
        let place = self.0.as_ref().filter(|place| place.keeping == Keeping::Allowed)?;
        let bytes = place.answers.get(&place.key).await?;
        // What another version has kept in another form is made again.
        let (kept, served) = Kept::read(&bytes)?;
        place.pool.meters.kept_hits.increment(1);
        Some(Known(kept, Served { was_kept: Some(true), ..served }))
    }

    /// Keeps an answer, and says so of it. One that is shared is kept by whom it was made for.
    pub(super) fn keep(self, served: &mut Served, kept: impl FnOnce() -> Option<Kept>) {
        let Some(place) = self.0 else { return };
        served.was_kept = Some(false);
        place.pool.meters.kept_misses.increment(1);
        if served.is_shared {
            return;
        }
        let most = usize::try_from(place.settings.max_bytes).unwrap_or(usize::MAX);
        if let Some(bytes) = kept().and_then(|kept| kept.written(served)).filter(|bytes| bytes.len() <= most) {
            place.answers.put(place.key, bytes, Duration::from_millis(place.settings.ttl_ms));
        }
    }
}

impl Known {
    pub(super) fn completion(self) -> Result<(Completion, Served), DispatchError> {
        match self {
            Self(Kept::Completion(completion), served) => Ok((completion, served)),
            Self(_, served) => Err(of_another_kind(served)),
        }
    }

    pub(super) fn embedded(self) -> Result<(Embedded, Served), DispatchError> {
        match self {
            Self(Kept::Vectors(embedded), served) => Ok((embedded, served)),
            Self(_, served) => Err(of_another_kind(served)),
        }
    }

    pub(super) fn answer(self) -> Result<(Answer, Served), DispatchError> {
        let Self(kept, served) = self;
        let answer = match kept {
            Kept::Reply(reply) => Answer::Whole(reply),
            Kept::Vectors(embedded) => Answer::Embedded(embedded),
            Kept::Relayed(body) => Answer::Relayed(RelayedReply::Whole(body)),
            Kept::Completion(_) => return Err(of_another_kind(served)),
        };
        Ok((answer, served))
    }
}
