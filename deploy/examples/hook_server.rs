//! A hook server on hyper that changes something: it takes articles out of a stock, once for each call however often the
//! call comes.
//!
//! usage: cargo run --example hook_server [PORT]   (0, the default, takes a free one; the first line of the output is
//! its URL)

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io::Write,
    sync::{Arc, Mutex, PoisonError},
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Bytes, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

/// Calls at work at a time. What comes beyond that is told when to come again instead of being kept waiting.
const MOST_AT_ONCE: usize = 64;
/// Bytes of a call, and calls remembered: nothing here grows without end.
const LARGEST_CALL: usize = 64 * 1024;
const MOST_REMEMBERED: usize = 10_000;

/// What is left of each article, and what was answered already.
#[derive(Default)]
struct Stock {
    left: HashMap<String, u64>,
    answers: HashMap<String, Value>,
    oldest_first: VecDeque<String>,
}

impl Stock {
    /// Takes articles, or gives the answer that this call got before. What the chain should do next is the transition;
    /// an error is only what nobody can go on from.
    fn take(&mut self, call_id: String, article: &str, count: u64) -> Value {
        if let Some(answered) = self.answers.get(&call_id) {
            return answered.clone();
        }
        let (transition, left) = match self.left.get_mut(article) {
            None => ("unknown", 0),
            Some(left) if *left < count => ("sold_out", *left),
            Some(left) => {
                *left -= count;
                ("reserved", *left)
            }
        };
        let answer =
            json!({"output": {"article": article, "left": left}, "dataType": "json", "transition": transition});
        self.oldest_first.push_back(call_id.clone());
        self.answers.insert(call_id, answer.clone());
        if self.oldest_first.len() > MOST_REMEMBERED
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.answers.remove(&oldest);
        }
        answer
    }
}

type Answer = Response<Full<Bytes>>;

fn reply(status: StatusCode, body: &Value) -> Answer {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert("retry-after", hyper::header::HeaderValue::from_static("1"));
    }
    response
}

/// A failure of the task, with a text for the author of the chain.
fn refuse(status: StatusCode, error: &str) -> Answer {
    reply(status, &json!({ "error": error }))
}

async fn answer(request: Request<Incoming>, stock: Arc<Mutex<Stock>>, free: Arc<Semaphore>) -> Answer {
    let Ok(_permit) = free.try_acquire() else {
        return refuse(StatusCode::SERVICE_UNAVAILABLE, "the stock is busy");
    };
    if request.method() != Method::POST {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "register this hook with the method POST");
    }
    // The same for all attempts of a task, but also for all tasks of a run: the call itself is the other half.
    let request_id = request.headers().get("x-request-id").and_then(|id| id.to_str().ok()).unwrap_or("-").to_owned();
    let Ok(body) = Limited::new(request.into_body(), LARGEST_CALL).collect().await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the call is too large, or broke off");
    };
    let call: Value = serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
    let (Some(article), Some(count)) = (call["input"]["article"].as_str(), call["input"]["count"].as_u64()) else {
        return refuse(StatusCode::BAD_REQUEST, "the input must be an object with 'article' and 'count'");
    };
    let call_id = format!("{request_id} {} {article} {count}", call["args"]["args"]["order"]);
    let answer = stock.lock().unwrap_or_else(PoisonError::into_inner).take(call_id, article, count);
    reply(StatusCode::OK, &answer)
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let left = HashMap::from([("tea".to_owned(), 10), ("mug".to_owned(), 1)]);
    let stock = Arc::new(Mutex::new(Stock { left, ..Stock::default() }));
    let free = Arc::new(Semaphore::new(MOST_AT_ONCE));
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        while connections.try_join_next().is_some() {}
        let (stock, free) = (Arc::clone(&stock), Arc::clone(&free));
        let service = service_fn(move |request| {
            let answered = answer(request, Arc::clone(&stock), Arc::clone(&free));
            async { Ok::<_, Infallible>(answered.await) }
        });
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    // For this machine only; a hook that others reach needs a token of its own.
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    writeln!(std::io::stdout(), "http://{}/stock", listener.local_addr()?)?;
    serve(listener).await
}
