//! What requests look like: chats, most of them short, some long.

/// Tokens of a prompt: between 30 and 3,000, most of them few hundred.
pub(super) fn prompt_tokens(random: &mut fastrand::Rng) -> u32 {
    (random.f64() * 4.6 + 3.4).exp() as u32
}

/// Tokens of an answer: between 20 and 400.
pub(super) fn answer_tokens(random: &mut fastrand::Rng) -> u32 {
    (random.f64() * 3.0 + 3.0).exp() as u32
}
