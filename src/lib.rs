//! Penstock.

pub mod domain;
pub mod stores;
