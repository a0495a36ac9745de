//! Findings for people: each with its line of the file and a mark under the place, in colour where that is wanted.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::file::TextFile;
use crate::domain::finding::{Finding, Severity};

/// Characters around a place that are shown of a very long line.
const WIDTH: usize = 140;
/// Bytes of the longest line that is shown at all. A chain of a megabyte in one line would be gone through for each finding.
const LONGEST_LINE: usize = 16 * 1024;

/// The findings as text for a terminal, one below the other. Colours are escape sequences, to be removed by the stream
/// that does not want them.
pub(super) fn shown<'a>(file: &TextFile, findings: impl IntoIterator<Item = &'a Finding>) -> String {
    // Once: whether it is UTF-8 is looked up each time it is asked for.
    let (written, mut text) = (file.source.text(), String::new());
    for finding in findings {
        text.push_str(&one(file, written, finding));
        text.push_str("\n\n");
    }
    text
}

fn one(file: &TextFile, written: &str, finding: &Finding) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let code = serde_json::to_value(finding.code).ok().and_then(|code| code.as_str().map(str::to_owned));
    let title = level.primary_title(printable(&finding.to_string())).id(code.unwrap_or_default());
    let snippet = excerpt(file, written, finding).map(|excerpt| {
        Snippet::source(excerpt.text)
            .path(file.name.as_str())
            .line_start(excerpt.line)
            .annotation(AnnotationKind::Primary.span(excerpt.span))
    });
    let origin = snippet.is_none().then(|| {
        let origin = annotate_snippets::Origin::path(file.name.as_str());
        match (finding.line, finding.column) {
            (Some(line), Some(column)) => origin.line(line).char_column(column),
            _ => origin,
        }
    });
    let mut group = annotate_snippets::Group::with_title(title).elements(snippet).elements(origin);
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(printable(hint)));
    }
    Renderer::styled().term_width(WIDTH).render(&[group])
}

struct Excerpt {
    text: String,
    /// Number of its line in the file.
    line: usize,
    /// What is marked of it.
    span: Range<usize>,
}

/// The line a finding is in. Of a thing of several lines, the first.
fn excerpt(file: &TextFile, text: &str, finding: &Finding) -> Option<Excerpt> {
    let span = file.source.span(finding)?;
    // No further than the longest line that is shown.
    let earliest = text.floor_char_boundary(span.start.saturating_sub(LONGEST_LINE));
    let latest = text.floor_char_boundary(span.start.saturating_add(LONGEST_LINE));
    let (before, from) = (text.get(earliest..span.start)?, text.get(span.start..latest)?);
    let start = match before.rfind('\n') {
        Some(at) => earliest + at + 1,
        None if earliest == 0 => 0,
        None => return None,
    };
    let end = match from.find('\n') {
        Some(at) => span.start + at,
        None if latest == text.len() => latest,
        None => return None,
    };
    if end - start > LONGEST_LINE {
        return None;
    }
    let line = text.get(start..end)?.trim_end();
    let marked = span.start - start..span.end.min(start + line.len()).saturating_sub(start).max(span.start - start);
    let number = finding.line.unwrap_or_else(|| text[..start].matches('\n').count() + 1);
    Some(Excerpt { text: line.chars().map(drawn).collect(), line: number, span: marked })
}

/// Text of a chain in a message, without what a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c != '\n' && is_obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// A character of a line of a file; one that a terminal would obey becomes a text of as many bytes.
fn drawn(character: char) -> String {
    if character == '\t' || !is_obeyed(character) { character.to_string() } else { "?".repeat(character.len_utf8()) }
}

/// Control characters, and those that turn the direction of the text around them.
fn is_obeyed(character: char) -> bool {
    let turns =
        matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || turns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::source;

    #[test]
    fn of_a_very_long_line_only_the_place_is_told() {
        let filler = |length: usize| format!("{{\"id\": \"{}\", \"tasks\": [], \"colour\": 1}}", "x".repeat(length));
        let told = |length: usize| {
            let text = bytes::Bytes::from(filler(length));
            let (document, source) = source::read(source::Format::Json, text).expect("is JSON");
            let file = TextFile { name: "long.json".to_owned(), source, document: Ok(document) };
            anstream::adapter::strip_str(&shown(&file, &file.checked().findings)).to_string()
        };
        let (long, short) = (told(LONGEST_LINE), told(10));
        assert!(long.contains("long.json:1:16409") && !long.contains("1 |"), "{long}");
        assert!(short.contains("long.json:1:35") && short.contains("1 |"), "{short}");
    }
}
