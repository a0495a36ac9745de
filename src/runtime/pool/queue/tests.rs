//! Who is next, whatever happens: nobody overtakes within a class, floors hold, everybody leaves exactly once.

use proptest::prelude::*;

use super::*;

const INTERACTIVE: Priority = Priority::Interactive;
const STANDARD: Priority = Priority::Standard;
const BATCH: Priority = Priority::Batch;
const HOUR: Duration = Duration::from_secs(3600);

/// A queue whose values are the tickets, and a clock.
struct Scene {
    queue: WaitQueue<Ticket>,
    now: Instant,
    tickets: Ticket,
}

impl Scene {
    fn new() -> Self {
        Self { queue: WaitQueue::new(), now: Instant::now(), tickets: 0 }
    }

    fn come(&mut self, class: Priority, backends: &[BackendKey]) -> Ticket {
        self.come_for(class, backends, HOUR)
    }

    fn come_for(&mut self, class: Priority, backends: &[BackendKey], patience: Duration) -> Ticket {
        self.tickets += 1;
        let ticket = self.tickets;
        let (since, expires) = (self.now, self.now + patience);
        self.queue.push(Standing { ticket, class, since, expires, backends: backends.to_vec() }, ticket);
        ticket
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
    }

    fn take(&mut self, backend: BackendKey) -> Option<Ticket> {
        self.queue.take(backend, self.now)
    }

    fn take_all(&mut self, backend: BackendKey) -> Vec<Ticket> {
        std::iter::from_fn(|| self.take(backend)).collect()
    }
}

#[test]
fn the_most_urgent_class_goes_first_and_the_oldest_of_it() {
    let mut scene = Scene::new();
    let batch = scene.come(BATCH, &[1]);
    let standard = [scene.come(STANDARD, &[1]), scene.come(STANDARD, &[1])];
    let interactive = [scene.come(INTERACTIVE, &[1]), scene.come(INTERACTIVE, &[1])];
    assert_eq!(scene.take_all(1), [interactive[0], interactive[1], standard[0], standard[1], batch]);
}

#[test]
fn a_slot_goes_to_the_oldest_who_can_use_it() {
    let mut scene = Scene::new();
    let (other, either, mine) = (scene.come(STANDARD, &[2]), scene.come(STANDARD, &[1, 2]), scene.come(STANDARD, &[1]));
    assert_eq!(scene.take(1), Some(either));
    assert_eq!(scene.take(1), Some(mine));
    assert_eq!(scene.take(1), None);
    assert_eq!(scene.take(2), Some(other));
    assert!(!scene.queue.is_wanted(1) && !scene.queue.is_wanted(2), "no lane is left behind");
}

#[test]
fn those_who_have_gone_are_passed_over_and_thrown_away() {
    let mut scene = Scene::new();
    let gone = scene.come(STANDARD, &[1]);
    let here = scene.come(STANDARD, &[1]);
    assert_eq!(scene.queue.peek(1, scene.now, |ticket| *ticket == gone).copied(), Some(here));
    assert!(!scene.queue.holds(gone));
}

/// The classes of the next grants of backend 1, while more of each of these classes wait.
fn grants(scene: &mut Scene, count: usize, classes: &[Priority]) -> [usize; 3] {
    let mut class_of: HashMap<Ticket, Priority> = HashMap::new();
    let mut granted = [0; 3];
    for class in classes.iter().cycle().take(classes.len() * count) {
        class_of.insert(scene.come(*class, &[1]), *class);
    }
    for _ in 0..count {
        granted[class_of[&scene.take(1).unwrap()].index()] += 1;
    }
    granted
}

#[test]
fn floors_are_kept_while_everybody_waits() {
    // Where two floors fall due at once, the more urgent goes first.
    assert_eq!(grants(&mut Scene::new(), 1_001, &Priority::ALL), [751, 200, 50]);
    assert_eq!(grants(&mut Scene::new(), 1_000, &[INTERACTIVE, BATCH]), [950, 0, 50]);
    assert_eq!(grants(&mut Scene::new(), 1_000, &[STANDARD, BATCH]), [0, 950, 50]);
}

