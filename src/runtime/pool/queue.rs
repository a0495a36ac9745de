//! The requests that wait in one pool, and who of them is next: a value without clock, tasks or I/O
//! (`docs/operations.md`, backpressure). `PoolActor` owns one and applies what it decides.
//!
//! Each request stands in a lane for every backend that could serve it, so that who is next for a freed slot is found
//! without looking at those who wait for other backends. In a lane the most urgent class goes first, the oldest of it
//! before all others; nobody overtakes within a class. Two rules keep the less urgent ones from starving:
//! - a *floor*: while a class waits for a backend, it gets its percentage of that backend's grants, whoever else waits;
//! - *promotion*: whoever has waited long counts as one class more urgent, in the order of arrival there. Every second
//!   grant at most goes to a promoted request, or a lasting overload would turn all classes into one.

use std::{
    array,
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::pace::Pace;
use crate::domain::priority::Priority;

const CLASSES: usize = Priority::ALL.len();
/// Of the grants of a backend, in percent: what a class gets at least while it waits for it.
const FLOOR_PERCENT: [u32; CLASSES] = [0, 20, 5];
/// One grant, in the measure of the floors.
const WHOLE: u32 = 100;
/// Each time this long, a waiting request counts as one class more urgent.
const PROMOTE_AFTER: Duration = Duration::from_secs(10);

/// Which backend a lane is for.
pub(in crate::runtime) type BackendKey = u64;

/// Which waiting request; in the order of arrival.
pub(in crate::runtime) type Ticket = u64;

/// Where and how long a request waits.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) ticket: Ticket,
    pub(super) class: Priority,
    /// Since when it waits.
    pub(super) since: Instant,
    /// From when on it must not wait any more.
    pub(super) expires: Instant,
    /// The backends that could serve it, at least one.
    pub(super) backends: Vec<BackendKey>,
}

struct Entry<T> {
    standing: Standing,
    value: T,
}

/// See the module.
pub(super) struct WaitQueue<T> {
    entries: BTreeMap<Ticket, Entry<T>>,
    /// Those for which somebody waits.
    lanes: HashMap<BackendKey, Lane>,
    expiries: BTreeSet<(Instant, Ticket)>,
}

impl<T> WaitQueue<T> {
    pub(super) fn new() -> Self {
        Self { entries: BTreeMap::new(), lanes: HashMap::new(), expiries: BTreeSet::new() }
    }

    /// Adds a request. Its ticket must be new.
    pub(super) fn push(&mut self, standing: Standing, value: T) {
        self.enter_lanes(standing.ticket, standing.class, &standing.backends);
        self.expiries.insert((standing.expires, standing.ticket));
        self.entries.insert(standing.ticket, Entry { standing, value });
    }

    /// Who is next for a slot of this backend. Those who `has_gone` says are gone are thrown away on the way and count for
    /// nothing.
    pub(super) fn peek(&mut self, backend: BackendKey, now: Instant, has_gone: impl Fn(&T) -> bool) -> Option<&T> {
        for class in 0..CLASSES {
            while let Some(head) = self.lanes.get(&backend).and_then(|lane| lane.head(class))
                && self.entries.get(&head).is_none_or(|entry| has_gone(&entry.value))
            {
                self.remove(head)?;
            }
        }
        let choice = self.choice(backend, now)?;
        self.entries.get(&choice.ticket).map(|entry| &entry.value)
    }

    fn choice(&self, backend: BackendKey, now: Instant) -> Option<LaneChoice> {
        let since = |ticket| self.entries.get(&ticket).map_or(now, |entry| entry.standing.since);
        self.lanes.get(&backend)?.choose(now, since)
    }

    /// Takes off whoever is next for a slot of this backend, and counts it as granted.
    pub(super) fn take(&mut self, backend: BackendKey, now: Instant) -> Option<T> {
        let LaneChoice { ticket, owed, has_promoted } = self.choice(backend, now)?;
        if let Some(lane) = self.lanes.get_mut(&backend) {
            (lane.owed, lane.has_promoted) = (owed, has_promoted);
        }
        for key in self.entries.get(&ticket).into_iter().flat_map(|entry| &entry.standing.backends) {
            if let Some(lane) = self.lanes.get_mut(key) {
                lane.pace.note(now);
            }
        }
        self.remove(ticket)
    }

