//! Tokens as OpenAI's and Ollama's servers tell them, in answers that are passed on as they are.

use serde::Deserialize;

use super::{Dialect, lenient, ollama, openai};
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

/// What a whole answer tells of its tokens, gathered while somebody walks over its members: nothing else of it is decoded.
pub(super) enum Told<'a> {
    Openai { usage: Option<&'a [u8]>, timings: Option<&'a [u8]> },
    Ollama(OllamaCounts),
}

impl<'a> Told<'a> {
    pub(super) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Ollama => Self::Ollama(OllamaCounts::default()),
            // Answers of Gemini are never passed on as they are.
            Dialect::Openai | Dialect::Gemini => Self::Openai { usage: None, timings: None },
        }
    }

    /// A member of the answer, the quotes of its key included. Of those that stand twice, the last one is true.
    pub(super) fn note(&mut self, key: &[u8], value: &'a [u8]) {
        match self {
            Self::Openai { usage, timings } => match key {
                b"\"usage\"" => *usage = Some(value),
                b"\"timings\"" => *timings = Some(value),
                _ => {}
            },
            Self::Ollama(counts) => {
                let place = match key {
                    b"\"prompt_eval_count\"" => &mut counts.prompt_eval_count,
                    b"\"eval_count\"" => &mut counts.eval_count,
                    b"\"load_duration\"" => &mut counts.load_duration,
                    b"\"prompt_eval_duration\"" => &mut counts.prompt_eval_duration,
                    b"\"eval_duration\"" => &mut counts.eval_duration,
                    _ => return,
                };
                *place = serde_json::from_slice(value).ok();
            }
        }
    }

    pub(super) fn usage(self) -> Usage {
        match self {
            Self::Openai { usage, timings } => {
                let counts = usage.and_then(|value| serde_json::from_slice::<OpenaiCounts>(value).ok());
                let timings = timings.and_then(|value| serde_json::from_slice::<openai::Timings>(value).ok());
                let worked = timings.and_then(|timings| timings.worked());
                Usage { worked, ..counts.map(Usage::from).unwrap_or_default() }
            }
            Self::Ollama(counts) => counts.into(),
        }
    }
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
pub(super) struct OllamaCounts {
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
