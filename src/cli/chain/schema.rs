//! `penstock chain schema`.

use std::process::ExitCode;

use super::answered;
use crate::engine;

pub(super) fn schema(of_request: bool) -> Result<ExitCode, String> {
    let schema = if of_request { engine::request_schema() } else { engine::chain_schema() };
    let text = serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())?;
    answered(&format!("{text}\n"))
}
