//! What is written to the log (`docs/api.md`, log level).

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Reply;
use crate::{
    config::LogFilter,
    error::{Error, ErrorCode},
    telemetry::log,
};

/// What is in force.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct LogLevel {
    /// A level, or levels for parts, such as `info,penstock::http=debug`.
    level: String,
}

/// What is asked for.
#[derive(Debug, Deserialize, ToSchema)]
pub struct LogLevelInput {
    /// A level (`trace`, `debug`, `info`, `warn`, `error`, `off`), or levels for parts with commas between them.
    #[serde(default)]
    level: String,
}

/// `GET /log-level`.
///
/// # Errors
/// None but faults of ours.
pub fn get() -> Result<Reply, Error> {
    Reply::json(&LogLevel { level: log::level().unwrap_or_default() })
}

/// `PUT /log-level`: until the process ends or somebody says something else.
///
/// # Errors
/// 422 for a text that is no level.
pub fn put(input: &LogLevelInput) -> Result<Reply, Error> {
    if input.level.trim().is_empty() {
        return Err(Error::unprocessable(
            "field 'level' is required: a level such as debug, or info,penstock::http=debug",
        ));
    }
    let filter = LogFilter::parse(&input.level);
    let filter = filter.map_err(|problem| Error::unprocessable(format!("field 'level': {problem}")))?;
    log::set_level(&filter).map_err(|error| {
        Error::new(ErrorCode::Internal, "the level of the log cannot be changed here").with_detail(error)
    })?;
    tracing::warn!(level = %filter, "the level of the log was changed");
    get()
}
