//! The chain machine: checks chains, compiles them, runs them.
//!
//! It does no I/O, reads no clock and draws no random numbers: a [`Machine`] is fed events and returns effects, so the
//! same code runs in the server, in tests and in benches. The language is described in `docs/workflow-spec.md`.
//!
//! The life of a run: [`compile`] makes a [`Program`] of a chain, or tells everything that is wrong with it;
//! [`Machine::start`] executes tasks until one must ask somebody ([`Effect`]); each [`Event`] takes it further, to
//! [`Effect::Finish`].

pub mod tokens;

mod answer_stream;
mod check;
mod command;
mod completion;
mod compose;
mod condition;
mod duration;
mod form;
mod golden;
mod graph;
mod handler;
mod hook;
mod json_reply;
mod machine;
mod number;
mod path;
mod program;
mod published_schema;
mod reply;
mod retry;
mod schema;
mod state;
mod streamed;
mod suggest;
mod task_error;
mod template;
mod transition;
mod validate;
mod variables;

use crate::domain::finding;
pub use answer_stream::AnswerStream;
pub use check::{Checked, MOST_FINDINGS, Written, check, check_chain, check_request};
pub use finding::{Code, Finding, InvalidChain, Severity};
pub use graph::mermaid;
pub use hook::HookInvocation;
pub use machine::{
    CurrentAttempt, Effect, EngineSettings, Event, MAX_STEPS, Machine, RaisedAlert, RunFailure, RunInfo, RunOutcome,
    StepId, StreamWish, StreamedReply,
};
pub use program::Program;
pub use published_schema::{chain_schema, request_schema};
pub use reply::answer as answer_in;
pub use state::{StateError, StateUnit, visited};
pub use suggest::did_you_mean;
pub use validate::{MAX_TASKS, compile, validate};
