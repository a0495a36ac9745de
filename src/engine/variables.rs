//! The variables of a run, and their view for templates (`docs/workflow-spec.md`, variables).

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use crate::{
    domain::value::Value,
    engine::template::{RUN_BUDGET, Template, TemplateData, TemplateValue, to_template},
};

/// The names the engine sets.
pub(crate) const INPUT: &str = "input";
pub(crate) const PREVIOUS_OUTPUT: &str = "previous_output";
pub(crate) const LAST_ERROR: &str = "last_error";

/// All variables. Templates see them converted; each value is converted once at most, and only for a template.
#[derive(Debug)]
pub(crate) struct Variables {
    values: BTreeMap<Arc<str>, Arc<Variable>>,
    /// As of the last rendering.
    data: Arc<TemplateData>,
    /// Set since.
    stale: Vec<Arc<str>>,
    /// What renderings may still cost.
    budget: usize,
}

#[derive(Debug)]
struct Variable {
    value: Value,
    converted: OnceLock<TemplateValue>,
}

impl Default for Variables {
    fn default() -> Self {
        Self { values: BTreeMap::new(), data: Arc::default(), stale: Vec::new(), budget: RUN_BUDGET }
    }
}

impl Variables {
    /// Sets all these names to one value.
    pub(crate) fn set(&mut self, names: &[&Arc<str>], value: Value) {
        let variable = Arc::new(Variable { value, converted: OnceLock::new() });
        for name in names {
            self.values.insert(Arc::clone(name), Arc::clone(&variable));
            self.stale.push(Arc::clone(name));
        }
    }

    /// The value of a variable, if it was ever set.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name).map(|variable| &variable.value)
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
                    let value = variable.converted.get_or_init(|| to_template(&variable.value)).clone();
                    data.insert(name, value);
                }
            }
        }
        template.render(&self.data, &mut self.budget)
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
        variables.set(&[&a, &b], Value::Int(1));
        assert_eq!(variables.render(&template).as_deref(), Ok("1 1"));
        variables.set(&[&a], Value::string("x"));
        assert_eq!(variables.render(&template).as_deref(), Ok("x 1"));
        assert_eq!((variables.get("a"), variables.get("c")), (Some(&Value::string("x")), None));
    }
}
