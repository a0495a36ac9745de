//! Which adapter speaks for which kind of backend.

use std::sync::Arc;

use super::{
    Provider, ProviderError, ProviderErrorKind, ollama::OllamaProvider, openai::OpenaiProvider, transport::Target,
    transport::Transport,
};
use crate::domain::provider::ProviderKind;

/// Makes the adapter of one backend.
///
/// # Errors
/// A base URL that cannot be called, or a kind this version has no adapter for; shown as the backend's `error`.
pub fn connect(
    kind: ProviderKind,
    is_hosted: bool,
    target: Target,
    transport: &Transport,
) -> Result<Arc<dyn Provider>, ProviderError> {
    match kind {
        ProviderKind::Ollama => Ok(Arc::new(OllamaProvider::new(target, transport.clone())?)),
        ProviderKind::Openai if is_hosted && target.api_key.is_none() => {
            Err(ProviderError::new(ProviderErrorKind::Auth, "API key not configured"))
        }
        ProviderKind::Openai => Ok(Arc::new(OpenaiProvider::new(target, transport.clone())?)),
        ProviderKind::Vllm | ProviderKind::Gemini => {
            let message = format!("this version has no adapter for {kind} backends yet");
            Err(ProviderError::new(ProviderErrorKind::Unsupported, message))
        }
    }
}
