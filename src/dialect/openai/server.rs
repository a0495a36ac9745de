//! What the servers that speak OpenAI's format do differently (`docs/backends.md`, OpenAI-compatible servers).

/// Whose rules a call is encoded by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// OpenAI itself: refuses every field it does not know.
    Openai,
    /// Another hosted provider: OpenAI's fields and no others, under their older names.
    Hosted,
    /// A server on the own network of which nothing else is known (LM Studio and others): looks away from what it does not
    /// know.
    Local,
    /// llama.cpp's server.
    LlamaCpp,
    /// vLLM's server.
    Vllm,
}

impl Server {
    /// Whether any schema may force a reply; the others take objects only.
    pub(super) const fn takes_any_root(self) -> bool {
        matches!(self, Self::LlamaCpp | Self::Vllm)
    }

    /// Whether fields beyond OpenAI's are taken: `top_k`, `min_p`, a penalty for repeating, arguments of the chat template.
    pub(super) const fn takes_more(self) -> bool {
        matches!(self, Self::Local | Self::LlamaCpp | Self::Vllm)
    }

    /// Whether `model` is one of OpenAI's that think before they answer and refuse most of what decides how a reply is
    /// drawn. Later families (`gpt-5.1`) take it as long as they do not think, and say so themselves where they do.
    pub(super) fn draws_by_itself(self, model: &str) -> bool {
        const FAMILIES: [&str; 6] = ["o1", "o3", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano"];
        let is_of = |family: &str| {
            let rest = model.strip_prefix(family);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        self == Self::Openai && !is_of("gpt-5-chat") && FAMILIES.into_iter().any(is_of)
    }

    /// Whether `model` is one of OpenAI's that never think, and refuse to be told how hard.
    pub(super) fn never_thinks(self, model: &str) -> bool {
        const FAMILIES: [&str; 4] = ["gpt-3.5", "gpt-4", "chatgpt", "gpt-5-chat"];
        self == Self::Openai && FAMILIES.into_iter().any(|family| model.starts_with(family))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openais_thinking_models_are_known_by_their_families() {
        for name in ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5-2025-08-07", "gpt-5-codex"] {
            assert!(Server::Openai.draws_by_itself(name), "{name}");
            assert!(!Server::Local.draws_by_itself(name) && !Server::Openai.never_thinks(name), "{name}");
        }
        for name in ["gpt-4o", "gpt-4.1", "gpt-5-chat-latest", "gpt-3.5-turbo"] {
            assert!(!Server::Openai.draws_by_itself(name) && Server::Openai.never_thinks(name), "{name}");
        }
        for name in ["gpt-5.1", "o10", "other"] {
            assert!(!Server::Openai.draws_by_itself(name) && !Server::Openai.never_thinks(name), "{name}");
        }
    }
}
