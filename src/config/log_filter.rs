//! Which lines are written to the log: a level, and levels for parts (`docs/operations.md`, logs).

use std::fmt;

/// A filter that is known to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

impl LogFilter {
    /// Reads a level, or levels for parts with commas between them.
    ///
    /// # Errors
    /// Words that say which part of it is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let directives: Vec<&str> = directives(text).collect();
        let filter = directives.join(",");
        let wrong = directives.iter().find(|directive| !is_directive(directive)).map(|&wrong| wrong.to_owned());
        let wrong = match wrong {
            None if directives.is_empty() => Some(text.to_owned()),
            None => tracing_subscriber::EnvFilter::try_new(&filter).err().map(|error| error.to_string()),
            wrong => wrong,
        };
        match wrong {
            None => Ok(Self(filter)),
            Some(wrong) => Err(format!(
                "'{wrong}' is neither trace, debug, info, warn, error or off nor a directive such as penstock::http=debug"
            )),
        }
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The parts of a filter between commas; those in the brackets of a span belong to it.
fn directives(filter: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    filter
        .split(move |c| {
            match c {
                '[' | '{' => depth += 1,
                ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|directive| !directive.is_empty())
}

/// A level, or a target with a level. A bare word that is no level would be taken for a target, and a slip of the pen
/// would silence the log.
fn is_directive(directive: &str) -> bool {
    let is_level = |text: &str| !text.is_empty() && text.parse::<tracing::level_filters::LevelFilter>().is_ok();
    match directive.rsplit_once('=') {
        Some((target, level)) if !directive.ends_with(']') => !target.is_empty() && is_level(level),
        Some(_) => true,
        None => is_level(directive) || directive.ends_with(']'),
    }
}
