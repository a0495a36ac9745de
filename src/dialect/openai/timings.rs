//! How long llama.cpp's server says that it worked on a call (`timings`, <https://github.com/ggml-org/llama.cpp/tree/master/tools/server>).

use std::time::Duration;

use serde::Deserialize;

/// Times in milliseconds; none of them counts the time in which the call waited for a slot.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(in crate::dialect) struct Timings {
    /// Tokens of the prompt that a cache served.
    pub(super) cache_n: Option<u64>,
    prompt_ms: Option<f64>,
    predicted_ms: Option<f64>,
}

impl Timings {
    /// All of it; `None` where it does not tell.
    pub(in crate::dialect) fn worked(self) -> Option<Duration> {
        let millis = self.predicted_ms? + self.prompt_ms.unwrap_or_default();
        Duration::try_from_secs_f64(millis / 1_000.0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_that_on_the_prompt_and_on_the_reply_and_nonsense_is_no_time() {
        let times = |text: &str| serde_json::from_str::<Timings>(text).unwrap().worked();
        let told = r#"{"cache_n": 3, "prompt_ms": 12.5, "predicted_n": 4, "predicted_ms": 30.5}"#;
        assert_eq!(times(told), Some(Duration::from_millis(43)));
        assert_eq!(times(r#"{"predicted_ms": 30}"#), Some(Duration::from_millis(30)));
        assert_eq!(times(r#"{"prompt_ms": 30}"#), None);
        assert_eq!(times(r#"{"predicted_ms": -1}"#), None);
    }
}
