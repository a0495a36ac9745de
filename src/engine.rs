//! The chain machine.
mod compose;
mod condition;
mod duration;
mod number;
mod reply;
mod state;
mod template;
pub mod tokens;
mod transition;
pub use state::{StateError, StateUnit};
