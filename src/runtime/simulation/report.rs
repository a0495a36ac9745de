//! The tables of `docs/performance.md` that come out of the simulation: a test compares them with what it finds, and writes
//! them anew where `WRITE_GOLDENS` is set.

use std::{fs, path::PathBuf};

/// A table in Markdown, its first row the heads.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let line = |cells: &Vec<String>| format!("| {} |\n", cells.join(" | "));
    let heads = rows.first().map_or(0, Vec::len);
    let rule = format!("|---|{}\n", "---:|".repeat(heads.saturating_sub(1)));
    let body: String = rows.iter().skip(1).map(line).collect();
    rows.first().map(line).unwrap_or_default() + &rule + &body
}

/// Asserts that the document has this table between its marks.
pub(super) fn keep(name: &str, table: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/performance.md");
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("docs/performance.md has no mark {begin}"));
    let (written, after) = rest.split_once(&end).unwrap_or_else(|| panic!("docs/performance.md has no mark {end}"));
    if written == table {
        return;
    }
    assert!(
        writes_anew(),
        "docs/performance.md tells other figures of {name}; with WRITE_GOLDENS=1 they become\n{table}"
    );
    fs::write(&path, format!("{before}{begin}{table}{end}{after}")).unwrap();
}

#[expect(clippy::disallowed_methods, reason = "a test, told by hand to write what it finds")]
fn writes_anew() -> bool {
    std::env::var_os("WRITE_GOLDENS").is_some()
}
