//! The bytes of a request, made once; only its number changes from one to the next.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, Request, Uri,
    body::{Body, Frame, SizeHint},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};

use crate::{
    fleet::DIMENSION,
    scenario::{Kind, MARKER, Question},
    sim::embedding,
};

/// One kind of request to one server.
pub(crate) struct Ask {
    pub(crate) kind: Kind,
    /// Words that the answer has, the request's number among them; nothing where any answer will do.
    pub(crate) words: Option<usize>,
    /// Of slow readers: how long they take over a byte.
    pub(crate) pause_per_byte: Option<Duration>,
    pub(crate) hang_up_after: Option<Duration>,
    /// How many of these there are among the others.
    pub(crate) share: u32,
    uri: Uri,
    headers: HeaderMap,
    before: Bytes,
    after: Bytes,
    /// Of embeddings: the prompt up to its number.
    prompt: String,
}

impl Ask {
    /// Makes ready what is asked of the server at this host and port, under these names of its models.
    pub(crate) fn new(
        question: &Question,
        host: &str,
        models: (&str, &str),
        words: Option<usize>,
    ) -> Result<Arc<Self>> {
        let body = Bytes::from(question.body(models.0, models.1));
        let at = memchr::memmem::find(&body, MARKER.as_bytes()).context("the prompt has no place for its number")?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &question.headers {
            headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
        }
        Ok(Arc::new(Self {
            kind: question.kind,
            words,
            pause_per_byte: question.read_kb_per_s.map(|rate| Duration::from_secs_f64(1.0 / (rate * 1000.0))),
            hang_up_after: question.hang_up_after_ms.map(Duration::from_millis),
            share: question.share,
            uri: Uri::from_static(question.path()),
            headers,
            before: body.slice(..at),
            after: body.slice(at + MARKER.len()..),
            prompt: question.prompt_without_number(),
        }))
    }

    /// What only the answer to this number has: the number, or the first one of the vector of the text that ends in it.
    pub(crate) fn sign(&self, number: Number) -> String {
        let marker = number.marker();
        match self.kind {
            Kind::Embeddings => {
                let vector = embedding(&(self.prompt.clone() + &marker), DIMENSION);
                // As JSON writes numbers of this size, and not as those of twice the size.
                format!("[{},", serde_json::to_string(&vector.first()).unwrap_or_default())
            }
            _ => marker,
        }
    }

    /// The request with this number.
    pub(crate) fn request(&self, number: Number) -> Request<Pieces> {
        let number = Bytes::from(number.marker());
        let mut request = Request::new(Pieces::new([self.before.clone(), number, self.after.clone()]));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// What one request has that no other under way has: eight digits, the first of which is not 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(u32);

impl Number {
    /// The number of the n-th request.
    pub(crate) fn nth(n: u64) -> Self {
        Self(10_000_000 + u32::try_from(n % 90_000_000).unwrap_or_default())
    }

    /// As texts have it.
    pub(crate) fn marker(self) -> String {
        format!("~{}", self.0)
    }
}

/// A body in three pieces of known length.
pub(crate) struct Pieces {
    left: std::array::IntoIter<Bytes, 3>,
}

impl Pieces {
    fn new(pieces: [Bytes; 3]) -> Self {
        Self { left: pieces.into_iter() }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.left.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.as_slice().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.as_slice().iter().map(|piece| piece.len() as u64).sum())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn numbers_differ_and_have_eight_digits() {
        let numbers: HashSet<String> =
            (0..100_000).chain(89_900_000..90_000_000).map(|n| Number::nth(n).marker()).collect();
        assert_eq!(numbers.len(), 200_000);
        for number in numbers {
            assert_eq!(number.len(), MARKER.len());
        }
    }
}