    /// Takes a request off, if it is still there.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let Entry { standing, value } = self.entries.remove(&ticket)?;
        self.expiries.remove(&(standing.expires, ticket));
        self.leave_lanes(ticket, standing.class, &standing.backends);
        Some(value)
    }

    /// Takes off one request that has waited as long as it may.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<T> {
        let (at, ticket) = *self.expiries.first()?;
        if at <= now { self.remove(ticket) } else { None }
    }

    /// Takes off all requests of which this is said.
    pub(super) fn remove_all(&mut self, is_meant: impl Fn(&T) -> bool) {
        let meant: Vec<Ticket> =
            self.entries.iter().filter(|(_, entry)| is_meant(&entry.value)).map(|(ticket, _)| *ticket).collect();
        for ticket in meant {
            self.remove(ticket);
        }
    }

    /// Asks for every request which backends could serve it now: `None` = the same as before. A request without any is
    /// thrown away.
    pub(super) fn retarget(&mut self, mut targets: impl FnMut(&mut T) -> Option<Vec<BackendKey>>) {
        let mut changed = Vec::new();
        for (ticket, entry) in &mut self.entries {
            if let Some(backends) = targets(&mut entry.value) {
                changed.push((*ticket, entry.standing.class, std::mem::take(&mut entry.standing.backends), backends));
            }
        }
        for (ticket, class, old, new) in changed {
            // Entered before left, so that a lane that is in both keeps what it has counted.
            self.enter_lanes(ticket, class, &new);
            let gone: Vec<BackendKey> = old.into_iter().filter(|key| !new.contains(key)).collect();
            self.leave_lanes(ticket, class, &gone);
            let is_without = new.is_empty();
            if let Some(entry) = self.entries.get_mut(&ticket) {
                entry.standing.backends = new;
            }
            if is_without {
                self.remove(ticket);
            }
        }
    }

    fn enter_lanes(&mut self, ticket: Ticket, class: Priority, backends: &[BackendKey]) {
        for backend in backends {
            self.lanes.entry(*backend).or_default().waiting[class.index()].insert(ticket);
        }
    }

    fn leave_lanes(&mut self, ticket: Ticket, class: Priority, backends: &[BackendKey]) {
        for backend in backends {
            let Some(lane) = self.lanes.get_mut(backend) else { continue };
            lane.waiting[class.index()].remove(&ticket);
            if lane.waiting.iter().all(BTreeSet::is_empty) {
                self.lanes.remove(backend);
            }
        }
    }

    /// Whether the request still waits.
    pub(super) fn holds(&self, ticket: Ticket) -> bool {
        self.entries.contains_key(&ticket)
    }

    /// Whether somebody waits for this backend.
    pub(super) fn is_wanted(&self, backend: BackendKey) -> bool {
        self.lanes.contains_key(&backend)
    }

    /// When the next request will have waited as long as it may.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Since when the oldest request waits.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.entries.first_key_value().map(|(_, entry)| entry.standing.since)
    }

    /// How long a request of this class would wait at least, as far as the grants of late tell: until all of its class and
    /// of more urgent ones are gone from one of its lanes. `None` while too little is known.
    pub(super) fn least_wait(&self, class: Priority, backends: &[BackendKey]) -> Option<Duration> {
        let waits = backends.iter().map(|key| {
            let lane = self.lanes.get(key)?;
            let ahead: usize = lane.waiting[..=class.index()].iter().map(BTreeSet::len).sum();
            Some(lane.pace.interval()?.saturating_mul(u32::try_from(ahead).unwrap_or(u32::MAX)))
        });
        // One unknown lane may be the fastest.
        waits.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

/// Who is next in a lane, and what the lane has counted once it is granted.
struct LaneChoice {
    ticket: Ticket,
    owed: [u32; CLASSES],
    has_promoted: bool,
}

/// Those who wait for one backend.
#[derive(Default)]
struct Lane {
    /// By class, oldest first.
    waiting: [BTreeSet<Ticket>; CLASSES],
    /// What each class is owed of its floor, in hundredths of a grant.
    owed: [u32; CLASSES],
    /// Whether the last grant went to a promoted request.
    has_promoted: bool,
    pace: Pace,
}

impl Lane {
    fn head(&self, class: usize) -> Option<Ticket> {
        self.waiting[class].first().copied()
    }

    /// Decides who is next.
    fn choose(&self, now: Instant, since: impl Fn(Ticket) -> Instant) -> Option<LaneChoice> {
        let heads: [Option<Ticket>; CLASSES] = array::from_fn(|class| self.head(class));
        let waiting = || heads.iter().enumerate().filter_map(|(class, head)| Some((class, (*head)?)));
        let (most_urgent, _) = waiting().next()?;
        let level = |class: usize, ticket: Ticket| {
            let steps = now.saturating_duration_since(since(ticket)).as_secs() / PROMOTE_AFTER.as_secs();
            class.saturating_sub(usize::try_from(steps).unwrap_or(CLASSES))
        };
        // Who does not wait saves nothing up.
        let owed = |class: usize| heads[class].map_or(0, |_| self.owed[class] + FLOOR_PERCENT[class]);
        let mut owed: [u32; CLASSES] = array::from_fn(owed);
        let due = waiting().filter(|(class, _)| owed[*class] >= WHOLE);
        let due = due.max_by_key(|(class, _)| (owed[*class], Reverse(*class))).map(|(class, _)| class);
        let promoted =
            waiting().min_by_key(|(class, ticket)| (level(*class, *ticket), *ticket)).map(|(class, _)| class);
        let promoted = promoted.filter(|class| *class != most_urgent && !self.has_promoted);
        let chosen = due.or(promoted).unwrap_or(most_urgent);
        owed[chosen] = owed[chosen].saturating_sub(WHOLE);
        Some(LaneChoice { ticket: heads[chosen]?, owed, has_promoted: due.is_none() && promoted.is_some() })
    }
}

#[cfg(test)]
mod tests;
