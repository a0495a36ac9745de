//! What `deploy/` brings for those who run Penstock: rules and dashboards ask for metrics that there are, and every alert is
//! explained (`docs/operations.md`, alerts).

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use penstock::telemetry::{Kind, families::ALL};

fn deployed(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(path);
    fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Every name under which Prometheus has a metric.
fn names() -> BTreeSet<String> {
    let of = |family: &&penstock::telemetry::Family| match family.kind {
        Kind::Counter | Kind::Gauge => vec![family.name.to_owned()],
        Kind::Histogram(_) => ["bucket", "sum", "count"].map(|end| format!("{}_{end}", family.name)).to_vec(),
    };
    ALL.iter().flat_map(of).collect()
}

/// The metrics that a text asks for: words that look like one.
fn asked_for(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let is_metric =
        |word: &&str| ["penstock_", "gen_ai_", "process_", "penstock:"].iter().any(|start| word.starts_with(start));
    // Labels of OpenTelemetry begin as its metrics do.
    let labels: BTreeSet<&str> = ALL.iter().flat_map(|family| family.labels).copied().collect();
    words.filter(is_metric).filter(|word| !labels.contains(word)).map(str::to_owned).collect()
}

/// The values of a field of YAML, one a line.
fn fields<'a>(yaml: &'a str, name: &str) -> Vec<&'a str> {
    yaml.lines().filter_map(|line| line.trim_start_matches([' ', '-']).strip_prefix(name)).map(str::trim).collect()
}

#[test]
fn rules_ask_for_metrics_that_there_are() {
    let (recording, alerts) = (deployed("prometheus/recording.yml"), deployed("prometheus/alerts.yml"));
    let mut known = names();
    known.extend(fields(&recording, "record:").into_iter().map(str::to_owned));
    for rules in [&recording, &alerts] {
        for expression in fields(rules, "expr:") {
            let asked = asked_for(expression);
            assert!(asked.is_subset(&known), "{:?}", asked.difference(&known).collect::<Vec<_>>());
        }
    }
}

/// The expressions of a dashboard, panel by panel.
fn expressions(value: &serde_json::Value) -> Vec<String> {
    let panels = value["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap());
    targets.map(|target| target["expr"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn dashboards_ask_for_metrics_that_there_are() {
    let recording = deployed("prometheus/recording.yml");
    let mut known = names();
    known.extend(fields(&recording, "record:").into_iter().map(str::to_owned));
    let mut shown = asked_for(&recording);
    for name in ["overview", "backends", "chains", "runtime"] {
        let dashboard: serde_json::Value =
            serde_json::from_str(&deployed(&format!("grafana/dashboards/{name}.json"))).unwrap();
        for expression in expressions(&dashboard) {
            let asked = asked_for(&expression);
            assert!(asked.is_subset(&known), "{name}: {expression}");
            shown.extend(asked);
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
    let (alerts, tests) = (deployed("prometheus/alerts.yml"), deployed("prometheus/tests.yml"));
    let documented = include_str!("../../docs/operations.md").split("\n## Alerts\n").nth(1).unwrap();
    let documented = documented.split("\n## ").next().unwrap();
    let names = fields(&alerts, "alert:");
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
