//! The client against servers of bytes, which say what no HTTP library would.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use socket2::{Domain, SockRef, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use super::*;
use crate::{
    domain::backend::ApiKey,
    providers::{
        ProviderError, ProviderErrorKind,
        transport::{Call, Credential, Pieces, Transport, TransportConfig},
    },
};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(100);

/// What a server does on one connection: it answers request after request so, and then keeps it open or closes it.
struct Plan {
    answers: Vec<String>,
    then: Then,
}

#[derive(PartialEq)]
enum Then {
    Waits,
    Closes,
    Resets,
}

fn waiting(answers: &[&str]) -> Plan {
    Plan { answers: answers.iter().copied().map(str::to_owned).collect(), then: Then::Waits }
}

fn closing(answers: &[&str]) -> Plan {
    Plan { then: Then::Closes, ..waiting(answers) }
}

fn resetting(answers: &[&str]) -> Plan {
    Plan { then: Then::Resets, ..waiting(answers) }
}

/// A server of bytes, for what no HTTP library would send.
struct Scripted {
    url: Url,
    connections: Arc<AtomicUsize>,
    /// The heads and bodies that have come.
    seen: mpsc::UnboundedReceiver<String>,
    /// One for each connection that has ended, on either side.
    ended: mpsc::UnboundedReceiver<()>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Scripted {
    /// Each connection follows the next plan.
    async fn serve<const N: usize>(plans: [Plan; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/chat?a=b", listener.local_addr().unwrap()).parse().unwrap();
        let (see, seen) = mpsc::unbounded_channel();
        let (end, ended) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, mut tasks) = (Arc::clone(&connections), tokio::task::JoinSet::new());
        tasks.spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            for plan in plans {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let (see, end) = (see.clone(), end.clone());
                serving.spawn(async move {
                    follow(plan, stream, &see).await;
                    let _nobody_waits = end.send(());
                });
            }
            serving.join_all().await;
        });
        Self { url, connections, seen, ended, _tasks: tasks }
    }

    async fn call(&self, transport: &Transport) -> Result<Bytes, ProviderError> {
        transport.send(post(&self.url)).await
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn follow(plan: Plan, mut stream: TcpStream, see: &mpsc::UnboundedSender<String>) {
    for answer in plan.answers {
        let Some(request) = read_request(&mut stream).await else { return };
        let _nobody_looks = see.send(request);
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    match plan.then {
        Then::Waits => {
            let mut rest = Vec::new();
            let _reset_or_end = stream.read_to_end(&mut rest).await;
        }
        Then::Closes => {}
        Then::Resets => SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    loop {
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
        if body.len() >= length.unwrap_or(0) {
            return Some(text);
        }
    }
}

fn transport() -> Transport {
    patient(TransportConfig { connect: LONG, first_byte: LONG, idle: LONG, total: LONG })
}

fn patient(config: TransportConfig) -> Transport {
    // Whichever test comes first installs it.
    drop(rustls::crypto::ring::default_provider().install_default());
    Transport::new(config).unwrap()
}

fn post(url: &Url) -> Call<'_> {
    Call { method: Method::POST, url, credential: Credential::None, body: Some(b"{}".to_vec()) }
}

async fn all_of(mut pieces: Pieces) -> Result<String, ProviderError> {
    let mut text = String::new();
    while let Some(piece) = pieces.next().await? {
        text += &String::from_utf8_lossy(&piece);
    }
    Ok(text)
}

/// Lets the runtime see what has happened on its sockets.
async fn turn() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (there, _) = listener.accept().await.unwrap();
    drop(there);
    assert_eq!(here.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_request_says_what_reqwest_would_say() {
    let mut server = Scripted::serve([waiting(&[OK, OK])]).await;
    let (transport, key) = (transport(), ApiKey::new("k"));
    let credential = Credential::Bearer(&key);
    let body = [Bytes::from_static(b"{\"a\""), Bytes::new(), Bytes::from_static(b":1}")];
    assert_eq!(transport.send_pieces(&server.url, credential, body).await.unwrap(), (String::new(), "ok".into()));
    let seen = server.seen.recv().await.unwrap();
    let (head, body) = seen.split_once("\r\n\r\n").unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let mut headers: Vec<&str> = headers.lines().collect();
    headers.sort_unstable();
    let host = format!("host: {}", server.url.authority());
    let agent = concat!("user-agent: penstock/", env!("CARGO_PKG_VERSION"));
    let (kind, length) = ("content-type: application/json", "content-length: 7");
    assert_eq!((line, body), ("POST /v1/chat?a=b HTTP/1.1", "{\"a\":1}"));
    assert_eq!(headers, ["accept: */*", "authorization: Bearer k", length, kind, &host, agent]);
    let call = Call { method: Method::GET, url: &server.url, credential: Credential::None, body: None };
    transport.send(call).await.unwrap();
    assert!(!server.seen.recv().await.unwrap().contains("content-"));
}

#[tokio::test]
async fn answers_of_every_framing_are_whole_and_leave_the_connection_to_the_next_call() {
    let plans = [
        waiting(&[
            OK,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x\r\n\r\n1\r\no\r\n1;q=1\r\nk\r\n0\r\nx: y\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        ]),
        closing(&["HTTP/1.0 200 OK\r\n\r\nok"]),
        closing(&["HTTP/1.1 200 OK\r\n\r\nok"]),
        waiting(&[OK]),
    ];
    let server = Scripted::serve(plans).await;
    let transport = transport();
    for (place, connections) in [1, 1, 1, 1, 1, 2, 3, 4].into_iter().enumerate() {
        assert_eq!(server.call(&transport).await.unwrap(), "ok", "call {place}");
        assert_eq!(server.connections(), connections, "call {place}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_empty_and_leaves_the_connection_to_the_next_call() {
    let plans = [waiting(&["HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", OK])];
    let server = Scripted::serve(plans).await;
    let transport = transport();
    for body in ["", "", "ok"] {
        assert_eq!(server.call(&transport).await.unwrap(), body);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_stream_that_was_read_to_its_end_leaves_its_connection_and_one_that_was_dropped_closes_it() {
    const STREAM: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n";
    let mut server = Scripted::serve([
        waiting(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n", STREAM]),
        waiting(&[OK]),
    ])
    .await;
    let transport = transport();
    assert_eq!(all_of(transport.stream(post(&server.url)).await.unwrap()).await.unwrap(), "onetwo");
    let mut pieces = transport.stream(post(&server.url)).await.unwrap();
    assert_eq!(pieces.next().await.unwrap().unwrap(), "one");
    assert_eq!(server.connections(), 1);
    drop(pieces);
    server.ended.recv().await.unwrap();
    server.call(&transport).await.unwrap();
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn calls_at_the_same_time_have_connections_of_their_own_and_the_last_one_back_serves_next() {
    let server = Scripted::serve([waiting(&[OK]), waiting(&[OK, OK])]).await;
    let transport = transport();
    let (one, two) = (transport.stream(post(&server.url)), transport.stream(post(&server.url)));
    let (one, two) = (one.await.unwrap(), two.await.unwrap());
    assert_eq!(all_of(one).await.unwrap(), "ok");
    assert_eq!(all_of(two).await.unwrap(), "ok");
    assert_eq!(server.call(&transport).await.unwrap(), "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_kept_connection_that_its_server_has_closed_costs_no_failure() {
    let mut server = Scripted::serve([closing(&[OK]), waiting(&[OK])]).await;
    let transport = transport();
    server.call(&transport).await.unwrap();
    server.ended.recv().await.unwrap();
    turn().await;
    assert_eq!(server.call(&transport).await.unwrap(), "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_request_that_meets_the_end_of_its_kept_connection_is_sent_once_more_over_a_new_one() {
    for plan in [closing(&[OK, ""]), resetting(&[OK, ""])] {
        let mut server = Scripted::serve([plan, waiting(&[OK])]).await;
        let transport = transport();
        server.call(&transport).await.unwrap();
        assert_eq!(server.call(&transport).await.unwrap(), "ok");
        assert_eq!(server.connections(), 2);
        let (_first, lost) = (server.seen.recv().await.unwrap(), server.seen.recv().await.unwrap());
        assert_eq!(server.seen.recv().await.unwrap(), lost, "it says the same again");
    }
}

#[tokio::test]
async fn a_request_is_not_sent_a_third_time() {
    let server = Scripted::serve([closing(&[OK, ""]), closing(&[""]), waiting(&[OK])]).await;
    let transport = transport();
    server.call(&transport).await.unwrap();
    let error = server.call(&transport).await.unwrap_err();
    assert_eq!(error.message, "the backend closed the connection before it answered");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_request_whose_answer_has_begun_is_not_sent_again() {
    for begun in
        ["HTTP/1.1 200 OK\r\ncontent-le", "H", "220 ready\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n"]
    {
        let server = Scripted::serve([closing(&[OK, begun]), waiting(&[OK])]).await;
        let transport = transport();
        server.call(&transport).await.unwrap();
        server.call(&transport).await.unwrap_err();
        assert_eq!(server.connections(), 1, "{begun}");
    }
}

#[tokio::test]
async fn a_request_that_is_sent_once_more_has_no_more_time_for_it() {
    let server = Scripted::serve([closing(&[OK, ""]), waiting(&[""])]).await;
    let transport = patient(TransportConfig { connect: LONG, first_byte: SHORT, idle: LONG, total: LONG });
    server.call(&transport).await.unwrap();
    assert_eq!(server.call(&transport).await.unwrap_err().kind, ProviderErrorKind::Timeout);
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_was_idle_for_long_is_not_used_again_and_closed() {
    let mut server = Scripted::serve([waiting(&[OK]), waiting(&[OK])]).await;
    let transport = transport();
    server.call(&transport).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(super::super::POOL_IDLE).await;
    tokio::time::resume();
    server.call(&transport).await.unwrap();
    assert_eq!(server.connections(), 2);
    server.ended.recv().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(3 * super::super::POOL_IDLE).await;
    tokio::time::resume();
    server.ended.recv().await.unwrap();
}

#[tokio::test]
async fn bytes_behind_an_answer_are_no_answer_to_the_next_call() {
    let plans = [
        waiting(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad"]),
        waiting(&[OK]),
    ];
    let server = Scripted::serve(plans).await;
    let transport = transport();
    assert_eq!(server.call(&transport).await.unwrap(), "ok");
    assert_eq!(server.call(&transport).await.unwrap(), "ok");
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_a_clean_end() {
    let plans = [
        closing(&["HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok"]),
        closing(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"]),
        closing(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\nnonsense\r\n"]),
    ];
    let server = Scripted::serve(plans).await;
    let transport = transport();
    for _ in 0..3 {
        let error = server.call(&transport).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Cut);
        assert_eq!(error.message, "the backend broke off in the middle of its answer");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_connection_that_was_closed() {
    let long_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(70 << 10));
    let server = Scripted::serve([
        closing(&[""]),
        closing(&["HTTP/1.1 200 OK\r\ncontent-le"]),
        closing(&["220 ready\r\n\r\n"]),
        waiting(&[&long_head]),
    ])
    .await;
    let transport = transport();
    for place in 0..4 {
        let error = server.call(&transport).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Connect, "{place}");
        assert_eq!(error.message, "the backend closed the connection before it answered", "{place}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_told_with_the_systems_words() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let url: Url = format!("http://{free}/").parse().unwrap();
    let error = transport().send(post(&url)).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Connect);
    assert!(error.message.starts_with("the backend cannot be reached (Connection refused"), "{error}");
    let unknown: Url = "http://penstock.invalid/".parse().unwrap();
    let error = transport().send(post(&unknown)).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Connect);
    assert!(error.message.starts_with("the backend cannot be reached ("), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_no_connection_is_given_up_in_time() {
    let deaf = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    deaf.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    deaf.listen(0).unwrap();
    let addr = deaf.local_addr().unwrap().as_socket().unwrap();
    let _fills_its_queue = TcpStream::connect(addr).await.unwrap();
    let transport = patient(TransportConfig { connect: SHORT, first_byte: LONG, idle: LONG, total: LONG });
    let error = transport.send(post(&format!("http://{addr}/").parse().unwrap())).await.unwrap_err();
    assert_eq!((error.kind, &*error.message), (ProviderErrorKind::Timeout, "the backend could not be reached in time"));
}

#[tokio::test]
async fn a_server_that_says_nothing_or_stops_talking_is_given_up_in_time() {
    let transport = patient(TransportConfig { connect: LONG, first_byte: SHORT, idle: SHORT, total: LONG });
    let mut server = Scripted::serve([
        waiting(&[""]),
        waiting(&["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"]),
    ])
    .await;
    let error = server.call(&transport).await.unwrap_err();
    assert_eq!(
        (error.kind, &*error.message),
        (ProviderErrorKind::Timeout, "the backend did not begin to answer within 100ms")
    );
    server.ended.recv().await.unwrap();
    let error = server.call(&transport).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Stalled);
    server.ended.recv().await.unwrap();
}

#[tokio::test]
async fn a_refusal_is_read_though_the_request_was_not_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let refuse = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 100]).await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 4\r\n\r\nlong").await.unwrap();
        stream
    };
    let call = Call { body: Some(vec![b'x'; 32 << 20]), ..post(&url) };
    let transport = transport();
    let (refused, _stream) = tokio::join!(transport.send(call), refuse);
    assert_eq!(refused.unwrap_err().status, Some(413));
}

#[test]
fn what_goes_through_a_proxy_or_proves_itself_in_the_url_or_is_encrypted_is_reqwests() {
    let is_direct = |client: &DirectClient, url: &str| client.target(&url.parse().unwrap()).is_some();
    let mut client = DirectClient::new(LONG);
    client.proxies = Arc::new(Matcher::builder().build());
    for (url, expected) in [
        ("http://localhost:11434/api/chat", true),
        ("http://[::1]:8000/v1/models?a=b", true),
        ("https://localhost/", false),
        ("http://user@localhost/", false),
        ("http://user:word@localhost/", false),
    ] {
        assert_eq!(is_direct(&client, url), expected, "{url}");
    }
    client.proxies = Arc::new(Matcher::builder().http("http://proxy:3128").no("localhost").build());
    assert!(is_direct(&client, "http://localhost/") && !is_direct(&client, "http://gpu-7/"));
}
