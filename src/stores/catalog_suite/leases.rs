//! Leases: one holder at a time, an epoch a holder.

use std::time::Duration;

use super::Home;
use crate::{domain::ids::InstanceId, stores::leases::LeaseStore};

const LONG: Duration = Duration::from_secs(3600);

fn instance(name: &str) -> InstanceId {
    InstanceId::new(name)
}

pub(crate) async fn a_lease_has_one_holder_until_it_is_given_back(home: &impl Home) {
    let store = home.open().await;
    let (one, other) = (instance("one"), instance("other"));
    assert_eq!(store.hold_lease("l", &one, LONG).await.unwrap(), Some(1));
    assert_eq!(store.hold_lease("l", &other, LONG).await.unwrap(), None);
    assert_eq!(store.hold_lease("l", &one, LONG).await.unwrap(), Some(1), "its holder may go on");
    assert_eq!(store.hold_lease("another", &other, LONG).await.unwrap(), Some(1));
    assert!(store.holds_lease("l", &one, 1).await.unwrap());
    assert!(!store.holds_lease("l", &other, 1).await.unwrap());

    store.release_lease("l", &other).await.unwrap();
    assert!(store.holds_lease("l", &one, 1).await.unwrap(), "nobody gives back what is not his");
    store.release_lease("l", &one).await.unwrap();
    assert!(!store.holds_lease("l", &one, 1).await.unwrap());
    assert_eq!(store.hold_lease("l", &other, LONG).await.unwrap(), Some(2));
}

pub(crate) async fn a_lease_that_has_ended_is_anybodys_and_its_former_holder_finds_out(home: &impl Home) {
    let store = home.open().await;
    let (one, other) = (instance("one"), instance("other"));
    assert_eq!(store.hold_lease("l", &one, Duration::ZERO).await.unwrap(), Some(1));
    assert!(!store.holds_lease("l", &one, 1).await.unwrap());
    assert_eq!(store.hold_lease("l", &other, LONG).await.unwrap(), Some(2));
    assert!(!store.holds_lease("l", &one, 1).await.unwrap());
    assert_eq!(store.hold_lease("l", &one, LONG).await.unwrap(), None);
    assert!(!store.holds_lease("l", &other, 1).await.unwrap() && store.holds_lease("l", &other, 2).await.unwrap());
}

pub(crate) async fn instances_know_of_each_other_for_as_long_as_they_say_so(home: &impl Home) {
    let store = home.open().await;
    let (one, other, gone) = (instance("one"), instance("other"), instance("gone"));
    assert_eq!(store.be_present(&one, LONG).await.unwrap(), []);
    assert_eq!(store.be_present(&gone, Duration::ZERO).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.be_present(&other, LONG).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.be_present(&one, LONG).await.unwrap(), std::slice::from_ref(&other));
    store.leave(&one).await.unwrap();
    assert_eq!(store.be_present(&other, LONG).await.unwrap(), []);
    assert_eq!(store.hold_lease("l", &one, LONG).await.unwrap(), Some(1), "leases are another matter");
}
