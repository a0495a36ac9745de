//! OpenAI's chat and text completions: one object, or events.

use std::time::SystemTime;

use serde::Serialize;

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::Fields,
    clock::unix_seconds,
    model::SimModel,
    openai::{EVENT_STREAM, event, flavour::Flavour, format::form},
    script::Effect,
    speech::Speech,
};

/// The whole answer, or one chunk of it.
#[derive(Serialize)]
struct Completion<'a> {
    id: &'static str,
    object: &'static str,
    created: u64,
    model: &'a str,
    choices: Vec<Choice<'a>>,
    /// Inside out: left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'static str>,
    system_fingerprint: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
}

#[derive(Serialize)]
struct Choice<'a> {
    index: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Message<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<Delta<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    logprobs: Option<()>,
    finish_reason: Option<&'a str>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
    refusal: Option<()>,
    annotations: [(); 0],
}

#[derive(Default, Serialize)]
struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<&'a str>>,
}

#[derive(Clone, Copy, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Clone, Copy, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
    audio_tokens: usize,
}

#[derive(Clone, Copy, Serialize)]
struct CompletionDetails {
    reasoning_tokens: usize,
    audio_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

/// llama.cpp's account of the time.
#[derive(Serialize)]
struct Timings {
    cache_n: usize,
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_second: f64,
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_second: f64,
}

/// Everything the answer is made of.
struct Talk<'a> {
    name: &'a str,
    speech: Speech,
    flavour: Flavour,
    /// False for text completions.
    chat: bool,
    created: u64,
}

/// `POST /v1/chat/completions`.
pub(crate) fn chat(
    name: &str,
    model: &SimModel,
    fields: &Fields,
    effect: &Effect,
    flavour: Flavour,
) -> Result<Answer, Answer> {
    if fields.messages.as_ref().is_none_or(Vec::is_empty) {
        return Err(flavour.refused(400, "invalid_request_error", "'messages' must be a non-empty list"));
    }
    answer(name, model, fields, effect, flavour)
}

/// `POST /v1/completions`.
pub(crate) fn complete(
    name: &str,
    model: &SimModel,
    fields: &Fields,
    effect: &Effect,
    flavour: Flavour,
) -> Result<Answer, Answer> {
    if fields.prompt.is_none() {
        return Err(flavour.refused(400, "invalid_request_error", "'prompt' is required"));
    }
    answer(name, model, fields, effect, flavour)
}

fn answer(name: &str, model: &SimModel, fields: &Fields, effect: &Effect, flavour: Flavour) -> Result<Answer, Answer> {
    let form = form(fields, flavour)?;
    let speech = Speech::compose(fields, &form, effect);
    if speech.prompt_tokens > model.context_length && flavour != Flavour::Ollama {
        return Err(flavour.too_long(speech.prompt_tokens, model.context_length));
    }
    let created = unix_seconds(SystemTime::now());
    let talk = Talk { name, speech, flavour, chat: fields.messages.is_some(), created };
    if fields.stream != Some(true) {
        return Ok(Answer::json(200, &talk.whole(&talk.speech.text())));
    }
    let usage = fields.stream_options.as_ref().and_then(|options| options.include_usage) == Some(true);
    Ok(Answer::new(200, EVENT_STREAM, Payload::Frames(talk.events(usage))))
}

