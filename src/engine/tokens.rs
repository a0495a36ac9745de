//! How many tokens a text is: counted with a common vocabulary, close enough to bound a call for any model.

/// Above this many bytes an estimate will do; counting is linear, but a run must not hold up others.
const LARGEST_COUNTED: usize = 256 * 1024;
/// The usual length of a token.
const BYTES_PER_TOKEN: usize = 4;

/// The tokens of a text. The vocabulary is loaded by the first call (some 40 ms).
pub fn count(text: &str) -> u64 {
    let tokens = if text.len() > LARGEST_COUNTED {
        text.len() / BYTES_PER_TOKEN
    } else if text.is_empty() {
        0
    } else {
        bpe_openai::o200k_base().count(text)
    };
    tokens as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_counted_and_long_ones_estimated() {
        assert_eq!(count(""), 0);
        assert_eq!(count("hello world"), 2);
        let long = "a ".repeat(200 * 1024);
        assert_eq!(count(&long), 100 * 1024);
    }
}
