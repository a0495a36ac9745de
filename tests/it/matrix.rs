//! Every dialect in front of every kind of backend: a chat, a stream, embeddings, tools, errors, a stream that is cut, a
//! client that goes. One test a cell; what a cell must show is said once, below.

use loadtest::sim::{Route, Routes, Rule, SimBackend};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::support::{Answer, EMBED, TASKS, TestServer, dialects::Front, soon};

/// A kind of backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Behind {
    Ollama,
    Vllm,
    Openai,
    Gemini,
}

/// What one cell looks at: a client's dialect, a backend, and Penstock between them.
struct Cell {
    front: Front,
    behind: Behind,
    server: TestServer,
    sim: SimBackend,
    id: String,
}

impl Behind {
    const fn kind(self) -> &'static str {
        match self {
            Self::Ollama => "ollama",
            Self::Vllm => "vllm",
            Self::Openai => "openai",
            Self::Gemini => "gemini",
        }
    }

    /// A reply that calls `get_weather` for Paris, in this backend's words: whole, and as a stream.
    fn tool_call(self) -> (String, Vec<String>) {
        match self {
            Self::Ollama => {
                let line = |message: Value, done: bool| {
                    let mut line = json!({"model": "chat:1b", "created_at": "2025-08-08T12:00:00Z", "message": message, "done": done});
                    if done {
                        line["done_reason"] = json!("stop");
                        line["prompt_eval_count"] = json!(20);
                        line["eval_count"] = json!(8);
                    }
                    line.to_string()
                };
                let call = json!({"role": "assistant", "content": "",
                    "tool_calls": [{"function": {"name": "get_weather", "arguments": {"city": "Paris"}}}]});
                let end = json!({"role": "assistant", "content": ""});
                (line(call.clone(), true), vec![line(call, false) + "\n", line(end, true) + "\n"])
            }
            Self::Vllm | Self::Openai => {
                let begin = json!({"index": 0, "id": "call_1", "type": "function",
                    "function": {"name": "get_weather", "arguments": ""}});
                let part = |text: &str| json!({"tool_calls": [{"index": 0, "function": {"arguments": text}}]});
                let chunk = |delta: Value, finish: Value| {
                    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
                    let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "chat:1b", "choices": [choice]});
                    format!("data: {chunk}\n\n")
                };
                let call = json!({"id": "call_1", "type": "function",
                    "function": {"name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}});
                let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
                let whole = json!({"id": "c", "object": "chat.completion", "created": 1, "model": "chat:1b",
                    "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
                    "usage": {"prompt_tokens": 20, "completion_tokens": 8, "total_tokens": 28}});
                let frames = vec![
                    chunk(json!({"role": "assistant", "tool_calls": [begin]}), Value::Null),
                    chunk(part("{\"city\": "), Value::Null),
                    chunk(part("\"Paris\"}"), Value::Null),
                    chunk(json!({}), json!("tool_calls")),
                    "data: [DONE]\n\n".to_owned(),
                ];
                (whole.to_string(), frames)
            }
            Self::Gemini => {
                let part = json!({"functionCall": {"name": "get_weather", "args": {"city": "Paris"}}});
                let body = json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}],
                    "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 8, "totalTokenCount": 28}});
                (body.to_string(), vec![format!("data: {body}\r\n\r\n")])
            }
        }
    }
}

/// What a client reads in a stream of its dialect.
#[derive(Debug, Default, PartialEq)]
struct Read {
    pieces: Vec<String>,
    calls: Vec<(String, Value)>,
    finish: Option<String>,
    tokens: Option<u64>,
    /// The end mark, which must be the last.
    is_whole: bool,
    error: Option<String>,
}

fn data(event: &str) -> Option<&str> {
    event.lines().find_map(|line| line.strip_prefix("data: "))
}

