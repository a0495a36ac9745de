//! What the actor's state does with messages, without an actor.

use std::time::Duration;

use super::{
    probe::{Sight, Unseen},
    *,
};
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
            events: EventsHandle::vacant(crate::runtime::peers::Peers::alone()),
            feed: Feed::new(crate::domain::ids::InstanceId::new("me")),
            model_sync: ModelSync::Additive,
            duty: crate::runtime::duty::SyncDuty::alone(),
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

#[tokio::test]
async fn what_tasks_of_a_former_life_report_changes_nothing() {
    let mut state = state();
    state.generation = 2;
    state.goal.declared = vec![DeclaredModel { name: "m".to_owned(), since: Timestamp::ZERO }];
    state.downloads.queue(state.goal.declared.clone(), Timestamp::ZERO, Instant::now());
    assert!(state.downloads.start_next().is_some());
    let former = |number: u64| TaskName { generation: 1, number };
    state.publish();
    state.on_probe(former(state.probe_number), Ok(Sight { models: vec![ObservedModel::named("old")], load: None }));
    state.on_probe_due(former(state.probe_number));
    state.on_look_due(former(state.look_number));
    state.on_download(1, "m", Ok(()));
    let view = state.cell.view();
    assert_eq!((view.observed.len(), &view.health), (0, &Health::Unknown));
    assert_eq!((state.is_probing, state.look_number), (false, 0));
    assert_eq!(state.downloads.running_model(), Some("m"));
    assert_eq!(state.deps.tasks.len(), 0, "nothing was begun");
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_answers_calls_is_not_given_up_for_a_late_probe() {
    let mut state = state();
    let late = || Err(Unseen { words: "late".to_owned(), is_late: true });
    let gone = || Err(Unseen::from("gone".to_owned()));
    let answered = |state: &BackendState| {
        let mut entry = state.cell.access.admit(Way::Usual, || true).unwrap();
        state.cell.access.answered(&mut entry, Duration::ZERO, 1);
    };
    let mut looked = async |outcome: ProbeOutcome, answers: bool| {
        state.health = Health::Healthy;
        state.probed_at = Some(Instant::now());
        tokio::time::advance(Duration::from_secs(4)).await;
        if answers {
            answered(&state);
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        state.on_probe(state.probe_name(), outcome);
        state.health.clone()
    };
    assert_eq!(looked(late(), true).await, Health::Healthy);
    assert_eq!(
        looked(late(), false).await,
        Health::Failing("late".to_owned()),
        "the last answer came before the probe"
    );
    assert_eq!(looked(gone(), true).await, Health::Failing("gone".to_owned()), "it was told so");
}
