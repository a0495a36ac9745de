//! Five hundred requests that wait for two slots: all are answered once, oldest first, and nothing is left of them. Ten
//! thousand, and the memory they take: `docs/performance.md`.

use super::*;

const WAITING: usize = 500;

#[tokio::test]
async fn five_hundred_waiting_requests_are_all_answered_and_leave_nothing_behind() {
    let server = TestServer::start(&[]).await;
    let sim = Front::Openai.sim().await;
    let body = json!({"name": "a", "baseUrl": sim.url(), "type": "vllm", "maxConcurrency": 2});
    let id = server.register_as(body, &[TASKS]).await;
    server.wait_for_model(&id, "chat:1b").await;
    let gate = sim.hold_on(Route::Chat);
    let send = |at: usize| {
        let (client, question) = ((*server).clone(), Front::Openai.question(&format!("request {at}"), false));
        crate::support::in_background(async move { client.post(Front::Openai.chat(), question).await })
    };
    let sent: Vec<_> = (0..WAITING + 2).map(send).collect();
    server.wait_for_waiters(&id, u32::try_from(WAITING).unwrap()).await;
    assert_eq!((server.slots(&id).in_use, sim.record().of(Routes::CALLS).len()), (2, 2));
    gate.release_all();
    let answers = answers(sent).await;
    assert_eq!(count(&answers, 200), WAITING + 2);
    assert_eq!(sim.record().of(Routes::CALLS).len(), WAITING + 2, "each was asked once");
    server.wait_until_idle(&id).await;
}
