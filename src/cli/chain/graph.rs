//! `penstock chain graph FILE`.

use std::process::ExitCode;

use super::{EXIT_USAGE, answered, file::TextFile, refused};
use crate::{cli::output::Color, engine};

pub(super) fn graph(path: &str, color: Color) -> Result<ExitCode, String> {
    let file = TextFile::read(path)?;
    let checked = file.checked();
    // What is wrong with a chain can be seen in its drawing; where there are no tasks, nothing can be seen.
    if checked.chain.tasks.is_empty() && !checked.is_valid() {
        return refused(&file, &checked, EXIT_USAGE, color);
    }
    answered(&engine::mermaid(&checked.chain))
}