fn read_stream(front: Front, text: &str) -> Read {
    let mut read = Read::default();
    let mut arguments: Vec<(String, String)> = Vec::new();
    let pieces: Vec<&str> = match front {
        Front::Openai => text.split("\n\n").filter_map(data).collect(),
        Front::Ollama => text.lines().collect(),
    };
    for piece in pieces {
        assert!(!read.is_whole && read.error.is_none(), "more behind the end: {text}");
        if piece == "[DONE]" {
            read.is_whole = true;
            continue;
        }
        let piece: Value = serde_json::from_str(piece).unwrap_or_else(|error| panic!("{error} in {piece}"));
        if let Some(error) = piece.get("error") {
            read.error = Some(error.as_str().or_else(|| error["message"].as_str()).unwrap().to_owned());
            continue;
        }
        match front {
            Front::Openai => {
                assert_eq!(piece["object"], "chat.completion.chunk", "{piece}");
                read.tokens = piece["usage"]["completion_tokens"].as_u64().or(read.tokens);
                let Some(choice) = piece["choices"].get(0) else { continue };
                read.pieces
                    .extend(choice["delta"]["content"].as_str().filter(|text| !text.is_empty()).map(str::to_owned));
                for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                    let at = usize::try_from(call["index"].as_u64().unwrap()).unwrap();
                    arguments.resize(arguments.len().max(at + 1), Default::default());
                    arguments[at].0.push_str(call["function"]["name"].as_str().unwrap_or_default());
                    arguments[at].1.push_str(call["function"]["arguments"].as_str().unwrap_or_default());
                }
                read.finish = choice["finish_reason"].as_str().map(str::to_owned).or(read.finish);
            }
            Front::Ollama => {
                let message = &piece["message"];
                read.pieces.extend(message["content"].as_str().filter(|text| !text.is_empty()).map(str::to_owned));
                for call in message["tool_calls"].as_array().into_iter().flatten() {
                    let name = call["function"]["name"].as_str().unwrap().to_owned();
                    read.calls.push((name, call["function"]["arguments"].clone()));
                }
                read.is_whole = piece["done"] == true;
                read.finish = piece["done_reason"].as_str().map(str::to_owned);
                read.tokens = piece["eval_count"].as_u64();
            }
        }
    }
    read.calls.extend(arguments.into_iter().map(|(name, text)| (name, serde_json::from_str(&text).unwrap())));
    read
}

impl Cell {
    async fn new(front: Front, behind: Behind) -> Self {
        let server = TestServer::start(&[]).await;
        let sim = match behind {
            Behind::Ollama => SimBackend::ollama(),
            Behind::Vllm => SimBackend::vllm(),
            Behind::Openai => SimBackend::openai(),
            Behind::Gemini => SimBackend::gemini(),
        };
        let sim = sim.model("chat:1b").model("embed:1b").start().await.unwrap();
        // A simulated cloud is none: requests that name no kind may go there.
        let body = json!({"name": "a", "baseUrl": sim.url(), "type": behind.kind(), "apiKey": "key", "cloud": false});
        let id = server.register_as(body, &[TASKS, EMBED]).await;
        server.wait_for_model(&id, "chat:1b").await;
        server.wait_for_model(&id, "embed:1b").await;
        server.wait_for_member(TASKS, &id).await;
        server.wait_for_member(EMBED, &id).await;
        Self { front, behind, server, sim, id }
    }

    async fn ask(&self, body: Value) -> Answer {
        soon("the answer", self.server.post(self.front.chat(), body)).await
    }

    async fn open(&self, words: &str) -> Response {
        let request = self.server.request(Method::POST, self.front.chat()).header("content-type", "application/json");
        soon("the answer's beginning", request.body(self.streamed(words).to_string()).send()).await.unwrap()
    }

    /// A chat whose answer is streamed, with the count of tokens.
    fn streamed(&self, words: &str) -> Value {
        let mut body = self.front.question(words, true);
        if self.front == Front::Openai {
            body["stream_options"] = json!({"include_usage": true});
        }
        body
    }

    /// The message of a reply that is not streamed, and why it ended.
    fn message(&self, answer: &Answer) -> (Value, String) {
        let body = answer.json();
        let (message, finish) = match self.front {
            Front::Openai => (&body["choices"][0]["message"], &body["choices"][0]["finish_reason"]),
            Front::Ollama => (&body["message"], &body["done_reason"]),
        };
        (message.clone(), finish.as_str().unwrap_or_default().to_owned())
    }

    #[track_caller]
    fn is_named(&self, answer: &Answer) {
        let named = (answer.header("x-penstock-backend"), answer.header("x-penstock-model"));
        assert_eq!(named, (self.id.as_str(), "chat:1b"));
    }

    async fn a_chat(self) {
        let answer = self.ask(self.front.question("good morning", false)).await.expect(200);
        let (message, finish) = self.message(&answer);
        assert_eq!((message["role"].as_str(), finish.as_str()), (Some("assistant"), "stop"));
        assert_eq!(message["content"], "You said: good morning");
        self.is_named(&answer);
        let body = answer.json();
        let tokens = match self.front {
            Front::Openai => (&body["usage"]["prompt_tokens"], &body["usage"]["completion_tokens"]),
            Front::Ollama => (&body["prompt_eval_count"], &body["eval_count"]),
        };
        assert_eq!((tokens.0.as_u64(), tokens.1.as_u64()), (Some(3), Some(4)), "{body}");
        let record = self.sim.record();
        assert_eq!(record.of(Route::Chat).len(), 1);
        assert_eq!(record.of(Route::Chat)[0].model.as_deref(), Some("chat:1b"));
    }

