//! The faults that a test has set, and what happens to whoever comes to a stage.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

/// What happens at a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A bug.
    Panic,
    /// An error that is returned: in an actor it means "restart me".
    Error,
}

/// A fault that was met, as an error.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a fault was set at {0}")]
pub struct Fault(String);

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

thread_local! {
    /// The faults that are set on this thread: a server that runs on one thread meets its own and nobody else's.
    static SET: RefCell<Vec<Rc<Plan>>> = const { RefCell::new(Vec::new()) };
}

struct Plan {
    stage: String,
    /// Empty: whoever comes there.
    of: String,
    kind: Kind,
    /// Who comes this often first meets nothing.
    after: u32,
    times: u32,
    passes: Cell<u32>,
}

/// A fault that is set for as long as this lives.
#[must_use = "it is taken back when this is dropped"]
pub struct Set(Rc<Plan>);

impl Set {
    /// Sets a fault at a stage, for whoever comes there after the first `after`, `times` times.
    pub fn at(stage: &str, of: &str, kind: Kind, after: u32, times: u32) -> Self {
        let (stage, of) = (stage.to_owned(), of.to_owned());
        let plan = Rc::new(Plan { stage, of, kind, after, times, passes: Cell::new(0) });
        SET.with_borrow_mut(|set| set.push(Rc::clone(&plan)));
        Self(plan)
    }

    /// How often it has happened.
    pub fn happened(&self) -> u32 {
        self.0.passes.get().saturating_sub(self.0.after).min(self.0.times)
    }
}

impl Drop for Set {
    fn drop(&mut self) {
        SET.with_borrow_mut(|set| set.retain(|plan| !Rc::ptr_eq(plan, &self.0)));
    }
}

/// Comes to a stage.
///
/// # Errors
/// The fault that is set there.
///
/// # Panics
/// Where the fault is a panic.
pub fn meet(stage: &str, of: &str) -> Result<(), Fault> {
    let is_here = |plan: &Rc<Plan>| plan.stage == stage && (plan.of.is_empty() || plan.of == of);
    let Some(plan) = SET.with_borrow(|set| set.iter().find(|plan| is_here(plan)).cloned()) else { return Ok(()) };
    let pass = plan.passes.replace(plan.passes.get().saturating_add(1));
    if pass < plan.after || pass - plan.after >= plan.times {
        return Ok(());
    }
    match plan.kind {
        #[expect(clippy::panic, reason = "a bug on purpose")]
        Kind::Panic => panic!("a fault was set at {stage}"),
        Kind::Error => Err(Fault(stage.to_owned())),
    }
}
