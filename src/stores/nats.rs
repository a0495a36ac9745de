//! The event bus on NATS (async-nats): one subject for all instances of a database.
//!
//! Owns the connection, in one task. It is made when there is a server and made again when it is lost; while there is none,
//! what is told is lost, and when there is one again, listeners are told of the gap.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, connection::State};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

use crate::{
    domain::{cluster::ClusterEvent, ids::InstanceId},
    stores::bus::{Bus, BusStanding, Ends, Listening},
};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(3);
/// Between two questions whether the server is still there; two unanswered ones end the connection.
const PING: Duration = Duration::from_secs(2);
/// Longest time until something is handed to the connection.
const SEND: Duration = Duration::from_secs(1);
/// Longest rest between two attempts to connect.
const RETRY: Duration = Duration::from_secs(2);

/// Which server, and who we are there.
#[derive(Clone)]
pub struct NatsSettings {
    /// `nats://host:4222`, or several with commas between them; `tls://` for TLS.
    pub url: String,
    /// The user, where the server wants one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// What all instances of one database have in common, and no others.
    pub cluster: String,
}

/// The bus.
pub struct NatsBus {
    ends: Ends,
    _stop: DropGuard,
}

impl NatsBus {
    /// Begins to connect; it does not wait for it.
    pub fn start(settings: NatsSettings, me: InstanceId) -> Self {
        let (ends, waiting) = Ends::new(me);
        let stop = CancellationToken::new();
        let work = run(settings, ends.clone(), waiting);
        TaskTracker::new().spawn(stop.clone().run_until_cancelled_owned(work));
        Self { ends, _stop: stop.drop_guard() }
    }
}

impl Bus for NatsBus {
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
        self.ends.standing_of("nats")
    }
}

async fn run(settings: NatsSettings, ends: Ends, mut waiting: mpsc::Receiver<Bytes>) {
    let subject = format!("penstock.{}.events", settings.cluster);
    let client = loop {
        match connect(&settings, &ends).await {
            Ok(client) => break client,
            Err(error) => {
                tracing::warn!(%error, "the event bus cannot be used; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    };
    loop {
        let mut heard = match client.subscribe(subject.clone()).await {
            Ok(heard) => heard,
            Err(error) => {
                tracing::warn!(%error, "the event bus cannot be listened to; trying again");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        loop {
            tokio::select! {
                message = heard.next() => match message {
                    Some(message) => ends.hear(&message.payload),
                    None => break,
                },
                bytes = waiting.recv() => match bytes {
                    Some(bytes) => send(&client, &subject, bytes, &ends).await,
                    None => return,
                },
            }
        }
        ends.gap();
    }
}

async fn connect(settings: &NatsSettings, ends: &Ends) -> Result<Client, async_nats::ConnectError> {
    let told = ends.clone();
    let mut options = ConnectOptions::new()
        .name("penstock")
        .no_echo()
        .retry_on_initial_connect()
        .connection_timeout(CONNECT)
        .ping_interval(PING)
        .reconnect_delay_callback(|attempt| RETRY.min(Duration::from_millis(50 << attempt.min(6))))
        .event_callback(move |event| {
            let ends = told.clone();
            async move {
                match event {
                    Event::Connected => {
                        tracing::info!("the event bus is there");
                        ends.connected(true);
                        ends.gap();
                    }
                    Event::Disconnected => {
                        ends.connected(false);
                        tracing::warn!("the event bus is away; other instances are not heard");
                    }
                    Event::SlowConsumer(_) => ends.gap(),
                    other => tracing::debug!(event = %other, "event bus"),
                }
            }
        });
    if let Some(user) = &settings.user {
        options = options.user_and_password(user.clone(), settings.password.clone().unwrap_or_default());
    }
    options.connect(settings.url.split(',').map(str::trim).map(str::to_owned).collect::<Vec<_>>()).await
}

/// While the server is away nothing is kept for it: what comes late is worse than what does not come.
async fn send(client: &Client, subject: &str, bytes: Bytes, ends: &Ends) {
    if client.connection_state() != State::Connected {
        return ends.lose();
    }
    match timeout(SEND, client.publish(subject.to_owned(), bytes)).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) | Err(_) => ends.lose(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use loadtest::services::nats::{Nats, PASSWORD, USER};

    use super::*;
    use crate::stores::bus_suite::{Wire, acquainted, hears_again_after};

    struct Subject(String);

    /// A subject of its own on the server that all tests share.
    fn subject() -> Option<Subject> {
        Nats::shared()?;
        Some(Subject(uuid::Uuid::new_v4().simple().to_string()))
    }

    fn settings(url: String, cluster: &str) -> NatsSettings {
        NatsSettings {
            url,
            user: Some(USER.to_owned()),
            password: Some(PASSWORD.to_owned()),
            cluster: cluster.to_owned(),
        }
    }

    impl Wire for Subject {
        async fn join(&self, name: &str) -> Arc<dyn Bus> {
            let url = Nats::shared().unwrap().url();
            Arc::new(NatsBus::start(settings(url, &self.0), InstanceId::new(name)))
        }
    }

    bus_suite!(crate::stores::nats::tests::subject);

    #[tokio::test]
    async fn it_is_heard_again_after_the_server_has_died_and_hung() {
        if !Nats::is_installed() {
            return;
        }
        let mut server = Nats::start().unwrap();
        let start = |name| NatsBus::start(settings(server.url(), "c"), InstanceId::new(name));
        let (one, other) = (start("one"), start("other"));
        let mut listening = other.listen();
        acquainted(&one, &mut listening).await;
        server.stop();
        hears_again_after(&one, &mut listening, || server.resume().unwrap()).await;
        server.server().unwrap().freeze();
        hears_again_after(&one, &mut listening, || server.server().unwrap().thaw()).await;
    }
}
