//! What every event bus must do, written against the trait alone.
//!
//! An implementation provides a [`Wire`] and calls `bus_suite!(crate::path::to::lay_a_wire)` in its tests; every function
//! below then is one test, on a wire of its own. A function that is missing from the list is dead code.

use std::{sync::Arc, time::Duration};

use crate::{
    domain::{
        cluster::{ClusterEvent, InstanceReport, RunEnd},
        download::DownloadEvent,
        ids::{BackendId, InstanceId, RunId},
    },
    stores::bus::{Bus, Heard, Listening},
};

/// A place where instances meet and others do not.
pub(crate) trait Wire {
    /// The bus of one of them.
    async fn join(&self, name: &str) -> Arc<dyn Bus>;
}

/// All tests of the suite, each on a wire of its own.
macro_rules! bus_suite {
    ($wire:path) => {
        bus_suite! { @tests $wire;
            everybody_else_hears_what_one_tells,
            events_of_one_come_in_their_order,
            nobody_hears_another_cluster,
            every_event_arrives_as_it_was_told,
            what_is_too_large_is_counted_and_harms_nothing,
            who_is_too_slow_is_told_of_the_gap,
        }
    };
    (@tests $wire:path; $($test:ident,)*) => {
        $(
            #[tokio::test]
            async fn $test() {
                // None where what it needs is not installed.
                if let Some(wire) = $wire() {
                    crate::stores::bus_suite::$test(&wire, $wire).await;
                }
            }
        )*
    };
}

fn numbered(number: u64) -> ClusterEvent {
    ClusterEvent::CancelRun { run: RunId::new(number.to_string()), at: None }
}

/// An event like no other.
fn marker() -> ClusterEvent {
    ClusterEvent::CancelRun { run: RunId::random(), at: None }
}

