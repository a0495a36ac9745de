//! Which calls are one and the same: those that are answered alike wherever they go, and ask the same of the same places
//! (`docs/api.md`, single flight and kept answers).

use std::fmt::{self, Debug, Write};

use sha2::{Digest, Sha256};

use crate::{
    domain::{
        chat::ChatCall,
        embedding::EmbedCall,
        ids::PoolId,
        ledger::Spending,
        priority::Priority,
        route::{Keeping, ModelRoute},
    },
    providers::RelayRoute,
    runtime::dispatch::exchange::{Asked, Exchange},
};

/// Longer requests are made alone: to compare them would take longer than others should wait.
const MAX_COMPARED_BYTES: usize = 1 << 20;

/// Separates this use of a text from any other hash of it.
const KEPT_LABEL: &[u8] = b"penstock kept answer v1\0";

/// All that decides an answer, and who may see the call.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pool: PoolId,
    /// Labels, targets and priority count. When the answer is wanted, who pays, and which of the backends that are all right
    /// is asked do not.
    route: ModelRoute,
    form: Form,
    digest: [u8; 32],
}

/// In which form the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Form {
    Completion,
    Vectors,
    Answer { road: Option<RelayRoute>, is_stream: bool },
}

impl Key {
    fn new(pool: &PoolId, route: &ModelRoute, form: Form, digest: [u8; 32]) -> Self {
        let route = ModelRoute {
            deadline: None,
            keeping: Keeping::Allowed,
            spending: Spending::UNCOUNTED,
            session: None,
            strategy: None,
            ..route.clone()
        };
        Self { pool: pool.clone(), route, form, digest }
    }

    /// What is left of it for those who share nothing with us but the answers: nothing of the question can be read in it.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let own = Self { route: ModelRoute { priority: Priority::Standard, ..self.route.clone() }, ..self.clone() };
        let mut printed = Printed { digest: Sha256::new_with_prefix(KEPT_LABEL), left: usize::MAX };
        // A digest takes everything.
        write!(printed, "{own:?}").ok();
        printed.digest.finalize().into()
    }

    /// Of a prompt; `None` where its answers may differ.
    pub(super) fn of_chat(pool: &PoolId, route: &ModelRoute, call: &ChatCall) -> Option<Self> {
        let digest = is_deterministic(call).then(|| digest_of(call)).flatten()?;
        Some(Self::new(pool, route, Form::Completion, digest))
    }

    /// Of texts whose vectors are wanted.
    pub(super) fn of_texts(pool: &PoolId, route: &ModelRoute, call: &EmbedCall) -> Option<Self> {
        Some(Self::new(pool, route, Form::Vectors, digest_of(call)?))
    }

    /// Of a client's call: by the client's own bytes, where there are any. What has no translation may ask for anything.
    pub(super) fn of_exchange(pool: &PoolId, route: &ModelRoute, exchange: &Exchange<'_>) -> Option<Self> {
        let Exchange { original, translate, wants_stream } = exchange;
        if original.is_some_and(|original| original.body.len() > MAX_COMPARED_BYTES) {
            return None;
        }
        let asked = translate().ok()?;
        if matches!(&asked, Asked::Chat(call) if !is_deterministic(call)) {
            return None;
        }
        let digest = match (original, &asked) {
            (Some(original), _) => Sha256::digest(&original.body).into(),
            (None, Asked::Chat(call)) => digest_of(call)?,
            (None, Asked::Embed(call)) => digest_of(call)?,
        };
        let form = Form::Answer { road: original.map(|original| original.route), is_stream: *wants_stream };
        Some(Self::new(pool, route, form, digest))
    }
}

/// Whether all answers to a call are alike: the likeliest token each time, and one reply.
fn is_deterministic(call: &ChatCall) -> bool {
    call.sampling.temperature == Some(0.0) && call.choices <= 1
}

/// Of everything that a call has: what it prints as names each of its fields, those of later versions too. `None` for a long
/// one.
fn digest_of(call: &impl Debug) -> Option<[u8; 32]> {
    let mut printed = Printed { digest: Sha256::new(), left: MAX_COMPARED_BYTES };
    write!(printed, "{call:?}").ok()?;
    Some(printed.digest.finalize().into())
}

struct Printed {
    digest: Sha256,
    left: usize,
}

impl Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.digest.update(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::{
        chat::{ChatTurn, Sampling},
        model::Capability,
        priority::Priority,
        route::RouteTarget,
    };

    fn call(words: &str, temperature: Option<f64>) -> ChatCall {
        let sampling = Sampling { temperature, ..Sampling::default() };
        ChatCall { messages: vec![ChatTurn::text("user", words)], sampling, ..ChatCall::default() }
    }

    fn key(route: &ModelRoute, call: &ChatCall) -> Option<Key> {
        Key::of_chat(&PoolId::new("p"), route, call)
    }

    fn route() -> ModelRoute {
        ModelRoute::of(Capability::Chat, &["m".to_owned()], &[])
    }

    #[test]
    fn only_what_is_answered_alike_each_time_has_a_key() {
        for (temperature, expected) in
            [(Some(0.0), true), (Some(-0.0), true), (Some(0.01), false), (Some(f64::NAN), false), (None, false)]
        {
            assert_eq!(key(&route(), &call("hi", temperature)).is_some(), expected, "{temperature:?}");
        }
        let several = ChatCall { choices: 2, ..call("hi", Some(0.0)) };
        assert_eq!(key(&route(), &several), None);
        let long = "x".repeat(MAX_COMPARED_BYTES);
        assert_eq!(key(&route(), &call(&long, Some(0.0))), None, "what is long is not compared");
    }

    #[test]
    fn what_decides_an_answer_or_who_sees_the_call_makes_another_key() {
        let own = key(&route(), &call("hi", Some(0.0))).unwrap();
        let labels = BTreeMap::from([("zone".to_owned(), "here".to_owned())]);
        let others = [
            key(&ModelRoute { require: labels, ..route() }, &call("hi", Some(0.0))),
            key(&ModelRoute { priority: Priority::Batch, ..route() }, &call("hi", Some(0.0))),
            key(&ModelRoute { targets: vec![RouteTarget::model("n")], ..route() }, &call("hi", Some(0.0))),
            key(&route(), &call("ho", Some(0.0))),
            key(&route(), &ChatCall { logprobs: Some(1), ..call("hi", Some(0.0)) }),
            Key::of_chat(&PoolId::new("q"), &route(), &call("hi", Some(0.0))),
        ];
        for (at, other) in others.into_iter().enumerate() {
            assert_ne!(other.unwrap(), own, "number {at}");
        }
    }

    #[test]
    fn who_waits_how_long_and_pays_is_no_difference() {
        let own = key(&route(), &call("hi", Some(0.0)));
        let hurried = ModelRoute {
            deadline: Some(std::time::Instant::now()),
            session: Some("anna".to_owned()),
            strategy: Some(crate::domain::route::RoutingStrategy::Random),
            ..route()
        };
        assert_eq!(key(&hurried, &call("hi", Some(0.0))), own);
    }
}
