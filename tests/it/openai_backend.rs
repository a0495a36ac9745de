//! Adapters of the types `openai` and `vllm` against each server they may meet: what is said whole is said in pieces too,
//! and failures are told apart (`docs/backends.md`).

use std::{sync::Arc, time::Duration};

use loadtest::sim::{Flavour, Route, Rule, SimBackend, SimModel};
use penstock::{
    dialect::Dialect,
    domain::{
        chat::{
            AnsweredCall, ChatCall, ChatReply, ChatTurn, Finish, Image, Part, Sampling, Thinking, Tool, ToolChoice,
        },
        embedding::EmbedCall,
        message::Constraint,
        model::Capabilities,
        provider::ProviderKind,
    },
    providers::{Provider, ProviderErrorKind},
};
use serde_json::{Value, json};

use crate::support::{
    adapters::{adapter, adapter_at, collected, is_embedding_of, weather},
    calls::asked,
};

const FLAVOURS: [Flavour; 4] = [Flavour::OpenAi, Flavour::LlamaCpp, Flavour::Vllm, Flavour::Ollama];

/// A server of this flavour with a model that sees, and its probed adapter.
async fn ready(flavour: Flavour) -> (SimBackend, Arc<dyn Provider>) {
    let seeing = SimModel::new("chat:1b").capabilities(["completion", "tools", "vision"]).context_length(2048);
    let builder = SimBackend::openai().flavour(flavour).model(seeing);
    // llama.cpp serves one model, under any name.
    let builder = if flavour == Flavour::LlamaCpp { builder } else { builder.model("embed:1b") };
    let sim = builder.start().await.unwrap();
    let kind = if flavour == Flavour::Vllm { ProviderKind::Vllm } else { ProviderKind::Openai };
    let adapter = adapter(&sim, kind, false, None);
    adapter.probe().await.unwrap();
    (sim, adapter)
}

/// A reply without what tells its calls from those of others.
fn without_ids(mut reply: ChatReply) -> ChatReply {
    let calls = reply.choices.iter_mut().flat_map(|said| &mut said.tool_calls);
    calls.for_each(|call| assert!(!std::mem::take(&mut call.id).is_empty()));
    reply
}

#[tokio::test]
async fn what_a_server_says_whole_it_says_in_pieces_too() {
    let list = Constraint::Schema(Arc::new(json!({"type": "array", "items": {"type": "integer", "minimum": 3}})));
    let choice = Constraint::OneOf(vec!["yes".to_owned(), "no".to_owned()]);
    let with = |change: &dyn Fn(&mut ChatCall)| {
        let mut call = asked("Hi there");
        change(&mut call);
        call
    };
    let calls = [
        asked("Hi there"),
        with(&|call| call.tools = vec![weather()]),
        with(&|call| (call.logprobs, call.choices) = (Some(2), 2)),
        with(&|call| call.constraint = Some(list.clone())),
        with(&|call| call.constraint = Some(choice.clone())),
        with(&|call| call.constraint = Some(Constraint::Json)),
        with(&|call| call.sampling = Sampling { max_tokens: Some(2), top_k: Some(3), ..Sampling::default() }),
    ];
    for flavour in FLAVOURS {
        let (sim, adapter) = ready(flavour).await;
        assert_eq!(adapter.dialect(), Dialect::Openai);
        for call in &calls {
            let whole = without_ids(adapter.converse("chat:1b", call).await.unwrap());
            let pieces = without_ids(collected(adapter.stream("chat:1b", call).await.unwrap()).await.unwrap());
            assert_eq!(whole, pieces, "{flavour:?}: {call:?}");
            let said = &whole.choices[0];
            assert!(whole.usage.input_tokens.is_some() && said.finish.is_some(), "{flavour:?}: {whole:?}");
            assert!(!said.text.contains("answer\": ["), "nothing is wrapped: {said:?}");
        }
        assert_eq!(sim.record().of(Route::Chat).len(), 2 * calls.len(), "{flavour:?}: nothing was asked twice");
    }
}

