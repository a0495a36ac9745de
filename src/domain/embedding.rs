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
}

/// The vectors of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embedded {
    /// One for each input, in its order.
    pub vectors: Vec<Vec<f64>>,
    /// Tokens of all inputs, where the backend tells.
    pub input_tokens: Option<u64>,
}
