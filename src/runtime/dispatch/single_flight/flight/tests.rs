//! What becomes of a shared stream whatever its readers and its maker do, in virtual time.

use super::*;
use crate::domain::{
    ids::{BackendId, PoolId},
    pool::{CallSettings, Policy, Pool, QueueLimits},
    time::Timestamp,
    timing::CallTiming,
};

fn pool() -> Arc<PoolCell> {
    PoolCell::new(Pool {
        id: PoolId::new("p"),
        name: "p".to_owned(),
        purpose_type: String::new(),
        policy: Policy::default(),
        queue: QueueLimits::default(),
        require_labels: std::collections::BTreeMap::new(),
        calls: CallSettings::default(),
        created_at: Timestamp::ZERO,
        updated_at: Timestamp::ZERO,
    })
}

fn served() -> Served {
    Served {
        backend: BackendId::new("b"),
        pool: PoolId::new("p"),
        model: "m".to_owned(),
        attempts: 1,
        timing: CallTiming::default(),
        is_shared: false,
        was_kept: None,
    }
}

fn text(text: &str) -> Piece {
    Piece::Event(ReplyEvent::Text { choice: 0, text: text.to_owned() })
}

fn words(piece: Option<Result<Piece, Failure>>) -> Result<String, Failure> {
    match piece.expect("not the end")? {
        Piece::Event(ReplyEvent::Text { text, .. }) => Ok(text),
        other => panic!("{other:?}"),
    }
}

/// Writes so many pieces of which eight fill all that is kept, and ends; how many were written.
async fn write(controls: Controls, pieces: usize) -> usize {
    controls.begin(Landing::Pieces, served());
    let (piece, mut patience) = ("x".repeat(KEPT_BYTES / 8), Duration::from_secs(1));
    for written in 0..pieces {
        if !controls.is_wanted(&mut patience).await {
            return written;
        }
        controls.write([text(&piece)].into_iter());
    }
    controls.end(None);
    pieces
}

async fn read_all(seat: &mut Seat) -> usize {
    let mut read = 0;
    while let Some(piece) = seat.next().await {
        words(Some(piece)).unwrap();
        read += 1;
    }
    read
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_holds_up_the_others_for_a_second_in_all() {
    let (flight, controls, mut first) = Flight::new();
    let mut lazy = flight.join(&pool()).unwrap();
    let began = Instant::now();
    let (written, read) = tokio::join!(write(controls, 100), read_all(&mut first));
    assert_eq!((written, read, began.elapsed()), (100, 100, Duration::from_secs(1)));
    assert!(lazy.is_cut_off());
    assert_eq!(words(lazy.next().await).unwrap_err().class, FailureClass::Timeout);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_up_the_others_for_as_long_as_it_may_and_misses_nothing_then() {
    let (flight, controls, mut first) = Flight::new();
    let mut slow = flight.join(&pool()).unwrap();
    let reads_slowly = async {
        for _ in 0..12 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            words(slow.next().await).unwrap();
        }
        read_all(&mut slow).await
    };
    let began = Instant::now();
    let first_is_done = async {
        let read = read_all(&mut first).await;
        (read, began.elapsed())
    };
    let (written, (read, took), rest) = tokio::join!(write(controls, 16), first_is_done, reads_slowly);
    assert_eq!((written, read, 12 + rest), (16, 16, 16));
    // Eight pieces wait for nobody, and each further one until the slow reader has taken one.
    assert_eq!(took, Duration::from_millis(800));
}

#[tokio::test(start_paused = true)]
async fn a_reader_alone_holds_up_its_stream_for_as_long_as_it_likes() {
    let (_, controls, mut only) = Flight::new();
    let reads_late = async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        read_all(&mut only).await
    };
    assert_eq!(tokio::join!(write(controls, 20), reads_late), (20, 20));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_ahead_of_the_fastest_reader() {
    let (flight, controls, first) = Flight::new();
    let writing = tokio_util::task::TaskTracker::new().spawn(write(controls, 20));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let late = flight.join(&pool()).unwrap();
    let kept = std::iter::from_fn(|| first_piece(&late)).count();
    assert_eq!(kept, 1);
    drop((first, late));
    assert!(writing.await.unwrap() < 20, "a stream that nobody reads is not written to its end");
    assert!(flight.join(&pool()).is_none(), "nobody joins what was given up");
}

fn first_piece(seat: &Seat) -> Option<Piece> {
    match seat.look() {
        Next::Piece(piece) => Some(piece),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_call_whose_task_has_died_is_told() {
    let (flight, controls, mut first) = Flight::new();
    let pool = pool();
    let mut second = flight.join(&pool).unwrap();
    assert_eq!(pool.snapshot().sharing, 1);
    controls.begin(Landing::Pieces, served());
    controls.write([text("half")].into_iter());
    drop(controls);
    for seat in [&mut first, &mut second] {
        assert!(seat.landed().await.is_ok());
        assert_eq!(words(seat.next().await).unwrap(), "half");
        let failure = words(seat.next().await).unwrap_err();
        assert_eq!(failure.refusal, Some(RefusalReason::Restarting));
    }
    drop(second);
    assert_eq!(pool.snapshot().sharing, 0);

    let (_, controls, mut only) = Flight::new();
    drop(controls);
    assert_eq!(only.landed().await.err().unwrap().failure.refusal, Some(RefusalReason::Restarting));
}
