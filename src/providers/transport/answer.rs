//! An answer that has begun, whichever client it comes through.

use bytes::Bytes;
use reqwest::{
    Response, StatusCode,
    header::{self, HeaderMap},
};

use super::direct::DirectBody;
use crate::providers::{ProviderError, ProviderErrorKind};

/// Its head, and the body that is still to be read. Dropping it before the body's end closes the connection.
pub(in crate::providers) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    body: AnswerBody,
}

enum AnswerBody {
    Direct(DirectBody),
    Reqwest(Box<Response>),
}

/// Why there is no answer.
pub(super) enum NoAnswer {
    /// No connection in time.
    ConnectTimeout,
    /// No connection; why, in the system's words.
    Connect(String),
    /// The connection ended before an answer began.
    Closed,
}

impl Answer {
    pub(super) fn direct((status, headers, body): (StatusCode, HeaderMap, DirectBody)) -> Self {
        Self { status, headers, body: AnswerBody::Direct(body) }
    }

    pub(super) fn reqwest(mut response: Response) -> Self {
        let headers = std::mem::take(response.headers_mut());
        Self { status: response.status(), headers, body: AnswerBody::Reqwest(Box::new(response)) }
    }

    /// The media type; empty where none is named.
    pub(super) fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The next piece of the body, `None` at its end.
    pub(super) async fn chunk(&mut self) -> Result<Option<Bytes>, ProviderError> {
        let piece = match &mut self.body {
            AnswerBody::Direct(body) => body.chunk().await.ok(),
            AnswerBody::Reqwest(response) => response.chunk().await.ok(),
        };
        piece.ok_or_else(|| {
            ProviderError::new(ProviderErrorKind::Cut, "the backend broke off in the middle of its answer")
        })
    }
}
