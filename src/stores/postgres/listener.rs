//! Hears of changes that other processes make: LISTEN on a connection of its own.
//!
//! A notification may be lost with its connection, so everything is read again whenever a new one stands, and every half
//! minute besides: a pooler in between may swallow notifications for good.

use std::{future::poll_fn, time::Duration};

use tokio::{sync::watch, time::timeout};
use tokio_postgres::AsyncMessage;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::CHANGES;

/// Between two times at which everything is read again, whatever is heard.
const RESYNC: Duration = Duration::from_secs(30);
/// Between two questions whether the server is still there.
const PROBE: Duration = Duration::from_secs(5);
/// Longest wait for the answer, and for a connection.
const ANSWER: Duration = Duration::from_secs(3);
/// Rest after a connection that failed.
const RETRY: Duration = Duration::from_millis(500);

/// Listens for ever.
pub(super) struct Listener {
    pub(super) config: tokio_postgres::Config,
    pub(super) tls: MakeRustlsConnect,
    /// What this process calls itself: its own changes are no news.
    pub(super) process: String,
    /// Rises with every change that may have happened.
    pub(super) changes: watch::Sender<u64>,
}

impl Listener {
    /// Never returns.
    pub(super) async fn listen(self) {
        let mut is_told = false;
        loop {
            let ended = self.on_one_connection().await;
            match ended {
                Err(error) if !is_told => {
                    tracing::warn!(%error, "changes made by other instances are not heard of; trying again");
                    is_told = true;
                }
                Err(error) => tracing::debug!(%error, "changes made by other instances are still not heard of"),
                Ok(()) => is_told = false,
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Listens until the connection ends; an error when none stands.
    async fn on_one_connection(&self) -> Result<(), String> {
        let late = |_| "no answer in time".to_owned();
        let connected = timeout(ANSWER, self.config.connect(self.tls.clone())).await.map_err(late)?;
        let (client, mut connection) = connected.map_err(|error| crate::stores::sql::errors::with_causes(&error))?;
        // Whoever talks on it and whoever hears what comes take turns in one task.
        let mut heard = poll_fn(move |context| connection.poll_message(context));
        let listen = format!("LISTEN {CHANGES}");
        let mut listening = Box::pin(async {
            timeout(ANSWER, client.batch_execute(&listen)).await.map_err(late)?.map_err(|error| error.to_string())
        });
        loop {
            tokio::select! {
                told = &mut listening => break told?,
                message = &mut heard => match message {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(error.to_string()),
                    None => return Err("the connection was closed".to_owned()),
                },
            }
        }
        drop(listening);
        self.changed();
        tracing::debug!("listening for changes made by other instances");
        let mut resync = tokio::time::interval(RESYNC);
        resync.reset();
        let mut probe = tokio::time::interval(PROBE);
        probe.reset();
        let mut probing = std::pin::pin!(None);
        loop {
            tokio::select! {
                message = &mut heard => match message {
                    Some(Ok(AsyncMessage::Notification(told))) if told.payload() != self.process => self.changed(),
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Ok(()),
                },
                _ = resync.tick() => self.changed(),
                _ = probe.tick(), if probing.is_none() => probing.set(Some(timeout(ANSWER, client.batch_execute("")))),
                answered = async {
                    match probing.as_mut().as_pin_mut() {
                        Some(probing) => probing.await,
                        None => std::future::pending().await,
                    }
                } => {
                    probing.set(None);
                    if !matches!(answered, Ok(Ok(()))) {
                        return Ok(());
                    }
                }
            }
        }
    }
}
