//! OpenAI's embeddings: many texts in one request, vectors as numbers or as base64 of little-endian floats.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    dialect::{json, lenient, reply::ReplyError},
    domain::embedding::Embedded,
};

/// Texts of one request. OpenAI takes four times as many, but writes the numbers of their vectors a line each: the answer
/// would be longer than one that is collected in memory.
const MAX_TEXTS: usize = 512;
/// Bytes of the texts of one request: OpenAI takes 300,000 tokens in all, and a token has seldom fewer than two.
const MAX_BYTES: usize = 600_000;

/// The texts in as many lists as they need requests, in their order.
pub fn batches(inputs: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = inputs;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |text: &&String| {
            bytes += text.len();
            bytes <= MAX_BYTES
        };
        // One that is too long by itself is sent by itself: the server knows what it takes.
        let many = rest.iter().take(MAX_TEXTS).take_while(fits).count().max(1);
        let (batch, after) = rest.split_at_checked(many)?;
        rest = after;
        Some(batch)
    })
}

#[derive(Serialize)]
struct EmbedBody<'a> {
    model: &'a str,
    input: Input<'a>,
    encoding_format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimensions: Option<u32>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Input<'a> {
    /// What servers take that know no lists.
    One(&'a str),
    Several(&'a [String]),
}

/// The body of `POST /embeddings` for the texts of a batch.
pub fn embed_body(model: &str, inputs: &[String], dimensions: Option<u32>) -> Vec<u8> {
    let input = match inputs {
        [only] => Input::One(only),
        several => Input::Several(several),
    };
    // Numbers: what every server can.
    let body = EmbedBody { model, input, encoding_format: "float", dimensions };
    serde_json::to_vec(&body).unwrap_or_default()
}

#[derive(Deserialize)]
struct EmbedReply {
    #[serde(default)]
    data: Vec<EmbedEntry>,
    #[serde(default, deserialize_with = "lenient::member")]
    usage: Option<EmbedUsage>,
}

#[derive(Deserialize)]
struct EmbedEntry {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Vector {
    Numbers(Vec<f64>),
    Base64(String),
}

#[derive(Deserialize)]
struct EmbedUsage {
    #[serde(default)]
    prompt_tokens: Option<u64>,
}

/// Reads the answer of `POST /embeddings` to so many texts.
///
/// # Errors
/// Not one vector for each text, or a body that is no such answer.
pub fn parse_embeddings(body: &[u8], wanted: usize) -> Result<Embedded, ReplyError> {
    let reply: EmbedReply = json::decode(body)?;
    if reply.data.is_empty() {
        return Err(ReplyError::Empty);
    }
    let mut vectors: Vec<Option<Vec<f64>>> = vec![None; wanted];
    let told = reply.data.len();
    let odd = || ReplyError::Malformed(format!("{told} vectors for {wanted} texts, or not one for each"));
    for (place, entry) in reply.data.into_iter().enumerate() {
        let vector = match entry.embedding {
            Vector::Numbers(numbers) => numbers,
            Vector::Base64(text) => floats(&text)?,
        };
        if vector.is_empty() {
            return Err(ReplyError::Empty);
        }
        let slot = vectors.get_mut(entry.index.unwrap_or(place)).filter(|slot| slot.is_none()).ok_or_else(odd)?;
        *slot = Some(vector);
    }
    let vectors = vectors.into_iter().collect::<Option<_>>().ok_or_else(odd)?;
    Ok(Embedded { vectors, input_tokens: reply.usage.and_then(|usage| usage.prompt_tokens) })
}

fn floats(base64: &str) -> Result<Vec<f64>, ReplyError> {
    let bytes =
        STANDARD.decode(base64).map_err(|error| ReplyError::Malformed(format!("a vector is not base64: {error}")))?;
    let (numbers, rest) = bytes.as_chunks::<4>();
    match rest {
        [] => Ok(numbers.iter().map(|number| f64::from(f32::from_le_bytes(*number))).collect()),
        _ => Err(ReplyError::Malformed("a vector's base64 is not made of 32-bit floats".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_is_sent_as_a_text_and_several_as_a_list() {
        let body = |inputs: &[&str], dimensions| {
            let inputs: Vec<_> = inputs.iter().map(ToString::to_string).collect();
            String::from_utf8(embed_body("m", &inputs, dimensions)).unwrap()
        };
        assert_eq!(body(&["a"], None), r#"{"model":"m","input":"a","encoding_format":"float"}"#);
        assert_eq!(
            body(&["a", "b"], Some(4)),
            r#"{"model":"m","input":["a","b"],"encoding_format":"float","dimensions":4}"#
        );
    }

    #[test]
    fn texts_go_into_as_few_requests_as_they_fit() {
        let sizes = |texts: &[String]| batches(texts).map(<[String]>::len).collect::<Vec<_>>();
        assert!(sizes(&[]).is_empty());
        assert_eq!(sizes(&vec!["a".to_owned(); 1025]), [512, 512, 1]);
        let long = |bytes: usize| "x".repeat(bytes);
        assert_eq!(sizes(&[long(300_000), long(300_000), long(1), long(900_000), long(1)]), [2, 1, 1, 1]);
        let texts: Vec<String> = (0..600).map(|number| number.to_string()).collect();
        assert_eq!(batches(&texts).collect::<Vec<_>>().concat(), texts);
    }

    #[test]
    fn vectors_come_in_the_order_of_the_texts_as_numbers_or_base64() {
        // 0.5 and -1 as little-endian floats.
        let body =
            br#"{"object":"list","data":[{"index":1,"embedding":"AAAAPwAAgL8="},{"index":0,"embedding":[1,2.5]}],
            "usage":{"prompt_tokens":4,"total_tokens":4}}"#;
        let embedded = parse_embeddings(body, 2).unwrap();
        assert_eq!((embedded.vectors, embedded.input_tokens), (vec![vec![1.0, 2.5], vec![0.5, -1.0]], Some(4)));
        let unnumbered = br#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        assert_eq!(parse_embeddings(unnumbered, 2).unwrap().vectors, [[1.0], [2.0]]);
    }

    #[test]
    fn answers_without_a_vector_for_each_text_are_failures() {
        assert_eq!(parse_embeddings(br#"{"data":[]}"#, 1), Err(ReplyError::Empty));
        assert_eq!(parse_embeddings(br#"{"data":[{"embedding":[]}]}"#, 1), Err(ReplyError::Empty));
        for (body, wanted) in [
            (&br#"{"data":[{"index":0,"embedding":[1]}]}"#[..], 2),
            (br#"{"data":[{"index":0,"embedding":[1]},{"index":0,"embedding":[2]}]}"#, 2),
            (br#"{"data":[{"index":7,"embedding":[1]}]}"#, 1),
            (br#"{"data":[{"embedding":"AAA"}]}"#, 1),
            (br#"{"data":[{"embedding":"AAAA"}]}"#, 1),
            (b"<html>", 1),
        ] {
            assert!(matches!(parse_embeddings(body, wanted), Err(ReplyError::Malformed(_))), "{wanted}");
        }
    }
}