#[test]
fn nobody_saves_up_a_floor_while_it_does_not_wait() {
    let mut scene = Scene::new();
    let interactive: Vec<Ticket> = (0..40).map(|_| scene.come(INTERACTIVE, &[1])).collect();
    let leaves = scene.come(BATCH, &[1]);
    for ticket in &interactive[..19] {
        assert_eq!(scene.take(1), Some(*ticket));
    }
    scene.queue.remove(leaves);
    assert_eq!(scene.take(1), Some(interactive[19]));
    scene.come(BATCH, &[1]);
    for ticket in &interactive[20..39] {
        assert_eq!(scene.take(1), Some(*ticket));
    }
}

#[test]
fn who_has_waited_long_counts_as_one_class_more_urgent_in_the_order_of_arrival() {
    let mut scene = Scene::new();
    let old = scene.come(STANDARD, &[1]);
    scene.wait(PROMOTE_AFTER - Duration::from_millis(1));
    let young = scene.come(INTERACTIVE, &[1]);
    assert_eq!(scene.take(1), Some(young), "not yet");
    let younger = scene.come(INTERACTIVE, &[1]);
    scene.wait(Duration::from_millis(1));
    assert_eq!(scene.take_all(1), [old, younger]);
}

#[test]
fn a_batch_request_is_promoted_twice_at_most() {
    let mut scene = Scene::new();
    let batch = scene.come(BATCH, &[1]);
    scene.wait(PROMOTE_AFTER);
    let standard = scene.come(STANDARD, &[1]);
    let interactive = scene.come(INTERACTIVE, &[1]);
    assert_eq!(scene.take(1), Some(interactive), "one class more urgent is standard");
    assert_eq!(scene.take(1), Some(batch), "and there it is the oldest");
    assert_eq!(scene.take(1), Some(standard));
    let batch = scene.come(BATCH, &[1]);
    scene.wait(5 * PROMOTE_AFTER);
    let interactive = scene.come(INTERACTIVE, &[1]);
    assert_eq!(scene.take_all(1), [batch, interactive]);
}

#[test]
fn who_is_promoted_does_not_go_before_those_who_came_earlier() {
    let mut scene = Scene::new();
    let first = scene.come(INTERACTIVE, &[1]);
    let second = scene.come(STANDARD, &[1]);
    scene.wait(PROMOTE_AFTER);
    assert_eq!(scene.take_all(1), [first, second]);
}

#[test]
fn a_lasting_overload_of_old_requests_leaves_the_urgent_half_of_the_grants() {
    let mut scene = Scene::new();
    for _ in 0..1000 {
        scene.come(STANDARD, &[1]);
        scene.come(BATCH, &[1]);
    }
    scene.wait(PROMOTE_AFTER * 2);
    let oldest = scene.tickets;
    let mut urgent = 0;
    for _ in 0..400 {
        scene.come(INTERACTIVE, &[1]);
        urgent += usize::from(scene.take(1).unwrap() > oldest);
    }
    assert!((180..=200).contains(&urgent), "{urgent} of 400");
}

#[test]
fn expired_requests_leave_in_the_order_of_their_expiry() {
    let mut scene = Scene::new();
    let late = scene.come_for(INTERACTIVE, &[1], Duration::from_secs(3));
    let early = scene.come_for(BATCH, &[1], Duration::from_secs(1));
    assert_eq!(scene.queue.next_expiry(), Some(scene.now + Duration::from_secs(1)));
    assert_eq!(scene.queue.oldest(), Some(scene.now));
    assert_eq!(scene.queue.pop_expired(scene.now), None);
    scene.wait(Duration::from_secs(1));
    assert_eq!(scene.queue.pop_expired(scene.now), Some(early));
    assert_eq!(scene.queue.pop_expired(scene.now), None);
    scene.wait(Duration::from_secs(2));
    assert_eq!(scene.queue.pop_expired(scene.now), Some(late));
    assert_eq!((scene.queue.next_expiry(), scene.queue.oldest()), (None, None));
}

