//! Where series are kept between two scrapes: a recorder for the `metrics` crate whose series end with what they are of.
//!
//! The exporter's own recorder keeps every series that it was ever asked for, with samples that somebody must clear away.
//! Backends, pools and chains come and go; here a series is told for as long as a handle of it is held, a sample is a few
//! atomic additions, and a scrape changes nothing.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_exporter_prometheus::formatting::{sanitize_label_value, write_help_line, write_type_line};

use super::{
    families::ALL,
    family::{Family, Kind},
};

static RECORDER: OnceLock<Series> = OnceLock::new();

/// Somebody else records the metrics of this process.
#[derive(Debug, thiserror::Error)]
#[error("another recorder of metrics is installed in this process")]
pub struct RecorderError;

/// Has the process's metrics recorded from here on. Handles made before count nothing.
///
/// # Errors
/// When another recorder is there.
pub fn install() -> Result<(), RecorderError> {
    let mut is_new = false;
    let series = RECORDER.get_or_init(|| {
        is_new = true;
        Series::default()
    });
    // Once is enough.
    if is_new { metrics::set_global_recorder(series).map_err(|_| RecorderError) } else { Ok(()) }
}

/// Every family that has series, in Prometheus' text format: those that are held, and those that are true `now`.
pub fn render(now: Now) -> String {
    let mut kept = RECORDER.get().map(Series::lines).unwrap_or_default();
    let mut now = now.lines;
    let mut text = String::new();
    for family in ALL {
        let lines = [kept.remove(family.name), now.remove(family.name)];
        if lines.iter().all(Option::is_none) {
            continue;
        }
        write_help_line(&mut text, family.name, None, None, family.says);
        write_type_line(&mut text, family.name, None, None, family.kind.as_str());
        lines.into_iter().flatten().for_each(|lines| text.push_str(&lines));
        text.push('\n');
    }
    text
}

/// What is true at the moment of a scrape, and need not be kept for it.
#[derive(Default)]
pub struct Now {
    lines: BTreeMap<&'static str, String>,
}

impl Now {
    /// A value of a series, by the values of its labels.
    pub fn is(&mut self, family: &Family, labels: &[&str], value: f64) {
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        let pairs = family.labels.iter().zip(labels);
        let labels = joined(pairs.map(|(name, value)| (*name, *value)));
        write(self.lines.entry(family.name).or_default(), family.name, "", &labels, None, value);
    }
}

/// All series that are held, by family and labels.
#[derive(Default)]
struct Series {
    kept: Mutex<BTreeMap<&'static str, BTreeMap<Labels, Kept>>>,
}

/// As they stand between the braces.
type Labels = String;

enum Kept {
    Counter(Weak<AtomicU64>),
    Histogram(Weak<Buckets>),
}

impl Series {
    /// The series of a key, made by `make` where nobody holds one; `None` for one that is in no table.
    fn find<T>(
        &self,
        key: &Key,
        held: impl Fn(&Kept) -> Option<Arc<T>>,
        make: impl FnOnce(&'static Family) -> Option<(Arc<T>, Kept)>,
    ) -> Option<Arc<T>> {
        let family = ALL.iter().find(|family| family.name == key.name())?;
        let labels = labels_of(key);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let series = kept.entry(family.name).or_default();
        if let Some(known) = series.get(&labels).and_then(held) {
            return Some(known);
        }
        let (made, weak) = make(family)?;
        series.insert(labels, weak);
        Some(made)
    }

    /// The lines of each family. What nobody holds any more is forgotten.
    fn lines(&self) -> BTreeMap<&'static str, String> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = BTreeMap::new();
        for (name, series) in kept.iter_mut() {
            let mut lines = String::new();
            series.retain(|labels, kept| match kept {
                Kept::Counter(count) => count
                    .upgrade()
                    .inspect(|count| write(&mut lines, name, "", labels, None, count.load(Ordering::Relaxed)))
                    .is_some(),
                Kept::Histogram(buckets) => {
                    buckets.upgrade().inspect(|buckets| buckets.render(&mut lines, name, labels)).is_some()
                }
            });
            if !lines.is_empty() {
                told.insert(*name, lines);
            }
        }
        told
    }
}

impl Recorder for &'static Series {
    // All that is said of them is in the table of families.
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let held = |kept: &Kept| if let Kept::Counter(count) = kept { count.upgrade() } else { None };
        let made = self.find(key, held, |family| {
            let count = Arc::new(AtomicU64::new(0));
            let kept = Kept::Counter(Arc::downgrade(&count));
            (family.kind == Kind::Counter).then_some((count, kept))
        });
        made.map_or_else(Counter::noop, Counter::from_arc)
    }

    /// What is true now is asked for when it is told.
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let held = |kept: &Kept| if let Kept::Histogram(buckets) = kept { buckets.upgrade() } else { None };
        let made = self.find(key, held, |family| {
            let Kind::Histogram(bounds) = family.kind else { return None };
            let buckets = Arc::new(Buckets::new(bounds));
            let kept = Kept::Histogram(Arc::downgrade(&buckets));
            Some((buckets, kept))
        });
        made.map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

