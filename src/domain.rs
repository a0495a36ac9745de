//! Pure values that every layer speaks: no tokio, no HTTP, no store, no clock of their own.
//!
//! A file holds one noun. Wire names are the canonical spelling of `docs/api.md`; reading is lenient there
//! (`dialect::loose`), writing never is.

pub mod alert;
pub mod alias;
pub mod backend;
pub mod chain;
pub mod chat;
pub mod cluster;
pub mod download;
pub mod embedding;
pub mod failure;
pub mod finding;
pub mod hook;
pub mod ids;
pub mod intent;
pub mod ledger;
pub mod load;
pub mod message;
pub mod model;
pub mod page;
pub mod pool;
pub mod priority;
pub mod provider;
pub mod route;
pub mod shared_rates;
pub mod slip;
pub mod spelling;
pub mod stored_chain;
pub mod time;
pub mod timing;
pub mod token;
pub mod value;
