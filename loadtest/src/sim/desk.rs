//! Where a request of a simulated server is read, recorded, held and answered.
//!
//! One [`Desk`] a server, shared by its connections; it outlives a stop and a restart of the listener.

use std::sync::{
    Arc,
    atomic::{AtomicU16, Ordering},
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    http::request::Parts,
};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use crate::sim::{
    answer::{Answer, Frame, Payload},
    body::{CutShort, Player, SimBody, Source},
    call::Call,
    canned::{Tapes, blank_reply},
    capacity::Capacity,
    dialect::Dialect,
    gate::Gates,
    profile::{Meets, Profile},
    record::{Outcome, Recorder, Ticket},
    route::{Route, Routes},
    script::{Armed, Effect, Script},
};

/// Bytes of a prompt that make a token, about.
const BYTES_OF_A_TOKEN: usize = 4;

/// All of a server that does not depend on its connections.
pub(crate) struct Desk {
    pub(crate) dialect: Arc<dyn Dialect>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) script: Script,
    pub(crate) gates: Arc<Gates>,
    pub(crate) capacity: Arc<Capacity>,
    /// How it behaves under load; nothing for servers that tests script.
    pub(crate) load: Option<UnderLoad>,
    /// The status every request gets while the server is down; 0 while it is healthy.
    pub(crate) down: AtomicU16,
}

/// A server under load: how it behaves, and the answers that it has made so far.
pub(crate) struct UnderLoad {
    profile: Profile,
    tapes: Tapes,
    /// What makes them.
    blank: Effect,
}

impl UnderLoad {
    pub(crate) fn new(profile: Profile) -> Self {
        let blank = Effect { reply: Some(blank_reply(profile.words())), ..Effect::default() };
        Self { profile, tapes: Tapes::default(), blank }
    }
}

/// A request with everything that decides its answer.
struct Visit {
    call: Call,
    armed: Option<Arc<Armed>>,
    ticket: Ticket,
}

impl Visit {
    fn effect(&self) -> Option<&Effect> {
        self.armed.as_deref().map(Armed::effect)
    }
}

