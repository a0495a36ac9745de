//! Whether a name means anything here: what tells a model that nobody can serve just now from one that does not exist.

use std::sync::Arc;

use super::{BackendCell, BackendView, Directory, Health, PoolCell};
use crate::domain::{
    model::{normalised, with_tag},
    provider::ProviderKind,
};

/// What is known of a name among the backends that a request may go to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Known {
    /// One of them has it under this very name, or had it when it was last heard of.
    pub exactly: bool,
    /// One of them has it under a name that routing takes for the same.
    pub loosely: bool,
    /// It is declared.
    pub declared: bool,
    /// Kinds of the cloud backends that have it and that the request does not name.
    pub clouds: Vec<ProviderKind>,
    /// One of them has not told its models yet: it may have this one.
    pub uncertain: bool,
}

impl Known {
    /// Whether a request for it is worth trying, now or later.
    pub const fn anywhere(&self) -> bool {
        self.exactly || self.loosely || self.declared
    }
}

impl Directory {
    /// What is known of this name on backends of these kinds (none: local ones of any kind) in this pool (none: in any).
    pub fn known(&self, name: &str, providers: &[ProviderKind], pool: Option<&PoolCell>) -> Known {
        let tagged = with_tag(name);
        let mut known = Known::default();
        let mut loose = None;
        match pool {
            Some(pool) => {
                let table = pool.table();
                known.look_at(table.members.iter(), name, &tagged, providers, &mut loose);
                known.declared = table.models.contains_key(tagged.as_ref());
            }
            None => {
                known.look_at(self.backends().values(), name, &tagged, providers, &mut loose);
                known.declared =
                    self.pools().first().is_some_and(|pool| pool.table().declared.contains(tagged.as_ref()));
            }
        }
        known
    }
}

impl Known {
    /// Ends at the first exact match: then the rest does not matter.
    fn look_at<'a>(
        &mut self,
        cells: impl Iterator<Item = &'a Arc<BackendCell>>,
        name: &str,
        tagged: &str,
        providers: &[ProviderKind],
        loose: &mut Option<String>,
    ) {
        for cell in cells {
            let view = cell.view();
            if !view.in_pool {
                continue;
            }
            let kind = view.backend.kind;
            let is_cloud = view.backend.is_cloud();
            let is_asked_for = if providers.is_empty() { !is_cloud } else { providers.contains(&kind) };
            // A cloud that nobody named is worth a word; other kinds than the named ones are not.
            let is_unnamed_cloud = is_cloud && providers.is_empty();
            if !(is_asked_for || is_unnamed_cloud) {
                continue;
            }
            let exactly = view.by_name.contains_key(tagged) || cell.had(tagged);
            let loosely =
                exactly || view.by_normalised.contains_key(loose.get_or_insert_with(|| normalised(name)).as_str());
            if !is_asked_for {
                if loosely && !self.clouds.contains(&kind) {
                    self.clouds.push(kind);
                }
                continue;
            }
            self.exactly |= exactly;
            self.loosely |= loosely;
            self.uncertain |= has_told_nothing(cell, &view);
            if exactly {
                return;
            }
        }
    }
}

fn has_told_nothing(cell: &BackendCell, view: &BackendView) -> bool {
    view.backend.enabled && view.health != Health::Healthy && !cell.has_told()
}
