//! What the OpenAI-compatible servers do differently: error shapes, extra routes, headers (`docs/backends.md`).

use hyper::Method;
use serde_json::{Value, json as value};

use crate::sim::{answer::Answer, call::Call, openai::error_type, route::Route};

/// Which server an OpenAI-compatible simulation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// OpenAI itself.
    OpenAi,
    /// A llama.cpp server with one model: any model name is served, error codes are numbers.
    LlamaCpp,
    /// A vLLM server: error codes are numbers, `max_model_len` in the list, the last text chunk carries the finish reason.
    Vllm,
    /// What Ollama serves under `/v1`.
    Ollama,
}

impl Flavour {
    /// Routes beside those all flavours have.
    pub(crate) fn routes(self) -> &'static [(&'static str, Method, Route)] {
        match self {
            Self::LlamaCpp => &[
                ("/health", Method::GET, Route::Health),
                ("/props", Method::GET, Route::Props),
                ("/slots", Method::GET, Route::Load),
                ("/tokenize", Method::POST, Route::Tokenize),
            ],
            Self::Vllm => &[
                ("/health", Method::GET, Route::Health),
                ("/version", Method::GET, Route::Version),
                ("/metrics", Method::GET, Route::Load),
                ("/tokenize", Method::POST, Route::Tokenize),
            ],
            Self::OpenAi | Self::Ollama => &[],
        }
    }

    /// What `/v1/models` says of every model.
    pub(crate) fn owner(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::LlamaCpp => "llamacpp",
            Self::Vllm => "vllm",
            Self::Ollama => "library",
        }
    }

    /// `system_fingerprint` of answers.
    pub(crate) fn fingerprint(self) -> &'static str {
        match self {
            Self::OpenAi => "fp_1",
            Self::LlamaCpp => "b11549-sim",
            Self::Vllm => "vllm-0.32.0-sim",
            Self::Ollama => "fp_ollama",
        }
    }

    /// Whether a route needs no key.
    pub(crate) fn is_public(self, route: Route) -> bool {
        matches!(route, Route::Health | Route::Version)
            || (self == Self::Vllm && matches!(route, Route::Tokenize | Route::Load))
    }

    /// `GET /health`.
    pub(crate) fn health(self) -> Answer {
        match self {
            Self::Vllm => Answer::text(200, ""),
            _ => Answer::json(200, &value!({ "status": "ok" })),
        }
    }

    /// An error under this flavour.
    pub(crate) fn refused(self, status: u16, kind: &str, message: &str) -> Answer {
        Answer::json(status, &self.error_value(status, kind, message))
    }

    /// The same as a value; `code` is null for OpenAI unless an error has a word of its own.
    pub(crate) fn error_value(self, status: u16, kind: &str, message: &str) -> Value {
        match self {
            Self::LlamaCpp => value!({ "error": { "code": status, "message": message, "type": kind } }),
            Self::Vllm => {
                let kind = match status {
                    404 => "NotFoundError",
                    500.. => "InternalServerError",
                    _ if kind == UNREADABLE => "Bad Request",
                    _ => "BadRequestError",
                };
                value!({ "error": { "message": message, "type": kind, "param": null, "code": status } })
            }
            Self::Ollama if status >= 500 => openai_error(message, "api_error", Value::Null, Value::Null),
            Self::OpenAi if status == 429 => {
                openai_error(message, "requests", Value::Null, value!("rate_limit_exceeded"))
            }
            Self::OpenAi | Self::Ollama => openai_error(message, kind, Value::Null, Value::Null),
        }
    }

    /// The answer to a body that is no JSON, or has values of other types.
    pub(crate) fn unreadable(self, words: &str) -> Answer {
        match self {
            Self::Vllm => self.refused(400, UNREADABLE, words),
            _ => self.refused(400, "invalid_request_error", words),
        }
    }

    /// The answer to a call of a kind that the model is not for; nothing where the server has both kinds of routes. vLLM has
    /// only those of its model.
    pub(crate) fn wrong_kind(self) -> Option<Answer> {
        (self == Self::Vllm).then(|| Answer::json(404, &value!({ "detail": "Not Found" })))
    }

    /// The answer to a model that is not there.
    pub(crate) fn unknown_model(self, name: &str) -> Answer {
        let error = match self {
            Self::OpenAi => {
                let message = format!("The model `{name}` does not exist or you do not have access to it.");
                openai_error(&message, "invalid_request_error", Value::Null, value!("model_not_found"))
            }
            Self::Vllm => {
                let message = format!("The model `{name}` does not exist.");
                value!({ "error": { "message": message, "type": "NotFoundError", "param": "model", "code": 404 } })
            }
            Self::LlamaCpp | Self::Ollama => {
                self.error_value(404, "not_found_error", &format!("model '{name}' not found"))
            }
        };
        Answer::json(404, &error)
    }

    /// The answer to a prompt that does not fit.
    pub(crate) fn too_long(self, tokens: usize, limit: usize) -> Answer {
        let error = match self {
            Self::LlamaCpp => {
                let message = format!("request ({tokens} tokens) exceeds the available context size ({limit} tokens)");
                value!({ "error": {
                    "code": 400, "message": message, "type": "exceed_context_size_error", "n_prompt_tokens": tokens, "n_ctx": limit,
                } })
            }
            Self::Vllm => {
                let message = format!(
                    "This model's maximum context length is {limit} tokens. However, your prompt contains at least {} input tokens.",
                    limit + 1
                );
                value!({ "error": { "message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400 } })
            }
            Self::OpenAi | Self::Ollama => {
                let message = format!(
                    "This model's maximum context length is {limit} tokens. However, your messages resulted in {tokens} tokens."
                );
                openai_error(&message, "invalid_request_error", value!("messages"), value!("context_length_exceeded"))
            }
        };
        Answer::json(400, &error)
    }

    /// The answer to a request with a fault in this field.
    pub(crate) fn faulty(self, param: &str, code: Option<&str>, message: &str) -> Answer {
        let mut error = self.error_value(400, "invalid_request_error", message);
        if self != Self::LlamaCpp && !param.is_empty() {
            error["error"]["param"] = value!(param);
        }
        if let Some(code) = code.filter(|_| self == Self::OpenAi) {
            error["error"]["code"] = value!(code);
        }
        Answer::json(400, &error)
    }

    /// The answer to a picture for a model that sees none.
    pub(crate) fn blind(self, model: &str) -> Answer {
        match self {
            Self::LlamaCpp => {
                let words =
                    "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj";
                self.refused(500, "server_error", words)
            }
            Self::Vllm => self.faulty("", None, &format!("{model} is not a multimodal model")),
            Self::OpenAi | Self::Ollama => {
                let words = "Invalid content type. image_url is only supported by certain models.";
                self.faulty("messages.[0].content.[0].type", None, words)
            }
        }
    }

    /// The answer to texts to embed of which one does not fit.
    pub(crate) fn too_long_to_embed(self, tokens: usize, limit: usize) -> Answer {
        match self {
            Self::LlamaCpp => {
                let words = format!(
                    "input ({tokens} tokens) is too large to process. increase the physical batch size (current batch size: {limit})"
                );
                self.refused(500, "server_error", &words)
            }
            _ => self.too_long(tokens, limit),
        }
    }

    /// The answer to a call without the right key.
    pub(crate) fn unauthorized(self, sent: Option<&str>) -> Answer {
        let error = match (self, sent) {
            (Self::Vllm, _) => value!({ "error": "Unauthorized" }),
            (Self::LlamaCpp, _) => self.error_value(401, "authentication_error", "Invalid API Key"),
            (_, None) => {
                openai_error("You didn't provide an API key.", "invalid_request_error", Value::Null, Value::Null)
            }
            (_, Some(_)) => openai_error(
                "Incorrect API key provided.",
                "invalid_request_error",
                Value::Null,
                value!("invalid_api_key"),
            ),
        };
        self.signed(Answer::json(401, &error))
    }

    /// The answer to a path that is not there.
    pub(crate) fn unknown_path(self, call: &Call) -> Answer {
        match self {
            Self::Vllm => Answer::json(404, &value!({ "detail": "Not Found" })),
            Self::LlamaCpp => self.refused(404, "not_found_error", "File Not Found"),
            _ => {
                let message = format!("Invalid URL ({} {})", call.method, call.path);
                self.refused(404, "invalid_request_error", &message)
            }
        }
    }

    /// The answer to a known path with the wrong method.
    pub(crate) fn wrong_method(self, call: &Call) -> Answer {
        match self {
            Self::Vllm => Answer::json(405, &value!({ "detail": "Method Not Allowed" })),
            Self::LlamaCpp => self.unknown_path(call),
            _ => self.refused(405, error_type(405), &format!("Not allowed to {} on {}", call.method, call.path)),
        }
    }

    /// The headers this server puts on everything.
    pub(crate) fn signed(self, answer: Answer) -> Answer {
        match self {
            Self::OpenAi => answer
                .with("x-request-id", "req_1")
                .with("openai-processing-ms", "1")
                .with("openai-organization", "org-sim")
                .with("openai-version", "2020-10-01")
                .with("x-ratelimit-limit-requests", "10000")
                .with("x-ratelimit-limit-tokens", "2000000")
                .with("x-ratelimit-remaining-requests", "9999")
                .with("x-ratelimit-remaining-tokens", "1999900")
                .with("x-ratelimit-reset-requests", "6ms")
                .with("x-ratelimit-reset-tokens", "3ms"),
            Self::LlamaCpp => answer.with("server", "llama.cpp"),
            Self::Vllm => answer.with("server", "uvicorn"),
            Self::Ollama => answer,
        }
    }
}

/// The type that only a body has which cannot be read.
const UNREADABLE: &str = "unreadable";

/// OpenAI's error: all four fields, `code` a word or null.
fn openai_error(message: &str, kind: &str, param: Value, code: Value) -> Value {
    value!({ "error": { "message": message, "type": kind, "param": param, "code": code } })
}
