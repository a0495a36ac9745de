//! The event bus on Valkey's pub/sub: one channel for all instances of a database.
//!
//! Owns two connections, for one that listens can do nothing else, in one task.

use std::time::Duration;

use bytes::Bytes;
use fred::{
    clients::{Client, SubscriberClient},
    interfaces::{ClientLike, EventInterface, PubsubInterface},
};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::timeout,
};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use super::{Ended, ValkeyError, ValkeySettings};
use crate::{
    domain::{cluster::ClusterEvent, ids::InstanceId},
    stores::bus::{Bus, BusStanding, Ends, Listening},
};

/// Longest time until something is sent.
const SEND: Duration = Duration::from_secs(1);
/// Between two attempts to listen.
const RETRY: Duration = Duration::from_millis(500);

/// The bus.
pub struct ValkeyBus {
    ends: Ends,
    _stop: DropGuard,
}

impl ValkeyBus {
    /// Begins to connect; it does not wait for it.
    ///
    /// # Errors
    /// When the settings make no sense to the client.
    pub fn start(settings: &ValkeySettings, me: InstanceId) -> Result<Self, ValkeyError> {
        let builder = settings.builder();
        let (teller, listener) = (builder.build()?, builder.build_subscriber_client()?);
        let (ends, waiting) = Ends::new(me);
        let stop = CancellationToken::new();
        let channel = format!("penstock:{}:events", settings.cluster);
        let work = run(teller, listener, channel, ends.clone(), waiting);
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(work));
        Ok(Self { ends, _stop: stop.drop_guard() })
    }
}

impl Bus for ValkeyBus {
    fn tell(&self, event: ClusterEvent) {
        self.ends.tell(event);
    }

    fn listen(&self) -> Listening {
        self.ends.listen()
    }

    fn lost(&self) -> u64 {
        self.ends.lost()
    }

    fn standing(&self) -> BusStanding {
        self.ends.standing_of("valkey")
    }
}

async fn run(
    teller: Client,
    listener: SubscriberClient,
    channel: String,
    ends: Ends,
    mut waiting: mpsc::Receiver<Bytes>,
) {
    let (mut heard, mut back) = (listener.message_rx(), listener.reconnect_rx());
    let mut troubles = listener.error_rx();
    let (teller, listener) = (Ended(teller), Ended(listener));
    let (_telling, _listening) = (teller.0.connect(), listener.0.connect());
    let subscribe = async || {
        // Whenever a connection stands, and until it is done: what was subscribed to is forgotten with its connection.
        while let Err(error) = listener.0.subscribe(channel.as_str()).await {
            tracing::debug!(%error, "the event bus cannot be listened to yet");
            tokio::time::sleep(RETRY).await;
        }
        ends.gap();
    };
    let mut subscribing = Box::pin(subscribe());
    let mut is_subscribed = false;
    loop {
        tokio::select! {
            () = &mut subscribing, if !is_subscribed => {
                tracing::info!("the event bus is there");
                ends.connected(true);
                is_subscribed = true;
            }
            // A new connection listens to nothing yet.
            again = back.recv() => if again.is_ok() {
                ends.connected(false);
                subscribing = Box::pin(subscribe());
                is_subscribed = false;
            },
            trouble = troubles.recv() => if let Ok((error, _)) = trouble
                && is_subscribed
            {
                ends.connected(false);
                tracing::warn!(%error, "the event bus is away; other instances are not heard");
            },
            message = heard.recv() => match message {
                Ok(message) => match message.value.as_bytes() {
                    Some(bytes) => ends.hear(bytes),
                    None => ends.lose(),
                },
                Err(RecvError::Lagged(_)) => ends.gap(),
                Err(RecvError::Closed) => return,
            },
            bytes = waiting.recv() => match bytes {
                // While the server is away nothing is kept for it: what comes late is worse than what does not come.
                Some(_) if !teller.0.is_connected() => ends.lose(),
                Some(bytes) => {
                    // The client's own timeout does not cover every wait of its.
                    let sent = timeout(SEND, teller.0.publish::<i64, _, _>(channel.as_str(), bytes)).await;
                    if !matches!(sent, Ok(Ok(_))) {
                        ends.lose();
                    }
                }
                None => return,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use loadtest::services::valkey::Valkey;

    use super::*;
    use crate::stores::{
        bus_suite::{Wire, acquainted, hears_again_after},
        valkey::tests::settings,
    };

    struct Channel(String);

    /// A channel of its own on the server that all tests share.
    fn channel() -> Option<Channel> {
        Valkey::shared()?;
        Some(Channel(uuid::Uuid::new_v4().simple().to_string()))
    }

    impl Wire for Channel {
        async fn join(&self, name: &str) -> Arc<dyn Bus> {
            let port = Valkey::shared().unwrap().port();
            Arc::new(ValkeyBus::start(&settings(port, &self.0), InstanceId::new(name)).unwrap())
        }
    }

    bus_suite!(crate::stores::valkey::bus::tests::channel);

    #[tokio::test]
    async fn it_is_heard_again_after_the_server_has_died_and_hung() {
        if !Valkey::is_installed() {
            return;
        }
        let mut server = Valkey::start().unwrap();
        let start = |name| ValkeyBus::start(&settings(server.port(), "c"), InstanceId::new(name)).unwrap();
        let (one, other) = (start("one"), start("other"));
        let mut listening = other.listen();
        acquainted(&one, &mut listening).await;
        server.stop();
        hears_again_after(&one, &mut listening, || server.resume().unwrap()).await;
        server.server().unwrap().freeze();
        hears_again_after(&one, &mut listening, || server.server().unwrap().thaw()).await;
    }
}
