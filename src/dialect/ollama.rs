//! Ollama's wire format: what is sent to `/api/*` of a backend and what comes back (`docs/backends.md`). Its client's side is
//! [`ollama_front`](super::ollama_front).

mod embed;
mod models;
mod pull;
mod reply;
mod request;
mod stream;
mod work_times;

pub(super) use self::work_times::WorkTimes;
pub use self::{
    embed::{embed_body, old_embed_body, parse_embeddings, parse_old_embedding},
    models::{Listed, Shown, model_body, parse_running, parse_show, parse_tags},
    pull::{PullLine, parse_pull_line},
    reply::parse_answer,
    request::{Asked, ask},
    stream::LineDecoder,
};

#[cfg(test)]
mod tests;
