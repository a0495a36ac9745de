//! Faults on purpose: named stages of every actor and of every call, at which a test has a panic or an error happen
//! (`tests/failpoints.rs`; `docs/operations.md`, supervision). They are there with the feature `faults` only: without it
//! `fault!` is nothing at all.

#[cfg(feature = "faults")]
mod set;

#[cfg(feature = "faults")]
pub use self::set::{Fault, Kind, Set, meet};

/// A stage at which a fault may be set: it panics there, or returns the fault as an error. `of`: the backend or the pool,
/// where there are several of the kind.
/// - `fault!("name")`, `fault!("name", of)` in a function that returns a `Result`;
/// - `fault!("name", of, else |fault| expression)` in any other: what it returns for an error;
/// - `fault!(before message => stage, of)`, `fault!(after stage, of)` around what an actor does about a message.
macro_rules! fault {
    (before $message:expr => $stage:ident $(, $of:expr)?) => {
        #[cfg(feature = "faults")]
        let $stage: &'static str = (&$message).into();
        #[cfg(feature = "faults")]
        $crate::faults::meet($stage, $crate::faults::fault!(@of $($of)?))?;
    };
    (after $stage:ident $(, $of:expr)?) => {
        #[cfg(feature = "faults")]
        $crate::faults::meet(&format!("{}.done", $stage), $crate::faults::fault!(@of $($of)?))?;
    };
    ($stage:literal, else |$fault:pat_param| $($returned:expr)?) => {
        #[cfg(feature = "faults")]
        if let Err($fault) = $crate::faults::meet($stage, "") {
            return $($returned)?;
        }
    };
    ($stage:literal, $of:expr, else |$fault:pat_param| $($returned:expr)?) => {
        #[cfg(feature = "faults")]
        if let Err($fault) = $crate::faults::meet($stage, $of.as_str()) {
            return $($returned)?;
        }
    };
    ($stage:literal $(, $of:expr)?) => {
        #[cfg(feature = "faults")]
        $crate::faults::meet($stage, $crate::faults::fault!(@of $($of)?))?;
    };
    (@of) => { "" };
    (@of $of:expr) => { $of.as_str() };
}
pub(crate) use fault;
