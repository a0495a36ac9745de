//! Bodies that nobody wants: how much of them is read all the same, and thrown away. A client that is still sending when its
//! connection closes would see a reset connection instead of its answer.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;

/// How long a body is read that nobody wants.
const TIME: Duration = Duration::from_secs(5);
const SILENCE: Duration = Duration::from_millis(200);
/// Larger bodies of requests that are refused for load are not read.
const SMALL_BYTES: usize = 64 << 10;

/// Reads further bytes, at most twice the limit of a body.
pub(super) async fn all<B>(body: B, limit: usize)
where
    B: Body<Data = Bytes> + Unpin + Send,
    B::Error: std::error::Error + Send + Sync + 'static,
{
    let mut rest = Limited::new(body, limit.saturating_mul(2));
    let read = async {
        // A client that sends nothing is waiting for the answer.
        while let Ok(Some(Ok(_))) = tokio::time::timeout(SILENCE, rest.frame()).await {}
    };
    if tokio::time::timeout(TIME, read).await.is_err() {
        tracing::debug!("a refused body was given up on");
    }
}

/// Reads a small body to its end, and nothing of one that says it is large. Whether it has come to its end.
pub(super) async fn small<B: Body<Data = Bytes> + Unpin + Send>(body: &mut B) -> bool {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > SMALL_BYTES as u64) {
        return false;
    }
    let mut left = SMALL_BYTES;
    let read = async {
        while let Ok(next) = tokio::time::timeout(SILENCE, body.frame()).await {
            let bytes = match next {
                None => return true,
                Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) => return false,
            };
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return false,
            }
        }
        false
    };
    tokio::time::timeout(TIME, read).await.unwrap_or(false)
}
