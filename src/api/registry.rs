//! What a chain names and this server does not have: hooks and models. Warnings only, for either may come before the chain
//! runs (`docs/workflow-spec.md`, validation).

use std::collections::{BTreeSet, HashMap};

use super::Api;
use crate::{
    domain::{
        chain::Chain,
        model::{normalised, same_model},
        provider::ProviderKind,
    },
    engine::{Code, Finding, Severity, did_you_mean},
    runtime::directory::BackendView,
};

/// Models of one chain that are looked for.
const MOST_MODELS: usize = 500;

/// Findings whose paths are canonical pointers into the chain.
pub(super) async fn missing(api: &Api, chain: &Chain) -> Vec<Finding> {
    let mut found = Vec::new();
    missing_models(api, chain, &mut found);
    missing_pools(api, chain, &mut found);
    if chain.tasks.iter().any(|task| task.hook.is_some())
        && let Ok(names) = api.store.hook_names().await
    {
        missing_hooks(chain, &names, &mut found);
    }
    found
}

fn missing_hooks(chain: &Chain, names: &[String], found: &mut Vec<Finding>) {
    let known: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    for (at, task) in chain.tasks.iter().enumerate().filter(|(_, task)| task.handler.trim() == "hook") {
        let Some(hook) = task.hook.as_ref().filter(|hook| !hook.name.trim().is_empty()) else { continue };
        if !known.contains(hook.name.as_str()) && found.len() < MOST_MODELS {
            let hint = did_you_mean(&hook.name, known.iter().copied())
                .unwrap_or_else(|| "register it with POST /hooks/remote".to_owned());
            let message = format!("this server has no hook named '{}'", hook.name);
            found.push(warning(chain, at, Code::UnknownHook, "hook/name", message, hint));
        }
    }
}

fn missing_pools(api: &Api, chain: &Chain, found: &mut Vec<Finding>) {
    let directory = &api.runtime.directory;
    for (at, task) in chain.tasks.iter().enumerate() {
        let wanted = task.execute_config.pool.trim();
        if !wanted.is_empty() && directory.pool_named(wanted).is_none() && found.len() < MOST_MODELS {
            let pools = directory.pools();
            let names: Vec<String> = pools.iter().map(|cell| cell.table().pool.name.clone()).collect();
            let hint = did_you_mean(wanted, names.iter().map(String::as_str));
            let hint = hint.unwrap_or_else(|| "GET /pools lists the pools of this server".to_owned());
            let message =
                format!("this server has no pool '{}', by id or by name", wanted.chars().take(100).collect::<String>());
            found.push(warning(chain, at, Code::UnknownPool, "execute_config/pool", message, hint));
        }
    }
}

fn missing_models(api: &Api, chain: &Chain, found: &mut Vec<Finding>) {
    let views: Vec<_> = api.runtime.directory.backends().values().map(|cell| cell.view()).collect();
    let mut looked: HashMap<(String, Vec<ProviderKind>), bool> = HashMap::new();
    for (at, task) in chain.tasks.iter().enumerate() {
        let config = &task.execute_config;
        let named = |names: &[String]| names.iter().filter_map(|name| ProviderKind::parse(name)).collect::<Vec<_>>();
        let mut kinds = named(std::slice::from_ref(&config.provider));
        kinds.extend(named(&config.providers));
        let first = std::iter::once(("execute_config/model".to_owned(), &config.model, kinds.clone()));
        let more = config.models.iter().enumerate();
        let more = more.map(|(nth, name)| (format!("execute_config/models/{nth}"), name, kinds.clone()));
        let last = config.fallback_models.iter().enumerate().map(|(nth, fallback)| {
            let kinds = named(std::slice::from_ref(&fallback.provider));
            (format!("execute_config/fallback_models/{nth}"), &fallback.model, kinds)
        });
        // The name is only shown there.
        let shows_only = task.handler.trim() == "convert_to_openai_chat_response";
        for (field, name, kinds) in first.chain(more).chain(last).filter(|(_, name, _)| !name.trim().is_empty()) {
            if shows_only || looked.len() >= MOST_MODELS {
                break;
            }
            let wanted = (name.clone(), kinds);
            let has = |view: &BackendView| may_serve(view, &wanted.1) && knows(view, name);
            let is_there = *looked.entry(wanted.clone()).or_insert_with(|| views.iter().any(|view| has(view)));
            if !is_there {
                let elsewhere = views.iter().any(|view| knows(view, name));
                let hint = if elsewhere {
                    "it is on backends of another kind: name their 'provider'".to_owned()
                } else {
                    let models = views.iter().flat_map(|view| view.observed.iter().map(|model| model.name.as_str()));
                    did_you_mean(name, models)
                        .unwrap_or_else(|| "GET /state lists the models of each backend".to_owned())
                };
                let which = if wanted.1.is_empty() { "local backend" } else { "backend of the named kinds" };
                let message = format!("no {which} of this server has the model '{name}'");
                found.push(warning(chain, at, Code::UnknownModel, &field, message, hint));
            }
        }
    }
}

/// Nothing goes to a cloud unless its kind is named (`docs/api.md`, routing).
fn may_serve(view: &BackendView, kinds: &[ProviderKind]) -> bool {
    if kinds.is_empty() { !view.backend.is_cloud() } else { kinds.contains(&view.backend.kind) }
}

fn knows(view: &BackendView, name: &str) -> bool {
    let observed = view.observed.iter().map(|model| model.name.as_str());
    let mut all = view.models.iter().map(String::as_str).chain(observed);
    all.any(|known| same_model(known, name) || normalised(known) == normalised(name))
}

fn warning(chain: &Chain, at: usize, code: Code, field: &str, message: String, hint: String) -> Finding {
    Finding {
        severity: Severity::Warning,
        code,
        message,
        path: format!("/tasks/{at}/{field}"),
        line: None,
        column: None,
        hint: Some(hint),
        task: chain.tasks.get(at).map(|task| task.id.clone()),
    }
}