#[test]
fn a_request_whose_backends_change_waits_for_the_new_ones_at_its_old_place() {
    let mut scene = Scene::new();
    let (stays, moves, lost) = (scene.come(STANDARD, &[1]), scene.come(STANDARD, &[1, 2]), scene.come(STANDARD, &[1]));
    let later = scene.come(STANDARD, &[3]);
    scene.queue.retarget(|ticket| match *ticket {
        ticket if ticket == moves => Some(vec![2, 3]),
        ticket if ticket == lost => Some(Vec::new()),
        _ => None,
    });
    assert!(!scene.queue.holds(lost), "nobody can serve it");
    assert_eq!(scene.take(1), Some(stays));
    assert_eq!(scene.take(1), None);
    assert_eq!(scene.take(3), Some(moves));
    assert_eq!(scene.take(2), None);
    assert_eq!(scene.take(3), Some(later));
}

#[test]
fn the_least_wait_follows_the_grants_and_those_who_wait_before() {
    let mut scene = Scene::new();
    for _ in 0..100 {
        scene.come(STANDARD, &[1, 2]);
    }
    assert_eq!(scene.queue.least_wait(STANDARD, &[1]), None, "nothing is known yet");
    for _ in 0..20 {
        scene.wait(Duration::from_millis(500));
        // Whoever serves them: what counts is how fast they are served.
        scene.take(1 + scene.tickets % 2).unwrap();
    }
    let wait = |scene: &Scene, class, backends: &[BackendKey]| scene.queue.least_wait(class, backends);
    assert_eq!(wait(&scene, STANDARD, &[1, 2]), Some(Duration::from_secs(40)));
    assert_eq!(wait(&scene, INTERACTIVE, &[1, 2]), Some(Duration::ZERO), "they all wait behind it");
    assert_eq!(wait(&scene, BATCH, &[1, 3]), None, "of the third nothing is known");
    scene.come(BATCH, &[2]);
    assert_eq!(wait(&scene, BATCH, &[1, 2]), Some(Duration::from_secs(40)), "the shorter way counts");
    assert_eq!(wait(&scene, BATCH, &[2]), Some(Duration::from_millis(40_500)));
}

#[derive(Debug, Clone)]
enum Step {
    Come { class: usize, backends: Vec<BackendKey>, patience: u64 },
    Slot { backend: BackendKey },
    Leave { nth: usize },
    Retarget { nth: usize, backends: Vec<BackendKey> },
    Wait { millis: u64 },
}

fn backends(least: usize) -> impl Strategy<Value = Vec<BackendKey>> {
    prop::collection::btree_set(0u64..4, least..4).prop_map(|keys| keys.into_iter().collect())
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0usize..3, backends(1), 1u64..40_000)
            .prop_map(|(class, backends, patience)| Step::Come { class, backends, patience }),
        4 => (0u64..4).prop_map(|backend| Step::Slot { backend }),
        1 => (0usize..64).prop_map(|nth| Step::Leave { nth }),
        1 => (0usize..64, backends(0)).prop_map(|(nth, backends)| Step::Retarget { nth, backends }),
        2 => (0u64..8_000).prop_map(|millis| Step::Wait { millis }),
    ]
}

