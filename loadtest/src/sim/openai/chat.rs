//! OpenAI's chat and text completions: one object, or events.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

use serde_json::{Value, json};

use crate::sim::{
    answer::{Answer, Frame, Payload},
    call::{Fields, token_count},
    clock::unix_seconds,
    model::SimModel,
    openai::{
        EVENT_STREAM, event,
        flavour::Flavour,
        format::form,
        shape::{
            Choice, Completion, CompletionDetails, Delta, Message, PromptDetails, Timings, Usage, VllmChoiceKeys,
            VllmKeys,
        },
    },
    script::Effect,
    speech::{Calling, Speech, ToolCall},
};

/// Everything the answer is made of.
struct Talk<'a> {
    /// Its own, the same in all its chunks.
    id: String,
    name: &'a str,
    speech: Speech,
    flavour: Flavour,
    /// False for text completions.
    chat: bool,
    /// Likeliest other tokens to be told with each; none when no probabilities are.
    logprobs: Option<usize>,
    replies: u32,
    created: u64,
    /// Whether the chunks of a stream are filled up.
    is_obfuscated: bool,
}

/// Answers so far: each has an id of its own.
static ANSWERS: AtomicU64 = AtomicU64::new(1);

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
    let mut speech = Speech::compose(fields, &form, effect).with_calls(fields, calling(fields, flavour), effect);
    if speech.prompt_tokens > model.context_length && flavour != Flavour::Ollama {
        return Err(flavour.too_long(speech.prompt_tokens, model.context_length));
    }
    if !thinks(fields) {
        speech.thinking.clear();
    }
    if !speech.calls.is_empty() && effect.finish.is_none() && speech.finish.is_some() {
        speech.finish = Some("tool_calls".to_owned());
    }
    let chat = fields.messages.is_some();
    let logprobs = (chat && fields.logprobs == Some(Value::Bool(true))).then(|| fields.top_logprobs.unwrap_or(0));
    let created = unix_seconds(SystemTime::now());
    // Ollama looks away from the wish for several.
    let wanted = fields.n.filter(|_| flavour != Flavour::Ollama).unwrap_or(1);
    let replies = u32::try_from(wanted.clamp(1, 128)).unwrap_or(1);
    let options = fields.stream_options.as_ref();
    let is_obfuscated =
        chat && flavour == Flavour::OpenAi && options.and_then(|options| options.include_obfuscation) != Some(false);
    // llama.cpp uses the chat prefix for both.
    let prefix = if chat || flavour == Flavour::LlamaCpp { "chatcmpl" } else { "cmpl" };
    let id = format!("{prefix}-{}", ANSWERS.fetch_add(1, Ordering::Relaxed));
    let talk = Talk { id, name, speech, flavour, chat, logprobs, replies, created, is_obfuscated };
    if fields.stream != Some(true) {
        return Ok(Answer::json(200, &talk.whole(&talk.speech.text())));
    }
    let usage = options.and_then(|options| options.include_usage) == Some(true);
    Ok(Answer::new(200, EVENT_STREAM, Payload::Frames(talk.events(usage))))
}

/// What the request says about tools. llama.cpp knows words only and takes anything else as `auto`.
fn calling(fields: &Fields, flavour: Flavour) -> Calling<'_> {
    match &fields.tool_choice {
        Some(Value::String(word)) if word == "none" => Calling::Never,
        Some(Value::String(word)) if word == "required" => Calling::Always,
        Some(choice) if flavour != Flavour::LlamaCpp => {
            choice.pointer("/function/name").and_then(Value::as_str).map_or(Calling::Freely, Calling::Only)
        }
        _ => Calling::Freely,
    }
}

/// Whether the request lets a model think.
fn thinks(fields: &Fields) -> bool {
    let kwargs = fields.chat_template_kwargs.as_ref();
    let off = kwargs.and_then(|kwargs| kwargs.get("enable_thinking")) == Some(&Value::Bool(false));
    !off && fields.reasoning_effort.as_ref().is_none_or(|effort| effort != "none")
}

