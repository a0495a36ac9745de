//! Adapters of the types `ollama` and `gemini`: what is said whole is said in pieces too, tools are called and answered,
//! failures are told apart (`docs/backends.md`).

use std::{sync::Arc, time::Duration};

use loadtest::sim::{Route, Rule, SimBackend, SimModel};
use penstock::{
    dialect::Dialect,
    domain::{
        chat::{
            AnsweredCall, ChatCall, ChatReply, ChatTurn, Finish, Image, Part, Sampling, Thinking, Tool, ToolCall,
            ToolChoice,
        },
        embedding::EmbedCall,
        message::Constraint,
        provider::ProviderKind::{self, Gemini, Ollama},
    },
    providers::{Provider, ProviderError, ProviderErrorKind},
};
use serde_json::json;

use crate::support::{
    adapters::{adapter, adapter_at, collected, is_embedding_of, weather},
    calls::asked,
};

const KINDS: [(ProviderKind, Dialect); 2] = [(Ollama, Dialect::Ollama), (Gemini, Dialect::Gemini)];

/// A backend with a model that sees and thinks, and its adapter.
async fn ready(kind: ProviderKind) -> (SimBackend, Arc<dyn Provider>) {
    let able = ["completion", "tools", "vision", "thinking"];
    let seeing = SimModel::new("chat:1b").capabilities(able).context_length(2048);
    let builder = if kind == Ollama { SimBackend::ollama() } else { SimBackend::gemini() };
    let sim = builder.model(seeing).model("embed:1b").start().await.unwrap();
    let adapter = adapter(&sim, kind, false, None);
    (sim, adapter)
}

/// The same call, whole or as a stream.
async fn answer(adapter: &dyn Provider, call: &ChatCall, is_streamed: bool) -> Result<ChatReply, ProviderError> {
    match is_streamed {
        false => adapter.converse("chat:1b", call).await,
        true => collected(adapter.stream("chat:1b", call).await?).await,
    }
}

#[tokio::test]
async fn what_a_backend_says_whole_it_says_in_pieces_too() {
    let list = Constraint::Schema(Arc::new(json!({"type": "array", "items": {"type": "integer", "minimum": 3}})));
    let choice = Constraint::OneOf(vec!["yes".to_owned(), "no".to_owned()]);
    let with = |change: &dyn Fn(&mut ChatCall)| {
        let mut call = asked("Hi there");
        change(&mut call);
        call
    };
    let calls = [
        asked("Hi there"),
        with(&|call| call.single_prompt = true),
        with(&|call| call.constraint = Some(list.clone())),
        with(&|call| call.constraint = Some(choice.clone())),
        with(&|call| call.constraint = Some(Constraint::Json)),
        with(&|call| call.thinking = Some(Thinking::On)),
        with(&|call| call.logprobs = Some(2)),
        with(&|call| call.sampling = Sampling { max_tokens: Some(2), top_k: Some(3), ..Sampling::default() }),
    ];
    for (kind, dialect) in KINDS {
        let (sim, adapter) = ready(kind).await;
        assert_eq!(adapter.dialect(), dialect);
        for call in &calls {
            let whole = answer(&*adapter, call, false).await.unwrap();
            assert_eq!(whole, answer(&*adapter, call, true).await.unwrap(), "{kind:?}: {call:?}");
            let said = &whole.choices[0];
            let told = said.logprobs.as_ref().map(|told| told["content"].as_array().unwrap().len());
            assert_eq!(told, call.logprobs.map(|_| 4), "{kind:?}: as many as tokens");
            assert!(whole.usage.input_tokens.is_some() && said.finish.is_some(), "{kind:?}: {whole:?}");
        }
        assert_eq!(sim.record().of([Route::Chat, Route::Generate]).len(), 2 * calls.len(), "{kind:?}");
    }
}