impl Desk {
    /// Serves one request. A request enters the record once its body has arrived; `Err` closes the connection.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        closing: CancellationToken,
    ) -> Result<Response<SimBody>, CutShort> {
        let (head, body) = request.into_parts();
        let route = self.dialect.route(&head.method, head.uri.path());
        let body = body.collect().await.map_err(|_| CutShort)?.to_bytes();
        if let Some(load) = self.load.as_ref().filter(|_| Routes::CALLS.contains(route))
            && self.down.load(Ordering::Relaxed) == 0
        {
            return self.serve_under_load(load, route, head, body, closing).await;
        }
        let call = Call::new(route, head, body);
        let ticket = self.recorder.arrive(&call, closing);
        let mut visit = Visit { call, armed: None, ticket };

        if let Some(refusal) = self.refusal(&visit.call) {
            return Ok(self.send(refusal, visit));
        }
        visit.armed = self.script.decide(&visit.call);
        self.gates.arrive(route).await;
        if Routes::CALLS.contains(route) {
            visit.ticket.slot = self.capacity.enter().await;
        }
        if let Some(armed) = &visit.armed
            && self.wait_before_headers(armed).await
        {
            visit.ticket.end(Outcome::Broken);
            return Err(CutShort);
        }
        let answer = self.finished(self.answer(&visit), &visit).await;
        Ok(self.send(answer, visit))
    }

    /// Serves a call as the load profile says: without a look at the request where its like was answered before.
    async fn serve_under_load(
        &self,
        load: &UnderLoad,
        route: Route,
        head: Parts,
        body: Bytes,
        closing: CancellationToken,
    ) -> Result<Response<SimBody>, CutShort> {
        let mut ticket = self.recorder.count(route, closing);
        ticket.slot = self.capacity.enter().await;
        let Meets { delay, armed } = load.profile.next();
        let mut words = None;
        if let Some(engine) = &load.profile.engine {
            words = Some(engine.begin(body.len() / BYTES_OF_A_TOKEN, load.profile.words()));
        } else if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.wait_before_headers(&armed).await {
            ticket.end(Outcome::Broken);
            return Err(CutShort);
        }
        // Vectors depend on the whole text: each is made anew.
        let is_text = Routes::GENERATING.contains(route);
        let known = (is_text && armed.effect().status.is_none()).then(|| load.tapes.answer(head.uri.path(), &body));
        let answer = match known.flatten() {
            Some(answer) => answer,
            None => {
                let (path, call) = (head.uri.path().to_owned(), Call::new(route, head, body.clone()));
                match (self.dialect.refusal(&call), armed.effect().status) {
                    (Some(refusal), _) => refusal,
                    (None, Some(status)) => self.dialect.error(&call, status, "the load profile wants this status"),
                    (None, None) => {
                        let answer = self.dialect.answer(&call, &load.blank);
                        if is_text { load.tapes.keep(&path, &body, answer) } else { answer }
                    }
                }
            }
        };
        if let (Payload::Plain(_), Some(words)) = (&answer.payload, &mut words) {
            while words.recv().await.is_some() {}
        }
        Ok(self.play(answer, armed, words, ticket))
    }

    fn play(
        &self,
        answer: Answer,
        armed: Arc<Armed>,
        words: Option<UnboundedReceiver<()>>,
        ticket: Ticket,
    ) -> Response<SimBody> {
        let (head, status) = (head(&answer, &armed.effect().headers), answer.status);
        let body = match answer.payload {
            Payload::Plain(bytes) if armed.effect().cut.is_some() => {
                let length = bytes.len() as u64;
                SimBody::played(Player::new(Source::halves(bytes), Some(armed), None), Some(length), status, ticket)
            }
            Payload::Plain(bytes) => SimBody::plain(bytes, status, ticket),
            Payload::Frames(frames) => {
                let player = Player::new(Source::Frames(frames.into_iter()), Some(armed), None).in_step_with(words);
                SimBody::played(player, None, status, ticket)
            }
            Payload::Pull(_) | Payload::QuietPull(_) => SimBody::plain(Bytes::new(), status, ticket),
        };
        let mut response = Response::new(body);
        if let Some((status, headers)) = head {
            *response.status_mut() = status;
            *response.headers_mut() = headers;
        }
        response
    }

    fn refusal(&self, call: &Call) -> Option<Answer> {
        match self.down.load(Ordering::Relaxed) {
            0 => self.dialect.refusal(call),
            status => Some(self.dialect.error(call, status, "the server is down")),
        }
    }

    /// True when the connection is to be closed without an answer.
    async fn wait_before_headers(&self, armed: &Armed) -> bool {
        let effect = armed.effect();
        if let Some(delay) = effect.delay {
            tokio::time::sleep(delay).await;
        }
        if effect.hang {
            armed.released().await;
        }
        effect.close
    }

    /// The script's own answer, or the dialect's.
    fn answer(&self, visit: &Visit) -> Answer {
        let natural = Effect::default();
        let (call, effect) = (&visit.call, visit.effect().unwrap_or(&natural));
        match (effect, effect.status) {
            (Effect { body: Some(body), .. }, status) => {
                Answer::new(status.unwrap_or(200), "application/json", Payload::Plain(body.clone()))
            }
            (Effect { frames: Some(frames), .. }, status) => {
                let frames = frames.iter().cloned().map(Frame::chunk).collect();
                Answer::new(status.unwrap_or(200), self.dialect.stream_type(call), Payload::Frames(frames))
            }
            (_, Some(status)) if status >= 400 => self.dialect.error(call, status, "the script wants this status"),
            (_, status) => {
                let answer = self.dialect.answer(call, effect);
                Answer { status: status.unwrap_or(answer.status), ..answer }
            }
        }
    }

    /// Turns what can only be known at the end into a plain answer: quiet pulls, and errors that find no stream.
    async fn finished(&self, answer: Answer, visit: &Visit) -> Answer {
        let error = visit.effect().and_then(|effect| effect.error_after.as_ref());
        match (answer.payload, error) {
            (Payload::QuietPull(_) | Payload::Plain(_), Some((_, message))) => {
                self.dialect.error(&visit.call, 500, message)
            }
            (Payload::QuietPull(run), None) => run.finish().await,
            (payload, _) => Answer { payload, ..answer },
        }
    }

    fn send(&self, answer: Answer, visit: Visit) -> Response<SimBody> {
        let scripted = visit.effect().map(|effect| effect.headers.as_slice()).unwrap_or_default();
        let Some((status, headers)) = head(&answer, scripted) else {
            let mut response =
                Response::new(SimBody::plain("the script's status or header is not valid".into(), 500, visit.ticket));
            *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return response;
        };
        let mut response = Response::new(self.body(answer, visit));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn body(&self, answer: Answer, visit: Visit) -> SimBody {
        let Visit { call, armed, mut ticket } = visit;
        let status = answer.status;
        if call.method == Method::HEAD {
            // hyper throws the body of an answer to HEAD away, which is not a hang-up.
            ticket.end(Outcome::Answered { status });
        }
        let effect = armed.as_deref().map(Armed::effect);
        let error = effect.and_then(|effect| effect.error_after.as_ref());
        let error = error.map(|(chunks, message)| (*chunks, self.dialect.error_frame(&call, message)));
        let (source, length) = match answer.payload {
            Payload::Plain(bytes) if bytes.is_empty() || effect.is_none_or(|effect| !effect.shapes_body()) => {
                return SimBody::plain(bytes, status, ticket);
            }
            Payload::Plain(bytes) => {
                let length = bytes.len() as u64;
                (Source::halves(bytes), Some(length))
            }
            Payload::Frames(frames) => (Source::Frames(frames.into_iter()), None),
            Payload::Pull(run) | Payload::QuietPull(run) => (Source::Pull(run), None),
        };
        SimBody::played(Player::new(source, armed, error), length, status, ticket)
    }
}

/// Status and headers, the scripted ones last; nothing if HTTP does not allow them.
fn head(answer: &Answer, scripted: &[(String, String)]) -> Option<(StatusCode, HeaderMap)> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    for (name, value) in &answer.headers {
        headers.insert(HeaderName::from_static(name), HeaderValue::try_from(value).ok()?);
    }
    for (name, value) in scripted {
        headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    Some((StatusCode::from_u16(answer.status).ok()?, headers))
}
