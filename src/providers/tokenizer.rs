//! The token-counting service that `TOKENIZER_SERVICE_URL` names. It helps and is never needed: while it is out, nobody
//! waits for it, and whoever asked makes do with an estimate (`docs/operations.md`, token counts).

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Method, Url};
use tokio::time::Instant;

use super::{
    ProviderError, ProviderErrorKind,
    transport::{Call, Credential, Transport, join},
};
use crate::dialect::tokenizer;

/// Until a text is counted: a connection, and the time of a large text in a slow vocabulary.
const PATIENCE: Duration = Duration::from_secs(1);
/// Time after a failure in which the service is left alone, so that a hanging one does not slow every call down.
const REST: Duration = Duration::from_secs(1);

/// A service that counts tokens in the vocabulary of a model.
pub struct TokenizerService {
    transport: Transport,
    url: Url,
    /// The latest failure of an outage that lasts.
    failed_at: Mutex<Option<Instant>>,
}

impl TokenizerService {
    /// The service at a base URL.
    ///
    /// # Errors
    /// A base URL that cannot be called.
    pub fn new(base_url: &str, transport: Transport) -> Result<Self, ProviderError> {
        Ok(Self { transport, url: join(base_url, "/tokenize")?, failed_at: Mutex::default() })
    }

    /// How many tokens the texts are, in all; `None` while the service is out. The first failure of an outage is logged
    /// as a warning, further ones are not.
    pub async fn count(&self, model: &str, texts: &[String]) -> Option<u64> {
        if self.last_failure().is_some_and(|failed| failed.elapsed() < REST) {
            return None;
        }
        let mut tokens = 0_u64;
        for text in texts {
            match self.count_one(model, text).await {
                Ok(count) => tokens = tokens.saturating_add(count),
                Err(error) => {
                    self.note_failure(&error);
                    return None;
                }
            }
        }
        self.note_success();
        Some(tokens)
    }

    async fn count_one(&self, model: &str, text: &str) -> Result<u64, ProviderError> {
        let body = tokenizer::body(model, text);
        let call = Call { method: Method::POST, url: &self.url, credential: Credential::None, body: Some(body) };
        let late = || ProviderError::new(ProviderErrorKind::Timeout, format!("it did not answer within {PATIENCE:?}"));
        let reply = tokio::time::timeout(PATIENCE, self.transport.send(call)).await.unwrap_or_else(|_| Err(late()))?;
        Ok(tokenizer::parse(&reply)?)
    }

    fn last_failure(&self) -> Option<Instant> {
        *self.failed_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_failure(&self, error: &ProviderError) {
        let before = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner).replace(Instant::now());
        if before.is_none() {
            tracing::warn!(%error, "the tokenizer service fails; tokens are estimated until it answers again");
        }
    }

    fn note_success(&self) {
        let before = self.failed_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        if before.is_some() {
            tracing::info!("the tokenizer service answers again");
        }
    }
}

#[cfg(test)]
mod tests {
    use loadtest::sim::{Route, Rule, SimTokenizer};

    use super::*;
    use crate::providers::TransportConfig;

    fn service(base_url: &str) -> TokenizerService {
        // Whichever test comes first installs it.
        drop(rustls::crypto::ring::default_provider().install_default());
        let long = Duration::from_secs(60);
        let transport = Transport::new(TransportConfig { connect: long, first_byte: long, idle: long, total: long });
        TokenizerService::new(base_url, transport.unwrap()).unwrap_or_else(|error| panic!("{error}"))
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[tokio::test]
    async fn texts_are_counted_one_by_one_and_added_up() {
        let sim = SimTokenizer::start().await.unwrap();
        sim.count("long", 100);
        let service = service(&sim.url());
        assert_eq!(service.count("m", &texts(&["a long text", "12345678"])).await, Some(102));
        let record = sim.record();
        let bodies: Vec<_> = record.of(Route::Tokenize).iter().map(|call| call.json()).collect();
        assert_eq!(bodies[0], serde_json::json!({"model": "m", "prompt": "a long text"}));
    }

    #[tokio::test]
    async fn after_a_failure_it_is_left_alone_for_a_while_and_then_asked_again() {
        let sim = SimTokenizer::start().await.unwrap();
        let service = service(&sim.url());
        let one = texts(&["12345678"]);
        for rule in [Rule::on(Route::Tokenize).status(500), Rule::on(Route::Tokenize).body("no json")] {
            sim.script(rule.times(1));
            let before = sim.record().arrived;
            assert_eq!(service.count("m", &one).await, None);
            assert_eq!(service.count("m", &one).await, None, "it would answer, but is not asked");
            assert_eq!(sim.record().arrived, before + 1);
            tokio::time::pause();
            tokio::time::advance(REST).await;
            tokio::time::resume();
            assert_eq!(service.count("m", &one).await, Some(2));
        }
    }

    #[tokio::test]
    async fn nobody_waits_long_for_one_that_hangs() {
        let sim = SimTokenizer::start().await.unwrap();
        sim.script(Rule::on(Route::Tokenize).hang_before_headers());
        let began = Instant::now();
        assert_eq!(service(&sim.url()).count("m", &texts(&["a"])).await, None);
        assert!(began.elapsed() < PATIENCE * 3, "{:?}", began.elapsed());
    }
}
