//! What a run leaves behind: its recorded attempts and its alerts.

use std::sync::Arc;

use super::{Effect, Machine, RaisedAlert, Settled};
use crate::{
    domain::{
        failure::FailureClass,
        time::Timestamp,
        value::{DataType, Value},
    },
    engine::{
        program::Step,
        reply,
        state::{StateError, StateUnit},
    },
};

/// Bytes of texts one run records; a loop over a large document would fill the memory.
pub(super) const MOST_RECORDED: usize = 16 * 1024 * 1024;
/// Bytes of each text of an alert: alerts outlive their run, and are made of replies and of what the sender wrote.
const LONGEST_ALERT_TEXT: usize = 4 * 1024;
/// Stands for what is not recorded any more.
const LEFT_OUT: &str = "(left out: the run has recorded too much already)";

impl Machine {
    /// An alert of this task: `about` is why it is raised.
    pub(super) fn alert(&self, step: &Step, message: &str, about: (&str, &str), now: Timestamp) -> Effect {
        let text = |text: &str| reply::within(text, LONGEST_ALERT_TEXT);
        Effect::RaiseAlert(RaisedAlert {
            message: text(message),
            request_id: self.run.request_id.clone(),
            metadata: [("task_id".to_owned(), text(&step.id)), (about.0.to_owned(), text(about.1))].into(),
            timestamp: now,
        })
    }

    /// Adds the attempt that is over to the run's state.
    pub(super) fn record(&mut self, step: &Step, settled: &Settled) {
        let Some(visit) = &mut self.visit else { return };
        visit.recorded = visit.recorded.saturating_add(1);
        let attempt = visit.recorded;
        let input_type = visit.input.data_type();
        let left = &mut self.recordable;
        let debug = self.program.debug;
        let input = if debug { shown(&visit.input, left) } else { String::new() };
        let (output_type, output, transition, error) = match &settled.result {
            Ok((output, value)) => {
                let shown = if debug { shown(output, left) } else { String::new() };
                (output.data_type(), shown, told(&value.text, left), String::new())
            }
            Err(failure) => {
                // Of a hook that answered, the status stands where its transition value would.
                let status = (failure.class == FailureClass::HookError).then_some(failure.status).flatten();
                let transition = status.map_or_else(String::new, |status| status.to_string());
                (DataType::Any, String::new(), transition, told(&failure.message, left))
            }
        };
        let served = settled.served.as_ref();
        self.state.push(StateUnit {
            task_id: Arc::clone(&step.id),
            task_handler: step.handler.as_str(),
            attempt,
            input_type,
            output_type,
            transition,
            duration: settled.elapsed,
            error: StateError { error, class: settled.result.as_ref().err().map(|failure| failure.class) },
            input,
            output,
            backend: served.map(|served| served.backend.clone()),
            model: served.map(|served| served.model.clone()),
            input_tokens: settled.usage.input_tokens,
            output_tokens: settled.usage.output_tokens,
            queue_ms: served.map(|served| served.queue_ms()),
        });
    }
}

/// A value as text, for as long as the run may record more.
fn shown(value: &Value, left: &mut usize) -> String {
    if *left == 0 {
        return LEFT_OUT.to_owned();
    }
    let text = value.debug_text();
    let rest = left.checked_sub(text.len());
    *left = rest.unwrap_or(0);
    if rest.is_some() { text.into_owned() } else { LEFT_OUT.to_owned() }
}

/// A transition value or an error: whole for as long as the run may record more, then only its beginning.
fn told(text: &str, left: &mut usize) -> String {
    let rest = left.checked_sub(text.len());
    *left = rest.unwrap_or(0);
    if rest.is_some() { text.to_owned() } else { reply::excerpt(text) }
}
