//! Penstock.

pub mod domain;
pub mod engine;
pub mod stores;
