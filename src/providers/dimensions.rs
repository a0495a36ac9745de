//! Vectors of a wanted length: some servers look away from the wish, and whoever stores them must not find out later.

use super::{ProviderError, ProviderErrorKind};
use crate::domain::embedding::{EmbedCall, Embedded};

/// The vectors, if they are as long as the call wants them.
pub(super) fn of_wanted_length(embedded: Embedded, call: &EmbedCall) -> Result<Embedded, ProviderError> {
    let is_other = |wanted: &u32| embedded.vectors.iter().any(|vector| vector.len() != *wanted as usize);
    match call.dimensions.filter(is_other) {
        None => Ok(embedded),
        Some(wanted) => Err(ProviderError::new(
            ProviderErrorKind::Caller,
            format!("the model gives no vectors of {wanted} numbers on this server; ask without 'dimensions'"),
        )),
    }
}