/// What is known of a request that waits.
#[derive(Debug, Clone)]
struct Waits {
    class: usize,
    backends: Vec<BackendKey>,
    expires: Instant,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn everybody_leaves_exactly_once_and_nobody_overtakes_within_a_class(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let mut scene = Scene::new();
        let mut waiting: BTreeMap<Ticket, Waits> = BTreeMap::new();
        let nth = |waiting: &BTreeMap<Ticket, Waits>, nth: usize| waiting.keys().nth(nth).copied();
        for step in steps {
            while let Some(ticket) = scene.queue.pop_expired(scene.now) {
                let waits = waiting.remove(&ticket);
                prop_assert!(waits.is_some_and(|waits| waits.expires <= scene.now), "{} left early or twice", ticket);
            }
            prop_assert!(waiting.values().all(|waits| waits.expires > scene.now), "somebody waits too long");
            match step {
                Step::Come { class, backends, patience } => {
                    let patience = Duration::from_millis(patience);
                    let ticket = scene.come_for(Priority::ALL[class], &backends, patience);
                    waiting.insert(ticket, Waits { class, backends, expires: scene.now + patience });
                }
                Step::Slot { backend } => {
                    let can = |waits: &Waits| waits.backends.contains(&backend);
                    let anybody = waiting.values().any(can);
                    let granted = scene.take(backend);
                    prop_assert_eq!(granted.is_some(), anybody, "a slot is used whenever somebody can use it");
                    let Some(ticket) = granted else { continue };
                    let waits = waiting.remove(&ticket);
                    prop_assert!(waits.as_ref().is_some_and(can), "{} left twice or got what it cannot use", ticket);
                    let class = waits.unwrap().class;
                    let older = waiting.iter().find(|(other, waits)| {
                        **other < ticket && waits.class == class && can(waits)
                    });
                    prop_assert!(older.is_none(), "{} overtook {:?}", ticket, older);
                }
                Step::Leave { nth: at } => {
                    let Some(ticket) = nth(&waiting, at) else { continue };
                    prop_assert_eq!(scene.queue.remove(ticket), Some(ticket));
                    prop_assert_eq!(scene.queue.remove(ticket), None);
                    waiting.remove(&ticket);
                }
                Step::Retarget { nth: at, backends } => {
                    let Some(meant) = nth(&waiting, at) else { continue };
                    scene.queue.retarget(|ticket| (*ticket == meant).then(|| backends.clone()));
                    if backends.is_empty() {
                        waiting.remove(&meant);
                    } else {
                        waiting.get_mut(&meant).unwrap().backends = backends;
                    }
                }
                Step::Wait { millis } => scene.wait(Duration::from_millis(millis)),
            }
            prop_assert!(waiting.keys().all(|ticket| scene.queue.holds(*ticket)));
            for backend in 0..4 {
                let wanted = waiting.values().any(|waits| waits.backends.contains(&backend));
                prop_assert_eq!(scene.queue.is_wanted(backend), wanted);
            }
        }
        scene.wait(HOUR);
        let mut rest = std::iter::from_fn(|| scene.queue.pop_expired(scene.now)).collect::<Vec<_>>();
        rest.sort_unstable();
        prop_assert_eq!(rest, waiting.into_keys().collect::<Vec<_>>());
    }

    /// Among any grants in a row for which a class waits, it gets its floor, up to the one grant that is due next.
    #[test]
    fn floors_hold_whoever_comes_and_goes(
        comings in prop::collection::vec((0usize..3, 0u64..3_000), 0..300),
        from in 0usize..200,
    ) {
        let mut scene = Scene::new();
        let mut classes: HashMap<Ticket, usize> = HashMap::new();
        let mut waiting = [0usize; 3];
        let mut history = Vec::new();
        for (class, millis) in comings {
            for _ in 0..3 {
                classes.insert(scene.come(Priority::ALL[class], &[1]), class);
                waiting[class] += 1;
            }
            scene.wait(Duration::from_millis(millis));
            for _ in 0..2 {
                let before = waiting;
                let Some(ticket) = scene.take(1) else { break };
                waiting[classes[&ticket]] -= 1;
                history.push((before, classes[&ticket]));
            }
        }
        for class in 1..3 {
            let (mut granted, mut offered) = (0u32, 0u32);
            for (before, chosen) in history.iter().skip(from) {
                if before[class] == 0 {
                    break;
                }
                offered += 1;
                granted += u32::from(*chosen == class);
                let floor = offered * FLOOR_PERCENT[class] / WHOLE;
                prop_assert!(granted + 1 >= floor, "class {} got {} of {}", class, granted, offered);
            }
        }
    }
}