#[tokio::test]
async fn tools_are_called_answered_and_not_called_as_the_call_says() {
    for flavour in FLAVOURS {
        let (_sim, adapter) = ready(flavour).await;
        let mut call = ChatCall { tools: vec![weather()], ..asked("Weather?") };
        let said = adapter.converse("chat:1b", &call).await.unwrap().choices.remove(0);
        let (made, finish) = (said.tool_calls.clone(), said.finish);
        assert_eq!((made[0].name.as_str(), made[0].arguments.as_str()), ("weather", r#"{"city":"Rome"}"#));
        assert_eq!((finish, said.text.as_str()), (Some(Finish::ToolCalls), ""), "{flavour:?}");

        let answers = AnsweredCall { id: made[0].id.clone(), name: String::new() };
        call.messages.push(ChatTurn { role: "assistant".to_owned(), tool_calls: made, ..ChatTurn::default() });
        call.messages.push(ChatTurn { answers: Some(answers), ..ChatTurn::text("tool", "sunny") });
        let said = adapter.converse("chat:1b", &call).await.unwrap().choices.remove(0);
        assert_eq!((said.tool_calls.len(), said.finish), (0, Some(Finish::Stop)), "{flavour:?}");

        let other = Tool { name: "time".to_owned(), ..weather() };
        let choose = |choice| ChatCall { tools: vec![weather(), other.clone()], tool_choice: choice, ..asked("Hm") };
        for (choice, name) in [
            (ToolChoice::None, None),
            (ToolChoice::Required, Some("weather")),
            (ToolChoice::Named("time".to_owned()), Some("time")),
        ] {
            let said = adapter.converse("chat:1b", &choose(choice.clone())).await.unwrap().choices.remove(0);
            assert_eq!(said.tool_calls.first().map(|call| call.name.as_str()), name, "{flavour:?}: {choice:?}");
        }
    }
}

#[tokio::test]
async fn a_conversation_of_a_client_that_numbers_no_calls_is_taken_by_openai() {
    let (_sim, adapter) = ready(Flavour::OpenAi).await;
    let call = penstock::domain::chat::ToolCall { name: "weather".to_owned(), ..Default::default() };
    let answers = Some(AnsweredCall { id: String::new(), name: "weather".to_owned() });
    let messages = vec![
        ChatTurn::text("user", "Weather?"),
        ChatTurn { role: "assistant".to_owned(), tool_calls: vec![call], ..ChatTurn::default() },
        ChatTurn { answers, ..ChatTurn::text("tool", "sunny") },
    ];
    let call = ChatCall { messages, tools: vec![weather()], ..ChatCall::default() };
    adapter.converse("chat:1b", &call).await.unwrap();
}

#[tokio::test]
async fn thoughts_come_apart_from_the_answer_and_can_be_switched_off() {
    for flavour in [Flavour::LlamaCpp, Flavour::Vllm, Flavour::Ollama] {
        let (sim, adapter) = ready(flavour).await;
        sim.script(Rule::on(Route::Chat).thinking("Let me see.").reply("Four."));
        let mut call = asked("2+2?");
        let whole = adapter.converse("chat:1b", &call).await.unwrap();
        let pieces = collected(adapter.stream("chat:1b", &call).await.unwrap()).await.unwrap();
        assert_eq!(whole, pieces);
        assert_eq!((whole.choices[0].reasoning.as_str(), whole.choices[0].text.as_str()), ("Let me see.", "Four."));
        call.thinking = Some(Thinking::Off);
        let said = adapter.converse("chat:1b", &call).await.unwrap().choices.remove(0);
        assert_eq!((said.reasoning.as_str(), said.text.as_str()), ("", "Four."), "{flavour:?}");
    }
}

#[tokio::test]
async fn a_picture_for_a_model_that_sees_none_is_the_callers_fault() {
    for flavour in FLAVOURS {
        let (sim, adapter) = ready(flavour).await;
        let png = Image::Inline { media_type: String::new(), data: "iVBORw0KGgo=".to_owned() };
        let parts = vec![Part::Text("What is it?".to_owned()), Part::Image(png)];
        let call = ChatCall { messages: vec![ChatTurn { parts, ..ChatTurn::text("user", "") }], ..ChatCall::default() };
        adapter.converse("chat:1b", &call).await.unwrap();
        sim.add_model("chat:1b");
        let error = adapter.converse("chat:1b", &call).await.unwrap_err();
        assert_eq!((error.kind, error.may_fail_over()), (ProviderErrorKind::Caller, false), "{flavour:?}: {error}");
    }
}

#[tokio::test]
async fn failures_are_told_apart_on_every_server() {
    use ProviderErrorKind::{Auth, ContextLength, Cut, Quota, RateLimited, Server, Transient};
    let quota =
        r#"{"error":{"message":"no money left","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#;
    for flavour in FLAVOURS {
        let (sim, adapter) = ready(flavour).await;
        for (rule, kind) in [
            (Rule::on(Route::Chat).status(401), Auth),
            (Rule::on(Route::Chat).status(429).header("retry-after", "7"), RateLimited),
            (Rule::on(Route::Chat).status(429).body(quota), Quota),
            (Rule::on(Route::Chat).status(503), Transient),
            (Rule::on(Route::Chat).status(500), Server),
            (Rule::on(Route::Chat).cut_after(1), Cut),
        ] {
            sim.clear_script();
            sim.script(rule);
            for is_streamed in [false, true] {
                let error = match is_streamed {
                    false => adapter.converse("chat:1b", &asked("a b")).await.unwrap_err(),
                    true => match adapter.stream("chat:1b", &asked("a b")).await {
                        Ok(stream) => collected(stream).await.unwrap_err(),
                        Err(error) => error,
                    },
                };
                assert_eq!(error.kind, kind, "{flavour:?}: {error}");
                assert_eq!(error.retry_after.is_some(), kind == RateLimited);
            }
        }
        sim.clear_script();
        if flavour != Flavour::Ollama {
            let error = adapter.converse("chat:1b", &asked(&"a ".repeat(9000))).await.unwrap_err();
            assert_eq!(error.kind, ContextLength, "{flavour:?}: {error}");
        }
        let long = EmbedCall::of("a ".repeat(400_000));
        let error = adapter.embed("embed:1b", &long).await.unwrap_err();
        assert_eq!(error.kind, ContextLength, "{flavour:?}: {error}");
    }
}

#[tokio::test]
async fn a_fault_keeps_the_field_and_the_word_of_the_server() {
    let (_sim, adapter) = ready(Flavour::OpenAi).await;
    let wrong = ChatCall { messages: vec![ChatTurn::text("king", "Hi")], ..ChatCall::default() };
    let error = adapter.converse("chat:1b", &wrong).await.unwrap_err();
    let told = error.told.unwrap();
    assert_eq!((told.param.as_str(), told.code.as_str()), ("messages[0].role", "invalid_value"));
}

#[tokio::test]
async fn an_error_within_a_stream_ends_it_and_what_came_before_is_told() {
    for flavour in FLAVOURS {
        let (sim, adapter) = ready(flavour).await;
        sim.script(Rule::on(Route::Chat).reply_chunks(["a", "b", "c"]).error_after(2, "the engine died"));
        let mut stream = adapter.stream("chat:1b", &asked("x")).await.unwrap();
        stream.begin().await.unwrap();
        let mut events = Vec::new();
        let error = loop {
            match stream.next().await.expect("an error before the end") {
                Ok(event) => events.push(event),
                Err(error) => break error,
            }
        };
        assert_eq!(ChatReply::collect(events).choices[0].text, "ab", "{flavour:?}");
        assert!(error.to_string().contains("the engine died"), "{flavour:?}: {error}");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn an_error_in_place_of_the_first_words_is_one_of_the_call() {
    let (sim, adapter) = ready(Flavour::Vllm).await;
    let told =
        "data: {\"error\": {\"message\": \"overloaded\", \"type\": \"ServiceUnavailableError\", \"code\": 503}}\n\n";
    sim.script(Rule::on(Route::Chat).raw_frames([told, "data: [DONE]\n\n"]));
    let error = collected(adapter.stream("chat:1b", &asked("x")).await.unwrap()).await.unwrap_err();
    assert_eq!((error.kind, error.may_fail_over()), (ProviderErrorKind::Transient, true), "{error}");
}

#[tokio::test]
async fn a_stream_is_over_at_its_end_mark_even_where_the_server_leaves_the_connection_open() {
    let (sim, adapter) = ready(Flavour::OpenAi).await;
    let text = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":\"stop\"}]}\n\n";
    let rule = sim.script(Rule::on(Route::Chat).raw_frames([text, "data: [DONE]\n\n", ": bye\n\n"]).stall_after(2));
    let reply = collected(adapter.stream("chat:1b", &asked("x")).await.unwrap()).await.unwrap();
    assert_eq!(reply.choices[0].text, "a");
    assert_eq!(rule.hits(), 1);
}

#[tokio::test]
async fn a_silent_stream_is_given_up_and_its_connection_closed() {
    let sim = SimBackend::vllm().model("chat:1b").start().await.unwrap();
    let adapter = adapter_at(sim.url(), ProviderKind::Vllm, false, None, Duration::from_millis(50));
    sim.script(Rule::on(Route::Chat).reply_chunks(["a", "b", "c"]).stall_after(2));
    let error = collected(adapter.stream("chat:1b", &asked("x")).await.unwrap()).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::Stalled);
    sim.wait_for_aborts(1).await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_stream_is_read_all_the_same() {
    let (sim, adapter) = ready(Flavour::OpenAi).await;
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}"#;
    sim.script(Rule::on(Route::Chat).body(body));
    let reply = collected(adapter.stream("chat:1b", &asked("x")).await.unwrap()).await.unwrap();
    assert_eq!((reply.choices[0].text.as_str(), reply.choices[0].finish), ("all", Some(Finish::Stop)));
}

#[tokio::test]
async fn chains_get_text_or_are_told_why_there_is_none() {
    let (sim, adapter) = ready(Flavour::OpenAi).await;
    sim.script(Rule::on(Route::Chat).times(1).finish("content_filter"));
    sim.script(Rule::on(Route::Chat).times(1).reply(""));
    sim.script(Rule::on(Route::Chat).reply("<think>hm</think>yes"));
    for words in ["content filter", "empty"] {
        let error = adapter.generate("chat:1b", &asked("x")).await.unwrap_err();
        assert!(error.kind == ProviderErrorKind::Reply && error.to_string().contains(words), "{error}");
    }
    let completion = adapter.generate("chat:1b", &asked("x")).await.unwrap();
    assert_eq!(completion.text, "<think>hm</think>yes", "thoughts within a text are the chain's business");
}

#[tokio::test]
async fn vllm_completes_prompts_where_it_cannot_chat_whole_and_in_pieces() {
    let (sim, adapter) = ready(Flavour::Vllm).await;
    sim.script(Rule::on(Route::Chat).status(404).body(r#"{"detail":"Not Found"}"#));
    let prompt = ChatCall { single_prompt: true, ..asked("Hi") };
    let whole = adapter.converse("chat:1b", &prompt).await.unwrap();
    assert_eq!(whole, collected(adapter.stream("chat:1b", &prompt).await.unwrap()).await.unwrap());
    assert_eq!(whole.choices[0].text, "You said: Hi");
    let error = adapter.converse("chat:1b", &asked("Hi")).await.unwrap_err();
    assert_eq!(error.status, Some(404), "a conversation cannot be completed");
}

#[tokio::test]
async fn texts_are_embedded_together_in_their_order() {
    for flavour in FLAVOURS {
        let (sim, adapter) = ready(flavour).await;
        let inputs: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        let call = EmbedCall { inputs: inputs.clone(), dimensions: None };
        let embedded = adapter.embed("embed:1b", &call).await.unwrap();
        for (vector, text) in embedded.vectors.iter().zip(&inputs) {
            assert!(is_embedding_of(vector, text), "{flavour:?}: {text}");
        }
        assert_eq!((embedded.vectors.len(), embedded.input_tokens), (3, Some(3)));
        assert_eq!(sim.record().of(Route::Embed).len(), 1, "{flavour:?}: one request");
        let shorter = adapter.embed("embed:1b", &EmbedCall { inputs, dimensions: Some(4) }).await;
        match flavour {
            // It looks away from the wish, and longer vectors than were asked for are no answer.
            Flavour::LlamaCpp => assert_eq!(shorter.unwrap_err().kind, ProviderErrorKind::Caller),
            _ => assert_eq!(shorter.unwrap().vectors[0].len(), 4, "{flavour:?}"),
        }
    }
}

#[tokio::test]
async fn more_texts_than_a_request_takes_are_sent_in_several() {
    let (sim, adapter) = ready(Flavour::OpenAi).await;
    let inputs: Vec<String> = (0..2050).map(|number| format!("text {number}")).collect();
    let embedded = adapter.embed("embed:1b", &EmbedCall { inputs: inputs.clone(), dimensions: None }).await.unwrap();
    assert_eq!((embedded.vectors.len(), sim.record().of(Route::Embed).len()), (2050, 5));
    assert!(is_embedding_of(&embedded.vectors[2049], &inputs[2049]));
}

#[tokio::test]
async fn a_hosted_list_is_kept_while_a_cheap_look_shows_that_the_server_works() {
    let sim = SimBackend::openai().model("gpt-4o").model("whisper-1").api_key("sk-one").start().await.unwrap();
    let adapter_with = |key| adapter(&sim, ProviderKind::Openai, true, Some(key));
    let first = adapter_with("sk-one");
    for _ in 0..3 {
        let models = first.probe().await.unwrap();
        let known = models.iter().find(|model| model.name == "gpt-4o").unwrap();
        assert_eq!(known.context_length, 128_000);
        assert!(models.iter().any(|model| model.capabilities == Capabilities::NONE), "what cannot chat gets no work");
    }
    let record = sim.record();
    assert_eq!((record.of(Route::List).len(), record.of(Route::Show).len()), (1, 2));
    sim.set_down(503);
    assert_eq!(first.probe().await.unwrap_err().kind, ProviderErrorKind::Transient, "a failing server is shown");
    sim.set_healthy();
    // Another key is another adapter, and knows nothing of the list.
    assert_eq!(adapter_with("sk-two").probe().await.unwrap_err().kind, ProviderErrorKind::Auth);
    // A model that is gone is noticed, and so is one that has come since.
    let looked_at = sim.record().of(Route::Show)[0].path.rsplit('/').next().unwrap().to_owned();
    sim.remove_model(&looked_at);
    sim.add_model("gpt-4.1");
    let names: Vec<String> = first.probe().await.unwrap().into_iter().map(|model| model.name).collect();
    assert!(names.contains(&"gpt-4.1".to_owned()) && !names.contains(&looked_at), "{names:?}");
}

#[tokio::test]
async fn a_hosted_server_that_tells_of_no_single_model_is_asked_for_its_list() {
    let sim = SimBackend::openai().model("gpt-4o").api_key("sk-one").start().await.unwrap();
    sim.script(Rule::on(Route::Show).status(404));
    let adapter = adapter(&sim, ProviderKind::Openai, true, Some("sk-one"));
    for _ in 0..3 {
        assert_eq!(adapter.probe().await.unwrap().len(), 1);
    }
    let record = sim.record();
    assert_eq!((record.of(Route::List).len(), record.of(Route::Show).len()), (3, 1), "it is looked for once");
}

#[tokio::test]
async fn every_server_is_asked_in_the_words_it_knows() {
    for (flavour, bound, more) in [
        (Flavour::OpenAi, "max_completion_tokens", false),
        (Flavour::LlamaCpp, "max_tokens", true),
        (Flavour::Vllm, "max_tokens", true),
        (Flavour::Ollama, "max_tokens", true),
    ] {
        let (sim, adapter) = ready(flavour).await;
        let sampling = Sampling { max_tokens: Some(9), top_k: Some(3), min_p: Some(0.1), ..Sampling::default() };
        adapter.converse("chat:1b", &ChatCall { sampling, ..asked("x") }).await.unwrap();
        let body: Value = sim.record().of(Route::Chat)[0].json();
        assert_eq!((&body[bound], body.get("top_k").is_some()), (&json!(9), more), "{flavour:?}: {body}");
    }
}

#[tokio::test]
async fn a_vllm_that_is_registered_as_any_other_server_is_asked_in_its_own_words_all_the_same() {
    let sim = SimBackend::vllm().model("chat:1b").start().await.unwrap();
    let adapter = adapter(&sim, ProviderKind::Openai, false, None);
    adapter.probe().await.unwrap();
    let sampling = Sampling { repeat_penalty: Some(1.1), ..Sampling::default() };
    let call = ChatCall { thinking: Some(Thinking::Off), sampling, ..asked("x") };
    adapter.converse("chat:1b", &call).await.unwrap();
    let body: Value = sim.record().of(Route::Chat)[0].json();
    assert!(body.get("repetition_penalty").is_some() && body.get("repeat_penalty").is_none(), "{body}");
    assert!(body.get("reasoning_effort").is_none() && body.get("chat_template_kwargs").is_some(), "{body}");
}

#[tokio::test]
async fn a_vllm_whose_engine_has_died_is_no_good_backend_though_it_lists_its_models() {
    let (sim, adapter) = ready(Flavour::Vllm).await;
    let dead = sim.script(Rule::on(Route::Health).status(503).times(1));
    let error = adapter.probe().await.unwrap_err();
    assert!(error.message.contains("/health") && dead.hits() == 1, "{error}");
    // A gateway that has no such route, or never answers there, says nothing.
    sim.script(Rule::on(Route::Health).status(404).times(1));
    sim.script(Rule::on(Route::Health).hang_before_headers());
    for _ in 0..2 {
        assert_eq!(adapter.probe().await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn the_texts_of_a_call_are_never_more_tokens_than_openai_takes_at_once() {
    let (sim, adapter) = ready(Flavour::OpenAi).await;
    let inputs = vec!["word ".repeat(4_000); 40];
    let embedded = adapter.embed("embed:1b", &EmbedCall { inputs, dimensions: None }).await.unwrap();
    assert_eq!((embedded.vectors.len(), sim.record().of(Route::Embed).len()), (40, 2));
}

#[tokio::test]
async fn a_base_url_with_another_version_is_taken_as_it_is() {
    let sim = SimBackend::openai().model("chat:1b").start().await.unwrap();
    let adapter =
        adapter_at(format!("{}/api/paas/v4", sim.url()), ProviderKind::Openai, false, None, Duration::from_secs(9));
    adapter.probe().await.unwrap_err();
    assert_eq!(sim.record().requests[0].path, "/api/paas/v4/models");
}

#[tokio::test]
async fn a_whole_answer_may_be_made_long_after_its_headers_are_there() {
    let (sim, _) = ready(Flavour::OpenAi).await;
    let patient = adapter_at(sim.v1_url(), ProviderKind::Openai, false, None, Duration::from_millis(50));
    let body = r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"all"},"finish_reason":"stop"}]}"#;
    sim.script(Rule::on(Route::Chat).raw_frames([body]).chunk_delay(Duration::from_millis(200)));
    let reply = patient.converse("chat:1b", &asked("x")).await.unwrap();
    assert_eq!(reply.choices[0].text, "all", "only what has begun may not fall silent");
}
