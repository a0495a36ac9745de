//! `penstock chain graph FILE`.

use std::process::ExitCode;

use super::{EXIT_USAGE, answered, file::TextFile, refused};
use crate::{cli::output::Color, engine};

pub(super) fn graph(path: &str, color: Color) -> Result<ExitCode, String> {
    let file = TextFile::read(path)?;
    match file.chain() {
        Ok(chain) => answered(&engine::mermaid(&chain)),
        Err(finding) => refused(&file, &[*finding], EXIT_USAGE, color),
    }
}
