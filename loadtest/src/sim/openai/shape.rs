//! The JSON of OpenAI's completions, whole and in chunks.

use serde::Serialize;
use serde_json::Value;

/// The whole answer, or one chunk of it.
#[derive(Serialize)]
pub(super) struct Completion<'a> {
    pub(super) id: &'a str,
    pub(super) object: &'static str,
    pub(super) created: u64,
    pub(super) model: &'a str,
    pub(super) choices: Vec<Choice<'a>>,
    /// Inside out: left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) service_tier: Option<&'static str>,
    pub(super) system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timings: Option<Timings>,
    /// Filler of no meaning, as long as OpenAI likes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) obfuscation: Option<&'static str>,
    #[serde(flatten)]
    pub(super) vllm: Option<VllmKeys>,
}

/// What vLLM writes beside OpenAI's keys of a whole answer: all null unless somebody asks for them.
#[derive(Serialize, Default, Clone, Copy)]
pub(super) struct VllmKeys {
    prompt_logprobs: (),
    prompt_token_ids: (),
    prompt_text: (),
    kv_transfer_params: (),
    metrics: (),
}

/// The same of a choice.
#[derive(Serialize, Default, Clone, Copy)]
pub(super) struct VllmChoiceKeys {
    stop_reason: (),
    token_ids: (),
    routed_experts: (),
}

#[derive(Serialize, Default)]
pub(super) struct Choice<'a> {
    pub(super) index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<&'a str>,
    pub(super) logprobs: Option<Value>,
    pub(super) finish_reason: Option<&'a str>,
    #[serde(flatten)]
    pub(super) vllm: Option<VllmChoiceKeys>,
}

#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    /// Null when only tools are called.
    pub(super) content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    /// Inside out: left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Value>,
    pub(super) refusal: Option<()>,
    pub(super) annotations: [(); 0],
}

#[derive(Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reasoning: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Value>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct Usage {
    pub(super) prompt_tokens: usize,
    pub(super) completion_tokens: usize,
    pub(super) total_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct PromptDetails {
    pub(super) cached_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio_tokens: Option<usize>,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct CompletionDetails {
    pub(super) reasoning_tokens: usize,
    pub(super) audio_tokens: usize,
    pub(super) accepted_prediction_tokens: usize,
    pub(super) rejected_prediction_tokens: usize,
}

/// llama.cpp's account of the time.
#[derive(Serialize)]
pub(super) struct Timings {
    pub(super) cache_n: usize,
    pub(super) prompt_n: usize,
    pub(super) prompt_ms: f64,
    pub(super) prompt_per_second: f64,
    pub(super) predicted_n: usize,
    pub(super) predicted_ms: f64,
    pub(super) predicted_per_second: f64,
}
