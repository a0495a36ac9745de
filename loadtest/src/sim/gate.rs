//! Gates that hold requests until a test lets them go, so that tests about concurrency need no clock.
//!
//! A gate stands either where chosen requests arrive or inside pulls, at a percentage. `desk` and `pull` walk through;
//! tests hold the [`HoldGate`].

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::sim::{
    route::{Route, Routes},
    wait::{PATIENCE, WaitError, Watched},
};

/// A test's hold on a gate; dropping it opens the gate for good.
#[must_use = "a dropped gate holds nobody"]
pub struct HoldGate {
    gate: Arc<Gate>,
    patience: Duration,
}

impl HoldGate {
    /// Waits until `count` requests have come to the gate since it was set up, gone or not.
    pub async fn wait_for_arrivals(&self, count: usize) -> Result<(), WaitError> {
        let wanted = format!("{count} arrivals at a gate");
        self.gate.crowd.until(self.patience, &wanted, Crowd::describe, |crowd| crowd.arrived >= count).await
    }

    /// Waits until exactly `count` requests stand at the gate; with 0: until all that were held have gone.
    pub async fn wait_for_waiting(&self, count: usize) -> Result<(), WaitError> {
        let wanted = format!("{count} requests at a gate");
        self.gate.crowd.until(self.patience, &wanted, Crowd::describe, |crowd| crowd.waiting == count).await
    }

    /// How many stand at the gate now; a client that goes away leaves it.
    pub fn waiting(&self) -> usize {
        self.gate.crowd.read(|crowd| crowd.waiting)
    }

    /// Lets `count` pass, oldest first; what is left over is for the next that come.
    pub fn release(&self, count: usize) {
        self.gate.passes.add_permits(count);
    }

    /// Opens the gate: nobody is held any more.
    pub fn release_all(&self) {
        self.gate.passes.close();
    }
}

impl Drop for HoldGate {
    fn drop(&mut self) {
        self.release_all();
    }
}

/// Where a gate stands.
#[derive(Clone, Copy)]
enum Place {
    Arrival(Routes),
    PullAt(u8),
}

/// The gate itself; a closed semaphore is an open gate.
pub(crate) struct Gate {
    place: Place,
    passes: Semaphore,
    crowd: Watched<Crowd>,
}

#[derive(Default)]
struct Crowd {
    arrived: usize,
    waiting: usize,
}

impl Crowd {
    fn describe(&self) -> String {
        format!("{} arrived, {} still held", self.arrived, self.waiting)
    }
}

impl Gate {
    /// Passes, or waits to. A caller that is dropped meanwhile no longer counts as waiting.
    pub(crate) async fn pass(&self) {
        let _place = Standing::at(&self.crowd);
        if let Ok(permit) = self.passes.acquire().await {
            permit.forget();
        }
    }
}

/// Standing at a gate, until dropped.
struct Standing<'a>(&'a Watched<Crowd>);

impl<'a> Standing<'a> {
    fn at(crowd: &'a Watched<Crowd>) -> Self {
        crowd.change(|crowd| {
            crowd.arrived += 1;
            crowd.waiting += 1;
        });
        Self(crowd)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.change(|crowd| crowd.waiting -= 1);
    }
}

/// The gates of one server, as long as a test holds them.
#[derive(Default)]
pub(crate) struct Gates(Mutex<Vec<Weak<Gate>>>);

impl Gates {
    /// A gate where requests of these routes arrive.
    pub(crate) fn at_arrival(&self, routes: Routes) -> HoldGate {
        self.place(Place::Arrival(routes))
    }

    /// A gate inside pulls, behind the first progress line at or past this percentage.
    pub(crate) fn in_pulls(&self, percent: u8) -> HoldGate {
        self.place(Place::PullAt(percent))
    }

    /// Walks through every gate set up for arriving requests of this route.
    pub(crate) async fn arrive(&self, route: Route) {
        let gates = self.standing(|place| matches!(place, Place::Arrival(routes) if routes.contains(route)));
        for gate in gates {
            gate.pass().await;
        }
    }

    /// The gates a pull meets on its way from one percentage (exclusive; none at the start) to the next (inclusive).
    pub(crate) fn between(&self, from: Option<u8>, to: u8) -> Vec<Arc<Gate>> {
        self.standing(|place| matches!(place, Place::PullAt(at) if at <= to && from.is_none_or(|from| at > from)))
    }

    fn place(&self, place: Place) -> HoldGate {
        let gate = Arc::new(Gate { place, passes: Semaphore::new(0), crowd: Watched::new(Crowd::default()) });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&gate));
        HoldGate { gate, patience: PATIENCE }
    }

    fn standing(&self, wanted: impl Fn(Place) -> bool) -> Vec<Arc<Gate>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|gate| gate.strong_count() > 0);
        gates.iter().filter_map(Weak::upgrade).filter(|gate| wanted(gate.place)).collect()
    }
}
