//! How long an Ollama server says that it worked on a call (<https://github.com/ollama/ollama/blob/main/docs/api.md>).

use std::time::Duration;

/// Nanoseconds; none of them counts the time in which the call waited for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(test, derive(serde::Deserialize), serde(default))]
pub(in crate::dialect) struct WorkTimes {
    pub(in crate::dialect) load_duration: Option<u64>,
    pub(in crate::dialect) prompt_eval_duration: Option<u64>,
    pub(in crate::dialect) eval_duration: Option<u64>,
}

impl WorkTimes {
    /// All of it; `None` where it does not tell.
    pub(in crate::dialect) fn worked(self) -> Option<Duration> {
        let before = [self.load_duration, self.prompt_eval_duration].into_iter().flatten().fold(0, u64::saturating_add);
        Some(Duration::from_nanos(self.eval_duration?.saturating_add(before)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_is_that_on_the_model_the_prompt_and_the_reply() {
        let times = |text: &str| serde_json::from_str::<WorkTimes>(text).unwrap().worked();
        let told = r#"{"total_duration": 900, "load_duration": 10, "prompt_eval_duration": 20, "eval_duration": 30}"#;
        assert_eq!(times(told), Some(Duration::from_nanos(60)));
        assert_eq!(times(r#"{"eval_duration": 30}"#), Some(Duration::from_nanos(30)));
        assert_eq!(times(r#"{"total_duration": 900, "load_duration": 10}"#), None, "vectors have no such time");
    }
}
