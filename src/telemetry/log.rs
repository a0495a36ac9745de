//! The log: on standard error, in one of two forms, its level changeable while the process runs. What chains print goes to standard
//! output in the same form.
//!
//! Lines are written by threads of their own, so that whoever does not read them holds nobody up: what has no room is dropped and
//! counted.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt, registry::LookupSpan, reload,
    util::SubscriberInitExt,
};

use super::{Now, families};
use crate::config::{LogConfig, LogFilter, LogFormat};

/// The target of what chains print.
pub const PRINT: &str = "penstock::print";
/// Lines that may wait to be written.
const LINES: usize = 16_384;

static LEVEL: OnceLock<Level> = OnceLock::new();

struct Level {
    filter: reload::Handle<EnvFilter, Registry>,
    /// As it was asked for.
    asked: Mutex<LogFilter>,
    dropped: Vec<ErrorCounter>,
}

/// Why the level was not changed.
#[derive(Debug, thiserror::Error)]
pub enum LevelError {
    /// Nobody has started the log here.
    #[error("this process has no log of its own")]
    NoLog,
    /// The log has gone.
    #[error("the level cannot be changed: {0}")]
    Reload(#[from] reload::Error),
}

/// Writes what is left when it is dropped.
pub struct LogGuard {
    _workers: [WorkerGuard; 2],
}

/// Starts the log of the process.
pub fn start(config: &LogConfig) -> LogGuard {
    let (is_terminal, prints_to_terminal) = (io::stderr().is_terminal(), io::stdout().is_terminal());
    let (log, log_worker) = writer(io::stderr());
    let (print, print_worker) = writer(io::stdout());
    let dropped = vec![log.error_counter(), print.error_counter()];
    let (filter, handle) = reload::Layer::new(directives(&config.filter));
    let is_print = |metadata: &Metadata<'_>| metadata.target() == PRINT;
    let log = lines(config.format, is_terminal, log).with_filter(filter_fn(move |metadata| !is_print(metadata)));
    let print = lines(config.format, prints_to_terminal, print).with_filter(filter_fn(is_print));
    tracing_subscriber::registry().with(filter).with(log).with(print).init();
    LEVEL.get_or_init(|| Level { filter: handle, asked: Mutex::new(config.filter.clone()), dropped });
    LogGuard { _workers: [log_worker, print_worker] }
}

/// What is in force.
pub fn level() -> Option<String> {
    Some(LEVEL.get()?.asked.lock().unwrap_or_else(PoisonError::into_inner).to_string())
}

/// Writes what this filter lets through from now on.
///
/// # Errors
/// Where there is no log.
pub fn set_level(filter: &LogFilter) -> Result<(), LevelError> {
    let level = LEVEL.get().ok_or(LevelError::NoLog)?;
    // Held while the filter changes, so that what is told is what is in force.
    let mut asked = level.asked.lock().unwrap_or_else(PoisonError::into_inner);
    level.filter.reload(directives(filter))?;
    *asked = filter.clone();
    Ok(())
}

/// Tells how many lines nobody had the time for.
pub fn tell(now: &mut Now) {
    if let Some(level) = LEVEL.get() {
        let dropped: usize = level.dropped.iter().map(ErrorCounter::dropped_lines).sum();
        now.is(&families::LOG_LINES_DROPPED, &[], dropped as f64);
    }
}

fn writer(stream: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(LINES).thread_name("log").finish(stream)
}

fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(
    format: Option<LogFormat>,
    is_terminal: bool,
    writer: NonBlocking,
) -> Box<dyn Layer<S> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(writer);
    match format {
        Some(LogFormat::Json) => lines.json().flatten_event(true).with_span_list(false).boxed(),
        None if !is_terminal => lines.json().flatten_event(true).with_span_list(false).boxed(),
        Some(LogFormat::Text) | None => lines.with_ansi(is_terminal).boxed(),
    }
}

/// What is asked for, what chains print, and nothing of the actor library, which puts a span of its own around every message.
fn directives(filter: &LogFilter) -> EnvFilter {
    let filter = EnvFilter::new(filter.as_str());
    let own = [format!("{PRINT}=info"), "ractor=warn".to_owned()];
    own.iter().filter_map(|directive| directive.parse().ok()).fold(filter, EnvFilter::add_directive)
}
