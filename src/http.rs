//! hyper, and nothing but hyper: connections in, [`api`](crate::api) called, answers out.
//!
//! `listener` accepts and serves connections (`connection`), `service` is the road of one request, `router` knows all routes,
//! `templates` names them, `meters` counts, `auth` checks tokens, `admission` says who may ask a model now, `request` reads, `respond` writes, `gathered` puts bodies
//! together, `events` streams, `unwritten` bounds what waits for a slow reader, `placed` holds what a request has until its
//! answer is out.

pub mod admission;
mod auth;
mod connection;
mod discard;
mod events;
mod gathered;
pub mod listener;
mod live;
mod meters;
mod parked;
mod placed;
mod repoll;
mod request;
mod respond;
mod router;
mod scopes;
mod service;
mod streamed;
mod templates;
mod unwritten;

pub use self::service::{HttpConfig, Service};
