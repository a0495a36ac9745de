//! The models behind a simulated backend: installed, loaded, to be pulled. Shared by the dialect and the test's handle.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use crate::sim::model::SimModel;

/// How model names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    /// Ollama: a name without a tag means `:latest`.
    Tagged,
    /// As written.
    Exact,
    /// One model answers to every name, as a llama.cpp server does.
    Any,
}

/// The models of one backend.
pub(crate) struct Library {
    naming: Naming,
    shelves: Mutex<Shelves>,
}

#[derive(Default)]
struct Shelves {
    installed: Vec<Arc<SimModel>>,
    catalog: Vec<Arc<SimModel>>,
    /// Names in memory, the last used first.
    loaded: Vec<String>,
    /// Downloads that have begun: tenths of the weights that are here. An interrupted pull goes on from there.
    begun: HashMap<String, u8>,
}

impl Library {
    pub(crate) fn new(naming: Naming, installed: Vec<SimModel>, catalog: Vec<SimModel>) -> Arc<Self> {
        let library = Self { naming, shelves: Mutex::default() };
        catalog.into_iter().for_each(|model| library.offer(model));
        installed.into_iter().for_each(|model| library.install(model));
        Arc::new(library)
    }

    /// The name with the tag that is meant.
    pub(crate) fn full_name(&self, name: &str) -> String {
        let last = name.rsplit('/').next().unwrap_or(name);
        match self.naming {
            Naming::Tagged if !last.contains(':') => format!("{name}:latest"),
            _ => name.to_owned(),
        }
    }

    /// The installed model that answers to this name.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<SimModel>> {
        let shelves = self.lock();
        let found = match self.naming {
            Naming::Any => shelves.installed.first(),
            Naming::Exact => shelves.installed.iter().find(|model| model.name == name),
            Naming::Tagged => {
                let name = self.full_name(name);
                shelves.installed.iter().find(|model| model.name == name)
            }
        };
        found.cloned()
    }

    /// The model a pull would fetch.
    pub(crate) fn offered(&self, name: &str) -> Option<Arc<SimModel>> {
        let name = self.full_name(name);
        let shelves = self.lock();
        shelves.catalog.iter().chain(&shelves.installed).find(|model| model.name == name).cloned()
    }

    /// Installed models, the newest first.
    pub(crate) fn installed(&self) -> Vec<Arc<SimModel>> {
        self.lock().installed.iter().rev().cloned().collect()
    }

    /// Adds a model, or replaces the one of that name.
    pub(crate) fn install(&self, mut model: SimModel) {
        model.name = self.full_name(&model.name);
        let mut shelves = self.lock();
        shelves.installed.retain(|other| other.name != model.name);
        shelves.installed.push(Arc::new(model));
    }

    /// Makes a model available to pulls.
    pub(crate) fn offer(&self, mut model: SimModel) {
        model.name = self.full_name(&model.name);
        self.lock().catalog.push(Arc::new(model));
    }

    /// Removes a model; false if there is none of that name.
    pub(crate) fn remove(&self, name: &str) -> bool {
        let name = self.full_name(name);
        let mut shelves = self.lock();
        let before = shelves.installed.len();
        shelves.installed.retain(|model| model.name != name);
        shelves.loaded.retain(|loaded| *loaded != name);
        shelves.begun.remove(&name);
        shelves.installed.len() < before
    }

    /// Notes that a model is in memory.
    pub(crate) fn load(&self, name: &str) {
        let mut shelves = self.lock();
        match shelves.loaded.iter().position(|loaded| loaded == name) {
            Some(0) => {}
            Some(at) => shelves.loaded[..=at].rotate_right(1),
            None => shelves.loaded.insert(0, name.to_owned()),
        }
    }

    /// Notes that a model has left the memory.
    pub(crate) fn unload(&self, name: &str) {
        self.lock().loaded.retain(|loaded| loaded != name);
    }

    /// Models in memory, the last used first.
    pub(crate) fn loaded(&self) -> Vec<Arc<SimModel>> {
        let shelves = self.lock();
        let find = |name: &String| shelves.installed.iter().find(|model| model.name == *name).cloned();
        shelves.loaded.iter().filter_map(find).collect()
    }

    /// Tenths of the weights that are here; all of them once the model is installed.
    pub(crate) fn tenths(&self, name: &str) -> u8 {
        let shelves = self.lock();
        match shelves.installed.iter().any(|model| model.name == name) {
            true => 10,
            false => shelves.begun.get(name).copied().unwrap_or(0),
        }
    }

    /// Fetches one more tenth; several pulls of one model share the download. Returns the tenths that are here.
    pub(crate) fn fetch(&self, name: &str) -> u8 {
        let mut shelves = self.lock();
        let tenths = shelves.begun.entry(name.to_owned()).or_insert(0);
        *tenths = (*tenths + 1).min(10);
        *tenths
    }

    /// Puts a fetched model on the shelf.
    pub(crate) fn finish(&self, model: &SimModel) {
        self.lock().begun.remove(&model.name);
        self.install(SimModel { modified: SystemTime::now(), ..model.clone() });
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_untagged_name_means_latest() {
        let library = Library::new(Naming::Tagged, vec!["nomic-embed-text".into()], vec!["host:80/ns/m".into()]);
        assert_eq!(library.find("nomic-embed-text:latest").unwrap().name, "nomic-embed-text:latest");
        assert!(library.find("nomic-embed-text:v2").is_none());
        assert_eq!(library.offered("host:80/ns/m").unwrap().name, "host:80/ns/m:latest");
        assert!(library.remove("nomic-embed-text") && !library.remove("nomic-embed-text"));
    }

    #[test]
    fn the_last_used_model_is_listed_first() {
        let library = Library::new(Naming::Exact, vec!["a".into(), "b".into()], vec![]);
        ["a", "b", "a"].into_iter().for_each(|name| library.load(name));
        let loaded: Vec<_> = library.loaded().iter().map(|model| model.name.clone()).collect();
        assert_eq!(loaded, ["a", "b"]);
        library.unload("a");
        assert_eq!(library.loaded().len(), 1);
    }

    #[test]
    fn two_pulls_share_one_download() {
        let library = Library::new(Naming::Tagged, vec![], vec!["m".into()]);
        assert_eq!((library.fetch("m:latest"), library.fetch("m:latest"), library.tenths("m:latest")), (1, 2, 2));
        library.finish(&library.offered("m").unwrap());
        assert_eq!(library.tenths("m:latest"), 10);
    }
}
