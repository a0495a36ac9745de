//! Which module may use which, and what may be named only where it belongs. A new edge is a diff of this file.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// `module -> the modules of the crate it may name`. Lower layers never name higher ones.
const EDGES: &[(&str, &[&str])] = &[
    ("error", &["domain"]),
    ("domain", &["domain"]),
    ("config", &["domain"]),
    ("engine", &["engine", "domain"]),
    ("dialect", &["dialect", "domain"]),
    ("telemetry", &["telemetry", "config"]),
    ("stores", &["stores", "telemetry", "domain"]),
    ("providers", &["providers", "telemetry", "dialect", "domain"]),
    ("hooks", &["providers", "stores", "telemetry", "dialect", "domain"]),
    ("faults", &["faults"]),
    (
        "runtime",
        &["runtime", "engine", "providers", "hooks", "stores", "telemetry", "config", "faults", "domain", "error"],
    ),
    ("api", &["api", "runtime", "stores", "engine", "telemetry", "dialect", "config", "shutdown", "domain", "error"]),
    ("http", &["http", "api", "runtime", "telemetry", "dialect", "config", "shutdown", "domain", "error"]),
    ("shutdown", &[]),
    (
        "app",
        &["http", "api", "runtime", "providers", "hooks", "stores", "engine", "config", "shutdown", "domain", "error"],
    ),
    ("cli", &["cli", "app", "telemetry", "shutdown", "stores", "engine", "dialect", "domain", "config"]),
    ("main", &["cli", "telemetry"]),
];

/// `text -> the files or folders below src/ that alone may hold it`, with the reason.
const BANS: &[(&str, &[&str], &str)] = &[
    ("ractor::", &["runtime"], "callers see handles, never actors"),
    ("hyper::", &["http", "providers/transport"], "handlers and adapters are free of HTTP"),
    ("hyper_util::", &["http", "providers/transport"], "handlers and adapters are free of HTTP"),
    ("rusqlite", &["stores/embedded"], "rows and connections stay in their store"),
    ("tokio_postgres", &["stores/postgres"], "rows and connections stay in their store"),
    (
        "reqwest::",
        &["providers", "hooks.rs", "app.rs", "cli/client.rs"],
        "one transport for all upstream calls, and one client for the command that calls a server",
    ),
    ("gotmpl", &["engine/template"], "one template language, one place"),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Path below `src/` and text of every source file.
fn files() -> Vec<(String, String)> {
    let root = root();
    let below = |path: &Path| path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
    sources(&root).iter().map(|path| (below(path), fs::read_to_string(path).unwrap())).collect()
}

/// The top-level modules a text names as `crate::x`, alone or in a `use crate::{…}` list.
fn named_modules(text: &str) -> BTreeSet<String> {
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let code = text.lines().filter(is_code).collect::<Vec<_>>().join("\n");
    let identifier =
        |text: &str| -> String { text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let mut named = BTreeSet::new();
    for after in code.split("crate::").skip(1) {
        match after.strip_prefix('{') {
            None => {
                named.insert(identifier(after));
            }
            Some(list) => named.extend(top_level_items(list).into_iter().map(identifier)),
        }
    }
    named.retain(|name| EDGES.iter().any(|(module, _)| module == name));
    named
}

/// The items of a `{a, b::{c, d}, e}` list, up to its closing brace.
fn top_level_items(list: &str) -> Vec<&str> {
    let (mut items, mut depth, mut start) = (Vec::new(), 0usize, 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(&list[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    items
}

#[test]
fn imports_run_one_way() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        let module = file.split(['/', '.']).next().unwrap().to_owned();
        if module == "lib" {
            continue;
        }
        let (_, allowed) = EDGES
            .iter()
            .find(|(name, _)| *name == module)
            .unwrap_or_else(|| panic!("{file} belongs to a module the table does not know"));
        // A test module, or a file that is one, may build what it tests from any layer.
        let code = text.split("[cfg(test)]").next().unwrap();
        for named in named_modules(code) {
            if named != module && !allowed.contains(&named.as_str()) {
                wrong.push(format!("{file} names crate::{named}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that are not in the table:\n{}", wrong.join("\n"));
}

#[test]
fn things_are_named_only_where_they_belong() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        for (banned, homes, reason) in BANS {
            let is_home = homes.iter().any(|home| file.starts_with(home));
            let names_it = text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains(banned));
            if names_it && !is_home {
                wrong.push(format!("{file} names {banned}: {reason}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn actors_name_their_supervision_events_and_wait_for_nothing_outside() {
    let mut wrong = Vec::new();
    for (file, text) in files().into_iter().filter(|(file, _)| file.starts_with("runtime")) {
        if text.contains("spawn_linked(") && !text.contains("async fn handle_supervisor_evt") {
            wrong.push(format!("{file} has children and leaves their end to ractor, which would end the parent"));
        }
        let code = text.split("[cfg(test)]").next().unwrap();
        if code.contains("impl Actor for") && !text.contains("//! Mailbox:") {
            wrong.push(format!("{file} does not say what bounds its mailbox"));
        }
        // Open batches and shared calls belong to the requests that are in them: each adds itself in a few instructions, under a
        // lock that is never held across a wait. So does everybody who tells watchers something, whom nobody waits for.
        let may_lock = ["runtime/dispatch/batch.rs", "runtime/dispatch/single_flight.rs", "runtime/feed.rs"];
        if code.contains("Mutex") && !may_lock.contains(&file.as_str()) {
            wrong.push(format!("{file} locks; state belongs to an actor or is published as a snapshot"));
        }
        if text.contains("OutputPort") {
            wrong.push(format!("{file} uses OutputPort, which loses messages silently"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_load_harness_knows_the_server_by_its_protocol_alone() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/Cargo.toml");
    let dependencies = fs::read_to_string(manifest).unwrap();
    assert!(!dependencies.lines().any(|line| line.starts_with("penstock")));
}

#[test]
fn no_file_is_named_mod_or_for_nothing_in_particular() {
    let bad = ["mod", "utils", "util", "helpers", "common", "misc"];
    let names: Vec<String> = files().into_iter().map(|(file, _)| file).collect();
    let stem = |file: &str| Path::new(file).file_stem().unwrap().to_str().unwrap().to_owned();
    let wrong: Vec<&String> = names.iter().filter(|file| bad.contains(&stem(file).as_str())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent: Vec<String> =
        files().into_iter().filter(|(_, text)| !text.starts_with("//! ")).map(|(file, _)| file).collect();
    assert!(silent.is_empty(), "{silent:?}");
}

#[test]
fn tests_do_not_sleep() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let sleeping: Vec<PathBuf> = sources(&tests)
        .into_iter()
        .filter(|path| !path.ends_with("support.rs") && !path.ends_with("architecture.rs"))
        .filter(|path| fs::read_to_string(path).unwrap().contains("sleep("))
        .collect();
    assert!(sleeping.is_empty(), "wait for what should happen instead: {sleeping:?}");
}

#[test]
fn the_import_reader_sees_lists_and_single_names() {
    let text = "use crate::{api::{Api, error::x}, domain};\n// crate::http\nlet x = crate::runtime::y;";
    let seen = named_modules(text);
    assert_eq!(seen.iter().map(String::as_str).collect::<Vec<_>>(), ["api", "domain", "runtime"]);
}
