//! What a client may have meant by the name of a model or a pool that does not exist.

use std::collections::BTreeSet;

use crate::{engine, runtime::directory::Directory};

/// A name that a request for this model may have meant, by which it can be called.
pub(super) fn for_model(directory: &Directory, name: &str) -> Option<String> {
    let mut names: BTreeSet<String> = directory.aliases().keys().cloned().collect();
    for cell in directory.backends().values() {
        let view = cell.view();
        for model in &view.observed {
            names.insert(if view.backend.is_cloud() {
                format!("{}/{}", view.backend.kind, model.name)
            } else {
                model.name.clone()
            });
        }
    }
    engine::did_you_mean(name, names.iter().map(String::as_str))
}

/// A pool that a request may have meant.
pub(super) fn for_pool(directory: &Directory, name: &str) -> Option<String> {
    let names: Vec<String> = directory.pools().iter().map(|pool| pool.table().pool.name.clone()).collect();
    engine::did_you_mean(name, names.iter().map(String::as_str))
}
