//! One request as a dialect sees it: where it goes and the few body fields that answers depend on.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::{HeaderMap, Method};
use serde::Deserialize;
use serde_json::Value;

use crate::sim::route::Route;

/// A request, read to its end.
pub(crate) struct Call {
    pub(crate) route: Route,
    pub(crate) method: Method,
    /// Path without the query.
    pub(crate) path: String,
    /// What follows the `?`, or empty.
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The body's fields; the decoder's words when it is not what the dialects take. An empty body has no fields.
    pub(crate) fields: Result<Fields, String>,
}

impl Call {
    pub(crate) fn new(route: Route, head: hyper::http::request::Parts, body: Bytes) -> Self {
        let path = head.uri.path().to_owned();
        let query = head.uri.query().unwrap_or_default().to_owned();
        let mut fields: Result<Fields, String> = match body.is_empty() {
            true => Ok(Fields::default()),
            false => serde_json::from_slice(&body).map_err(|error| error.to_string()),
        };
        if let (Ok(fields), Some(model)) = (&mut fields, model_in(&path)) {
            fields.model = Some(model.to_owned());
        }
        Self { route, method: head.method, path, query, headers: head.headers, body, fields }
    }

    /// The model asked for, if the body names one.
    pub(crate) fn model(&self) -> Option<&str> {
        self.fields.as_ref().ok()?.model()
    }

    /// Whether a stream is wanted: of Ollama it is unless the request says no, Gemini has a path for it.
    pub(crate) fn streams(&self) -> bool {
        let said = self.fields.as_ref().ok().and_then(|fields| fields.stream);
        said.unwrap_or_else(|| self.path.starts_with("/api/") || self.path.ends_with(":streamGenerateContent"))
    }

    /// Whether a text that reaches the model contains the needle; for hooks and bodies of another shape, the body itself.
    pub(crate) fn says(&self, needle: &str) -> bool {
        match &self.fields {
            Ok(fields) if self.route != Route::Hook && fields.has_text() => {
                fields.texts().any(|text| text.contains(needle))
            }
            _ => String::from_utf8_lossy(&self.body).contains(needle),
        }
    }
}

/// The model that a path of Gemini names: `…/models/NAME:method`.
fn model_in(path: &str) -> Option<&str> {
    Some(path.split_once("/models/")?.1.rsplit_once(':')?.0)
}

/// The fields of all dialects that change an answer. All others are skipped by the decoder.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Fields {
    model: Option<String>,
    /// Ollama's old name of `model`.
    name: Option<String>,
    pub(crate) stream: Option<bool>,
    #[serde(alias = "contents")]
    pub(crate) messages: Option<Vec<Message>>,
    pub(crate) prompt: Option<Input>,
    pub(crate) system: Option<String>,
    pub(crate) input: Option<Input>,
    /// Ollama: `"json"` or a schema.
    pub(crate) format: Option<Value>,
    /// Ollama: true, false or a level.
    pub(crate) think: Option<Value>,
    /// Ollama: a number of seconds or a duration.
    pub(crate) keep_alive: Option<Value>,
    pub(crate) options: Option<Options>,
    pub(crate) raw: Option<bool>,
    pub(crate) truncate: Option<bool>,
    /// Functions that may be called, in the dialect's shape: see [`Fields::offered`].
    pub(crate) tools: Option<Vec<Value>>,
    /// OpenAI: a word, or the one that must be called.
    pub(crate) tool_choice: Option<Value>,
    /// OpenAI: replies wanted.
    pub(crate) n: Option<usize>,
    /// OpenAI: true for chats, a number for text completions.
    pub(crate) logprobs: Option<Value>,
    pub(crate) top_logprobs: Option<usize>,
    pub(crate) reasoning_effort: Option<Value>,
    /// What open models' templates are told.
    pub(crate) chat_template_kwargs: Option<Value>,
    pub(crate) dimensions: Option<usize>,
    pub(crate) encoding_format: Option<String>,
    /// OpenAI: `{"type":"json_schema","json_schema":{"schema":…}}` or `{"type":"json_object"}`.
    pub(crate) response_format: Option<Value>,
    /// vLLM: one of `choice`, `regex`, `json`, …
    pub(crate) structured_outputs: Option<Value>,
    pub(crate) stream_options: Option<StreamOptions>,
    /// Gemini.
    #[serde(alias = "systemInstruction")]
    system_instruction: Option<Message>,
    /// Gemini.
    #[serde(rename = "toolConfig", alias = "tool_config")]
    pub(crate) tool_config: Option<Value>,
    /// Gemini: what is embedded, each text by itself.
    pub(crate) requests: Option<Vec<EmbedRequest>>,
    /// Gemini: what is embedded. llama.cpp: the text that is counted.
    pub(crate) content: Option<Piece>,
    /// Gemini.
    #[serde(rename = "generationConfig", alias = "generation_config")]
    pub(crate) generation_config: Option<GenerationConfig>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
}

