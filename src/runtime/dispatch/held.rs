//! Answers that are still being read, and what they are read from: a call of one's own, whose slot they hold, or one that
//! is shared. Dropping one gives the call up, unless others share it.

use bytes::Bytes;

use super::{
    attempt::HeldCall,
    single_flight::{Piece, Seat},
    tab::Tab,
};
use crate::{
    domain::{
        chat::{ReplyEvent, Usage},
        failure::{Failure, FailureClass},
    },
    faults::fault,
    providers::{RelayStream, ReplyStream},
};

/// A stream that is relayed. Dropping it aborts the call and frees the slot.
pub struct HeldRelay {
    source: Source<RelayStream>,
    tab: Option<Tab>,
    heard: u64,
    usage: Usage,
}

/// A reply that arrives. Dropping it aborts the call and frees the slot.
pub struct HeldReply {
    source: Source<ReplyStream>,
    tab: Option<Tab>,
    usage: Usage,
}

enum Source<S> {
    Own { stream: Box<S>, call: Box<HeldCall> },
    Shared(Seat),
}

impl HeldRelay {
    pub(super) fn own(stream: Box<RelayStream>, call: HeldCall, tab: Option<Tab>) -> Self {
        Self { source: Source::Own { stream, call: Box::new(call) }, tab, heard: 0, usage: Usage::default() }
    }

    pub(super) fn shared(seat: Seat, tab: Option<Tab>) -> Self {
        Self { source: Source::Shared(seat), tab, heard: 0, usage: Usage::default() }
    }

    /// The next whole lines; `None` at the clean end. After a failure there is nothing more.
    pub async fn next(&mut self) -> Option<Result<Bytes, Failure>> {
        let next = match &mut self.source {
            Source::Own { stream, call } => {
                fault!("dispatch.piece", call.backend(), else |fault| Some(Err(fault.into())));
                let next = stream.next().await;
                (self.heard, self.usage) = (stream.pieces(), stream.usage());
                match &next {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => call.failed(error),
                    None => call.ended(self.usage),
                }
                next.map(|next| next.map_err(Failure::from))
            }
            Source::Shared(seat) => match seat.next().await {
                Some(Ok(Piece::Lines { bytes, heard, usage })) => {
                    (self.heard, self.usage) = (heard, usage);
                    Some(Ok(bytes))
                }
                Some(Ok(Piece::Event(_))) => Some(Err(of_another_kind())),
                Some(Err(failure)) => Some(Err(failure)),
                None => None,
            },
        };
        if let Some(tab) = &mut self.tab {
            tab.now(self.heard, self.usage);
        }
        next
    }

    /// Lines that have just come, for those who share them.
    pub(super) fn piece(&self, lines: &Bytes) -> Piece {
        // A copy: what is kept for a while must not keep all that was read with it.
        Piece::Lines { bytes: Bytes::copy_from_slice(lines), heard: self.heard, usage: self.usage }
    }
}

impl HeldReply {
    pub(super) fn own(stream: Box<ReplyStream>, call: HeldCall, tab: Option<Tab>) -> Self {
        Self { source: Source::Own { stream, call: Box::new(call) }, tab, usage: Usage::default() }
    }

    pub(super) fn shared(seat: Seat, tab: Option<Tab>) -> Self {
        Self { source: Source::Shared(seat), tab, usage: Usage::default() }
    }

    /// The next event; `None` at the clean end. After a failure there is nothing more.
    pub async fn next(&mut self) -> Option<Result<ReplyEvent, Failure>> {
        let next = match &mut self.source {
            Source::Own { stream, call } => {
                fault!("dispatch.piece", call.backend(), else |fault| Some(Err(fault.into())));
                let next = stream.next().await;
                match &next {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => call.failed(error),
                    None => call.is_read(|| self.usage),
                }
                next.map(|next| next.map_err(Failure::from))
            }
            Source::Shared(seat) => match seat.next().await {
                Some(Ok(Piece::Event(event))) => Some(Ok(event)),
                Some(Ok(Piece::Lines { .. })) => Some(Err(of_another_kind())),
                Some(Err(failure)) => Some(Err(failure)),
                None => None,
            },
        };
        if let Some(Ok(event)) = &next {
            self.hear(event);
        }
        next
    }

    /// The next event if it is there already.
    pub fn next_ready(&mut self) -> Option<ReplyEvent> {
        let event = match &mut self.source {
            Source::Own { stream, .. } => stream.next_ready()?,
            Source::Shared(seat) => match seat.next_ready()? {
                Piece::Event(event) => event,
                Piece::Lines { .. } => return None,
            },
        };
        self.hear(&event);
        Some(event)
    }

    fn hear(&mut self, event: &ReplyEvent) {
        if let ReplyEvent::Usage(usage) = event {
            self.usage = *usage;
        }
        if let Some(tab) = &mut self.tab {
            tab.hear(event);
        }
    }
}

/// Calls that ask for different things are never the same.
fn of_another_kind() -> Failure {
    Failure::new(FailureClass::Internal, "the shared answer is of another kind than the request")
}
