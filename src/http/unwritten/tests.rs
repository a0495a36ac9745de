//! What waits to be written is bounded, and whoever reads gets everything.

use std::{convert::Infallible, task::Waker, time::Duration};

use http_body_util::StreamBody;
use hyper::{Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;
use crate::http::{
    connection::{ClientStream, Unread},
    listener::READ_BYTES,
    parked::Activity,
};

const PIECE: usize = 16 * 1024;
const PIECES: usize = 64;

type Served = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection that answers every request with all the pieces, counting those that it has been given.
fn served(socket: DuplexStream) -> (Arc<AtomicUsize>, Served) {
    let given = Arc::new(AtomicUsize::new(0));
    let unwritten = Unwritten::default();
    let activity = Activity::default();
    let stream = ClientStream::untuned(socket, Unread::default(), unwritten.clone(), activity.clone());
    let counted = Arc::clone(&given);
    let answer = service_fn(move |_| {
        let given = Arc::clone(&counted);
        let pieces = (0..PIECES).map(move |_| {
            given.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'#'; PIECE])))
        });
        let body = unwritten.bound(StreamBody::new(futures_util::stream::iter(pieces)), activity.begin());
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    let served = http1::Builder::new().max_buf_size(READ_BYTES).serve_connection(TokioIo::new(stream), answer);
    (given, Box::pin(served))
}

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn what_waits_for_a_client_that_takes_nothing_is_bounded() {
    let (mut client, socket) = duplex(PIECE);
    let (given, mut served) = served(socket);
    client.write_all(ASK).await.unwrap();
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100 {
        assert!(served.as_mut().poll(&mut context).is_pending());
    }
    // What the socket took, what may wait, and the piece with which that is reached.
    let most = PIECE + UNWRITTEN_BYTES + PIECE;
    let held = given.load(Ordering::Relaxed) * PIECE;
    assert!((UNWRITTEN_BYTES..=most).contains(&held), "{held} bytes");
}

/// Asks twice on one connection and reads all of both answers. Time stands still: whoever waits for ever is found at once.
async fn read_all(room: usize) {
    let (mut client, socket) = duplex(room);
    let (given, served) = served(socket);
    let reading = async move {
        for _ in 0..2 {
            client.write_all(ASK).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n0\r\n\r\n") {
                assert!(client.read_buf(&mut seen).await.unwrap() > 0, "the connection ended");
            }
            assert_eq!(seen.iter().filter(|byte| **byte == b'#').count(), PIECE * PIECES);
        }
    };
    let both = async { tokio::join!(reading, served) };
    let ((), ended) = tokio::time::timeout(Duration::from_secs(60), both).await.expect("nobody waits for ever");
    ended.unwrap();
    assert_eq!(given.load(Ordering::Relaxed), 2 * PIECES);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_gets_all_however_little_is_taken_at_a_time() {
    read_all(1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_socket_takes_everything_at_once_gets_all() {
    read_all(4 * PIECE * PIECES).await;
}
