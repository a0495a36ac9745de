//! Backends without `maxConcurrency`: how many calls they get at once is found out (`docs/operations.md`, how many calls at
//! once).

use loadtest::sim::{Flavour, SimBackend};

use crate::support::{TASKS, TestServer};

#[tokio::test]
async fn a_server_that_tells_its_slots_gets_no_more_calls_than_that() {
    let sim = SimBackend::openai().flavour(Flavour::LlamaCpp).model("chat:1b").slots(2).start().await.unwrap();
    let server = TestServer::start(&[("TASK_MODEL", "chat:1b")]).await;
    let id = server.register("a", "openai", &sim, &[TASKS]).await;
    server.wait_for_slots(&id, "a limit of two", |slots| slots.limit == 2).await;
}
