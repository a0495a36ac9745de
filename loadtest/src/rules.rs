//! Rules of a simulated backend as a file, for those who start it by hand.
//!
//! The file is a JSON array; the first rule that fits decides. Fields are those of [`Rule`].

use std::{collections::BTreeMap, fs, io, path::Path, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::sim::{Route, Routes, Rule};

/// One rule as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Written {
    on: On,
    #[serde(default)]
    model: Option<String>,
    /// A text that reaches the model.
    #[serde(default)]
    containing: Option<String>,
    /// A piece of the body as it is sent.
    #[serde(default)]
    body_containing: Option<String>,
    #[serde(default)]
    streams: Option<bool>,
    #[serde(default)]
    times: Option<usize>,
    #[serde(default)]
    reply: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    finish: Option<String>,
    #[serde(default)]
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// An answer, word for word.
    #[serde(default)]
    body: Option<Value>,
    /// A stream, piece by piece.
    #[serde(default)]
    frames: Option<Vec<String>>,
    #[serde(default)]
    delay_ms: Option<u64>,
    #[serde(default)]
    chunk_delay_ms: Option<u64>,
    #[serde(default)]
    cut_after: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum On {
    Any,
    Calls,
    Chat,
    Generate,
    Embed,
    List,
}

impl Written {
    fn rule(self) -> Rule {
        let mut rule = Rule::on(match self.on {
            On::Any => Routes::ANY,
            On::Calls => Routes::CALLS,
            On::Chat => Route::Chat.into(),
            On::Generate => Route::Generate.into(),
            On::Embed => Route::Embed.into(),
            On::List => Route::List.into(),
        });
        rule = with(rule, self.model, Rule::model);
        rule = with(rule, self.containing, Rule::containing);
        rule = with(rule, self.body_containing, Rule::body_containing);
        rule = with(rule, self.streams, Rule::streams);
        rule = with(rule, self.times, Rule::times);
        rule = with(rule, self.reply, Rule::reply);
        rule = with(rule, self.thinking, Rule::thinking);
        rule = with(rule, self.finish, Rule::finish);
        rule = with(rule, self.status, Rule::status);
        rule = with(rule, self.body, |rule, body| rule.body(body.to_string()));
        rule = with(rule, self.frames, |rule, frames| rule.raw_frames(frames));
        rule = with(rule, self.delay_ms, |rule, ms| rule.delay(Duration::from_millis(ms)));
        rule = with(rule, self.chunk_delay_ms, |rule, ms| rule.chunk_delay(Duration::from_millis(ms)));
        rule = with(rule, self.cut_after, Rule::cut_after);
        self.headers.into_iter().fold(rule, |rule, (name, value)| rule.header(name, value))
    }
}

fn with<T>(rule: Rule, value: Option<T>, set: impl FnOnce(Rule, T) -> Rule) -> Rule {
    match value {
        Some(value) => set(rule, value),
        None => rule,
    }
}

/// The rules of a file, in its order.
///
/// # Errors
/// A file that cannot be read, or that is no array of rules.
pub fn read(path: &Path) -> io::Result<Vec<Rule>> {
    let text = fs::read_to_string(path)?;
    let rules: Vec<Written> = serde_json::from_str(&text)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))?;
    Ok(rules.into_iter().map(Written::rule).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_rules_is_read_and_a_wrong_field_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rules.json");
        fs::write(&path, r#"[{"on": "chat", "containing": "sky", "reply": "blue"}, {"on": "any", "status": 503}]"#)
            .unwrap();
        assert_eq!(read(&path).unwrap().len(), 2);
        fs::write(&path, r#"[{"on": "chat", "replies": "blue"}]"#).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("replies"));
    }
}
