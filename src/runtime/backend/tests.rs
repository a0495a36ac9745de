//! What the actor's state does with messages, without an actor.

use super::*;
use crate::{domain::model::ObservedModel, providers::TransportConfig};

fn state() -> BackendState {
    // Whichever test comes first installs it.
    drop(rustls::crypto::ring::default_provider().install_default());
    let patience = Duration::from_secs(1);
    let timeouts = TransportConfig { connect: patience, first_byte: patience, idle: patience, total: patience };
    BackendState::new(BackendArgs {
        cell: BackendCell::new(sample(), TaskTracker::new()),
        goal: BackendGoal { backend: sample(), api_key: None, in_pool: true, declared: Vec::new() },
        generation: 1,
        deps: BackendDeps {
            transport: Transport::new(timeouts).unwrap(),
            events: EventsHandle::vacant(),
            model_sync: ModelSync::Additive,
            tasks: TaskTracker::new(),
        },
    })
}

#[test]
fn what_a_probe_saw_before_the_backend_left_its_pools_is_not_believed() {
    let mut state = state();
    let probe = state.probe_name();
    state.adopt(BackendGoal { in_pool: false, ..state.goal.clone() });
    state.on_probe(probe, Ok(Sight { models: vec![ObservedModel::named("late")], load: None }));
    let view = state.cell.view();
    assert_eq!((view.observed.len(), &view.health), (0, &Health::Unknown));
}
