//! The chain machine.
mod compose;
mod condition;
mod duration;
mod number;
mod reply;
mod state;
pub mod tokens;
mod transition;
pub use state::{StateError, StateUnit};
