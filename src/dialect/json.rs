//! JSON decoding for requests and replies: simd-json in thread-local buffers, and on an error the untouched bytes once
//! more with serde_json, which knows line and column.

use std::cell::RefCell;

use serde::de::DeserializeOwned;

/// Nesting that is still read. Deeper input is refused before a recursive decoder could meet it.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are not the JSON that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Brackets are nested too deeply.
    #[error("nested more than {MAX_DEPTH} levels deep")]
    TooDeep,
    /// Not JSON, or not of the expected shape; the text says what stands where.
    #[error("{0}")]
    Malformed(String),
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
    if depth(bytes) > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
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

/// Deepest bracket nesting outside strings, counted without decoding anything.
fn depth(bytes: &[u8]) -> usize {
    let (mut now, mut deepest, mut in_string, mut escaped) = (0usize, 0usize, false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => {
                    now += 1;
                    deepest = deepest.max(now);
                }
                b']' | b'}' => now = now.saturating_sub(1),
                _ => {}
            }
        }
    }
    deepest
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
    fn numbers_beyond_64_bits_are_read_as_floats() {
        let value: serde_json::Value = decode(b"[123456789012345678901234567890]").unwrap();
        assert_eq!(value[0].as_f64(), Some(1.234_567_890_123_456_8e29));
    }

    #[test]
    fn malformed_utf8_is_an_error() {
        assert!(decode::<serde_json::Value>(b"\"\xff\xfe\"").is_err());
    }
}
