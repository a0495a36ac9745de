//! The answer of a shared call as one request gets it: written down on its own account, as if the call had been made for it
//! alone.

use std::sync::Arc;

use super::flight::{Landing, Seat};
use crate::{
    domain::{
        chat::ChatCall,
        embedding::{EmbedCall, Embedded},
        failure::{Failure, FailureClass},
        message::{Completion, Served},
        route::ModelRoute,
    },
    runtime::dispatch::{
        DispatchError,
        call::words_of,
        exchange::{Answer, Exchange, HeldRelay, HeldReply, RelayedReply},
        tab::Tab,
    },
};

/// See the module.
pub(in crate::runtime::dispatch) struct Shared {
    pub(super) landing: Landing,
    pub(super) served: Served,
    /// Where a stream is read.
    pub(super) seat: Seat,
}

impl Shared {
    pub(in crate::runtime::dispatch) fn completion(
        self,
        route: &ModelRoute,
        call: &ChatCall,
    ) -> Result<(Completion, Served), DispatchError> {
        let Landing::Completion(completion) = self.landing else { return Err(of_another_kind(self.served)) };
        if let Some(tab) = Tab::open(&route.spending, || words_of(call)) {
            tab.complete(&completion);
        }
        Ok((Arc::unwrap_or_clone(completion), self.served))
    }

    pub(in crate::runtime::dispatch) fn embedded(
        self,
        route: &ModelRoute,
        call: &EmbedCall,
    ) -> Result<(Embedded, Served), DispatchError> {
        let Landing::Embedded(embedded) = self.landing else { return Err(of_another_kind(self.served)) };
        if let Some(tab) = Tab::of_texts(&route.spending, call) {
            tab.embedded(&embedded);
        }
        Ok((Arc::unwrap_or_clone(embedded), self.served))
    }

    pub(in crate::runtime::dispatch) fn answer(
        self,
        route: &ModelRoute,
        exchange: &Exchange<'_>,
    ) -> Result<(Answer, Served), DispatchError> {
        let Self { landing, served, seat } = self;
        let tab = Tab::open(&route.spending, || exchange.sent());
        let answer = match landing {
            Landing::Whole(reply) => {
                tab.into_iter().for_each(|tab| tab.reply(&reply));
                Answer::Whole(Arc::unwrap_or_clone(reply))
            }
            Landing::Embedded(embedded) => {
                tab.into_iter().for_each(|tab| tab.embedded(&embedded));
                Answer::Embedded(Arc::unwrap_or_clone(embedded))
            }
            Landing::RelayedWhole(body) => {
                exchange.settle(tab, &body);
                Answer::Relayed(RelayedReply::Whole(body))
            }
            Landing::Pieces => Answer::Pieces(HeldReply::shared(seat, tab)),
            Landing::Lines => Answer::Relayed(RelayedReply::Stream(HeldRelay::shared(seat, tab))),
            Landing::Completion(_) => return Err(of_another_kind(served)),
        };
        Ok((answer, served))
    }
}

/// Calls that ask for different things are never the same.
pub(in crate::runtime::dispatch) fn of_another_kind(served: Served) -> DispatchError {
    let failure = Failure::new(FailureClass::Internal, "the shared answer is of another kind than the request");
    DispatchError { failure, served: Some(Box::new(served)) }
}
