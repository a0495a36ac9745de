//! Planted secrets, and what is written and answered of a call that panics with them in its hands.

use std::{
    cell::{Cell, RefCell},
    io,
    panic::{set_hook, take_hook},
    sync::{Arc, Mutex},
};

use loadtest::sim::SimBackend;
use penstock::faults::{Kind, Set};
use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::support::{Answer, TASKS, TestServer, eventually, soon};

const OWNER: &str = "planted-owner-7d41-sesame";
const SEALING: &str = "planted-sealing-2c90-wax";
const KEY: &str = "sk-planted-own-91ac-elm";

/// Where a call and a look at the backend have the key at hand.
const STAGES: [&str; 6] =
    ["dispatch.plan", "dispatch.admit", "dispatch.call", "dispatch.answered", "backend.adopt", "backend.probe"];

/// What was written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Written {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn a_call_that_panics_shows_no_secret() {
    let written = Written::default();
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(written.clone());
    // This server runs on one thread, and so does its log.
    let _log = tracing::subscriber::set_default(log.finish());
    let (before, panics) = (take_hook(), written.clone());
    set_hook(Box::new(move |panic| {
        io::Write::write_all(&mut panics.clone(), panic.to_string().as_bytes()).unwrap();
        before(panic);
    }));

    let server = TestServer::start(&[("TOKEN", OWNER), ("SECRET_KEY", SEALING)]).await;
    let ask = async |method: &str, path: &str, body: serde_json::Value| {
        let request = server.request(method.parse().unwrap(), path).bearer_auth(OWNER);
        soon("an answer", server.send(request.body(body.to_string()))).await
    };
    let sim = SimBackend::openai().model("chat:1b").api_key(KEY).start().await.unwrap();
    let backend = json!({"name": "b", "baseUrl": sim.url(), "type": "openai", "apiKey": KEY});
    let id = ask("POST", "/backends", backend).await.expect(201).json()["id"].as_str().unwrap().to_owned();
    ask("POST", &format!("/backend-associations/{TASKS}/backends/{id}"), json!(null)).await.expect(201);
    server.wait_for_model(&id, "chat:1b").await;

    let weight = Cell::new(1);
    let next_weight = || weight.replace(weight.get() % 1000 + 1);
    let told = RefCell::new(String::new());
    let note = |answer: Answer| told.borrow_mut().push_str(&format!("{:?} {}\n", answer.headers, answer.text));
    for (stage, kind) in STAGES.into_iter().flat_map(|stage| [(stage, Kind::Panic), (stage, Kind::Error)]) {
        let set = Set::at(stage, "", kind, 0, 1);
        eventually(stage, || async {
            // A backend that has just crashed adopts nothing yet.
            let changed = json!({"name": "b", "baseUrl": sim.url(), "type": "openai", "weight": next_weight()});
            ask("PUT", &format!("/backends/{id}"), changed).await.expect(200);
            note(ask("POST", "/execute", json!({"prompt": "hi"})).await);
            if set.happened() > 0 { Ok(()) } else { Err("nobody came there".to_owned()) }
        })
        .await;
        for path in ["/state", "/backends", "/metrics"] {
            note(ask("GET", path, json!(null)).await.expect(200));
        }
    }
    server.stop().await;
    let (log, answers) = (written.text(), told.into_inner());
    assert!(answers.contains("the server met a fault of its own"), "{answers}");
    for stage in STAGES {
        assert!(log.contains(&format!("a fault was set at {stage}")), "{stage} is not in the log");
    }
    for secret in [OWNER, SEALING, KEY] {
        let found = log.lines().chain(answers.lines()).find(|line| line.contains(secret));
        assert_eq!(found, None, "{secret} is shown");
    }
}
