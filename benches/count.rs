//! How many instructions do the six hottest steps take? Counted under callgrind by `benches/gate.sh`, because the same step
//! takes the same number of them however busy the machine is, and a change of 5 % is seen.
//!
//! `--count CASE TIMES` runs a case so many times and nothing else. Callgrind counts what goes on in [`taken`] alone: what it takes
//! to get there, in which the seeds of hash maps have a say, differs by more than a small step. Each case does the same every
//! time.

use std::hint::black_box;

use crate::{admission, chain, head, lease, route, stream};

/// Runs before those that are counted, so that buffers and caches of the allocator have found their size.
const WARM_UP: u64 = 50;

/// One step, ready to be taken again and again.
type Step = Box<dyn FnMut()>;
/// Puts everything in place that a step needs.
type Make = fn() -> Step;

/// What a request passes in any case: admission, the head of its body, the route and a slot; what a stream passes with every
/// token, and a chain with every task. Anything else that a request pays is another one's library, or the kernel.
const CASES: [(&str, Make); 6] = [
    ("admission/admit_and_charge", admission::counted),
    ("head/scan_and_splice_1KB", head::counted),
    ("route/pick_of_4", route::counted),
    ("lease/take_and_drop", lease::counted),
    ("stream/watch_256_events", stream::counted),
    ("engine/run_of_three_steps", chain::counted),
];

/// What is counted; the gate knows it by its name.
#[inline(never)]
fn taken(step: &mut Step, times: u64) {
    for _ in 0..times {
        black_box(&mut *step)();
    }
}

/// What stands behind `--count`: nothing, to list the cases, or a case and how many times.
pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    match arguments {
        [] => {
            #[expect(clippy::print_stdout, reason = "the list is what was asked for")]
            CASES.iter().for_each(|(name, _)| println!("{name}"));
            Ok(())
        }
        [case, times] => {
            let times: u64 = times.parse().map_err(|_| format!("'{times}' is no number"))?;
            let (_, make) = CASES.iter().find(|(name, _)| name == case).ok_or(format!("no case is called '{case}'"))?;
            let mut step = make();
            (0..WARM_UP).for_each(|_| step());
            taken(&mut step, times);
            Ok(())
        }
        _ => Err("--count takes nothing, or a case and a number".to_owned()),
    }
}
