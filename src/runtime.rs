//! The live side: supervised actors for backends and pools, and the data plane that reads what they publish.

pub mod ask;
mod backend;
pub mod directory;
pub mod dispatch;
pub mod events;
mod fleet;
mod lease;
mod mailbox;
mod pool;
pub mod reconcile;
mod restart;
mod slots;
