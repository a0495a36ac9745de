//! What the tests of this folder share.

use std::time::Duration;

use fred::interfaces::ClientLike;
use loadtest::services::valkey::{PASSWORD, Valkey};

use super::{ValkeyClient, ValkeySettings};

pub(super) fn settings(port: u16, cluster: &str) -> ValkeySettings {
    ValkeySettings {
        host: "127.0.0.1".to_owned(),
        port,
        password: Some(PASSWORD.to_owned()),
        cluster: cluster.to_owned(),
    }
}

/// A client that may not be connected yet.
pub(super) fn client(port: u16, cluster: &str) -> ValkeyClient {
    ValkeyClient::start(&settings(port, cluster)).unwrap()
}

/// Two connected clients of one cluster that has nothing yet, on the server that all tests share.
pub(super) async fn answering() -> Option<(ValkeyClient, ValkeyClient)> {
    let port = Valkey::shared()?.port();
    let cluster = uuid::Uuid::new_v4().simple().to_string();
    let pair = (client(port, &cluster), client(port, &cluster));
    for client in [&pair.0, &pair.1] {
        client.client().wait_for_connect().await.unwrap();
    }
    Some(pair)
}

/// Looks until it is there.
pub(super) async fn soon<T>(look: impl AsyncFn() -> Option<T>) -> T {
    let began = tokio::time::Instant::now();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it never comes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
