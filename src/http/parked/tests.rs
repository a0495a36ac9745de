//! Silent connections are parked, and nobody notices.

use std::{convert::Infallible, task::Waker};

use http_body_util::{Full, combinators::BoxBody};
use hyper::{Request, Response, service::service_fn};
use hyper_util::rt::TokioTimer;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::Semaphore,
};

use super::*;
use crate::http::{connection::Unread, unwritten::Unwritten};

const PATIENCE: Duration = Duration::from_secs(30);
const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const ANSWER: &[u8] = b"hello";

/// What the tests ask of a [`Parkable`] whose types have no names.
trait Kept: EndsGracefully<Output = hyper::Result<()>> {
    fn is_parked(&self) -> bool;
}

impl<S, H: HttpService<Incoming>, F> Kept for Parkable<S, H, F>
where
    Self: EndsGracefully<Output = hyper::Result<()>>,
{
    fn is_parked(&self) -> bool {
        matches!(self.state, State::Parked { .. })
    }
}

/// A connection whose requests each wait for a permit, and the client's side of it.
struct World {
    client: DuplexStream,
    served: Pin<Box<dyn Kept>>,
    permits: Arc<Semaphore>,
}

fn world() -> World {
    let (client, socket) = duplex(1 << 16);
    let (activity, unwritten, permits) = (Activity::default(), Unwritten::default(), Arc::new(Semaphore::new(0)));
    let stream = ClientStream::untuned(socket, Unread::default(), unwritten.clone(), activity.clone());
    let (own, running) = (Arc::clone(&permits), activity.clone());
    let answer = move |_: Request<Incoming>| {
        let (permits, running, unwritten) = (Arc::clone(&own), running.begin(), unwritten.clone());
        Box::pin(async move {
            permits.acquire().await.unwrap().forget();
            let body = BoxBody::new(unwritten.bound(Full::new(Bytes::from_static(ANSWER)), running));
            Ok::<_, Infallible>(Response::new(body))
        })
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    let served = Parkable::new(stream, activity, PATIENCE, move |stream| {
        http.serve_connection(TokioIo::new(stream), service_fn(answer.clone()))
    });
    World { client, served: Box::pin(served), permits }
}

impl World {
    /// Lets the connection do what it can; whether it has ended.
    fn go_on(&mut self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        (0..10).any(|_| self.served.as_mut().poll(&mut context).is_ready())
    }

    /// Lets time pass; whether the connection has ended.
    async fn pass(&mut self, time: Duration) -> bool {
        let mut left = time;
        while !left.is_zero() {
            let step = left.min(Duration::from_millis(100));
            tokio::time::advance(step).await;
            left -= step;
            if self.go_on() {
                return true;
            }
        }
        false
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.client.write_all(bytes).await.unwrap();
        assert!(!self.go_on());
    }

    /// Reads one answer.
    async fn read(&mut self) {
        let mut seen = Vec::new();
        while !seen.ends_with(ANSWER) {
            assert!(!self.go_on());
            let mut bytes = [0; 256];
            let read = self.client.read(&mut bytes).await.unwrap();
            assert_ne!(read, 0);
            seen.extend_from_slice(&bytes[..read]);
        }
    }
}

/// Two looks, of which the second finds silence since the first.
const SILENCE: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_parked_and_answers_again() {
    let mut world = world();
    world.permits.add_permits(3);
    for _ in 0..3 {
        world.write(ASK).await;
        assert!(!world.served.is_parked());
        world.read().await;
        assert!(!world.pass(SILENCE).await);
        assert!(world.served.is_parked());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_asks_now_and_then_is_not_parked() {
    let mut world = world();
    world.permits.add_permits(9);
    for _ in 0..9 {
        world.write(ASK).await;
        world.read().await;
        assert!(!world.pass(PARK_AFTER / 2).await);
        assert!(!world.served.is_parked());
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_parked_while_its_request_runs() {
    let mut world = world();
    world.write(ASK).await;
    assert!(!world.pass(SILENCE * 20).await);
    assert!(!world.served.is_parked());
    world.permits.add_permits(1);
    world.read().await;
}

#[tokio::test(start_paused = true)]
async fn half_a_head_is_no_silence_and_its_time_goes_on() {
    let mut world = world();
    world.permits.add_permits(2);
    world.write(ASK).await;
    world.read().await;
    world.write(&ASK[..9]).await;
    assert!(!world.pass(SILENCE).await);
    assert!(!world.served.is_parked());
    world.write(&ASK[9..]).await;
    world.read().await;
    world.write(&ASK[..9]).await;
    assert!(world.pass(PATIENCE).await);
}

#[tokio::test(start_paused = true)]
async fn half_a_head_that_came_with_the_request_before_is_kept() {
    let mut world = world();
    world.permits.add_permits(2);
    world.write(&[ASK, &ASK[..9]].concat()).await;
    world.read().await;
    assert!(!world.pass(SILENCE).await);
    assert!(!world.served.is_parked());
    world.write(&ASK[9..]).await;
    world.read().await;
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_ends_when_it_has_said_nothing_for_too_long() {
    let mut world = world();
    world.permits.add_permits(1);
    world.write(ASK).await;
    world.read().await;
    assert!(!world.pass(PATIENCE - Duration::from_millis(100)).await);
    assert!(world.served.is_parked());
    assert!(world.pass(SILENCE).await);
}

#[tokio::test(start_paused = true)]
async fn a_parked_connection_ends_with_its_client_and_when_it_is_told_to() {
    for told in [false, true] {
        let mut world = world();
        world.permits.add_permits(1);
        world.write(ASK).await;
        world.read().await;
        assert!(!world.pass(SILENCE).await);
        if told {
            world.served.as_mut().end_gracefully();
        } else {
            world.client.shutdown().await.unwrap();
        }
        assert!(world.go_on());
    }
}