impl<'a> Talk<'a> {
    fn whole(&'a self, text: &'a str) -> Completion<'a> {
        let message = Message { role: "assistant", content: text, refusal: None, annotations: [] };
        let choice = Choice {
            message: self.chat.then_some(message),
            text: (!self.chat).then_some(text),
            finish_reason: self.speech.finish.as_deref(),
            ..BLANK
        };
        let object = if self.chat { "chat.completion" } else { "text_completion" };
        let service_tier = (self.flavour == Flavour::OpenAi).then_some("default");
        let usage = Some(Some(self.usage()));
        Completion { usage, service_tier, timings: self.timings(), ..self.blank(object, vec![choice]) }
    }

    /// The stream: role, text, finish, usage where asked for, `[DONE]`.
    fn events(&self, with_usage: bool) -> Vec<Frame> {
        let (chunks, finish) = (&self.speech.chunks, self.speech.finish.as_deref());
        // OpenAI marks chunks before the usage with null; the others do not mention it.
        let usage = (with_usage && self.flavour == Flavour::OpenAi).then_some(None);
        let timings = || if with_usage { None } else { self.timings() };
        let chunk = |delta: Delta<'_>, finish_reason: Option<&str>, last: bool| {
            let text = delta.content.flatten().unwrap_or_default();
            let text = (!self.chat).then_some(text);
            let choice = Choice { text, delta: self.chat.then_some(delta), finish_reason, ..BLANK };
            let timings = if last { timings() } else { None };
            event(&Completion { usage, timings, ..self.blank(self.chunk_object(), vec![choice]) })
        };

        let mut frames = Vec::with_capacity(chunks.len() + 4);
        if self.chat && self.flavour != Flavour::Ollama {
            let content = if self.flavour == Flavour::LlamaCpp { None } else { Some("") };
            frames.push(Frame::marker(chunk(Delta { role: Some("assistant"), content: Some(content) }, None, false)));
        }
        for (at, text) in chunks.iter().enumerate() {
            let last = at + 1 == chunks.len();
            let role = (self.flavour == Flavour::Ollama && at == 0).then_some("assistant");
            let finish = finish.filter(|_| last && self.flavour == Flavour::Vllm);
            frames.push(Frame::chunk(chunk(Delta { role, content: Some(Some(text)) }, finish, false)));
        }
        if finish.is_some() && (self.flavour != Flavour::Vllm || chunks.is_empty()) {
            frames.push(Frame::marker(chunk(Delta::default(), finish, true)));
        }
        if with_usage {
            let (usage, timings) = (Some(Some(self.usage())), self.timings());
            let last = Completion { usage, timings, ..self.blank(self.chunk_object(), Vec::new()) };
            frames.push(Frame::marker(event(&last)));
        }
        frames.push(Frame::marker("data: [DONE]\n\n"));
        frames
    }

    fn blank(&'a self, object: &'static str, choices: Vec<Choice<'a>>) -> Completion<'a> {
        Completion {
            // llama.cpp uses the chat prefix for both.
            id: if self.chat || self.flavour == Flavour::LlamaCpp { "chatcmpl-1" } else { "cmpl-1" },
            object,
            created: self.created,
            model: self.name,
            choices,
            usage: None,
            service_tier: None,
            system_fingerprint: self.flavour.fingerprint(),
            timings: None,
        }
    }

    fn chunk_object(&self) -> &'static str {
        if self.chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn usage(&self) -> Usage {
        let (prompt_tokens, completion_tokens) = (self.speech.prompt_tokens, self.speech.chunks.len());
        let detailed = self.flavour == Flavour::OpenAi;
        let prompt = PromptDetails { cached_tokens: 0, audio_tokens: 0 };
        let completion = CompletionDetails {
            reasoning_tokens: 0,
            audio_tokens: 0,
            accepted_prediction_tokens: 0,
            rejected_prediction_tokens: 0,
        };
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: detailed.then_some(prompt),
            completion_tokens_details: detailed.then_some(completion),
        }
    }

    /// A model that reads ten tokens and writes one in a millisecond; llama.cpp alone tells.
    fn timings(&self) -> Option<Timings> {
        let (prompt_n, predicted_n) = (self.speech.prompt_tokens, self.speech.chunks.len());
        (self.flavour == Flavour::LlamaCpp).then(|| Timings {
            cache_n: 0,
            prompt_n,
            prompt_ms: prompt_n as f64 / 10.0,
            prompt_per_second: 10_000.0,
            predicted_n,
            predicted_ms: predicted_n as f64,
            predicted_per_second: 1_000.0,
        })
    }
}

/// A choice with nothing in it.
const BLANK: Choice<'static> =
    Choice { index: 0, message: None, delta: None, text: None, logprobs: None, finish_reason: None };
