//! Which labels has what an expression of PromQL comes to? Worked out without data, from what each metric brings; an expression
//! that asks for a metric or a label that is not there, or for the rate of what is no counter, is an error.
//!
//! Source: <https://prometheus.io/docs/prometheus/latest/querying/basics/>, and its pages on operators and functions.

use std::collections::{BTreeMap, BTreeSet};

use promql_parser::{
    label::Matchers,
    parser::{self, AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, VectorMatchCardinality, VectorSelector},
};

pub(super) type Labels = BTreeSet<String>;

/// What can be asked for.
#[derive(Debug, Clone)]
pub(super) struct Metric {
    pub(super) labels: Labels,
    /// It only grows, so that its rate says something and its value little.
    pub(super) is_counter: bool,
}

/// By name.
#[derive(Debug, Clone, Default)]
pub(super) struct Metrics(pub(super) BTreeMap<String, Metric>);

/// The labels of an expression's result.
pub(super) fn labels_of(expression: &str, metrics: &Metrics) -> Result<Labels, String> {
    let parsed = parser::parse(expression)?;
    metrics.result(&parsed, false).map_err(|wrong| format!("{wrong}: {expression}"))
}

/// The metrics that an expression asks for.
pub(super) fn asked_for(expression: &str) -> BTreeSet<String> {
    fn collect(expression: &Expr, found: &mut BTreeSet<String>) {
        match expression {
            Expr::VectorSelector(selector) => found.extend(selector.name.clone()),
            Expr::MatrixSelector(selector) => found.extend(selector.vs.name.clone()),
            Expr::Aggregate(aggregate) => collect(&aggregate.expr, found),
            Expr::Binary(binary) => [&binary.lhs, &binary.rhs].into_iter().for_each(|side| collect(side, found)),
            Expr::Call(call) => call.args.args.iter().for_each(|argument| collect(argument, found)),
            Expr::Paren(inner) => collect(&inner.expr, found),
            Expr::Unary(inner) => collect(&inner.expr, found),
            Expr::Subquery(inner) => collect(&inner.expr, found),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
        }
    }
    let mut found = BTreeSet::new();
    collect(&parser::parse(expression).unwrap(), &mut found);
    found
}

fn within(asked: &Labels, there: &Labels) -> Result<(), String> {
    match asked.difference(there).next() {
        Some(label) => Err(format!("no label '{label}' among {there:?}")),
        None => Ok(()),
    }
}

fn named(labels: &promql_parser::label::Labels) -> Labels {
    labels.labels.iter().cloned().collect()
}

impl Metrics {
    fn result(&self, expression: &Expr, in_rate: bool) -> Result<Labels, String> {
        match expression {
            Expr::VectorSelector(selector) => self.selected(selector, in_rate),
            Expr::MatrixSelector(selector) => self.selected(&selector.vs, in_rate),
            Expr::Aggregate(aggregate) => self.aggregated(aggregate),
            Expr::Binary(binary) => self.joined(binary),
            Expr::Call(call) => self.called(call),
            Expr::Paren(inner) => self.result(&inner.expr, in_rate),
            Expr::Unary(inner) => self.result(&inner.expr, in_rate),
            Expr::Subquery(inner) => self.result(&inner.expr, in_rate),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(Labels::new()),
            Expr::Extension(_) => Err("an extension of the language".to_owned()),
        }
    }

    fn selected(&self, selector: &VectorSelector, in_rate: bool) -> Result<Labels, String> {
        let name = selector.name.as_ref().ok_or("a selector without a name")?;
        let metric = self.0.get(name).ok_or(format!("no metric '{name}'"))?;
        if metric.is_counter != in_rate {
            return Err(format!("'{name}' is {} counter", if in_rate { "no" } else { "a" }));
        }
        let Matchers { matchers, or_matchers } = &selector.matchers;
        let asked = matchers.iter().chain(or_matchers.iter().flatten()).map(|matcher| matcher.name.clone());
        within(&asked.collect(), &metric.labels)?;
        Ok(metric.labels.clone())
    }

    fn aggregated(&self, aggregate: &AggregateExpr) -> Result<Labels, String> {
        let inner = self.result(&aggregate.expr, false)?;
        Ok(match &aggregate.modifier {
            None => Labels::new(),
            Some(LabelModifier::Include(kept)) => {
                let kept = named(kept);
                within(&kept, &inner)?;
                kept
            }
            Some(LabelModifier::Exclude(dropped)) => {
                let dropped = named(dropped);
                within(&dropped, &inner)?;
                inner.difference(&dropped).cloned().collect()
            }
        })
    }

