//! What the routes of the download queue answer when there is nothing to do (`docs/api.md`, download queue).

use serde_json::json;

use crate::support::TestServer;

#[tokio::test]
async fn an_empty_queue_is_an_empty_list() {
    let server = TestServer::start(&[]).await;
    assert_eq!(server.get("/queue").await.expect(200).json(), json!([]));
}

#[tokio::test]
async fn removing_what_is_not_queued_succeeds_whatever_the_name() {
    let server = TestServer::start(&[]).await;
    for model in ["nobody", "hf.co%2Forg%2Fname:tag", "inProgress"] {
        let answer = server.delete(&format!("/queue/{model}")).await.expect(200);
        assert_eq!(answer.text.trim(), "\"Model removed from queue\"", "{model}");
    }
}

#[tokio::test]
async fn cancelling_needs_a_url_or_a_model_and_may_match_nothing() {
    let server = TestServer::start(&[]).await;
    for query in ["?url=http://nobody:1/", "?url=http%3A%2F%2Fnobody%3A1", "?model=nobody", "?url=&model=m"] {
        let answer = server.delete(&format!("/queue/cancel{query}")).await.expect(200);
        assert_eq!(answer.text.trim(), "\"Model download cancellation initiated\"", "{query}");
    }
    for query in ["", "?url=", "?model=", "?other=x"] {
        let answer = server.delete(&format!("/queue/cancel{query}")).await.expect(400);
        assert!(answer.error().contains("url") && answer.error().contains("model"), "{}", answer.text);
    }
}
