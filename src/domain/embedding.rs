//! What an embedding model is asked and what it answers, in no provider's dialect.

/// Texts to be embedded together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EmbedCall {
    /// At least one; the vectors come in this order.
    pub inputs: Vec<String>,
    /// Numbers each vector should have, where the model can be cut; `None`: as many as it has.
    pub dimensions: Option<u32>,
}

impl EmbedCall {
    /// One text.
    pub fn of(text: impl Into<String>) -> Self {
        Self { inputs: vec![text.into()], dimensions: None }
    }

    /// About how many tokens its texts are, for backends that do not tell: the usual four bytes to each.
    pub fn estimated_tokens(&self) -> u64 {
        self.inputs.iter().map(|text| text.len().div_ceil(4) as u64).sum()
    }
}

/// The vectors of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedded {
    /// One for each input, in its order.
    pub vectors: Vec<Vec<f64>>,
    /// Tokens of all inputs, as the backend tells them or else estimated.
    pub input_tokens: Option<u64>,
}
