//! The log: on standard error, in one of two forms, its level changeable while the process runs. What chains print goes to standard
//! output in the same form.
//!
//! Lines are written by threads of their own, so that whoever does not read them holds nobody up: what has no room is dropped and
//! counted.

use std::{
    io::{self, IsTerminal},
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    reload,
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
    let (log_form, print_form) = (Form::of(config.format, is_terminal), Form::of(config.format, prints_to_terminal));
    let parted = Parted {
        log: log_form.lines(is_terminal, log),
        print: print_form.lines(prints_to_terminal, print),
        have_one_form: log_form == print_form,
    };
    tracing_subscriber::registry().with(filter).with(parted).init();
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

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

/// Lines of the log, and what chains print. A filter for each of the two would do the same, and make every span of every request
/// dearer.
struct Parted<S> {
    log: Lines<S>,
    print: Lines<S>,
    /// The ids of a request are written into its span in the form of its lines: once, where both have the same.
    have_one_form: bool,
}

impl<S: Subscriber> Layer<S> for Parted<S> {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.log.on_new_span(attributes, id, context.clone());
        if !self.have_one_form {
            self.print.on_new_span(attributes, id, context);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        self.log.on_record(id, values, context.clone());
        if !self.have_one_form {
            self.print.on_record(id, values, context);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let part = if event.metadata().target() == PRINT { &self.print } else { &self.log };
        part.on_event(event, context);
    }
}

fn writer(stream: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().buffered_lines_limit(LINES).thread_name("log").finish(stream)
}

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
}

impl Form {
    const fn of(asked: Option<LogFormat>, is_terminal: bool) -> Self {
        match asked {
            Some(LogFormat::Json) => Self::Json,
            Some(LogFormat::Text) => Self::Text,
            None if is_terminal => Self::Text,
            None => Self::Json,
        }
    }

    fn lines<S: Subscriber + for<'a> LookupSpan<'a>>(self, is_terminal: bool, writer: NonBlocking) -> Lines<S> {
        let lines = tracing_subscriber::fmt::layer().with_target(false).with_writer(writer);
        match self {
            Self::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
            Self::Text => lines.with_ansi(is_terminal).boxed(),
        }
    }
}

/// What is asked for, what chains print, and nothing of the actor library, which puts a span of its own around every message.
fn directives(filter: &LogFilter) -> EnvFilter {
    let filter = EnvFilter::new(filter.as_str());
    let own = [format!("{PRINT}=info"), "ractor=warn".to_owned()];
    own.iter().filter_map(|directive| directive.parse().ok()).fold(filter, EnvFilter::add_directive)
}