/// How many values lay below each bound.
struct Buckets {
    bounds: &'static [f64],
    /// One for each bound, and one for what is above all of them; not summed up.
    counts: Box<[AtomicU64]>,
    /// Of all values, as the bits of a float.
    sum: AtomicU64,
}

impl Buckets {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    fn render(&self, text: &mut String, name: &str, labels: &str) {
        let mut below = 0;
        for (at, count) in self.counts.iter().enumerate() {
            below += count.load(Ordering::Relaxed);
            let bound = self.bounds.get(at).map_or_else(|| "+Inf".to_owned(), f64::to_string);
            write(text, name, "_bucket", labels, Some(&bound), below);
        }
        write(text, name, "_sum", labels, None, f64::from_bits(self.sum.load(Ordering::Relaxed)));
        write(text, name, "_count", labels, None, below);
    }
}

impl HistogramFn for Buckets {
    fn record(&self, value: f64) {
        let at = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(self.bounds.len());
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let mut sum = self.sum.load(Ordering::Relaxed);
        while let Err(other) = self.sum.compare_exchange_weak(
            sum,
            (f64::from_bits(sum) + value).to_bits(),
            Ordering::Relaxed,
            Ordering::Relaxed,
        ) {
            sum = other;
        }
    }
}

fn labels_of(key: &Key) -> Labels {
    joined(key.labels().map(|label| (label.key(), label.value())))
}

fn joined<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Labels {
    pairs.map(|(name, value)| format!("{name}=\"{}\"", sanitize_label_value(value))).collect::<Vec<_>>().join(",")
}

fn write(text: &mut String, name: &str, suffix: &str, labels: &str, le: Option<&str>, value: impl Display) {
    let le = le.map(|bound| format!("le=\"{bound}\""));
    let within: Vec<&str> =
        [Some(labels), le.as_deref()].into_iter().flatten().filter(|part| !part.is_empty()).collect();
    let line = match within.is_empty() {
        true => format!("{name}{suffix} {value}\n"),
        false => format!("{name}{suffix}{{{}}} {value}\n", within.join(",")),
    };
    text.push_str(&line);
}

#[cfg(test)]
mod tests {
    use metrics::with_local_recorder;

    use super::{super::families::*, *};

    /// What is told of the series that are made and used in here.
    fn told(use_series: impl FnOnce(&Series) -> String) -> String {
        // As the process has it: for ever.
        let series: &'static Series = Box::leak(Box::default());
        with_local_recorder(&series, || use_series(series))
    }

    fn text_of(series: &Series) -> String {
        series.lines().into_values().collect()
    }

    #[test]
    fn a_series_is_told_as_long_as_somebody_holds_it_and_shared_by_those_who_do() {
        let text = told(|series| {
            let (one, other) = (REFUSALS.count(&["draining"]), REFUSALS.count(&["draining"]));
            one.increment(1);
            drop(one);
            other.increment(1);
            assert_eq!(text_of(series), "penstock_refusals_total{reason=\"draining\"} 2\n");
            drop(other);
            text_of(series)
        });
        assert_eq!(text, "");
    }

    #[test]
    fn values_are_counted_below_every_bound_that_is_not_under_them() {
        let text = told(|series| {
            let waits = VALKEY_DURATION.spread(&[]);
            for value in [0.000_1, 0.000_2, 7.0] {
                waits.record(value);
            }
            text_of(series)
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "penstock_valkey_command_duration_seconds_bucket{le=\"0.0001\"} 1");
        assert_eq!(lines[1], "penstock_valkey_command_duration_seconds_bucket{le=\"0.00025\"} 2");
        assert_eq!(lines[lines.len() - 4], "penstock_valkey_command_duration_seconds_bucket{le=\"5\"} 2");
        assert_eq!(lines[lines.len() - 3], "penstock_valkey_command_duration_seconds_bucket{le=\"+Inf\"} 3");
        assert_eq!(lines[lines.len() - 2], "penstock_valkey_command_duration_seconds_sum 7.0003");
        assert_eq!(lines[lines.len() - 1], "penstock_valkey_command_duration_seconds_count 3");
    }

    #[test]
    fn what_would_end_a_label_is_escaped() {
        let mut now = Now::default();
        now.is(&BACKEND_INFO, &["id", "a \"name\"\nof two lines", "ollama"], 1.0);
        let text = render(now);
        let line = text.lines().find(|line| line.starts_with("penstock_backend_info{")).unwrap();
        assert_eq!(line, r#"penstock_backend_info{backend="id",name="a \"name\"\nof two lines",type="ollama"} 1"#);
    }

    #[test]
    fn what_is_in_no_table_is_not_counted() {
        const STRAY: Family = Family::counter("penstock_stray_total", &[], "x");
        assert_eq!(
            told(|series| {
                STRAY.count(&[]).increment(1);
                text_of(series)
            }),
            ""
        );
    }
}
