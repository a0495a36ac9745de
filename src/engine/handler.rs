//! What tasks can do, by name (`docs/workflow-spec.md`, handlers).

/// A handler of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Handler {
    RawString,
    ConditionKey,
    ParseNumber,
    ParseScore,
    ParseRange,
    ParseJson,
    ParseTransition,
    Embedding,
    RaiseError,
    Noop,
    ModelExecution,
    ConvertToOpenaiChatResponse,
    Hook,
}

impl Handler {
    pub(crate) const ALL: [Self; 13] = [
        Self::RawString,
        Self::ConditionKey,
        Self::ParseNumber,
        Self::ParseScore,
        Self::ParseRange,
        Self::ParseJson,
        Self::ParseTransition,
        Self::Embedding,
        Self::RaiseError,
        Self::Noop,
        Self::ModelExecution,
        Self::ConvertToOpenaiChatResponse,
        Self::Hook,
    ];

    /// Its name in a chain.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::RawString => "raw_string",
            Self::ConditionKey => "condition_key",
            Self::ParseNumber => "parse_number",
            Self::ParseScore => "parse_score",
            Self::ParseRange => "parse_range",
            Self::ParseJson => "parse_json",
            Self::ParseTransition => "parse_transition",
            Self::Embedding => "embedding",
            Self::RaiseError => "raise_error",
            Self::Noop => "noop",
            Self::ModelExecution => "model_execution",
            Self::ConvertToOpenaiChatResponse => "convert_to_openai_chat_response",
            Self::Hook => "hook",
        }
    }

    /// Reads a name; `None` for an unknown one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|handler| handler.as_str() == text.trim())
    }

    /// Whether its transition value is a number, so that branches compare it as one.
    pub(crate) const fn yields_number(self) -> bool {
        matches!(self, Self::ParseNumber | Self::ParseScore)
    }
}
