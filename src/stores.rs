//! Where things are kept. Traits by use, implementations by engine; callers see the traits only.

#[cfg(test)]
#[macro_use]
mod bus_suite;
pub mod bus;
pub mod catalog;
#[cfg(test)]
#[macro_use]
mod catalog_suite;
pub mod embedded;
pub mod leases;
pub mod nats;
pub mod postgres;
pub mod shared;
pub mod sql;
pub mod valkey;
