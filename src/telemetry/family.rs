//! One family of metrics: its name, what it counts, and the labels that tell its series apart.

use metrics::{Counter, Histogram, Key, Label, Level, Metadata, with_recorder};

/// What is known of a metric beside its key; the recorder asks for nothing of it.
const METADATA: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, None);

/// See the module. All of them are in [`super::families`].
#[derive(Debug, PartialEq)]
pub struct Family {
    /// As Prometheus knows it.
    pub name: &'static str,
    /// How it is counted.
    pub kind: Kind,
    /// The labels' names, in the order in which values are given.
    pub labels: &'static [&'static str],
    /// What it says, in one line.
    pub says: &'static str,
}

/// How a family is counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only ever rises.
    Counter,
    /// As it is now.
    Gauge,
    /// How values are distributed: the upper bounds of its buckets, rising.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Its name in Prometheus' text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl Family {
    pub(super) const fn counter(name: &'static str, labels: &'static [&'static str], says: &'static str) -> Self {
        Self { name, kind: Kind::Counter, labels, says }
    }

    pub(super) const fn gauge(name: &'static str, labels: &'static [&'static str], says: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, labels, says }
    }

    pub(super) const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        buckets: &'static [f64],
        says: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram(buckets), labels, says }
    }

    /// A series of it that is counted up. It is told for as long as somebody holds it.
    pub fn count(&self, values: &[&str]) -> Counter {
        with_recorder(|recorder| recorder.register_counter(&self.key(values), &METADATA))
    }

    /// A series of it that takes values. It is told for as long as somebody holds it.
    pub fn spread(&self, values: &[&str]) -> Histogram {
        with_recorder(|recorder| recorder.register_histogram(&self.key(values), &METADATA))
    }

    fn key(&self, values: &[&str]) -> Key {
        debug_assert_eq!(values.len(), self.labels.len(), "{}", self.name);
        let labels: Vec<Label> =
            self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
        Key::from_parts(self.name, labels)
    }
}
