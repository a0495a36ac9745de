//! What is shown of a run while it runs: on a terminal one line a step, the last one moving; elsewhere plain lines.

use std::{io::IsTerminal, time::Instant};

use serde_json::Value as Json;

use crate::cli::{
    chain::findings::printable,
    output::{Color, DIM, GREEN, RED, RESET, YELLOW, err},
};

/// Characters of a transition value or an error that fit a line.
const LONGEST_SHOWN: usize = 60;
const LONGEST_ERROR: usize = 400;
const TURNS: [&str; 4] = ["-", "\\", "|", "/"];
/// Back to the beginning of the line, and nothing in it.
const CLEAR_LINE: &str = "\r\x1b[2K";

pub(super) struct Display {
    color: Color,
    is_live: bool,
    /// What is going on, and since when.
    current: Option<(String, Instant)>,
    turn: usize,
}

impl Display {
    pub(super) fn new(color: Color) -> Self {
        Self { color, is_live: std::io::stderr().is_terminal(), current: None, turn: 0 }
    }

    /// Shows a step.
    pub(super) fn step(&mut self, name: &str, step: &Json) {
        let text = |field: &str| printable(step[field].as_str().unwrap_or_default()).replace('\n', " ");
        let attempt = match step["attempt"].as_u64() {
            Some(attempt) if attempt > 1 => format!(", attempt {attempt}"),
            _ => String::new(),
        };
        let (task, handler) = (text("task"), text("handler"));
        match name {
            "task.started" => self.begin(format!("{task} {DIM}{handler}{attempt}{RESET}")),
            "task.retrying" => {
                let most = step["atMostMs"].as_f64().unwrap_or_default() / 1000.0;
                self.begin(format!("{task} {DIM}waits up to {most} s{attempt}{RESET}"));
            }
            "task.completed" => {
                let details = details(step, &[text("model"), text("backend")]);
                let value = shortened(&text("transition"), LONGEST_SHOWN);
                self.line(&format!("{GREEN}ok{RESET}     {task} {DIM}{handler}{attempt}{details}{RESET} -> {value}"));
            }
            "task.failed" => {
                let details = details(step, &[text("model"), text("backend")]);
                let error = printable(step["error"]["error"].as_str().unwrap_or_default()).replace('\n', " ");
                let error = shortened(&error, LONGEST_ERROR);
                self.line(&format!("{RED}failed{RESET} {task} {DIM}{handler}{attempt}{details}{RESET}: {error}"));
            }
            _ => {}
        }
    }

    /// Shows something that is no step.
    pub(super) fn warning(&mut self, warning: &str) {
        self.line(&format!("{YELLOW}warning{RESET} {}", printable(warning).replace('\n', " ")));
    }

    /// Why the run failed, once more and last.
    pub(super) fn failure(&mut self, message: &str) {
        self.line(&format!("{RED}the run failed{RESET}: {}", printable(message)));
    }

    /// Moves the last line; called a few times a second.
    pub(super) fn tick(&mut self) {
        let Some((text, since)) = self.current.as_ref().filter(|_| self.is_live) else { return };
        let (turn, seconds) = (TURNS[self.turn % TURNS.len()], since.elapsed().as_secs_f64());
        err(&format!("{CLEAR_LINE}{turn}      {text} {seconds:.1} s"), self.color);
        self.turn += 1;
    }

    /// Leaves nothing behind that moves.
    pub(super) fn end(&mut self) {
        if self.current.take().is_some() && self.is_live {
            err(CLEAR_LINE, self.color);
        }
    }

    fn begin(&mut self, text: String) {
        if !self.is_live {
            err(&format!("...    {text}\n"), self.color);
        }
        self.current = Some((text, Instant::now()));
        self.tick();
    }

    fn line(&mut self, text: &str) {
        self.end();
        err(&format!("{text}\n"), self.color);
    }
}

/// Duration, and who answered.
fn details(step: &Json, who: &[String]) -> String {
    let millis = step["duration"].as_f64().unwrap_or_default();
    let time = if millis < 1000.0 { format!(", {millis:.0} ms") } else { format!(", {:.1} s", millis / 1000.0) };
    let who = who.iter().filter(|name| !name.is_empty()).map(|name| format!(", {name}"));
    std::iter::once(time).chain(who).collect()
}

fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