impl<'a> Talk<'a> {
    fn whole(&'a self, text: &'a str) -> Completion<'a> {
        let choice = |index| {
            let (reasoning_content, reasoning) = self.thoughts();
            let message = Message {
                role: "assistant",
                content: (!text.is_empty() || self.speech.calls.is_empty()).then_some(text),
                reasoning_content,
                reasoning: (self.flavour == Flavour::Vllm || reasoning.is_some()).then_some(reasoning),
                tool_calls: self.speech.calls.iter().enumerate().map(|(at, call)| self.whole_call(at, call)).collect(),
                refusal: None,
                annotations: [],
            };
            Choice {
                index,
                message: self.chat.then_some(message),
                text: (!self.chat).then_some(text),
                logprobs: self.probabilities(&self.speech.chunks),
                finish_reason: self.speech.finish.as_deref(),
                vllm: self.is_vllm().then(VllmChoiceKeys::default),
                ..Choice::default()
            }
        };
        let object = if self.chat { "chat.completion" } else { "text_completion" };
        let service_tier = (self.flavour == Flavour::OpenAi).then_some("default");
        let usage = Some(Some(self.usage()));
        let choices = (0..self.replies).map(choice).collect();
        let vllm = self.is_vllm().then(VllmKeys::default);
        Completion { usage, service_tier, timings: self.timings(), vllm, ..self.blank(object, choices) }
    }

    /// The stream: for each reply its role, thoughts, text, calls and finish; usage where asked for; `[DONE]`.
    fn events(&self, with_usage: bool) -> Vec<Frame> {
        let mut frames = Vec::with_capacity(self.speech.chunks.len() + 4);
        for index in 0..self.replies {
            self.reply(index, with_usage, &mut frames);
        }
        if with_usage {
            let (usage, timings) = (Some(Some(self.usage())), self.timings());
            let last = Completion { usage, timings, ..self.blank(self.chunk_object(), Vec::new()) };
            frames.push(Frame::marker(event(&last)));
        }
        frames.push(Frame::marker("data: [DONE]\n\n"));
        frames
    }

    fn reply(&self, index: u32, with_usage: bool, frames: &mut Vec<Frame>) {
        let (chunks, finish) = (&self.speech.chunks, self.speech.finish.as_deref());
        // OpenAI marks chunks before the usage with null; the others do not mention it.
        let usage = (with_usage && self.flavour == Flavour::OpenAi).then_some(None);
        let timings = || if with_usage { None } else { self.timings() };
        let chunk = |delta: Delta<'_>, finish_reason: Option<&str>, last: bool| {
            let text = delta.content.flatten().unwrap_or_default();
            let logprobs = if text.is_empty() { None } else { self.probabilities(&[text.to_owned()]) };
            let text = (!self.chat).then_some(text);
            let delta = self.chat.then_some(delta);
            let choice = Choice { index, text, delta, logprobs, finish_reason, ..Choice::default() };
            let timings = if last { timings() } else { None };
            let obfuscation = self.is_obfuscated.then_some("x7Qf0Z");
            event(&Completion { usage, timings, obfuscation, ..self.blank(self.chunk_object(), vec![choice]) })
        };

        if self.chat && self.flavour != Flavour::Ollama {
            let content = if self.flavour == Flavour::LlamaCpp { None } else { Some("") };
            let delta = Delta { role: Some("assistant"), content: Some(content), ..Delta::default() };
            frames.push(Frame::marker(chunk(delta, None, false)));
        }
        let (reasoning_content, reasoning) = self.thoughts();
        if self.chat && (reasoning_content.is_some() || reasoning.is_some()) {
            let delta = Delta { reasoning_content, reasoning, ..Delta::default() };
            frames.push(Frame::chunk(chunk(delta, None, false)));
        }
        let calls = &self.speech.calls;
        for (at, text) in chunks.iter().enumerate() {
            let last = at + 1 == chunks.len() && calls.is_empty();
            let role = (self.flavour == Flavour::Ollama && at == 0).then_some("assistant");
            let finish = finish.filter(|_| last && self.flavour == Flavour::Vllm);
            let delta = Delta { role, content: Some(Some(text)), ..Delta::default() };
            frames.push(Frame::chunk(chunk(delta, finish, false)));
        }
        for piece in calls.iter().enumerate().flat_map(|(at, call)| self.pieces(at, call)) {
            let content = self.is_vllm().then_some(None);
            let delta = Delta { content, tool_calls: vec![piece], ..Delta::default() };
            frames.push(Frame::chunk(chunk(delta, None, false)));
        }
        if finish.is_some() && (self.flavour != Flavour::Vllm || chunks.is_empty() || !calls.is_empty()) {
            frames.push(Frame::marker(chunk(Delta::default(), finish, true)));
        }
    }

    /// The thoughts under the flavour's name: `reasoning_content` and `reasoning`. OpenAI keeps them to itself.
    fn thoughts(&self) -> (Option<&str>, Option<&str>) {
        let thoughts = Some(self.speech.thinking.as_str()).filter(|thoughts| !thoughts.is_empty());
        match self.flavour {
            Flavour::OpenAi => (None, None),
            Flavour::LlamaCpp => (thoughts, None),
            Flavour::Vllm | Flavour::Ollama => (None, thoughts),
        }
    }

    /// As sure of every token as of the next.
    fn probabilities(&self, tokens: &[String]) -> Option<Value> {
        let others = self.logprobs?;
        let likely = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes()});
        let entry = |token: &String| {
            let mut entry = likely(token, -0.25);
            let others = (0..others).map(|at| likely(&format!("{token}{at}"), -2.0 - at as f64));
            entry["top_logprobs"] = others.collect();
            entry
        };
        let content: Vec<_> = tokens.iter().map(entry).collect();
        Some(match self.flavour {
            Flavour::OpenAi => json!({"content": content, "refusal": null}),
            _ => json!({ "content": content }),
        })
    }

    fn blank(&'a self, object: &'static str, choices: Vec<Choice<'a>>) -> Completion<'a> {
        Completion {
            id: &self.id,
            object,
            created: self.created,
            model: self.name,
            choices,
            usage: None,
            service_tier: None,
            system_fingerprint: self.flavour.fingerprint(),
            timings: None,
            obfuscation: None,
            vllm: None,
        }
    }

    fn is_vllm(&self) -> bool {
        self.flavour == Flavour::Vllm
    }

    fn chunk_object(&self) -> &'static str {
        if self.chat { "chat.completion.chunk" } else { "text_completion" }
    }

    fn usage(&self) -> Usage {
        let prompt_tokens = self.speech.prompt_tokens;
        let completion_tokens = self.speech.answer_tokens() * self.replies as usize;
        let detailed = self.flavour == Flavour::OpenAi;
        let prompt = match self.flavour {
            Flavour::OpenAi => Some(PromptDetails { cached_tokens: 0, audio_tokens: Some(0) }),
            Flavour::LlamaCpp => Some(PromptDetails { cached_tokens: 0, audio_tokens: None }),
            Flavour::Vllm | Flavour::Ollama => None,
        };
        let completion = CompletionDetails {
            reasoning_tokens: token_count(&self.speech.thinking),
            audio_tokens: 0,
            accepted_prediction_tokens: 0,
            rejected_prediction_tokens: 0,
        };
        Usage {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens + completion_tokens,
            prompt_tokens_details: prompt,
            completion_tokens_details: detailed.then_some(completion),
        }
    }

    /// A model that reads ten tokens and writes one in a millisecond; llama.cpp alone tells.
    fn timings(&self) -> Option<Timings> {
        let (prompt_n, predicted_n) = (self.speech.prompt_tokens, self.speech.answer_tokens());
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

    fn call_id(&self, at: usize) -> String {
        let prefix = if self.is_vllm() { "chatcmpl-tool-" } else { "call_" };
        format!("{prefix}{}_{}", self.id.rsplit('-').next().unwrap_or_default(), at + 1)
    }

    fn whole_call(&self, at: usize, call: &ToolCall) -> Value {
        let function = json!({"name": call.name, "arguments": call.arguments});
        json!({"id": self.call_id(at), "type": "function", "function": function})
    }

    /// A call as a stream has it: its name first, its arguments in two pieces behind it.
    fn pieces(&self, at: usize, call: &ToolCall) -> [Value; 3] {
        let (first, second) = call.arguments.split_at(call.arguments.floor_char_boundary(call.arguments.len() / 2));
        let more = |piece: &str| json!({"index": at, "function": {"arguments": piece}});
        let function = json!({"name": call.name, "arguments": ""});
        [
            json!({"index": at, "id": self.call_id(at), "type": "function", "function": function}),
            more(first),
            more(second),
        ]
    }
}
