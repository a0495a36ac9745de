//! JSON decoding for requests and replies: simd-json in thread-local buffers, and on an error the untouched bytes once
//! more with serde_json, which knows line and column.

use std::cell::RefCell;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::head::string_end;

/// Nesting that is still read. Deeper input is refused before a recursive decoder could meet it.
pub const MAX_DEPTH: usize = 128;
/// Values of a client's request that are still read. Each takes more than a hundred bytes of memory, and two of the request:
/// a few megabytes of brackets would be a gigabyte. Honest requests of that size hold long texts.
pub const MAX_VALUES: usize = 1_000_000;

/// Why bytes are not the JSON that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Brackets are nested too deeply.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// More values than any honest request holds.
    #[error("holds more than {MAX_VALUES} values")]
    TooMany,
    /// Not JSON, or not of the expected shape; the text says what stands where.
    #[error("{0}")]
    Malformed(String),
}

impl JsonError {
    /// What is wrong with a request whose body it is.
    pub fn of_request(&self) -> String {
        match self {
            Self::TooDeep => format!("the request body is {self}"),
            Self::TooMany => format!("the request body {self}"),
            Self::Malformed(_) => format!("the request body is no valid JSON: {self}"),
        }
    }
}

thread_local! {
    /// simd-json rewrites its input, so it gets a copy; both buffers live as long as their thread.
    static SCRATCH: RefCell<(Vec<u8>, simd_json::Buffers)> = RefCell::new((Vec::new(), simd_json::Buffers::default()));
}

/// A scratch copy larger than this is given back to the allocator after use.
const KEEP_SCRATCH_BYTES: usize = 1 << 20;

/// Decodes one JSON document.
///
/// # Errors
/// With line and column where the text stops being what `T` expects.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    if Extent::of(bytes).depth > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    decode_shallow(bytes)
}

/// Decodes a client's request, of which nothing is known yet. A byte order mark before it is nothing.
///
/// # Errors
/// As [`decode`], and more values than [`MAX_VALUES`].
pub fn decode_request(bytes: &[u8]) -> Result<Value, JsonError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    match Extent::of(bytes) {
        Extent { depth, .. } if depth > MAX_DEPTH => Err(JsonError::TooDeep),
        Extent { values, .. } if values > MAX_VALUES => Err(JsonError::TooMany),
        _ => decode_shallow(bytes),
    }
}

fn decode_shallow<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, JsonError> {
    let quick = SCRATCH.with_borrow_mut(|(copy, buffers)| {
        copy.clear();
        copy.extend_from_slice(bytes);
        let decoded = simd_json::serde::from_slice_with_buffers(copy, buffers);
        if copy.capacity() > KEEP_SCRATCH_BYTES {
            *copy = Vec::new();
            *buffers = simd_json::Buffers::default();
        }
        decoded
    });
    match quick {
        Ok(value) => Ok(value),
        // Also the road of the few documents only serde_json takes, such as integers beyond 64 bits.
        Err(_) => serde_json::from_slice(bytes).map_err(|error| JsonError::Malformed(error.to_string())),
    }
}

/// How much a document holds, counted without decoding anything.
struct Extent {
    /// Deepest nesting of brackets outside strings.
    depth: usize,
    /// Its values, and some more: brackets, and what stands behind commas.
    values: usize,
}

impl Extent {
    fn of(bytes: &[u8]) -> Self {
        let (mut now, mut depth, mut values, mut at) = (0usize, 0usize, 1usize, 0usize);
        while let Some(byte) = bytes.get(at) {
            match byte {
                // What is not closed is the decoder's to refuse.
                b'"' => {
                    at = string_end(bytes, at).unwrap_or(bytes.len());
                    continue;
                }
                b'[' | b'{' => {
                    now += 1;
                    values += 1;
                    depth = depth.max(now);
                }
                b']' | b'}' => now = now.saturating_sub(1),
                b',' => values += 1,
                _ => {}
            }
            at += 1;
        }
        Self { depth, values }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_line_and_column_of_the_untouched_text() {
        let error = decode::<serde_json::Value>(b"{\n  \"a\": trux\n}").unwrap_err();
        assert!(error.to_string().contains("line 2 column"), "{error}");
    }

    #[test]
    fn two_hundred_levels_are_refused_and_brackets_in_strings_do_not_count() {
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(decode::<serde_json::Value>(deep.as_bytes()), Err(JsonError::TooDeep));
        let text = format!("[\"{}\\\"[\"]", "[".repeat(200));
        assert!(decode::<serde_json::Value>(text.as_bytes()).is_ok());
    }

    #[test]
    fn a_request_of_countless_values_is_refused_and_a_long_text_is_not() {
        let list = |values: usize| format!("{{\"input\":[{}]}}", vec!["1"; values].join(","));
        assert_eq!(decode_request(list(MAX_VALUES).as_bytes()), Err(JsonError::TooMany));
        assert!(decode_request(list(MAX_VALUES - 10).as_bytes()).is_ok());
        assert!(decode::<Value>(list(MAX_VALUES).as_bytes()).is_ok(), "vectors in a backend's answer are many numbers");
        let text = format!("{{\"prompt\":\"{}\"}}", "[,{".repeat(MAX_VALUES));
        assert!(decode_request(text.as_bytes()).is_ok());
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert_eq!(decode_request(deep.as_bytes()), Err(JsonError::TooDeep));
    }

    #[test]
    fn a_byte_order_mark_before_a_request_is_nothing() {
        assert_eq!(decode_request(b"\xef\xbb\xbf{}"), Ok(serde_json::json!({})));
    }

    #[test]
    fn numbers_beyond_64_bits_are_read_as_floats() {
        let value: serde_json::Value = decode(b"[123456789012345678901234567890]").unwrap();
        assert_eq!(value[0].as_f64(), Some(1.234_567_890_123_456_8e29));
    }

    #[test]
    fn malformed_utf8_is_an_error() {
        assert!(decode::<serde_json::Value>(b"\"\xff\xfe\"").is_err());
    }
}
