//! Adapters by themselves, as tests that hold what they say to a backend need them.

use std::{sync::Arc, time::Duration};

use loadtest::sim::{SimBackend, embedding};
use penstock::{
    domain::{
        backend::ApiKey,
        chat::{ChatReply, Tool},
        provider::ProviderKind,
    },
    providers::{Provider, ProviderError, ReplyStream, Target, Transport, TransportConfig, connect},
};
use serde_json::json;

const LONG: Duration = Duration::from_secs(20);

/// The adapter of a backend at this address, which gives up a silent one after `idle`.
pub fn adapter_at(
    base_url: String,
    kind: ProviderKind,
    is_hosted: bool,
    key: Option<&str>,
    idle: Duration,
) -> Arc<dyn Provider> {
    // Another test of the process may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let config = TransportConfig { connect: LONG, first_byte: LONG, idle, total: LONG };
    let target = Target { base_url, api_key: key.map(ApiKey::new) };
    let made = connect(kind, is_hosted, target, &Transport::new(config).unwrap());
    made.unwrap_or_else(|error| panic!("{error}"))
}

/// The adapter of a simulated backend.
pub fn adapter(sim: &SimBackend, kind: ProviderKind, is_hosted: bool, key: Option<&str>) -> Arc<dyn Provider> {
    let is_openais = matches!(kind, ProviderKind::Openai | ProviderKind::Vllm);
    adapter_at(if is_openais { sim.v1_url() } else { sim.url() }, kind, is_hosted, key, LONG)
}

/// A tool that any model which is offered it calls for Rome.
pub fn weather() -> Tool {
    let parameters = json!({"type": "object", "properties": {"city": {"enum": ["Rome"]}}, "required": ["city"]});
    Tool { name: "weather".to_owned(), description: String::new(), parameters: Some(parameters), strict: None }
}

/// Whether a vector is the one that simulated backends have for a text.
pub fn is_embedding_of(vector: &[f64], text: &str) -> bool {
    let wanted = embedding(text, vector.len());
    vector.len() == 8 && vector.iter().zip(wanted).all(|(a, b)| (a - f64::from(b)).abs() < 1e-6)
}

/// Everything a stream says.
pub async fn collected(mut stream: ReplyStream) -> Result<ChatReply, ProviderError> {
    stream.begin().await?;
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event?);
    }
    Ok(ChatReply::collect(events))
}
