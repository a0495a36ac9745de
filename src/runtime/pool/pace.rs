//! How fast those who wait for one backend are served, from the grants of late.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Grants that are looked back on.
const REMEMBERED: usize = 32;
/// Fewer tell nothing.
const TELLING: usize = 8;

/// The latest grants to a lane while somebody waited in it.
#[derive(Debug, Default)]
pub(super) struct Pace {
    grants: VecDeque<Instant>,
}

impl Pace {
    /// Somebody in the lane was granted a slot.
    pub(super) fn note(&mut self, now: Instant) {
        if self.grants.len() == REMEMBERED {
            self.grants.pop_front();
        }
        self.grants.push_back(now);
    }

    /// The mean time between two grants; `None` while there were too few.
    pub(super) fn interval(&self) -> Option<Duration> {
        let (first, last) = (self.grants.front()?, self.grants.back()?);
        let intervals = u32::try_from(self.grants.len()).ok()?.checked_sub(1)?;
        (self.grants.len() >= TELLING).then(|| last.saturating_duration_since(*first) / intervals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_latest_grants_and_says_nothing_of_few() {
        let (mut pace, mut now) = (Pace::default(), Instant::now());
        let mut grant = |pace: &mut Pace, millis: u64| {
            now += Duration::from_millis(millis);
            pace.note(now);
        };
        for _ in 1..TELLING {
            grant(&mut pace, 10);
            assert_eq!(pace.interval(), None);
        }
        grant(&mut pace, 10);
        assert_eq!(pace.interval(), Some(Duration::from_millis(10)));
        for _ in 0..REMEMBERED {
            grant(&mut pace, 40);
        }
        assert_eq!(pace.interval(), Some(Duration::from_millis(40)));
        assert_eq!(pace.grants.len(), REMEMBERED);
    }
}
