//! The chains of `deploy/examples` on a whole server with simulated backends: every case of the `.test.yaml` beside each
//! of them, which together walk every way through it; the same cases without a server, as `penstock chain test` runs them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use loadtest::sim::{Route, Routes, Rule, SimHook};
use penstock::dialect::yaml;
use serde_json::{Map, Value, json};

use crate::support::{Answer, Process, Scene};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples")
}

fn document(path: &Path) -> Value {
    let read = yaml::decode(&fs::read_to_string(path).unwrap()).unwrap();
    assert!(read.repairs.is_empty(), "{path:?}: {:?}", read.repairs);
    read.value
}

/// The names of all chains, without the ending.
fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = files
        .filter_map(|file| file.strip_suffix(".yaml").map(str::to_owned))
        .filter(|name| !name.ends_with(".test"))
        .collect();
    names.sort();
    names
}

/// A chain of the folder, with the server and the hook it runs on.
struct Stage {
    name: String,
    request: Value,
    scene: Scene,
    hook: SimHook,
    /// Walked so far: from which task to which.
    walked: BTreeSet<(String, String)>,
}

fn text<'a>(json: &'a Value, field: &str) -> &'a str {
    json[field].as_str().unwrap_or_default()
}

fn list(json: &Value) -> &[Value] {
    json.as_array().map_or(&[], Vec::as_slice)
}

impl Stage {
    async fn set(name: &str) -> Self {
        let request = document(&folder().join(format!("{name}.yaml")));
        let scene = Scene::start(&[]).await;
        let hook = SimHook::start().await.unwrap();
        for task in list(&request["chain"]["tasks"]).iter().filter(|task| task["handler"] == "hook") {
            let body =
                json!({"name": task["hook"]["name"], "endpointUrl": hook.url(), "method": "POST", "timeoutMs": 5000});
            scene.server.post("/hooks/remote", body).await.expect(201);
        }
        Self { name: name.to_owned(), request, scene, hook, walked: BTreeSet::new() }
    }

    /// Where tasks may go, by what the file says.
    fn ways(&self) -> BTreeSet<(String, String)> {
        let mut ways = BTreeSet::new();
        for task in list(&self.request["chain"]["tasks"]) {
            let transition = &task["transition"];
            let mut goes = |target: &str| {
                let target = if target.is_empty() { "end" } else { target };
                ways.insert((text(task, "id").to_owned(), target.to_owned()));
            };
            list(&transition["branches"]).iter().for_each(|branch| goes(text(branch, "goto")));
            list(&transition["catch"]).iter().for_each(|catch| goes(text(catch, "goto")));
            if !text(transition, "on_failure").is_empty() {
                goes(text(transition, "on_failure"));
            }
        }
        ways
    }

    fn is_hook(&self, id: &str) -> bool {
        list(&self.request["chain"]["tasks"]).iter().any(|task| task["id"] == id && task["handler"] == "hook")
    }

    /// What the servers answer, in the order in which a run of this path asks.
    fn script(&self, case: &Value, path: &[&str]) {
        self.scene.sim.clear_script();
        self.hook.clear_script();
        let mut mocks: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for (task, mock) in case["mocks"].as_object().into_iter().flatten() {
            mocks.insert(task, mock.as_array().map_or_else(|| vec![mock], |list| list.iter().collect()));
        }
        for id in path {
            let visits_left = path.iter().filter(|task| *task == id).count();
            let Some(replies) = mocks.get_mut(id) else { continue };
            // A list holds an answer for each call: when there are more than visits, they are attempts of one visit.
            let now = if visits_left > 1 { 1.min(replies.len()) } else { replies.len() };
            for reply in replies.drain(..now) {
                if self.is_hook(id) {
                    let rule = Rule::on(Routes::from(Route::Hook)).times(1);
                    self.hook.script(rule.body(reply.to_string()));
                } else {
                    self.scene.sim.script(model_rule(reply));
                }
            }
        }
    }

