//! The variables of a run, and their view for templates (`docs/workflow-spec.md`, variables).

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use crate::{
    domain::value::Value,
    engine::{
        path::{Path, evaluate},
        task_error::TaskError,
        template::{RUN_BUDGET, Template, TemplateData, TemplateValue, error_to_template, to_template},
        transition::Evaluation,
    },
};

/// The names the engine sets.
pub(crate) const INPUT: &str = "input";
pub(crate) const PREVIOUS_OUTPUT: &str = "previous_output";
pub(crate) const LAST_ERROR: &str = "last_error";

/// Bytes that the variables of one run may hold beside its input: a chain of tasks that each render a large input would
/// fill the memory. What templates see of structures may come to as much again.
pub(crate) const MOST_HELD: usize = 64 * 1024 * 1024;

/// All variables. Templates see them converted; each value is converted once at most, and only for a template.
#[derive(Debug)]
pub(crate) struct Variables {
    values: BTreeMap<Arc<str>, Arc<Variable>>,
    /// Bytes of all values; one that has several names counts once.
    held: usize,
    /// As of the last rendering.
    data: Arc<TemplateData>,
    /// Set since.
    stale: Vec<Arc<str>>,
    /// What renderings may still cost.
    budget: usize,
    /// Bytes of everything that was rendered or set.
    work: usize,
}

#[derive(Debug)]
struct Variable {
    value: Value,
    /// What it is besides its text.
    error: Option<TaskError>,
    bytes: usize,
    converted: OnceLock<TemplateValue>,
}

impl Default for Variables {
    fn default() -> Self {
        Self { values: BTreeMap::new(), held: 0, data: Arc::default(), stale: Vec::new(), budget: RUN_BUDGET, work: 0 }
    }
}

impl Variables {
    /// Sets what is bounded elsewhere and does not count here: the run's input, the text of an error.
    pub(crate) fn put(&mut self, name: &Arc<str>, value: Value) {
        self.assign(&[name], Arc::new(Variable { value, error: None, bytes: 0, converted: OnceLock::new() }));
    }

    /// Sets a failure, likewise: as text its message, with fields for those who ask.
    pub(crate) fn put_error(&mut self, names: &[&Arc<str>], error: TaskError) {
        let value = Value::String(Arc::clone(&error.message));
        self.assign(names, Arc::new(Variable { value, error: Some(error), bytes: 0, converted: OnceLock::new() }));
    }

    /// Sets all these names to one value.
    ///
    /// # Errors
    /// A text, when the variables would hold too much; nothing is set then.
    pub(crate) fn set(&mut self, names: &[&Arc<str>], value: Value) -> Result<(), String> {
        let shared = self.values.values().find(|variable| variable.value.shares_with(&value)).map(Arc::clone);
        let variable = match shared {
            Some(variable) => variable,
            None => {
                let bytes = value.extent();
                self.work = self.work.saturating_add(bytes);
                // What it replaces is freed only afterwards.
                if self.held.saturating_add(bytes) > MOST_HELD {
                    return Err(format!("the variables of the run would hold more than {MOST_HELD} bytes"));
                }
                self.held += bytes;
                Arc::new(Variable { value, error: None, bytes, converted: OnceLock::new() })
            }
        };
        self.assign(names, variable);
        Ok(())
    }

    fn assign(&mut self, names: &[&Arc<str>], variable: Arc<Variable>) {
        let data = Arc::make_mut(&mut self.data);
        for name in names {
            data.remove(*name);
            let replaced = self.values.insert(Arc::clone(name), Arc::clone(&variable));
            // Nobody else holds variables, so the last name to go frees the value.
            self.held -= replaced.and_then(Arc::into_inner).map_or(0, |freed| freed.bytes);
            self.stale.push(Arc::clone(name));
        }
    }

    /// The value of a variable, if it was ever set.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|variable| &variable.value)
    }

    /// What branches compare of the value at a path.
    pub(crate) fn evaluate(&self, path: &Path) -> Evaluation {
        let (name, segments) = path.split(|name| self.values.contains_key(name));
        match self.values.get(name).map(|variable| (&variable.value, &variable.error)) {
            Some((_, Some(error))) if !segments.is_empty() => evaluate(Some(&Value::json(error.fields())), segments),
            found => evaluate(found.map(|(value, _)| value), segments),
        }
    }

    /// Renders a template over the variables.
    ///
    /// # Errors
    /// What could not be rendered.
    pub(crate) fn render(&mut self, template: &Template) -> Result<String, String> {
        if !self.stale.is_empty() {
            let data = Arc::make_mut(&mut self.data);
            for name in self.stale.drain(..) {
                if let Some(variable) = self.values.get(&name) {
                    let convert = || match &variable.error {
                        Some(error) => error_to_template(error),
                        None => to_template(&variable.value),
                    };
                    let value = variable.converted.get_or_init(convert).clone();
                    data.insert(name, value);
                }
            }
        }
        let before = self.budget;
        let rendered = template.render(&self.data, &mut self.budget);
        self.work = self.work.saturating_add(before - self.budget);
        rendered
    }

    /// Bytes handled so far, for whoever must not work too long at a time.
    pub(crate) const fn work(&self) -> usize {
        self.work
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_see_what_was_set_last() {
        let mut variables = Variables::default();
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        let template = Template::parse("{{.a}} {{.b}}").expect("parses");
        assert_eq!(variables.render(&template).as_deref(), Ok("<no value> <no value>"));
        variables.set(&[&a, &b], Value::Int(1)).expect("fits");
        assert_eq!(variables.render(&template).as_deref(), Ok("1 1"));
        variables.set(&[&a], Value::string("x")).expect("fits");
        assert_eq!(variables.render(&template).as_deref(), Ok("x 1"));
        assert_eq!((variables.get("a"), variables.get("c")), (Some(&Value::string("x")), None));
    }

    #[test]
    fn what_is_held_is_bounded_and_counts_once_for_as_long_as_it_has_a_name() {
        let mut variables = Variables::default();
        let names: Vec<Arc<str>> = (0..100).map(|at| at.to_string().into()).collect();
        let large = || Value::string("x".repeat(MOST_HELD / 3));
        let shared = large();
        for name in &names {
            variables.set(&[name], shared.clone()).expect("one value");
        }
        variables.set(&[&names[0]], large()).expect("two values");
        let refused = variables.set(&[&names[1]], large()).expect_err("a third does not fit");
        assert!(refused.contains(&MOST_HELD.to_string()), "{refused}");
        for name in &names[1..] {
            variables.set(&[name], Value::Int(1)).expect("small");
        }
        variables.set(&[&names[1], &names[2]], large()).expect("the shared one is gone");
        assert!(variables.set(&[&names[3]], large()).is_err());
        for name in &names {
            variables.set(&[name], Value::Bool(true)).expect("small");
        }
        assert!(variables.held < 100 * 100, "{}", variables.held);
    }

    #[test]
    fn the_input_and_its_clones_do_not_count() {
        let (mut variables, name) = (Variables::default(), Arc::from("a"));
        let input = Value::string("x".repeat(MOST_HELD + 1));
        variables.put(&INPUT.into(), input.clone());
        variables.set(&[&name], input).expect("shares with the input");
        assert_eq!(variables.held, 0);
    }
}