/// The next event that somebody tells.
async fn told(listening: &mut Listening) -> (InstanceId, ClusterEvent) {
    let next = async {
        loop {
            if let Heard::Told(told) = listening.next().await {
                break (told.from.clone(), told.event.clone());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), next).await.expect("something is told")
}

/// Waits until what one tells is heard by the other; what was told for that is over then.
pub(crate) async fn acquainted(teller: &dyn Bus, listening: &mut Listening) {
    let hello = |number: u64| numbered(1_000_000 + number);
    for number in 0..3_000 {
        teller.tell(hello(number));
        let last = tokio::time::timeout(Duration::from_millis(10), told(listening)).await;
        if last.is_ok() {
            // The rest of them, and one that is the last.
            let last = marker();
            teller.tell(last.clone());
            while told(listening).await.1 != last {}
            return;
        }
    }
    panic!("nothing is ever heard");
}

/// Two instances that hear each other.
async fn pair(wire: &impl Wire) -> (Arc<dyn Bus>, Arc<dyn Bus>, Listening, Listening) {
    let (one, other) = (wire.join("one").await, wire.join("other").await);
    let (mut hears_other, mut hears_one) = (one.listen(), other.listen());
    acquainted(&*one, &mut hears_one).await;
    acquainted(&*other, &mut hears_other).await;
    (one, other, hears_other, hears_one)
}

/// Reads until one tells this; who has told anything until then.
async fn until(listening: &mut Listening, from: &str, event: &ClusterEvent) -> Vec<InstanceId> {
    let mut tellers = Vec::new();
    loop {
        let (teller, heard) = told(listening).await;
        tellers.push(teller);
        if heard == *event && tellers.last() == Some(&InstanceId::new(from)) {
            return tellers;
        }
    }
}

pub(crate) async fn everybody_else_hears_what_one_tells<W: Wire>(wire: &W, _: fn() -> Option<W>) {
    let (one, _other, mut hears_all, mut hears_one) = pair(wire).await;
    let third = wire.join("third").await;
    let mut third_hears = third.listen();
    acquainted(&*one, &mut third_hears).await;
    acquainted(&*third, &mut hears_all).await;

    one.tell(numbered(7));
    for listening in [&mut hears_one, &mut third_hears] {
        until(listening, "one", &numbered(7)).await;
    }
    third.tell(numbered(8));
    let tellers = until(&mut hears_all, "third", &numbered(8)).await;
    assert!(!tellers.contains(&InstanceId::new("one")), "nobody hears himself");
}

pub(crate) async fn events_of_one_come_in_their_order<W: Wire>(wire: &W, _: fn() -> Option<W>) {
    let (one, _other, _, mut hears_one) = pair(wire).await;
    let lost = one.lost();
    for number in 0..500 {
        one.tell(numbered(number));
    }
    for number in 0..500 {
        assert_eq!(told(&mut hears_one).await.1, numbered(number));
    }
    assert_eq!(one.lost(), lost);
}

pub(crate) async fn nobody_hears_another_cluster<W: Wire>(wire: &W, lay: fn() -> Option<W>) {
    let (one, _other, _, mut hears_one) = pair(wire).await;
    let elsewhere = lay().expect("it was there a moment ago");
    let (stranger, neighbour) = (elsewhere.join("stranger").await, elsewhere.join("neighbour").await);
    let mut hears_stranger = neighbour.listen();
    acquainted(&*stranger, &mut hears_stranger).await;
    one.tell(numbered(1));
    assert_eq!(told(&mut hears_one).await, (InstanceId::new("one"), numbered(1)), "and nothing of the stranger");
}

pub(crate) async fn every_event_arrives_as_it_was_told<W: Wire>(wire: &W, _: fn() -> Option<W>) {
    let (one, _other, _, mut hears_one) = pair(wire).await;
    let step = DownloadEvent {
        status: "pulling ü \u{1f600}".to_owned(),
        digest: "sha256:0".to_owned(),
        total: u64::MAX,
        completed: 1,
        model: "m".to_owned(),
        base_url: "http://b".to_owned(),
    };
    for event in [
        ClusterEvent::Changed,
        ClusterEvent::Download(step),
        ClusterEvent::CancelDownloads { backends: None, model: Some("m".to_owned()), waiting: true },
        ClusterEvent::DownloadsCancelled { backend: BackendId::new("b"), models: vec!["m".to_owned()] },
        ClusterEvent::RunCancelled { run: RunId::new("r"), end: RunEnd::Slow },
        ClusterEvent::Report(InstanceReport::default()),
        ClusterEvent::Left,
    ] {
        one.tell(event.clone());
        assert_eq!(told(&mut hears_one).await.1, event);
    }
}

pub(crate) async fn what_is_too_large_is_counted_and_harms_nothing<W: Wire>(wire: &W, _: fn() -> Option<W>) {
    let (one, _other, _, mut hears_one) = pair(wire).await;
    let before = one.lost();
    one.tell(ClusterEvent::CancelRun { run: RunId::new("x".repeat(2 << 20)), at: None });
    assert_eq!(one.lost(), before + 1);
    one.tell(numbered(2));
    while told(&mut hears_one).await.1 != numbered(2) {}
}

pub(crate) async fn who_is_too_slow_is_told_of_the_gap<W: Wire>(wire: &W, _: fn() -> Option<W>) {
    let (one, _other, _, mut hears_one) = pair(wire).await;
    let mut number = 0;
    let gap = async {
        loop {
            // More than a listener may be behind, between any two looks.
            for _ in 0..200 {
                one.tell(numbered(number));
                number += 1;
                tokio::task::yield_now().await;
            }
            if number > 4_000 && hears_one.next().await == Heard::Gap {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gap).await.expect("the gap is told");
}

/// While a server is away nothing blocks and what is told is counted; when it is back, everything is heard again, and that
/// something was missed, if it was. For the buses that have a server.
pub(crate) async fn hears_again_after(teller: &dyn Bus, listening: &mut Listening, bring_back: impl FnOnce()) {
    let lost = teller.lost();
    let mut told_meanwhile = 0;
    let in_vain = async {
        while teller.lost() == lost {
            teller.tell(numbered(told_meanwhile));
            told_meanwhile += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), in_vain).await.expect("what cannot be told is counted");
    bring_back();
    let (mut gap, mut heard, last) = (false, 0, marker());
    let back = async {
        loop {
            teller.tell(last.clone());
            match tokio::time::timeout(Duration::from_millis(10), listening.next()).await {
                Ok(Heard::Gap) => gap = true,
                Ok(Heard::Told(told)) if told.event == last => break,
                Ok(Heard::Told(_)) => heard += 1,
                Err(_) => {}
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it is heard again");
    assert!(gap || heard == told_meanwhile, "{heard} of {told_meanwhile}, and no gap");
    acquainted(teller, listening).await;
}
