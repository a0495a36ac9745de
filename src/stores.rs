//! Where things are kept. Traits by use, implementations by engine; callers see the traits only.

pub mod catalog;
#[cfg(test)]
#[macro_use]
mod catalog_suite;
pub mod embedded;
pub mod postgres;
pub mod sql;
