//! Which adapter speaks for which kind of backend.

use std::sync::Arc;

use super::{
    Provider, ProviderError, ProviderErrorKind,
    discreet::discreet,
    gemini::GeminiProvider,
    ollama::OllamaProvider,
    openai::OpenaiProvider,
    transport::{Target, Transport},
    vllm::VllmProvider,
};
use crate::{dialect::openai::Server, domain::provider::ProviderKind};

/// Makes the adapter of one backend.
///
/// # Errors
/// A base URL that cannot be called, or a hosted server without a key; shown as the backend's `error`.
pub fn connect(
    kind: ProviderKind,
    is_hosted: bool,
    target: Target,
    transport: &Transport,
) -> Result<Arc<dyn Provider>, ProviderError> {
    let key = target.api_key.clone();
    let key = key.as_ref();
    match kind {
        ProviderKind::Ollama => Ok(discreet(OllamaProvider::new(target, transport.clone())?, key)),
        ProviderKind::Vllm => Ok(discreet(VllmProvider::new(target, transport.clone())?, key)),
        ProviderKind::Openai | ProviderKind::Gemini if is_hosted && target.api_key.is_none() => {
            Err(ProviderError::new(ProviderErrorKind::Auth, "API key not configured"))
        }
        ProviderKind::Openai => {
            let server = if is_hosted { Server::Hosted } else { Server::Local };
            Ok(discreet(OpenaiProvider::new(target, transport.clone(), server)?, key))
        }
        ProviderKind::Gemini => Ok(discreet(GeminiProvider::new(target, transport.clone(), is_hosted)?, key)),
    }
}
