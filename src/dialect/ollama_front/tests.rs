//! What requests become, and what is refused.
