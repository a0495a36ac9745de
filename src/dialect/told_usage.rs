//! Tokens as OpenAI's and Ollama's servers tell them, in answers that are passed on as they are.

use serde::Deserialize;

use super::{Dialect, head::member, lenient, ollama, openai};
use crate::domain::chat::Usage;

/// Of a chunk of OpenAI's; `None` where it tells none.
pub(super) fn openai(chunk: &[u8]) -> Option<Usage> {
    #[derive(Deserialize)]
    struct Counted {
        usage: Option<OpenaiCounts>,
        #[serde(default, deserialize_with = "lenient::member")]
        timings: Option<openai::Timings>,
    }
    let counted: Counted = serde_json::from_slice(chunk).ok()?;
    let worked = counted.timings.and_then(|timings| timings.worked());
    counted.usage.map(|counts| Usage { worked, ..counts.into() })
}

/// Of a line of Ollama's.
pub(super) fn ollama(line: &[u8]) -> Usage {
    serde_json::from_slice::<OllamaCounts>(line).unwrap_or_default().into()
}

/// Of a whole answer, of which nothing else is decoded: vectors are large.
pub fn of_whole(dialect: Dialect, answer: &[u8]) -> Usage {
    if dialect == Dialect::Ollama {
        let count = |name: &str| member(answer, name).and_then(|value| serde_json::from_slice(value).ok());
        let (input_tokens, output_tokens) = (count("prompt_eval_count"), count("eval_count"));
        let [load_duration, prompt_eval_duration, eval_duration] =
            ["load_duration", "prompt_eval_duration", "eval_duration"].map(count);
        let work = ollama::WorkTimes { load_duration, prompt_eval_duration, eval_duration };
        return Usage { input_tokens, output_tokens, worked: work.worked(), ..Usage::default() };
    }
    let counts = member(answer, "usage").and_then(|value| serde_json::from_slice::<OpenaiCounts>(value).ok());
    let timings = member(answer, "timings").and_then(|value| serde_json::from_slice::<openai::Timings>(value).ok());
    let worked = timings.and_then(|timings| timings.worked());
    Usage { worked, ..counts.map(Usage::from).unwrap_or_default() }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OpenaiCounts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    prompt_tokens_details: Option<CachedTokens>,
    completion_tokens_details: Option<ReasoningTokens>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct CachedTokens {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReasoningTokens {
    reasoning_tokens: Option<u64>,
}

impl From<OpenaiCounts> for Usage {
    fn from(counts: OpenaiCounts) -> Self {
        Self {
            input_tokens: counts.prompt_tokens,
            output_tokens: counts.completion_tokens,
            cached_tokens: counts.prompt_tokens_details.and_then(|details| details.cached_tokens),
            reasoning_tokens: counts.completion_tokens_details.and_then(|details| details.reasoning_tokens),
            worked: None,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OllamaCounts {
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    load_duration: Option<u64>,
    prompt_eval_duration: Option<u64>,
    eval_duration: Option<u64>,
}

impl From<OllamaCounts> for Usage {
    fn from(counts: OllamaCounts) -> Self {
        let (input_tokens, output_tokens) = (counts.prompt_eval_count, counts.eval_count);
        let OllamaCounts { load_duration, prompt_eval_duration, eval_duration, .. } = counts;
        let worked = ollama::WorkTimes { load_duration, prompt_eval_duration, eval_duration }.worked();
        Self { input_tokens, output_tokens, worked, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tokens_of_whole_answers_are_found_at_their_top_alone() {
        let told = |dialect, answer: &str| {
            let usage = of_whole(dialect, answer.as_bytes());
            (usage.input_tokens, usage.output_tokens)
        };
        for (answer, tokens) in [
            (
                r#"{"choices":[{"message":{"content":"\"usage\":{}"}}],"usage":{"prompt_tokens":7,"completion_tokens":3}}"#,
                (Some(7), Some(3)),
            ),
            (
                r#"{"data":[{"usage":{"prompt_tokens":1}}],"usage":{"prompt_tokens":5,"total_tokens":5}}"#,
                (Some(5), None),
            ),
            (r#"{"usage":null}"#, (None, None)),
            (r#"[{"usage":{"prompt_tokens":7}}]"#, (None, None)),
            ("no json", (None, None)),
        ] {
            assert_eq!(told(Dialect::Openai, answer), tokens, "{answer}");
        }
        let answer = r#"{"response":"a","done":true,"prompt_eval_count":5,"eval_count":1}"#;
        assert_eq!(told(Dialect::Ollama, answer), (Some(5), Some(1)));
        assert_eq!(told(Dialect::Ollama, r#"{"embeddings":[[0.5]],"prompt_eval_count":2}"#), (Some(2), None));
    }
}
