//! Where things are kept. Traits by use, implementations by engine; callers see the traits only.

pub mod catalog;
pub mod embedded;
