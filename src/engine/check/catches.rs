//! Lints of the ways out of a failure: classes that nothing can catch, and entries that an earlier one leaves nothing to.

use std::collections::BTreeSet;

use super::outline::{Outline, hinted};
use crate::{
    domain::{
        failure::FailureClass,
        finding::{Code, Finding},
    },
    engine::retry::ends_the_run,
};

/// All of them.
pub(super) fn lint(outline: &Outline<'_>) -> Vec<Finding> {
    (0..outline.nodes.len()).flat_map(|at| lint_task(outline, at)).collect()
}

fn lint_task(outline: &Outline<'_>, at: usize) -> Vec<Finding> {
    let transition = &outline.nodes[at].task.transition;
    let mut found = Vec::new();
    let (mut caught, mut catches_all) = (BTreeSet::new(), None);
    for (entry, catch) in transition.catch.iter().enumerate() {
        let field = format!("transition/catch/{entry}");
        let classes: Vec<Option<FailureClass>> = catch.errors.iter().map(|name| FailureClass::parse(name)).collect();
        for (place, class) in classes.iter().enumerate() {
            if let Some(class) = class.filter(|class| ends_the_run(*class)) {
                let message = format!("failures of class {} end the run: nothing catches them", class.as_str());
                let field = format!("{field}/errors/{place}");
                found.push(outline.warning(at, Code::UnusedField, &field, message));
            }
        }
        let names: Vec<&str> = classes.iter().flatten().map(|class| class.as_str()).collect();
        let is_taken =
            !classes.is_empty() && names.len() == classes.len() && names.iter().all(|class| caught.contains(class));
        if let Some(earlier) = catches_all {
            let message = format!("catch {} is never taken: catch {earlier} takes all classes", entry + 1);
            let finding = outline.warning(at, Code::DeadBranch, &field, message);
            found.push(hinted(finding, "put the entry without 'errors' last"));
        } else if is_taken {
            let message = format!("catch {} is never taken: those before it take all its classes", entry + 1);
            let finding = outline.warning(at, Code::DeadBranch, &field, message);
            found.push(hinted(finding, "the first entry that fits counts; remove one"));
        }
        caught.extend(names);
        catches_all = catches_all.or(classes.is_empty().then_some(entry + 1));
    }
    if let Some(entry) = catches_all.filter(|_| !transition.on_failure.is_empty()) {
        let message = format!("'on_failure' has no effect: catch {entry} takes all classes before it");
        found.push(outline.warning(at, Code::UnusedField, "transition/on_failure", message));
    }
    found
}