    fn joined(&self, binary: &BinaryExpr) -> Result<Labels, String> {
        let (left, right) = (self.result(&binary.lhs, false)?, self.result(&binary.rhs, false)?);
        let is_scalar = |side: &Expr| matches!(side, Expr::NumberLiteral(_));
        if is_scalar(&binary.lhs) || is_scalar(&binary.rhs) {
            return Ok(if is_scalar(&binary.lhs) { right } else { left });
        }
        let modifier = binary.modifier.as_ref();
        let (matching, card) = (modifier.and_then(|found| found.matching.as_ref()), modifier.map(|found| &found.card));
        match matching {
            Some(LabelModifier::Include(on)) => {
                within(&named(on), &left)?;
                within(&named(on), &right)?;
            }
            Some(LabelModifier::Exclude(ignored)) => {
                within(&named(ignored), &left.union(&right).cloned().collect())?;
            }
            None if left != right => return Err(format!("{left:?} never match {right:?}")),
            None => {}
        }
        match card {
            Some(VectorMatchCardinality::ManyToOne(brought)) => {
                within(&named(brought), &right)?;
                Ok(&left | &named(brought))
            }
            Some(VectorMatchCardinality::OneToMany(brought)) => {
                within(&named(brought), &left)?;
                Ok(&right | &named(brought))
            }
            Some(VectorMatchCardinality::ManyToMany) => Ok(left),
            Some(VectorMatchCardinality::OneToOne) | None => Ok(match matching {
                Some(LabelModifier::Include(on)) => named(on),
                Some(LabelModifier::Exclude(ignored)) => left.difference(&named(ignored)).cloned().collect(),
                None => left,
            }),
        }
    }

    fn called(&self, call: &Call) -> Result<Labels, String> {
        let is_rate = matches!(call.func.name, "rate" | "irate" | "increase");
        let mut labels = Labels::new();
        for argument in &call.args.args {
            labels.extend(self.result(argument, is_rate)?);
        }
        if call.func.name == "histogram_quantile" && !labels.remove("le") {
            return Err("a quantile of what has no 'le'".to_owned());
        }
        Ok(labels)
    }
}

/// A gauge and a counter with a label of their own, and a histogram.
fn few() -> Metrics {
    let metric = |labels: &[&str], is_counter| Metric {
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        is_counter,
    };
    Metrics(BTreeMap::from([
        ("up".to_owned(), metric(&["instance", "job"], false)),
        ("used".to_owned(), metric(&["instance", "backend"], false)),
        ("named".to_owned(), metric(&["instance", "backend", "name"], false)),
        ("calls_total".to_owned(), metric(&["instance", "outcome"], true)),
        ("took_bucket".to_owned(), metric(&["instance", "le"], true)),
    ]))
}

#[test]
fn the_labels_of_a_result_are_those_that_its_expression_leaves() {
    for (expression, expected) in [
        ("up{job=\"penstock\"} == 0", &["instance", "job"][..]),
        ("sum by (outcome) (rate(calls_total[5m]))", &["outcome"]),
        ("sum(used) / 3", &[]),
        ("used * on (instance, backend) group_left (name) named", &["backend", "instance", "name"]),
        ("histogram_quantile(0.9, sum by (le) (rate(took_bucket[5m])))", &[]),
        ("max without (backend) (used) > 1", &["instance"]),
    ] {
        let labels = labels_of(expression, &few()).unwrap();
        assert_eq!(labels.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{expression}");
    }
}

#[test]
fn an_expression_that_could_never_tell_anything_is_an_error() {
    for (expression, wrong) in [
        ("stray", "no metric 'stray'"),
        ("up{backend=\"x\"}", "no label 'backend'"),
        ("sum by (backend) (up)", "no label 'backend'"),
        ("calls_total > 1", "'calls_total' is a counter"),
        ("rate(used[5m])", "'used' is no counter"),
        ("used / named", "never match"),
        ("used * on (backend) group_left (job) named", "no label 'job'"),
        ("histogram_quantile(0.9, sum(rate(took_bucket[5m])))", "no 'le'"),
        ("sum((up)", "unclosed"),
    ] {
        let told = labels_of(expression, &few()).unwrap_err();
        assert!(told.contains(wrong), "{expression}: {told}");
    }
}