    async fn run(&mut self, case: &Value) {
        let about = format!("{}: {}", self.name, text(case, "name"));
        let path: Vec<&str> = list(&case["expect"]["path"]).iter().map(|id| id.as_str().unwrap()).collect();
        self.script(case, &path);
        let mut request = self.request.clone();
        for field in ["input", "inputType"] {
            if let Some(given) = case.get(field) {
                request[field] = given.clone();
            }
        }
        let answer = self.scene.server.post("/tasks", request).await;
        assert_eq!(visited(&answer), path, "{about}: {}", answer.text);
        let expected = &case["expect"];
        match expected.get("error") {
            Some(error) => {
                let told = answer.error();
                let task = text(error, "task");
                assert!(answer.status >= 500 && told.starts_with(&format!("task {task}:")), "{about}: {}", answer.text);
            }
            None => {
                assert_eq!(answer.status, 200, "{about}: {}", answer.text);
                if let Some(output) = expected.get("output") {
                    assert_eq!(&answer.json()["output"], output, "{about}");
                }
            }
        }
        let then = path.iter().skip(1).copied().chain((answer.status == 200).then_some("end"));
        self.walked.extend(path.iter().zip(then).map(|(from, to)| ((*from).to_owned(), to.to_owned())));
    }
}

/// The tasks that were executed; attempts after a failed one of the same task do not count.
fn visited(answer: &Answer) -> Vec<String> {
    let state = answer.json()["state"].clone();
    let mut path: Vec<String> = Vec::new();
    let mut failed: Option<String> = None;
    for unit in list(&state) {
        let id = text(unit, "taskID").to_owned();
        if failed.as_ref() != Some(&id) {
            path.push(id.clone());
        }
        failed = (!text(&unit["error"], "error").is_empty()).then_some(id);
    }
    path
}

/// One answer of the simulated model.
fn model_rule(reply: &Value) -> Rule {
    let rule = Rule::on([Route::Generate, Route::Chat]).times(1);
    match (reply.as_str(), text(&reply["fail"], "class")) {
        (Some(said), _) => rule.reply(said),
        (None, "rate_limit") => rule.status(429),
        (None, "server_error") => rule.status(500),
        (None, "connection") => rule.close_before_headers(),
        (None, class) => panic!("no simulated backend fails with {class:?}"),
    }
}

#[tokio::test]
async fn every_example_goes_the_ways_its_cases_say_and_they_walk_all_of_it() {
    for name in names() {
        let cases = document(&folder().join(format!("{name}.test.yaml")));
        let mut stage = Stage::set(&name).await;
        assert!(list(&cases["cases"]).len() > 1, "{name} has cases");
        for case in list(&cases["cases"]) {
            stage.run(case).await;
        }
        let not_walked: Vec<_> = stage.ways().difference(&stage.walked).cloned().collect();
        assert!(not_walked.is_empty(), "{name}: no case walks {not_walked:?}");
    }
}

#[test]
fn the_picture_in_the_readme_is_that_of_its_chain() {
    let document = document(&folder().join("sky_question.yaml"));
    let chain = penstock::dialect::loose::from_value(document["chain"].clone()).unwrap();
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let picture = format!("```mermaid\n{}\n```", penstock::engine::mermaid(&chain).trim());
    assert!(readme.contains(&picture), "README.md should hold\n{picture}");
}

#[tokio::test]
async fn every_example_passes_its_cases_without_a_server_too() {
    for name in names() {
        let file = folder().join(format!("{name}.yaml"));
        let mut process = Process::spawn(&["chain", "test", file.to_str().unwrap()], &[]);
        let status = process.ended().await;
        assert!(status.success(), "{name}: {status}\n{}{}", process.stdout(), process.log());
    }
}

#[tokio::test]
async fn every_example_is_accepted_as_it_lies_there_without_a_warning() {
    let Scene { server, sim, .. } = Scene::start(&[]).await;
    for name in names() {
        let findings = penstock::engine::check(&document(&folder().join(format!("{name}.yaml")))).findings;
        assert!(findings.is_empty(), "{name}: {findings:?}");
        let file = fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
        sim.script(Rule::on([Route::Generate, Route::Chat]).reply("7"));
        let answer = server.post_as("/tasks", "application/yaml", file).await;
        assert_ne!(answer.status, 400, "{name}: {}", answer.text);
        assert_eq!(answer.header("x-penstock-warning"), "", "{name}");
        let request: Map<String, Value> = document(&folder().join(format!("{name}.yaml"))).as_object().unwrap().clone();
        assert!(request.contains_key("input") && request.contains_key("inputType"), "{name} can be posted as it is");
    }
}
