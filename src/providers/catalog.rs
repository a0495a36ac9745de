//! Which adapter speaks for which kind of backend.

use std::sync::Arc;

use super::{
    Provider, ProviderError, ProviderErrorKind,
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
    match kind {
        ProviderKind::Ollama => Ok(Arc::new(OllamaProvider::new(target, transport.clone())?)),
        ProviderKind::Vllm => Ok(Arc::new(VllmProvider::new(target, transport.clone())?)),
        ProviderKind::Openai | ProviderKind::Gemini if is_hosted && target.api_key.is_none() => {
            Err(ProviderError::new(ProviderErrorKind::Auth, "API key not configured"))
        }
        ProviderKind::Openai => {
            let server = if is_hosted { Server::Hosted } else { Server::Local };
            Ok(Arc::new(OpenaiProvider::new(target, transport.clone(), server)?))
        }
        ProviderKind::Gemini => Ok(Arc::new(GeminiProvider::new(target, transport.clone(), is_hosted)?)),
    }
}
