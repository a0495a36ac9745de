//! What `deploy/` brings for those who run Penstock: rules and dashboards ask for metrics that there are, and every alert is
//! explained (`docs/operations.md`, alerts).

mod promql;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use penstock::telemetry::{Kind, families::ALL};
use serde_json::Value as Json;

use self::promql::{Labels, Metric, Metrics, asked_for, labels_of};

fn deployed(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// What Prometheus has of the server: each metric with its labels and those of the scrape, and what the recording rules make of
/// them.
fn metrics() -> Metrics {
    let scraped = ["instance", "job"];
    let labels = |own: &[&str], more: &[&str]| {
        own.iter().chain(more).chain(&scraped).map(|label| (*label).to_owned()).collect::<Labels>()
    };
    let mut known = Metrics::default();
    known.0.insert("up".to_owned(), Metric { labels: labels(&[], &[]), is_counter: false });
    for family in ALL {
        let own = family.labels;
        let found = match family.kind {
            Kind::Counter => vec![(family.name.to_owned(), Metric { labels: labels(own, &[]), is_counter: true })],
            Kind::Gauge => vec![(family.name.to_owned(), Metric { labels: labels(own, &[]), is_counter: false })],
            Kind::Histogram(_) => [("bucket", &["le"][..]), ("sum", &[]), ("count", &[])]
                .map(|(end, more)| {
                    (format!("{}_{end}", family.name), Metric { labels: labels(own, more), is_counter: true })
                })
                .to_vec(),
        };
        known.0.extend(found);
    }
    for rule in rules("prometheus/recording.yml") {
        let labels = labels_of(&rule.expr, &known).unwrap();
        known.0.insert(rule.record.unwrap(), Metric { labels, is_counter: false });
    }
    known
}

/// A file of rules, as Prometheus reads it.
#[derive(serde::Deserialize)]
struct Rules {
    groups: Vec<Group>,
}

#[derive(serde::Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(serde::Deserialize)]
struct Rule {
    record: Option<String>,
    alert: Option<String>,
    expr: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

fn rules(path: &str) -> Vec<Rule> {
    let rules: Rules = serde_saphyr::from_str(&deployed(path)).unwrap();
    rules.groups.into_iter().flat_map(|group| group.rules).collect()
}

/// The names between these two in a text, without the blanks around them.
fn between<'a>(text: &'a str, before: &str, behind: &str) -> Vec<&'a str> {
    text.split(before).skip(1).map(|rest| rest.split(behind).next().unwrap().trim()).collect()
}

#[test]
fn alerts_ask_for_what_there_is_and_tell_labels_that_they_have() {
    let known = metrics();
    for rule in rules("prometheus/alerts.yml") {
        let name = rule.alert.unwrap();
        let labels = labels_of(&rule.expr, &known).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
        for text in rule.annotations.values() {
            for told in between(text, "$labels.", " ") {
                assert!(labels.contains(told), "{name} tells '{told}' and has {labels:?}");
            }
        }
    }
}

#[test]
fn dashboards_ask_for_what_there_is_and_name_their_lines_by_labels_that_they_have() {
    let known = metrics();
    let mut shown = BTreeSet::new();
    for rule in rules("prometheus/recording.yml") {
        shown.extend(asked_for(&rule.expr));
    }
    for name in ["overview", "backends", "chains", "runtime"] {
        let dashboard: Json = serde_json::from_str(&deployed(&format!("grafana/dashboards/{name}.json"))).unwrap();
        let panels = dashboard["panels"].as_array().unwrap().iter();
        for target in panels.flat_map(|panel| panel["targets"].as_array().unwrap()) {
            // What Grafana puts in place of its variables.
            let expression = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            let labels = labels_of(&expression, &known).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
            for told in between(target["legendFormat"].as_str().unwrap_or_default(), "{{", "}}") {
                assert!(labels.contains(told), "{name}: '{told}' in the legend of {expression}, which has {labels:?}");
            }
            shown.extend(asked_for(&expression));
        }
    }
    assert!(shown.len() > 60, "{}", shown.len());
}

#[test]
fn every_panel_that_an_alert_names_is_there() {
    let documented = include_str!("../../docs/operations.md").split("\n## Alerts\n").nth(1).unwrap();
    let documented = documented.split("\n## ").next().unwrap();
    let rows = documented.lines().filter(|line| line.starts_with("| `Penstock"));
    for row in rows {
        let panel = row.split(" | ").nth(2).unwrap();
        let (name, title) = panel.split_once(": ").unwrap();
        let file = if name == "Pools" { "backends".to_owned() } else { name.to_ascii_lowercase() };
        let dashboard = deployed(&format!("grafana/dashboards/{file}.json"));
        assert!(dashboard.contains(&format!("\"title\": \"{title}")), "{panel}");
    }
}

#[test]
fn every_alert_is_explained_and_tested() {
    let tests = deployed("prometheus/tests.yml");
    let documented = include_str!("../../docs/operations.md").split("\n## Alerts\n").nth(1).unwrap();
    let documented = documented.split("\n## ").next().unwrap();
    let names: Vec<String> = rules("prometheus/alerts.yml").into_iter().filter_map(|rule| rule.alert).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in &names {
        assert!(documented.contains(&format!("| `{name}` |")), "{name} has no row");
        assert!(tests.contains(&format!("  - name: {name}\n")), "{name} has no test");
    }
    assert_eq!(documented.matches("\n| `Penstock").count(), names.len());
}

#[test]
fn rules_fire_when_they_should_and_not_before() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/prometheus");
    // On a machine without Prometheus there is nothing to ask; `tests/run.sh` installs it.
    if Command::new("promtool").arg("--version").output().is_err() {
        return;
    }
    for arguments in [&["check", "config", "prometheus.yml"][..], &["test", "rules", "tests.yml"]] {
        let ran = Command::new("promtool").args(arguments).current_dir(&folder).output().unwrap();
        let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{told}");
    }
}
