//! hyper, and nothing but hyper: connections in, [`api`](crate::api) called, answers out.
//!
//! `listener` accepts and serves connections, `service` is the road of one request, `router` knows all routes, `request`
//! reads, `respond` writes, `gathered` puts bodies together, `events` streams, `auth` checks tokens.

mod auth;
mod events;
mod gathered;
pub mod listener;
mod live;
mod request;
mod respond;
mod router;
mod service;
mod streamed;

pub use self::service::{HttpConfig, Service};