/// One message of a chat.
#[derive(Deserialize)]
pub(crate) struct Message {
    #[serde(default)]
    pub(crate) role: String,
    #[serde(default, alias = "parts")]
    content: Option<Content>,
    /// Functions the assistant called.
    #[serde(default)]
    pub(crate) tool_calls: Option<Vec<Value>>,
    /// OpenAI: the call that a message of the role `tool` answers.
    #[serde(default)]
    pub(crate) tool_call_id: Option<String>,
    /// Ollama: pictures.
    #[serde(default)]
    images: Option<Vec<String>>,
}

/// A single text, in either of two shapes.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Piece {
    Text(String),
    Message(Message),
}

impl Piece {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Text(text) => vec![text],
            Self::Message(message) => message.texts().collect(),
        }
    }

    /// The whole text.
    pub(crate) fn text(&self) -> String {
        self.texts().concat()
    }
}

/// Gemini's `generationConfig`, as far as it decides the answer.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GenerationConfig {
    max_output_tokens: Option<i64>,
    pub(crate) response_mime_type: Option<String>,
    pub(crate) response_schema: Option<Value>,
    pub(crate) response_json_schema: Option<Value>,
    pub(crate) candidate_count: Option<u32>,
    pub(crate) response_logprobs: Option<bool>,
    pub(crate) logprobs: Option<usize>,
    pub(crate) thinking_config: Option<Value>,
}

/// One of the texts of Gemini's `:batchEmbedContents`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EmbedRequest {
    pub(crate) content: Piece,
    #[serde(default)]
    pub(crate) output_dimensionality: Option<usize>,
}

/// Ollama's `options`, of which only the bound of the answer matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    num_predict: Option<i64>,
}

/// OpenAI's `stream_options`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: Option<bool>,
    pub(crate) include_obfuscation: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

/// A part of a message; pictures and sound have no text.
#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    text: String,
    /// OpenAI.
    #[serde(default)]
    image_url: Option<Value>,
    /// Gemini.
    #[serde(default, alias = "inline_data", rename = "inlineData")]
    inline_data: Option<Value>,
    /// Gemini: what a function answered.
    #[serde(default, alias = "function_response", rename = "functionResponse")]
    function_response: Option<Value>,
}

/// What `input` and `prompt` may be: a text, texts, or token numbers.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Input {
    Text(String),
    Texts(Vec<String>),
    Tokens(Vec<u32>),
    TokenLists(Vec<Vec<u32>>),
}

impl Input {
    /// One entry for every answer wanted; token numbers are written out, which is as good as a text here.
    pub(crate) fn entries(&self) -> Vec<Cow<'_, str>> {
        match self {
            Self::Text(text) => vec![Cow::Borrowed(text)],
            Self::Texts(texts) => texts.iter().map(|text| Cow::Borrowed(text.as_str())).collect(),
            Self::Tokens(tokens) => vec![Cow::Owned(format!("{tokens:?}"))],
            Self::TokenLists(lists) => lists.iter().map(|tokens| Cow::Owned(format!("{tokens:?}"))).collect(),
        }
    }

    fn texts(&self) -> &[String] {
        match self {
            Self::Text(text) => std::slice::from_ref(text),
            Self::Texts(texts) => texts,
            Self::Tokens(_) | Self::TokenLists(_) => &[],
        }
    }
}

impl Message {
    fn texts(&self) -> impl Iterator<Item = &str> {
        let (whole, parts) = match &self.content {
            Some(Content::Text(text)) => (Some(text.as_str()), None),
            Some(Content::Parts(parts)) => (None, Some(parts)),
            None => (None, None),
        };
        whole.into_iter().chain(parts.into_iter().flatten().map(|part| part.text.as_str()))
    }
}

