//! What does it cost to tell an actor something through its bounded mailbox, and to be refused because it is full?
//! (`src/runtime/mailbox.rs` itself, because nobody outside the runtime talks to an actor.)

#[path = "../src/runtime/mailbox.rs"]
#[allow(dead_code, unreachable_pub, reason = "what the runtime needs beside")]
mod mailbox;

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::Notify;

use self::mailbox::{Address, Bounds, Envelope, Lane, SendError};
use crate::steps;

/// As many as are on their way at a time.
const BURST: u64 = 1024;

/// Counts what it is told, and tells when it has heard the last of a burst.
struct Listener(Arc<Notify>);

impl Actor for Listener {
    type Msg = Envelope<u64>;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<Self::Msg>, envelope: Self::Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if black_box(envelope.message) == 0 {
            self.0.notify_one();
        }
        Ok(())
    }
}

/// The time it takes to send so many, and until all of them are heard.
async fn bursts(address: &Address<u64>, heard: &Notify, times: u64) -> (Duration, Duration) {
    let (mut left, mut sending, mut whole) = (times, Duration::ZERO, Duration::ZERO);
    while left > 0 {
        let burst = left.min(BURST);
        left -= burst;
        let began = Instant::now();
        for at in (0..burst).rev() {
            address.try_send(Lane::Data, black_box(at)).unwrap();
        }
        sending += began.elapsed();
        heard.notified().await;
        whole += began.elapsed();
    }
    (sending, whole)
}

fn envelopes(criterion: &mut Criterion) {
    let runtime = steps::runtime();
    let heard = Arc::new(Notify::new());
    let listener = Listener(Arc::clone(&heard));
    let (actor, _ended) = runtime.block_on(Actor::spawn(None, listener, ())).unwrap();
    let address = Address::vacant();
    address.attach(actor, Bounds { data: BURST as usize, control: 1 });
    let mut group = criterion.benchmark_group("envelope");
    group.bench_function("try_send/room", |bencher| {
        bencher.iter_custom(|times| runtime.block_on(bursts(&address, &heard, times)).0);
    });
    group.bench_function("send_and_handle/room", |bencher| {
        bencher.iter_custom(|times| runtime.block_on(bursts(&address, &heard, times)).1);
    });
    group.bench_function("try_send/full", |bencher| {
        // Nobody hears them while this thread does not wait.
        while address.try_send(Lane::Data, 1).is_ok() {}
        bencher.iter(|| assert_eq!(address.try_send(Lane::Data, black_box(1)), Err(SendError::Full)));
        assert!(address.try_send(Lane::Control, 0).is_ok(), "the control lane has room");
        runtime.block_on(heard.notified());
    });
    address.stop();
    group.finish();
}

criterion_group!(benches, envelopes);
