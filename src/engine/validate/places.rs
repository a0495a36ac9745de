//! Checks of where the calls of a chain may go: the labels it requires of backends. A task only ever adds to what the chain
//! requires (`docs/workflow-spec.md`, where tasks may go).

use std::{collections::BTreeMap, sync::Arc};

use super::Check;
use crate::engine::finding::Code;

/// Labels one object may require. Every task carries those of the chain, so they are few and short.
const MOST_LABELS: usize = 16;
/// Bytes of a label's name, and of its value.
const LONGEST_LABEL: usize = 255;

impl Check<'_> {
    /// The labels of one object.
    pub(super) fn labels(&mut self, field: &str, written: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        if written.len() > MOST_LABELS {
            let message =
                format!("{} has {} labels, the most is {MOST_LABELS}", field.replace('/', "."), written.len());
            self.find(Code::BadRange, field, message);
            return BTreeMap::new();
        }
        for (label, value) in written {
            let place = format!("{field}/{}", pointer_step(label));
            if label.trim().is_empty() || value.trim().is_empty() {
                let message =
                    format!("label '{label}' is required as '{value}': both need a text, such as zone: on-prem");
                self.find(Code::MissingField, &place, message);
            } else if label.len() > LONGEST_LABEL || value.len() > LONGEST_LABEL {
                let message = format!("the label or its value is longer than {LONGEST_LABEL} bytes");
                self.find(Code::BadRange, field, message);
            }
        }
        written.clone()
    }

    /// The labels of the task being looked at and of the chain.
    pub(super) fn required(&mut self, own: &BTreeMap<String, String>) -> Arc<BTreeMap<String, String>> {
        const FIELD: &str = "execute_config/require";
        if own.is_empty() {
            return Arc::clone(&self.require);
        }
        let own = self.labels(FIELD, own);
        let mut all = BTreeMap::clone(&self.require);
        for (label, value) in own {
            match all.get(&label) {
                Some(of_chain) if *of_chain != value => {
                    let message = format!(
                        "the task requires label '{label}' as '{value}' and the chain as '{of_chain}': no backend has both"
                    );
                    self.find(Code::Contradiction, &format!("{FIELD}/{}", pointer_step(&label)), message);
                }
                _ => {
                    all.insert(label, value);
                }
            }
        }
        Arc::new(all)
    }
}

/// A name as one step of a JSON Pointer.
fn pointer_step(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        domain::{
            chain::Chain,
            route::{Capability, RouteTarget},
        },
        engine::validate::{compile, validate},
    };

    fn chain(require: Value, config: Value) -> Chain {
        let asks = json!({"id": "a", "handler": "raw_string", "execute_config": config,
            "transition": {"branches": [{"operator": "default", "goto": "b"}]}});
        let other = json!({"id": "b", "handler": "embedding", "transition": {"branches": [{"goto": "end"}]}});
        serde_json::from_value(json!({"tasks": [asks, other], "require": require})).expect("a chain")
    }

    fn labels(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_the_chain_requires_binds_every_task_and_a_task_adds_to_it() {
        let config = json!({"model": "m", "fallback_models": ["n"], "pool": " night shift ", "require": {"gpu": "big", "zone": "home"}});
        let program = compile(&chain(json!({"zone": "home", "floor": 7}), config)).expect("a program");
        let [asks, other] = &program.steps[..] else { panic!("two steps") };
        for choice in [0, 1] {
            let route = asks.model.route(choice, Capability::Prompt, &program, None);
            assert_eq!(route.require, labels(&[("floor", "7"), ("gpu", "big"), ("zone", "home")]));
            assert!(route.targets.iter().all(|target| target.pool.as_deref() == Some("night shift")), "{route:?}");
        }
        let route = other.model.route(0, Capability::Embed, &program, None);
        assert_eq!((route.require, route.targets), (labels(&[("floor", "7"), ("zone", "home")]), vec![]));
        let program = compile(&chain(json!({}), json!({"pool": "p"}))).expect("a program");
        let mut route = program.steps[0].model.route(0, Capability::Chat, &program, None);
        let in_pool = |model: Option<&str>| RouteTarget {
            model: model.map(str::to_owned),
            pool: Some("p".to_owned()),
            ..RouteTarget::default()
        };
        assert_eq!(route.targets, [in_pool(None)], "the default model, in that pool");
        route.prefer("m".to_owned());
        assert_eq!(route.targets, [in_pool(Some("m"))], "a model that the conversation wants stays in the pool");
    }

    #[test]
    fn a_task_that_excludes_what_the_chain_requires_is_an_error_and_so_are_empty_and_many_labels() {
        let many: Value = (0..17).map(|at| (format!("l{at}"), json!("x"))).collect();
        for (require, config, code, path) in [
            (
                json!({"a/b": "home"}),
                json!({"a/b": "abroad"}),
                Code::Contradiction,
                "/tasks/0/execute_config/require/a~1b",
            ),
            (
                json!({"zone": "home"}),
                json!({"zone": "Home"}),
                Code::Contradiction,
                "/tasks/0/execute_config/require/zone",
            ),
            (json!({}), json!({"zone": " "}), Code::MissingField, "/tasks/0/execute_config/require/zone"),
            (json!({"": "home"}), json!({}), Code::MissingField, "/require/"),
            (json!({}), many.clone(), Code::BadRange, "/tasks/0/execute_config/require"),
            (many, json!({}), Code::BadRange, "/require"),
            (json!({"zone": "x".repeat(256)}), json!({}), Code::BadRange, "/require"),
        ] {
            let chain = chain(require, json!({"require": config}));
            let found: Vec<_> = validate(&chain).into_iter().map(|finding| (finding.code, finding.path)).collect();
            assert_eq!(found, [(code, path.to_owned())]);
            assert!(compile(&chain).is_err());
        }
    }
}
