//! Penstock.

pub mod config;
pub mod dialect;
pub mod domain;
pub mod error;
pub mod providers;
pub mod runtime;
pub mod stores;
