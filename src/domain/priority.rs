//! How urgent a request is: the classes by which requests wait for a slot (`docs/api.md`, priorities and deadlines).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A priority class, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// What says nothing else.
    #[default]
    Standard,
    /// Work that may wait.
    Batch,
}

impl Priority {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Interactive, Self::Standard, Self::Batch];

    /// Its name in headers, answers and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interactive => "interactive",
            Self::Standard => "standard",
            Self::Batch => "batch",
        }
    }

    /// Its place in [`Priority::ALL`].
    pub const fn index(self) -> usize {
        match self {
            Self::Interactive => 0,
            Self::Standard => 1,
            Self::Batch => 2,
        }
    }

    /// Reads a name in any case; `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str().eq_ignore_ascii_case(text.trim()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_back_by_their_names_and_stand_in_the_order_of_urgency() {
        for (at, class) in Priority::ALL.into_iter().enumerate() {
            assert_eq!(Priority::parse(&class.as_str().to_uppercase()), Some(class));
            assert_eq!(class.index(), at);
        }
        assert!(Priority::ALL.is_sorted());
        assert_eq!(Priority::parse("urgent"), None);
    }
}
