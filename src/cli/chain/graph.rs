//! `penstock chain graph FILE`.

use std::process::ExitCode;

use super::{answered, file::ChainFile};
use crate::engine;

pub(super) fn graph(path: &str) -> Result<ExitCode, String> {
    let (chain, _) = ChainFile::read(path)?.chain()?;
    answered(&engine::mermaid(&chain))
}
