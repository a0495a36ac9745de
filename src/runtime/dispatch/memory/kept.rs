//! How an answer is written down: one line of JSON that says what it is and who made it, then its bytes.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        chat::{ChatReply, Usage},
        embedding::Embedded,
        ids::{BackendId, PoolId},
        message::{Completion, Served},
        timing::CallTiming,
    },
    runtime::dispatch::exchange::{Answer, RelayedBody, RelayedReply},
};

/// The form of what is written down.
const FORM: u32 = 1;

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::runtime::dispatch) enum Kept {
    Completion(Completion),
    Reply(ChatReply),
    Vectors(Embedded),
    Relayed(RelayedBody),
}

#[derive(Serialize, Deserialize)]
struct Head {
    form: u32,
    backend: BackendId,
    pool: PoolId,
    model: String,
    kind: Kind,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Completion,
    Reply,
    /// How many numbers each vector has.
    Vectors {
        lengths: Vec<usize>,
        input_tokens: Option<u64>,
    },
    Relayed {
        content_type: String,
    },
}

impl Kept {
    pub(in crate::runtime::dispatch) fn of_completion(completion: &Completion) -> Option<Self> {
        Some(Self::Completion(completion.clone()))
    }

    pub(in crate::runtime::dispatch) fn of_vectors(embedded: &Embedded) -> Option<Self> {
        Some(Self::Vectors(embedded.clone()))
    }

    /// What is whole; `None` for streams, and for numbers that would not be exactly the same again.
    pub(in crate::runtime::dispatch) fn of_answer(answer: &Answer) -> Option<Self> {
        match answer {
            Answer::Whole(reply) if reply.choices.iter().all(|said| said.logprobs.is_none()) => {
                Some(Self::Reply(reply.clone()))
            }
            Answer::Embedded(embedded) => Self::of_vectors(embedded),
            Answer::Relayed(RelayedReply::Whole(body)) => Some(Self::Relayed(body.clone())),
            Answer::Whole(_) | Answer::Pieces(_) | Answer::Relayed(RelayedReply::Stream(_)) => None,
        }
    }

    /// As bytes.
    pub(super) fn written(&self, served: &Served) -> Option<Bytes> {
        let (kind, body) = match self {
            Self::Completion(completion) => (Kind::Completion, Bytes::from(serde_json::to_vec(completion).ok()?)),
            Self::Reply(reply) => (Kind::Reply, Bytes::from(serde_json::to_vec(reply).ok()?)),
            Self::Vectors(Embedded { vectors, input_tokens }) => {
                let lengths = vectors.iter().map(Vec::len).collect();
                let numbers = vectors.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
                (Kind::Vectors { lengths, input_tokens: *input_tokens }, numbers)
            }
            Self::Relayed(RelayedBody { content_type, bytes, .. }) => {
                (Kind::Relayed { content_type: content_type.clone() }, bytes.clone())
            }
        };
        let Served { backend, pool, model, .. } = served.clone();
        let mut written = BytesMut::new().writer();
        serde_json::to_writer(&mut written, &Head { form: FORM, backend, pool, model, kind }).ok()?;
        let mut written = written.into_inner();
        written.put_u8(b'\n');
        written.put(body);
        Some(written.freeze())
    }

    /// The same back; `None` for what is not of this form.
    pub(super) fn read(bytes: &Bytes) -> Option<(Self, Served)> {
        let end = bytes.iter().position(|byte| *byte == b'\n')?;
        let Head { form, backend, pool, model, kind } = serde_json::from_slice(bytes.get(..end)?).ok()?;
        if form != FORM {
            return None;
        }
        let body = bytes.slice(end + 1..);
        let kept = match kind {
            Kind::Completion => Self::Completion(serde_json::from_slice(&body).ok()?),
            Kind::Reply => Self::Reply(serde_json::from_slice(&body).ok()?),
            Kind::Vectors { lengths, input_tokens } => {
                let (numbers, rest) = body.as_chunks();
                let mut numbers = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes));
                let vectors: Vec<Vec<f64>> =
                    lengths.iter().map(|length| numbers.by_ref().take(*length).collect()).collect();
                let is_whole = vectors.iter().map(Vec::len).eq(lengths) && numbers.next().is_none() && rest.is_empty();
                is_whole.then_some(Self::Vectors(Embedded { vectors, input_tokens }))?
            }
            Kind::Relayed { content_type } => {
                Self::Relayed(RelayedBody { content_type, bytes: body, usage: Usage::default() })
            }
        };
        let served = Served {
            backend,
            pool,
            model,
            attempts: 0,
            timing: CallTiming::default(),
            is_shared: false,
            was_kept: Some(true),
        };
        Some((kept, served))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::chat::{Finish, Said, ToolCall};

    fn served() -> Served {
        Served {
            backend: BackendId::new("b"),
            pool: PoolId::new("p"),
            model: "m".to_owned(),
            attempts: 2,
            timing: CallTiming { queued: Duration::from_millis(7), ..CallTiming::default() },
            is_shared: false,
            was_kept: Some(false),
        }
    }

    #[test]
    fn every_kind_of_answer_comes_back_as_it_was() {
        let usage =
            Usage { input_tokens: Some(3), worked: Some(std::time::Duration::from_micros(5)), ..Usage::default() };
        let text = "line\nline\u{0}\u{1F6A6}".to_owned();
        let completion = Completion { text: text.clone(), role: "assistant".to_owned(), finish: Finish::Length, usage };
        let call =
            ToolCall { id: "1".to_owned(), name: "f".to_owned(), arguments: "{".to_owned(), ..ToolCall::default() };
        let said = Said { text, tool_calls: vec![call], finish: Some(Finish::ToolCalls), ..Said::default() };
        let vectors = vec![vec![0.1 + 0.2, f64::MIN_POSITIVE, -0.0], vec![], vec![1e308]];
        let all = [
            Kept::Completion(completion),
            Kept::Reply(ChatReply { choices: vec![said], usage }),
            Kept::Vectors(Embedded { vectors, input_tokens: None }),
            Kept::Relayed(RelayedBody {
                content_type: "application/json".to_owned(),
                bytes: Bytes::from_static(b"{\n\"a\": 1.50}\n"),
                usage: Usage::default(),
            }),
        ];
        for kept in all {
            let (read, by) = Kept::read(&kept.written(&served()).unwrap()).unwrap();
            assert_eq!(read, kept);
            assert_eq!(by, Served { attempts: 0, timing: CallTiming::default(), was_kept: Some(true), ..served() });
        }
    }

    #[test]
    fn what_is_cut_or_of_another_form_is_no_answer() {
        let kept = Kept::Vectors(Embedded { vectors: vec![vec![1.0, 2.0]], input_tokens: Some(1) });
        let whole = kept.written(&served()).unwrap();
        for end in 0..whole.len() {
            assert_eq!(Kept::read(&whole.slice(..end)), None, "{end}");
        }
        assert_eq!(Kept::read(&Bytes::from([&whole[..], b"12345678"].concat())), None);
        let (content_type, bytes) = ("text/plain".to_owned(), Bytes::from_static(b"x"));
        let body = RelayedBody { content_type, bytes, usage: Usage::default() };
        let whole = Kept::Relayed(body).written(&served()).unwrap();
        let later = String::from_utf8(whole.to_vec()).unwrap().replace("\"form\":1", "\"form\":2");
        assert_eq!(Kept::read(&Bytes::from(later)), None, "of another version");
    }
}
