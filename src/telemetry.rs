//! What the process tells of itself: its log, its metrics, and the clock of a call.
//!
//! Whoever counts something holds a handle of it, made when the thing it counts comes to life ([`Family`]); nothing is looked
//! up on the way of a request. What is true at this moment only is read when somebody asks (`runtime::metrics`).

pub mod build;
pub mod families;
mod family;
pub mod log;
mod memo;
pub mod process;
mod recorder;
pub mod stages;

pub use self::{
    family::{Family, Kind},
    memo::Memo,
    recorder::{Now, RecorderError, install, render},
};
