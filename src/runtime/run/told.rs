//! The reply of a run's last model step on its way to whoever reads it while it arrives (`docs/workflow-spec.md`, streamed
//! steps): from the task that asks, through a bounded channel, past every mailbox. A reader that is slow slows the backend.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::mpsc;

use crate::{
    domain::{
        chat::{ChatCall, Finish, ReplyEvent, Usage},
        failure::{Failure, FailureClass},
        message::{Completion, Served},
        route::ModelRoute,
    },
    engine::{AnswerStream, StreamWish, StreamedReply},
    runtime::dispatch::{
        DispatchError, Dispatcher,
        exchange::{Answer, Asked, Exchange, HeldReply},
    },
};

use super::effects::Outcome;

/// Events that a reader may be behind.
const BUFFER: usize = 32;
/// Longest text of a reply; that of one that is not streamed is bounded by its transport.
const MAX_TEXT_BYTES: usize = 64 << 20;

/// One thing told.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// Who serves the reply that begins, and the model's name as an answer shows it; always the first.
    Begun(Served, String),
    /// More of the text, or of what the model thinks before it.
    Event(ReplyEvent),
}

/// The run's end of the channel.
#[derive(Debug, Clone)]
pub struct Teller {
    sender: mpsc::Sender<Told>,
    wish: StreamWish,
}

/// What is wished to be told of a run, and where it arrives. The channel ends before the run is answered.
pub fn teller(wish: StreamWish) -> (Teller, mpsc::Receiver<Told>) {
    let (sender, receiver) = mpsc::channel(BUFFER);
    (Teller { sender, wish }, receiver)
}

impl Teller {
    pub(super) fn wish(&self) -> StreamWish {
        self.wish
    }
}

/// Whether anything of an attempt was told: then its failure ends the run.
#[derive(Debug, Clone, Default)]
pub(super) struct HasTold(Arc<AtomicBool>);

impl HasTold {
    pub(super) fn get(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// One attempt whose reply is told.
pub(super) struct ToldAttempt {
    pub(super) teller: Teller,
    pub(super) streamed: StreamedReply,
    pub(super) has_told: HasTold,
}

impl ToldAttempt {
    /// Asks, tells what comes, and gives the whole.
    pub(super) async fn ask(
        self,
        dispatcher: &Dispatcher,
        route: Result<ModelRoute, DispatchError>,
        call: ChatCall,
    ) -> Outcome {
        let call = Arc::new(call);
        let translate = || Ok(Asked::Chat(Arc::clone(&call)));
        let exchange = Exchange { original: None, translate: &translate, wants_stream: true };
        let asked = async { dispatcher.exchange(&route?, &exchange).await };
        let (answer, served) = match asked.await {
            Ok(answered) => answered,
            Err(error) => return Outcome::Failed(error.failure, error.served.map(|served| *served)),
        };
        let mut reply = Reply::new(self, &served);
        let told = match answer {
            Answer::Pieces(held) => reply.tell_pieces(held).await,
            Answer::Whole(whole) => reply.tell_all(whole.into_events()).await,
            Answer::Embedded(_) | Answer::Relayed(_) => {
                Err(Failure::new(FailureClass::Internal, "the backend answered what it was not asked"))
            }
        };
        let completed = match told {
            Ok(()) => reply.finish().await,
            Err(failure) => Err(failure),
        };
        match completed {
            Ok(completion) => Outcome::Answered(completion, served),
            Err(failure) => Outcome::Failed(failure, Some(served)),
        }
    }
}

/// A reply as far as it has come.
struct Reply {
    attempt: ToldAttempt,
    /// Told before anything else.
    begin: Option<Told>,
    stream: AnswerStream,
    whole: String,
    finish: Option<Finish>,
    usage: Usage,
}

impl Reply {
    fn new(attempt: ToldAttempt, served: &Served) -> Self {
        let begin = Some(Told::Begun(served.clone(), attempt.streamed.model(served)));
        let stream = AnswerStream::new(attempt.streamed.text);
        Self { attempt, begin, stream, whole: String::new(), finish: None, usage: Usage::default() }
    }

    async fn tell_pieces(&mut self, mut held: HeldReply) -> Result<(), Failure> {
        while let Some(event) = held.next().await {
            self.take(event?).await?;
        }
        Ok(())
    }

    async fn tell_all(&mut self, events: impl Iterator<Item = ReplyEvent> + Send) -> Result<(), Failure> {
        for event in events {
            self.take(event).await?;
        }
        Ok(())
    }

    async fn take(&mut self, event: ReplyEvent) -> Result<(), Failure> {
        match event {
            ReplyEvent::Text { choice: 0, text } => {
                if self.whole.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
                    let text = format!("the reply is longer than {MAX_TEXT_BYTES} bytes");
                    return Err(Failure::new(FailureClass::InvalidOutput, text));
                }
                self.whole.push_str(&text);
                let text = self.stream.push(&text);
                self.tell_text(text).await
            }
            ReplyEvent::Reasoning { choice: 0, text } if !text.is_empty() => {
                self.tell(ReplyEvent::Reasoning { choice: 0, text }).await
            }
            ReplyEvent::Finish { choice: 0, reason } => {
                self.finish = Some(reason);
                Ok(())
            }
            ReplyEvent::Usage(usage) => {
                self.usage = usage;
                Ok(())
            }
            // Nobody asked for further replies, for calls of tools or for probabilities.
            _ => Ok(()),
        }
    }

    async fn finish(mut self) -> Result<Completion, Failure> {
        let finish = self.finish.unwrap_or_default();
        if finish == Finish::ContentFilter {
            let text = "the reply was withheld by the server's content filter";
            return Err(Failure::new(FailureClass::InvalidOutput, text));
        }
        let stream = std::mem::replace(&mut self.stream, AnswerStream::new(self.attempt.streamed.text));
        self.tell_text(stream.end()).await?;
        Ok(Completion { text: self.whole, role: "assistant".to_owned(), finish, usage: self.usage })
    }

    async fn tell_text(&mut self, text: String) -> Result<(), Failure> {
        if text.is_empty() { Ok(()) } else { self.tell(ReplyEvent::Text { choice: 0, text }).await }
    }

    async fn tell(&mut self, event: ReplyEvent) -> Result<(), Failure> {
        for told in self.begin.take().into_iter().chain([Told::Event(event)]) {
            self.attempt.has_told.0.store(true, Ordering::Release);
            let sent = self.attempt.teller.sender.send(told).await;
            sent.map_err(|_| Failure::new(FailureClass::Cancelled, "nobody reads the reply any more"))?;
        }
        Ok(())
    }
}
