//! What the actor does with what its calls and probes tell of the load: the limit of its slots follows.

use super::{
    BackendState,
    limiter::{CallSample, Limiter},
};
use crate::{domain::load::LoadSignal, runtime::feed::Happening};

impl BackendState {
    /// A call has been answered.
    pub(super) fn on_call_ended(&mut self, sample: CallSample) {
        self.learn(|limiter| limiter.on_answer(sample));
    }

    /// The backend refused a call because it has too much to do.
    pub(super) fn on_call_refused(&mut self, in_flight: u16) {
        self.learn(|limiter| limiter.on_refusal(in_flight));
    }

    /// The backend told how busy it is.
    pub(super) fn on_load(&mut self, signal: LoadSignal) {
        let in_flight = self.cell.slots().in_use;
        self.learn(|limiter| limiter.on_load(signal, in_flight));
    }

    /// It is another server now.
    pub(super) fn forget_limit(&mut self) {
        self.learn(|limiter| {
            *limiter = Limiter::new();
            Some(limiter.limit())
        });
    }

    fn learn(&mut self, of: impl FnOnce(&mut Limiter) -> Option<u16>) {
        if !self.cell.finds_limit() {
            return;
        }
        let before = self.limiter.limit();
        let Some(limit) = of(&mut self.limiter) else { return };
        let meters = &self.cell.meters;
        if limit > before { &meters.limit_up } else { &meters.limit_down }.increment(1);
        self.tell(|backend| Happening::Limit { backend, before, limit });
        tracing::debug!(backend = %self.goal.backend.id, before, limit, "the limit of calls at once is another one now");
        self.cell.set_found_limit(limit);
    }
}