#[tokio::test]
async fn tools_are_called_and_answered_whole_and_in_pieces() {
    for (kind, _) in KINDS {
        for is_streamed in [false, true] {
            let (sim, adapter) = ready(kind).await;
            sim.script(
                Rule::on(Route::Chat).times(1).tool_call("weather", json!({"city": "Rome"})).tool_call("time", "{}"),
            );
            let mut call = ChatCall { tools: vec![weather()], ..asked("Weather?") };
            let said = answer(&*adapter, &call, is_streamed).await.unwrap().choices.remove(0);
            let made = said.tool_calls;
            let seen: Vec<_> = made.iter().map(|call| (call.name.as_str(), call.arguments.as_str())).collect();
            assert_eq!(seen, [("weather", r#"{"city":"Rome"}"#), ("time", "{}")], "{kind:?}");
            assert_eq!((said.finish, said.text.as_str()), (Some(Finish::ToolCalls), ""), "{kind:?}");
            assert!(!made[0].id.is_empty() && made[0].id != made[1].id, "{made:?}");

            let answers = |call: &ToolCall| Some(AnsweredCall { id: call.id.clone(), name: String::new() });
            let told = [(answers(&made[1]), "noon"), (answers(&made[0]), r#"{"sky":"blue"}"#)];
            call.messages.push(ChatTurn {
                role: "assistant".to_owned(),
                tool_calls: made.clone(),
                ..ChatTurn::default()
            });
            call.messages.extend(told.map(|(answers, text)| ChatTurn { answers, ..ChatTurn::text("tool", text) }));
            let said = answer(&*adapter, &call, is_streamed).await.unwrap().choices.remove(0);
            assert_eq!((said.tool_calls.len(), said.finish), (0, Some(Finish::Stop)), "{kind:?}");
            let sent = sim.record().of(Route::Chat)[1].json();
            match kind {
                Gemini => {
                    assert_eq!(sent["contents"][1]["parts"][0]["thoughtSignature"], made[0].signature);
                    assert!(!made[0].signature.is_empty());
                    let response = json!({"name": "weather", "id": made[0].id, "response": {"sky": "blue"}});
                    assert_eq!(sent["contents"][2]["parts"][1]["functionResponse"], response);
                }
                _ => {
                    let message =
                        json!({"role": "tool", "content": "noon", "tool_name": "time", "tool_call_id": made[1].id});
                    assert_eq!(sent["messages"][2], message);
                }
            }
        }
    }
}

#[tokio::test]
async fn the_choice_of_a_tool_is_kept_as_far_as_the_backend_has_one() {
    let other = Tool { name: "time".to_owned(), ..weather() };
    let choose = |choice| ChatCall { tools: vec![weather(), other.clone()], tool_choice: choice, ..asked("Hm") };
    for (kind, _) in KINDS {
        let (_sim, adapter) = ready(kind).await;
        for (choice, name) in [
            (ToolChoice::None, None),
            (ToolChoice::Required, Some("weather")),
            (ToolChoice::Named("time".to_owned()), Some("time")),
        ] {
            let said = answer(&*adapter, &choose(choice.clone()), false).await.unwrap().choices.remove(0);
            assert_eq!(said.tool_calls.first().map(|call| call.name.as_str()), name, "{kind:?}: {choice:?}");
        }
    }
}

#[tokio::test]
async fn thoughts_come_apart_from_the_answer() {
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
        sim.script(Rule::on(Route::Chat).thinking("Let me see.").reply("Four."));
        let mut call = asked("2+2?");
        call.thinking = Some(Thinking::On);
        for is_streamed in [false, true] {
            let said = answer(&*adapter, &call, is_streamed).await.unwrap().choices.remove(0);
            assert_eq!((said.reasoning.as_str(), said.text.as_str()), ("Let me see.", "Four."), "{kind:?}");
        }
        call.thinking = Some(Thinking::Off);
        answer(&*adapter, &call, false).await.unwrap();
        let sent = sim.record().of(Route::Chat)[2].json();
        let off =
            if kind == Ollama { &sent["think"] } else { &sent["generationConfig"]["thinkingConfig"]["thinkingBudget"] };
        assert!(*off == json!(false) || *off == json!(0), "{sent}");
    }
}

#[tokio::test]
async fn pictures_are_sent_along_and_those_to_be_fetched_are_refused_unsent() {
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
        let with = |image| {
            let parts = vec![Part::Text("What is it?".to_owned()), Part::Image(image)];
            ChatCall { messages: vec![ChatTurn { parts, ..ChatTurn::text("user", "") }], ..ChatCall::default() }
        };
        let png = Image::Inline { media_type: String::new(), data: "iVBORw0KGgo=".to_owned() };
        answer(&*adapter, &with(png), false).await.unwrap();
        let sent = sim.record().of(Route::Chat)[0].json();
        match kind {
            Ollama => assert_eq!(sent["messages"][0]["images"], json!(["iVBORw0KGgo="])),
            _ => {
                let inline = json!({"mimeType": "image/png", "data": "iVBORw0KGgo="});
                assert_eq!(sent["contents"][0]["parts"][1]["inlineData"], inline);
            }
        }
        let link = with(Image::Url("https://example.com/cat.jpg".to_owned()));
        for is_streamed in [false, true] {
            let error = answer(&*adapter, &link, is_streamed).await.unwrap_err();
            // A backend of another kind may fetch it.
            assert_eq!((error.kind, error.may_fail_over()), (ProviderErrorKind::Caller, true), "{error}");
            assert!(error.message.contains("data: URL"), "{error}");
        }
        assert_eq!(sim.record().of(Route::Chat).len(), 1, "nothing more was sent");
    }
}

#[tokio::test]
async fn several_replies_come_from_gemini_and_are_refused_for_ollama_unsent() {
    let call = ChatCall { choices: 2, ..asked("Hi") };
    let (sim, adapter) = ready(Gemini).await;
    for is_streamed in [false, true] {
        let reply = answer(&*adapter, &call, is_streamed).await.unwrap();
        let texts: Vec<_> = reply.choices.iter().map(|said| (said.text.as_str(), said.finish)).collect();
        assert_eq!(texts, [("You said: Hi", Some(Finish::Stop)); 2]);
    }
    assert_eq!(sim.record().of(Route::Chat)[0].json()["generationConfig"]["candidateCount"], 2);
    let (sim, adapter) = ready(Ollama).await;
    let error = answer(&*adapter, &call, false).await.unwrap_err();
    assert!(error.kind == ProviderErrorKind::Caller && error.message.contains("'n' must be 1"), "{error}");
    assert!(sim.record().of(Route::Chat).is_empty());
}

#[tokio::test]
async fn failures_are_told_apart() {
    use ProviderErrorKind::{Auth, Cut, Quota, RateLimited, Reply, Server, Transient};
    let quota = r#"[{"error":{"code":429,"message":"You exceeded your current quota","status":"RESOURCE_EXHAUSTED","details":[
        {"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"7s"}]}}]"#;
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
        for (rule, expected) in [
            (Rule::on(Route::Chat).status(401), Auth),
            (Rule::on(Route::Chat).status(429).header("retry-after", "7"), RateLimited),
            (Rule::on(Route::Chat).status(429).body(quota), Quota),
            (Rule::on(Route::Chat).status(503), Transient),
            (Rule::on(Route::Chat).status(500), Server),
            (Rule::on(Route::Chat).cut_after(1), Cut),
            (Rule::on(Route::Chat).body("<html>"), Reply),
        ] {
            sim.clear_script();
            sim.script(rule);
            for is_streamed in [false, true] {
                let error = answer(&*adapter, &asked("a b"), is_streamed).await.unwrap_err();
                let is_cut = is_streamed && expected == Reply && error.kind == Cut;
                assert!(error.kind == expected || is_cut, "{kind:?} {expected:?}: {error}");
                assert_eq!(error.retry_after.is_some(), matches!(expected, RateLimited | Quota), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn too_long_a_prompt_and_too_long_a_text_are_known_as_such() {
    let (_sim, adapter) = ready(Gemini).await;
    for is_streamed in [false, true] {
        let error = answer(&*adapter, &asked(&"a ".repeat(9000)), is_streamed).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::ContextLength, "{error}");
    }
    let (_sim, adapter) = ready(Ollama).await;
    let error = adapter.embed("embed:1b", &EmbedCall::of("a ".repeat(400_000))).await.unwrap_err();
    assert_eq!(error.kind, ProviderErrorKind::ContextLength, "it must not be cut in silence: {error}");
}

#[tokio::test]
async fn what_a_model_cannot_do_is_the_callers_fault() {
    let sim = SimBackend::ollama()
        .model(SimModel::new("chat:1b").capabilities(["completion"]))
        .model("embed:1b")
        .start()
        .await
        .unwrap();
    let adapter = adapter(&sim, Ollama, false, None);
    let tools = ChatCall { tools: vec![weather()], ..asked("x") };
    let thinks = ChatCall { thinking: Some(Thinking::On), ..asked("x") };
    for (model, call, words) in [
        ("chat:1b", &tools, "does not support tools"),
        ("chat:1b", &thinks, "does not support thinking"),
        ("embed:1b", &asked("x"), "does not support chat"),
        ("absent", &asked("x"), "not found"),
    ] {
        let error = adapter.converse(model, call).await.unwrap_err();
        assert_eq!((error.kind, error.may_fail_over()), (ProviderErrorKind::Caller, false), "{error}");
        assert!(error.message.contains(words), "{error}");
    }
}

#[tokio::test]
async fn an_error_within_a_stream_ends_it_and_what_came_before_is_told() {
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
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
        assert_eq!(ChatReply::collect(events).choices[0].text, "ab", "{kind:?}");
        assert!(error.to_string().contains("the engine died"), "{kind:?}: {error}");
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_stream_that_ends_well_without_its_end_is_cut() {
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
        let piece = match kind {
            Ollama => "{\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"done\":false}\n",
            _ => "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}}]}\r\n\r\n",
        };
        sim.script(Rule::on(Route::Chat).raw_frames([piece, piece]));
        let error = answer(&*adapter, &asked("x"), true).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Cut, "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn a_silent_stream_is_given_up_and_its_connection_closed() {
    for (kind, _) in KINDS {
        let (sim, _) = ready(kind).await;
        let adapter = adapter_at(sim.url(), kind, false, None, Duration::from_millis(50));
        sim.script(Rule::on(Route::Chat).reply_chunks(["a", "b", "c"]).stall_after(2));
        let error = answer(&*adapter, &asked("x"), true).await.unwrap_err();
        assert_eq!(error.kind, ProviderErrorKind::Stalled, "{kind:?}: {error}");
        sim.wait_for_aborts(1).await.unwrap();
    }
}

#[tokio::test]
async fn a_blocked_prompt_is_a_withheld_reply_and_a_failure_in_chains() {
    let (sim, adapter) = ready(Gemini).await;
    let blocked = r#"{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":1}}"#;
    sim.script(Rule::on(Route::Chat).streams(false).body(blocked));
    sim.script(Rule::on(Route::Chat).raw_frames([format!("data: {blocked}\r\n\r\n")]));
    for is_streamed in [false, true] {
        let said = answer(&*adapter, &asked("x"), is_streamed).await.unwrap().choices.remove(0);
        assert_eq!((said.text.as_str(), said.finish), ("", Some(Finish::ContentFilter)));
    }
    let error = adapter.generate("chat:1b", &asked("x")).await.unwrap_err();
    assert!(error.kind == ProviderErrorKind::Reply && error.to_string().contains("content filter"), "{error}");
}

#[tokio::test]
async fn texts_are_embedded_together_in_their_order() {
    for (kind, _) in KINDS {
        let (sim, adapter) = ready(kind).await;
        let inputs: Vec<String> = (0..250).map(|number| format!("text {number}")).collect();
        let embedded =
            adapter.embed("embed:1b", &EmbedCall { inputs: inputs.clone(), dimensions: None }).await.unwrap();
        assert_eq!(embedded.vectors.len(), inputs.len());
        assert!(embedded.input_tokens.is_some_and(|tokens| tokens >= 250), "{kind:?}: told or estimated");
        assert!(embedded.vectors.iter().zip(&inputs).all(|(vector, text)| is_embedding_of(vector, text)), "{kind:?}");
        // Gemini takes a hundred at once.
        let requests = if kind == Ollama { 1 } else { 3 };
        assert_eq!(sim.record().of(Route::Embed).len(), requests, "{kind:?}");
        let of_length = |wanted| EmbedCall { inputs: inputs[..2].to_vec(), dimensions: Some(wanted) };
        assert_eq!(adapter.embed("embed:1b", &of_length(4)).await.unwrap().vectors[1].len(), 4);
        let error = adapter.embed("embed:1b", &of_length(9)).await.unwrap_err();
        assert!(error.kind == ProviderErrorKind::Caller && error.message.contains("dimensions"), "{kind:?}: {error}");
    }
}

#[tokio::test]
async fn an_ollama_without_the_new_route_embeds_text_by_text() {
    let (sim, adapter) = ready(Ollama).await;
    sim.script(Rule::on(Route::Embed).times(1).status(404).body("404 page not found"));
    let inputs: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
    let embedded = adapter.embed("embed:1b", &EmbedCall { inputs: inputs.clone(), dimensions: None }).await.unwrap();
    assert!(embedded.vectors.iter().zip(&inputs).all(|(vector, text)| is_embedding_of(vector, text)));
    let record = sim.record();
    let paths: Vec<&str> = record.of(Route::Embed).iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/api/embed", "/api/embeddings", "/api/embeddings", "/api/embeddings"]);
}

#[tokio::test]
async fn googles_list_is_kept_while_a_cheap_look_shows_that_the_service_works() {
    let sim =
        SimBackend::gemini().model("gemini-x").model("gemini-y").page_size(1).api_key("one").start().await.unwrap();
    let hosted = adapter(&sim, Gemini, true, Some("one"));
    for _ in 0..3 {
        assert_eq!(hosted.probe().await.unwrap().len(), 2);
    }
    let record = sim.record();
    assert_eq!((record.of(Route::List).len(), record.of(Route::Show).len()), (2, 2), "two pages, then two looks");
    sim.set_down(503);
    assert_eq!(hosted.probe().await.unwrap_err().kind, ProviderErrorKind::Transient, "a failing service is shown");
    sim.set_healthy();
    // Another key is another adapter, and knows nothing of the list.
    let refused = adapter(&sim, Gemini, true, Some("two")).probe().await.unwrap_err();
    assert_eq!(refused.kind, ProviderErrorKind::Auth);
    // A model that is gone is noticed, and so is one that has come since.
    let looked_at = sim.record().of(Route::Show)[0].path.rsplit('/').next().unwrap().to_owned();
    sim.remove_model(&looked_at);
    sim.add_model("gemini-z");
    let names: Vec<String> = hosted.probe().await.unwrap().into_iter().map(|model| model.name).collect();
    assert!(names.contains(&"gemini-z".to_owned()) && !names.contains(&looked_at), "{names:?}");
    // A gateway on the own network may change its list at any time.
    let (sim, own) = ready(Gemini).await;
    for _ in 0..2 {
        own.probe().await.unwrap();
    }
    assert_eq!((sim.record().of(Route::List).len(), sim.record().of(Route::Show).len()), (2, 0));
}

#[tokio::test]
async fn an_old_ollama_is_asked_about_each_model_once_and_a_new_one_tells_in_its_list() {
    let (sim, adapter) = ready(Ollama).await;
    let new = adapter.probe().await.unwrap();
    assert!(sim.record().of(Route::Show).is_empty(), "nothing is left to ask");
    let list = r#"{"models":[{"name":"chat:1b","model":"chat:1b","size":100000000,"digest":"a","details":{"families":null}},
        {"name":"embed:1b","model":"embed:1b","size":100000000,"digest":"b"}]}"#;
    sim.script(Rule::on(Route::List).body(list));
    for _ in 0..3 {
        let old = adapter.probe().await.unwrap();
        let told = |name: &str| {
            let of = |models: &[penstock::domain::model::ObservedModel]| {
                let model = models.iter().find(|model| model.name == name).unwrap();
                (model.capabilities, model.context_length, model.abilities.clone())
            };
            (of(&old), of(&new))
        };
        for name in ["chat:1b", "embed:1b"] {
            assert_eq!(told(name).0, told(name).1, "{name}");
        }
    }
    assert_eq!(sim.record().of(Route::Show).len(), 2);
}

#[tokio::test]
async fn a_gateway_that_loses_the_query_streams_all_at_once() {
    let (sim, adapter) = ready(Gemini).await;
    let piece =
        |text: &str, rest: &str| format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}{rest}}}]}}"#);
    let whole = format!("[{},\r\n{}]", piece("Par", ""), piece("is", r#","finishReason":"STOP""#));
    sim.script(Rule::on(Route::Chat).body(whole));
    let said = answer(&*adapter, &asked("x"), true).await.unwrap().choices.remove(0);
    assert_eq!((said.text.as_str(), said.finish), ("Paris", Some(Finish::Stop)));
}

#[tokio::test]
async fn a_seed_of_any_size_is_taken() {
    for (kind, _) in KINDS {
        let (_sim, adapter) = ready(kind).await;
        let sampling = Sampling { seed: Some(5_000_000_000), ..Sampling::default() };
        answer(&*adapter, &ChatCall { sampling, ..asked("x") }, false).await.unwrap();
    }
}
