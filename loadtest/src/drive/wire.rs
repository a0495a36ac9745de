//! One kept connection: sends a request, hears its answer to the end, and says how it ended and when.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Result;
use http_body_util::BodyExt;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::AbortHandle};
use tokio_util::task::TaskTracker;

use crate::{
    drive::{
        ask::{Ask, Number, Pieces},
        check::{Check, Verdict},
    },
    scenario::Allowances,
};

/// Slow readers pause for no less than this: timers are no finer.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);

/// A connection.
pub(crate) struct Wire {
    sender: SendRequest<Pieces>,
    connection: AbortHandle,
}

impl Drop for Wire {
    fn drop(&mut self) {
        // Closes the socket at once, in the middle of an answer too.
        self.connection.abort();
    }
}

/// What was heard of an answer.
pub(crate) struct Heard {
    pub(crate) verdict: Verdict,
    pub(crate) sent: Instant,
    pub(crate) ended: Instant,
    /// Of streams: when the first word came.
    pub(crate) first: Option<Instant>,
    /// Of streams: the pauses between pieces with words.
    pub(crate) gaps: Vec<Duration>,
    /// Of streams: words that came.
    pub(crate) frames: usize,
}

impl Wire {
    pub(crate) async fn open(server: SocketAddr, tasks: &TaskTracker) -> Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // How it ended is told to whoever waits for an answer on it.
        let task = tasks.spawn(async move { drop(connection.await) });
        Ok(Self { sender, connection: task.abort_handle() })
    }

    /// Whether another request can be sent on it.
    pub(crate) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Asks, and hears the answer out, unless the client is one that leaves.
    pub(crate) async fn ask(&mut self, ask: &Ask, number: Number, allow: &Allowances) -> Heard {
        let sent = Instant::now();
        let mut heard = Heard { verdict: Verdict::Left, sent, ended: sent, first: None, gaps: Vec::new(), frames: 0 };
        match ask.hang_up_after {
            None => heard.verdict = self.hear(ask, number, allow, &mut heard).await,
            Some(patience) => {
                let outcome = tokio::time::timeout(patience, self.hear(ask, number, allow, &mut heard)).await;
                heard.verdict = outcome.unwrap_or(Verdict::Left);
            }
        }
        heard.ended = Instant::now();
        heard
    }

    async fn hear(&mut self, ask: &Ask, number: Number, allow: &Allowances, heard: &mut Heard) -> Verdict {
        if let Err(error) = self.sender.ready().await {
            return Verdict::Failed(format!("the connection was lost: {error}"));
        }
        let mut answer = match self.sender.send_request(ask.request(number)).await {
            Ok(answer) => answer,
            Err(error) => return Verdict::Failed(format!("the connection was lost: {error}")),
        };
        let status = answer.status().as_u16();
        let mut check = Check::new(ask, number);
        let mut last = None;
        let mut told = Vec::new();
        let (mut lost, mut owed) = (None, Duration::ZERO);
        while let Some(frame) = answer.body_mut().frame().await {
            let piece = match frame.map(hyper::body::Frame::into_data) {
                Ok(Ok(piece)) => piece,
                Ok(Err(_trailers)) => continue,
                Err(error) => {
                    lost = Some(error.to_string());
                    break;
                }
            };
            if status != 200 {
                told.extend_from_slice(&piece[..piece.len().min(200)]);
                continue;
            }
            let words = check.push(&piece);
            if words > 0 && ask.kind.streams() {
                let now = Instant::now();
                heard.frames += words;
                heard.first.get_or_insert(now);
                heard.gaps.extend(last.replace(now).map(|last| now.duration_since(last)));
            }
            if let Some(pause) = ask.pause_per_byte {
                owed += pause * u32::try_from(piece.len()).unwrap_or(u32::MAX);
                if owed >= SHORTEST_PAUSE {
                    tokio::time::sleep(std::mem::take(&mut owed)).await;
                }
            }
        }
        match status {
            200 => check.verdict(lost),
            status if allow.statuses.contains(&status) => Verdict::Refused,
            status => Verdict::Wrong(format!("status {status}: {}", String::from_utf8_lossy(&told))),
        }
    }
}