    async fn a_stream(self) {
        let rule = self.sim.script(Rule::on(Route::Chat).reply("one two three four").stall_after(1));
        let mut answer = self.open("count").await;
        assert_eq!(answer.status(), 200);
        // The first word is there before the second is made.
        let mut text = String::new();
        while !text.contains("one") {
            let chunk = soon("the first word", answer.chunk()).await.unwrap().expect("the stream goes on");
            text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
        assert!(!text.contains("two"), "{text}");
        rule.release();
        text.push_str(&soon("the rest", answer.text()).await.unwrap());
        let read = read_stream(self.front, &text);
        assert_eq!(read.pieces, ["one", " two", " three", " four"], "{text}");
        assert_eq!((read.finish.as_deref(), read.tokens), (Some("stop"), Some(4)), "{text}");
        assert!(read.is_whole && read.error.is_none(), "{text}");
        self.server.wait_until_idle(&self.id).await;
    }

    async fn embeddings(self) {
        let texts = ["a cat", "a bank"];
        let body = json!({"model": "embed:1b", "input": texts});
        let path = if self.front == Front::Openai { "/v1/embeddings" } else { "/api/embed" };
        let answer = self.server.post(path, body).await.expect(200).json();
        let vectors: Vec<Vec<f64>> = match self.front {
            Front::Openai => {
                let data = answer["data"].as_array().unwrap();
                assert_eq!((&data[0]["index"], &data[1]["index"]), (&json!(0), &json!(1)), "{answer}");
                data.iter().map(|item| serde_json::from_value(item["embedding"].clone()).unwrap()).collect()
            }
            Front::Ollama => serde_json::from_value(answer["embeddings"].clone()).unwrap(),
        };
        assert_eq!(vectors.len(), 2);
        for (vector, text) in vectors.iter().zip(texts) {
            let known = loadtest::sim::embedding(text, vector.len());
            let dot: f64 = vector.iter().zip(&known).map(|(a, b)| a * f64::from(*b)).sum();
            let length = |vector: &[f64]| vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            let known: Vec<f64> = known.iter().map(|x| f64::from(*x)).collect();
            assert!(dot / (length(vector) * length(&known)) > 0.999, "not the vector of {text}");
        }
    }

    async fn tools(self) {
        let (whole, frames) = self.behind.tool_call();
        self.sim.script(Rule::on(Route::Chat).body_containing("18 degrees").reply("It is warm."));
        self.sim.script(Rule::on(Route::Chat).streams(false).body(whole));
        self.sim.script(Rule::on(Route::Chat).streams(true).raw_frames(frames));
        let tool = json!({"type": "function", "function": {"name": "get_weather", "description": "The weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
        let asked = |words: &str, stream: bool| {
            let mut body = self.front.question(words, stream);
            body["tools"] = json!([tool]);
            body
        };
        let answer = self.ask(asked("how is the weather?", false)).await.expect(200);
        let (message, finish) = self.message(&answer);
        let call = &message["tool_calls"][0];
        assert_eq!(call["function"]["name"], "get_weather", "{message}");
        let arguments = &call["function"]["arguments"];
        let arguments =
            arguments.as_str().map_or_else(|| arguments.clone(), |text| serde_json::from_str(text).unwrap());
        assert_eq!(arguments, json!({"city": "Paris"}));
        assert_eq!(finish, if self.front == Front::Openai { "tool_calls" } else { "stop" });
        // The backend was told of the tool.
        let seen = String::from_utf8_lossy(&self.sim.record().of(Route::Chat)[0].body).into_owned();
        assert!(seen.contains("get_weather") && seen.contains("\"city\""), "{seen}");

        let mut next = asked("how is the weather?", false);
        let result = match self.front {
            Front::Openai => json!({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}),
            Front::Ollama => json!({"role": "tool", "tool_name": "get_weather", "content": "18 degrees"}),
        };
        next["messages"].as_array_mut().unwrap().extend([message.clone(), result]);
        let answer = self.ask(next).await.expect(200);
        assert_eq!(self.message(&answer).0["content"], "It is warm.", "{}", answer.text);

        let answer = self.ask(asked("how is the weather?", true)).await.expect(200);
        let read = read_stream(self.front, &answer.text);
        assert_eq!(read.calls, [("get_weather".to_owned(), json!({"city": "Paris"}))], "{}", answer.text);
        assert!(read.is_whole && read.error.is_none(), "{}", answer.text);
        assert_eq!(read.finish.as_deref(), Some(if self.front == Front::Openai { "tool_calls" } else { "stop" }));
    }

    async fn errors(self) {
        for (status, header, wanted) in [(429, Some("7"), 429), (500, None, 502), (400, None, 400), (401, None, 502)] {
            for stream in [false, true] {
                self.sim.clear_script();
                self.server.forget_failures();
                let rule = Rule::on(Route::Chat).status(status);
                self.sim.script(header.map_or(rule.clone(), |seconds| rule.header("retry-after", seconds)));
                let answer = self.ask(self.front.question("hi", stream)).await;
                assert_eq!(answer.status, wanted, "{status}, stream {stream}: {}", answer.text);
                let error = &answer.json()["error"];
                match self.front {
                    Front::Openai => {
                        assert!(!error["message"].as_str().unwrap().is_empty() && error["type"].is_string(), "{error}");
                    }
                    Front::Ollama => assert!(!error.as_str().unwrap().is_empty()),
                }
                assert_eq!(answer.header("retry-after"), header.unwrap_or_default(), "{status}");
                self.is_named(&answer);
            }
        }
        let mut unknown = self.front.question("hi", false);
        unknown["model"] = json!("none:1b");
        self.ask(unknown).await.expect(404);
        self.server.wait_until_idle(&self.id).await;
    }

    async fn a_cut_stream(self) {
        for cut in [Rule::on(Route::Chat).reply("one two three four").cut_after(2), Rule::on(Route::Chat).cut_after(0)]
        {
            self.sim.clear_script();
            self.sim.script(cut);
            let answer = self.ask(self.streamed("count")).await;
            if answer.status != 200 {
                // Nothing had come yet, so there is an answer that says so.
                assert!(answer.status == 502 && !answer.json()["error"].is_null(), "{}", answer.text);
                continue;
            }
            let read = read_stream(self.front, &answer.text);
            assert!(!read.is_whole, "a clean end: {}", answer.text);
            assert!(read.error.is_some_and(|error| !error.is_empty()), "{}", answer.text);
            assert_eq!(read.finish, None, "{}", answer.text);
        }
        self.server.wait_until_idle(&self.id).await;
    }

    async fn a_client_that_goes(self) {
        // Before the answer begins.
        let rule = self.sim.script(Rule::on(Route::Chat).times(1).hang_before_headers());
        let before = self.sim.record().of(Routes::CALLS).len();
        let client = self.server.request(Method::POST, self.front.chat()).header("content-type", "application/json");
        let hung = crate::support::in_background(client.body(self.streamed("wait").to_string()).send());
        let arrived = |record: &loadtest::sim::Record| record.of(Routes::CALLS).len() > before;
        self.sim.wait_until("the call", arrived).await.unwrap();
        hung.abort();
        soon("the abort", self.sim.wait_for_aborts(1)).await.unwrap();
        rule.release();
        // In the middle of it.
        self.sim.clear_script();
        self.sim.script(Rule::on(Route::Chat).reply("one two three four").stall_after(1));
        let mut answer = self.open("count").await;
        assert!(soon("the first word", answer.chunk()).await.unwrap().is_some());
        drop(answer);
        soon("the abort", self.sim.wait_for_aborts(2)).await.unwrap();
        self.server.wait_until_idle(&self.id).await;
    }
}

macro_rules! cells {
    ($($name:ident: $front:ident over $behind:ident;)*) => {$(
        mod $name {
            use super::{Behind, Cell, Front};

            #[tokio::test]
            async fn a_chat_is_answered() {
                Cell::new(Front::$front, Behind::$behind).await.a_chat().await;
            }

            #[tokio::test]
            async fn a_stream_arrives_as_it_is_made() {
                Cell::new(Front::$front, Behind::$behind).await.a_stream().await;
            }

            #[tokio::test]
            async fn embeddings_are_those_of_the_texts() {
                Cell::new(Front::$front, Behind::$behind).await.embeddings().await;
            }

            #[tokio::test]
            async fn tools_are_called_and_their_results_used() {
                Cell::new(Front::$front, Behind::$behind).await.tools().await;
            }

            #[tokio::test]
            async fn errors_have_the_clients_form_and_status() {
                Cell::new(Front::$front, Behind::$behind).await.errors().await;
            }

            #[tokio::test]
            async fn a_cut_stream_ends_in_a_typed_error() {
                Cell::new(Front::$front, Behind::$behind).await.a_cut_stream().await;
            }

            #[tokio::test]
            async fn a_client_that_goes_takes_its_call_along() {
                Cell::new(Front::$front, Behind::$behind).await.a_client_that_goes().await;
            }
        }
    )*};
}

cells! {
    openai_over_ollama: Openai over Ollama;
    openai_over_vllm: Openai over Vllm;
    openai_over_openai: Openai over Openai;
    openai_over_gemini: Openai over Gemini;
    ollama_over_ollama: Ollama over Ollama;
    ollama_over_vllm: Ollama over Vllm;
    ollama_over_openai: Ollama over Openai;
    ollama_over_gemini: Ollama over Gemini;
}
