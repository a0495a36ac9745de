//! What the policies must do, in figures.

use super::{backend::Engine, *};

const STEP: f64 = 20_000.0;

fn plan(policy: Policy, engines: Vec<Engine>, rate: f64) -> Plan {
    Plan { policy, engines, rate, requests: 4_000, queue: 256, max_wait: 5_000_000, seed: 1 }
}

/// Three backends and one that takes ten times as long.
fn one_slow_in_four() -> Vec<Engine> {
    let mut engines = vec![Engine::new(16, STEP); 3];
    engines.push(Engine::new(16, STEP * 10.0));
    engines
}

/// Answers in a second when there are always more requests than slots.
fn peak(engines: &[Engine]) -> f64 {
    plan(Policy::LeastLoaded, engines.to_vec(), 100.0).run().goodput()
}

#[test]
fn figures() {
    let peak = peak(&one_slow_in_four());
    println!("peak {peak:.2}/s");
    for policy in Policy::ALL {
        for load in [0.5, 0.8, 1.2, 2.0] {
            let outcome = plan(policy, one_slow_in_four(), peak * load).run();
            println!(
                "{:16} {load:.1}: p50 {:8.0} ms, p99 {:8.0} ms, goodput {:5.1} %, refused {}",
                policy.as_str(),
                outcome.quantile(0.5),
                outcome.quantile(0.99),
                outcome.goodput() / peak * 100.0,
                outcome.refused
            );
        }
    }
}