impl Message {
    /// Whether it tells what a function answered: Gemini has no role for that.
    fn is_an_answer(&self) -> bool {
        match &self.content {
            Some(Content::Parts(parts)) => parts.iter().any(|part| part.function_response.is_some()),
            _ => false,
        }
    }

    /// Ollama: its pictures, in base64.
    pub(crate) fn encoded_images(&self) -> &[String] {
        self.images.as_deref().unwrap_or_default()
    }

    /// How many pictures it has.
    pub(crate) fn images(&self) -> usize {
        let parts = match &self.content {
            Some(Content::Parts(parts)) => parts.as_slice(),
            _ => &[],
        };
        let in_parts = parts.iter().filter(|part| part.image_url.is_some() || part.inline_data.is_some()).count();
        in_parts + self.images.as_ref().map_or(0, Vec::len)
    }
}

impl Fields {
    /// The functions that may be called, with the schema of their arguments, whatever the dialect.
    pub(crate) fn offered<'a>(&'a self) -> Vec<(&'a str, Option<&'a Value>)> {
        let gemini = |tool: &'a Value| tool.get("functionDeclarations").and_then(Value::as_array);
        let tools = self.tools.iter().flatten();
        let functions = tools.flat_map(|tool| match (tool.get("function"), gemini(tool)) {
            (Some(function), _) => std::slice::from_ref(function),
            (None, functions) => functions.map(Vec::as_slice).unwrap_or_default(),
        });
        let schema = |function: &'a Value| function.get("parameters").or_else(|| function.get("parametersJsonSchema"));
        functions.filter_map(|function| Some((function.get("name")?.as_str()?, schema(function)))).collect()
    }

    /// Whether the last to speak was the user, and no tool.
    pub(crate) fn user_spoke_last(&self) -> bool {
        self.messages.iter().flatten().last().is_none_or(|message| message.role == "user" && !message.is_an_answer())
    }

    /// How many pictures there are.
    pub(crate) fn images(&self) -> usize {
        self.messages.iter().flatten().map(Message::images).sum()
    }

    /// The model asked for.
    pub(crate) fn model(&self) -> Option<&str> {
        self.model.as_deref().or(self.name.as_deref()).filter(|name| !name.is_empty())
    }

    /// Every text that reaches the model.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        let messages = self.system_instruction.iter().chain(self.messages.iter().flatten()).flat_map(Message::texts);
        let messages = messages.chain(self.content.iter().flat_map(Piece::texts));
        let messages = messages.chain(self.requests.iter().flatten().flat_map(|request| request.content.texts()));
        let inputs = self.prompt.iter().chain(&self.input).flat_map(Input::texts).map(String::as_str);
        self.system.as_deref().into_iter().chain(messages).chain(inputs)
    }

    /// What the user said last: the text an answer repeats.
    pub(crate) fn last_said(&self) -> String {
        let messages = self.messages.as_deref().unwrap_or_default();
        let last = messages.iter().rfind(|message| message.role == "user").or(messages.last());
        match last {
            Some(message) => message.texts().collect(),
            None => self.prompt.iter().flat_map(Input::texts).map(String::as_str).collect(),
        }
    }

    /// Tokens of everything that reaches the model: about four bytes each, as with real tokenizers, and free to count.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.texts().map(token_count).sum()
    }

    /// The bound of the answer in tokens under any of its names; negative means none.
    pub(crate) fn answer_limit(&self) -> Option<usize> {
        let ollama = self.options.as_ref().and_then(|options| options.num_predict);
        let gemini = self.generation_config.as_ref().and_then(|config| config.max_output_tokens);
        let limit = self.max_completion_tokens.or(self.max_tokens).or(ollama).or(gemini)?;
        usize::try_from(limit).ok()
    }

    fn has_text(&self) -> bool {
        self.messages.is_some()
            || self.prompt.is_some()
            || self.input.is_some()
            || self.content.is_some()
            || self.requests.is_some()
    }
}

/// See [`Fields::prompt_tokens`].
pub(crate) fn token_count(text: &str) -> usize {
    text.len().div_ceil(4)
}
