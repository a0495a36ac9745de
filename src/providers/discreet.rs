//! A backend whose failures do not repeat the key that it was sent: some servers name the key they refuse, with any status and
//! in any place, and their words are shown, logged and kept as the backend's error.

use std::sync::Arc;

use async_trait::async_trait;

use super::{ModelStore, Original, Provider, ProviderError, PullProgress, Relayed, ReplyStream};
use crate::{
    dialect::Dialect,
    domain::{
        backend::ApiKey,
        chat::{ChatCall, ChatReply},
        embedding::{EmbedCall, Embedded},
        load::LoadSignal,
        message::Completion,
        model::ObservedModel,
    },
};

/// What stands for a key.
const HIDDEN: &str = "****";
/// Shorter ones are no secrets but words, `none` for example, which servers may say.
const SHORTEST_KEY: usize = 8;
/// The beginning of a key, where a message was cut off within it: less of it tells nothing.
const SHORTEST_PART: usize = 4;

/// Hides a key wherever a failure has it.
#[derive(Clone)]
pub(super) struct Discretion(Arc<ApiKey>);

impl Discretion {
    /// For a key that is worth it.
    fn about(key: &ApiKey) -> Option<Self> {
        (key.expose().len() >= SHORTEST_KEY).then(|| Self(Arc::new(key.clone())))
    }

    /// The failure without the key, where there is one.
    pub(super) fn keep(discretion: Option<&Self>, mut error: ProviderError) -> ProviderError {
        if let Some(discretion) = discretion {
            discretion.hide_in(&mut error.message);
            if let Some(told) = &mut error.told {
                discretion.hide_in(&mut told.param);
                discretion.hide_in(&mut told.code);
            }
        }
        error
    }

    fn hide_in(&self, text: &mut String) {
        let key = self.0.expose();
        if text.contains(key) {
            *text = text.replace(key, HIDDEN);
        }
        let parts = key.char_indices().rev().map(|(at, _)| &key[..at]);
        if let Some(part) = parts.take_while(|part| part.len() >= SHORTEST_PART).find(|part| text.ends_with(part)) {
            text.truncate(text.len() - part.len());
            text.push_str(HIDDEN);
        }
    }
}

/// A backend of which no failure shows its key.
struct Discreet<P> {
    inner: P,
    discretion: Discretion,
}

/// The backend that was sent this key, or none.
pub(super) fn discreet<P: Provider>(inner: P, key: Option<&ApiKey>) -> Arc<dyn Provider> {
    match key.and_then(Discretion::about) {
        Some(discretion) => Arc::new(Discreet { inner, discretion }),
        None => Arc::new(inner),
    }
}

impl<P> Discreet<P> {
    fn kept<T>(&self, outcome: Result<T, ProviderError>) -> Result<T, ProviderError> {
        outcome.map_err(|error| Discretion::keep(Some(&self.discretion), error))
    }
}

#[async_trait]
impl<P: Provider> Provider for Discreet<P> {
    fn dialect(&self) -> Dialect {
        self.inner.dialect()
    }

    fn takes_suffix(&self) -> bool {
        self.inner.takes_suffix()
    }

    async fn probe(&self) -> Result<Vec<ObservedModel>, ProviderError> {
        self.kept(self.inner.probe().await)
    }

    async fn generate(&self, model: &str, call: &ChatCall) -> Result<Completion, ProviderError> {
        self.kept(self.inner.generate(model, call).await)
    }

    async fn converse(&self, model: &str, call: &ChatCall) -> Result<ChatReply, ProviderError> {
        self.kept(self.inner.converse(model, call).await)
    }

    async fn stream(&self, model: &str, call: &ChatCall) -> Result<ReplyStream, ProviderError> {
        let mut stream = self.kept(self.inner.stream(model, call).await)?;
        stream.be_discreet(self.discretion.clone());
        Ok(stream)
    }

    async fn embed(&self, model: &str, call: &EmbedCall) -> Result<Embedded, ProviderError> {
        self.kept(self.inner.embed(model, call).await)
    }

    async fn relay(
        &self,
        model: &str,
        original: &Original,
        wants_stream: bool,
    ) -> Result<Option<Relayed>, ProviderError> {
        let mut relayed = self.kept(self.inner.relay(model, original, wants_stream).await)?;
        if let Some(Relayed::Stream(stream)) = &mut relayed {
            stream.be_discreet(self.discretion.clone());
        }
        Ok(relayed)
    }

    async fn load(&self) -> Option<LoadSignal> {
        self.inner.load().await
    }

    async fn count_tokens(&self, model: &str, texts: &[String]) -> Result<Option<u64>, ProviderError> {
        self.kept(self.inner.count_tokens(model, texts).await)
    }

    fn model_store(&self) -> Option<&dyn ModelStore> {
        self.inner.model_store().map(|_| self as &dyn ModelStore)
    }
}

#[async_trait]
impl<P: Provider> ModelStore for Discreet<P> {
    async fn pull(&self, model: &str, on_progress: &mut (dyn FnMut(PullProgress) + Send)) -> Result<(), ProviderError> {
        match self.inner.model_store() {
            Some(store) => self.kept(store.pull(model, on_progress).await),
            None => Ok(()),
        }
    }

    async fn delete(&self, model: &str) -> Result<(), ProviderError> {
        match self.inner.model_store() {
            Some(store) => self.kept(store.delete(model).await),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::failure::ToldFault, providers::ProviderErrorKind};

    fn kept(message: &str, key: &str) -> String {
        let error = ProviderError::new(ProviderErrorKind::Server, message);
        Discretion::keep(Discretion::about(&ApiKey::new(key)).as_ref(), error).message
    }

    #[test]
    fn a_key_is_hidden_wherever_it_stands_and_where_it_was_cut_off() {
        let key = "sk-0123456789";
        assert_eq!(kept("Bearer sk-0123456789: sk-0123456789 is spent", key), "Bearer ****: **** is spent");
        assert_eq!(kept("the key sk-01234", key), "the key ****");
        assert_eq!(kept("the key sk-0", key), "the key ****");
        assert_eq!(kept("the key sk-", key), "the key sk-");
        assert_eq!(kept("the model is not there", key), "the model is not there");
        assert_eq!(kept("the key ключ-от-двери is wrong: ключ-о", "ключ-от-двери"), "the key **** is wrong: ****");
    }

    #[test]
    fn a_word_that_is_no_secret_is_not_hidden() {
        assert_eq!(kept("none of the models is there", "none"), "none of the models is there");
        assert_eq!(kept("x", ""), "x");
    }

    #[test]
    fn what_is_told_of_a_fault_is_kept_too() {
        let told = ToldFault { param: "sk-0123456789".to_owned(), code: "bad_sk-0123456789".to_owned() };
        let error = ProviderError { told: Some(Box::new(told)), ..ProviderError::new(ProviderErrorKind::Caller, "") };
        let kept = Discretion::keep(Discretion::about(&ApiKey::new("sk-0123456789")).as_ref(), error).told.unwrap();
        assert_eq!((kept.param.as_str(), kept.code.as_str()), ("****", "bad_****"));
    }
}
