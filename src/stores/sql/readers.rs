//! The threads that read, each on a connection of its own, beside the writer and never on an async runtime's thread.
//!
//! Owns the reading connections. A read sees everything that was committed before it began. Called by `SqlStore`.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::stores::{
    catalog::StoreError,
    sql::{
        errors::Cause,
        lanes::Lanes,
        session::{Session, Statements},
    },
};

/// Reads that may wait: a second's worth of pages.
const CAPACITY: usize = 1024;

type Queue = Lanes<Box<dyn FnOnce(&Session) + Send>, 1>;

/// The reader threads, from outside.
pub(super) struct Readers {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    /// Starts a thread for each session.
    pub(super) fn start(sessions: Vec<Session>) -> io::Result<Self> {
        let readers = Self { queue: Arc::new(Queue::new([CAPACITY])), threads: Mutex::default() };
        for session in sessions {
            let queue = readers.queue.clone();
            let thread = thread::Builder::new().name("store-reader".to_owned()).spawn(move || {
                while let Some(read) = queue.pop() {
                    read(&session);
                    session.conn().rest();
                }
            })?;
            readers.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(readers)
    }

    /// Runs a read, unless its caller has gone before its turn.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let read = move |session: &Session| {
            if !reply.is_closed() {
                let outcome = catch_unwind(AssertUnwindSafe(|| work(session)));
                drop(reply.send(outcome.unwrap_or_else(|_| Err(Cause::Panicked.internal()))));
            }
        };
        self.queue.push(0, Box::new(read)).await?;
        answer.await.map_err(|_| Cause::Closed.unavailable())?
    }

    /// Refuses new reads, finishes the waiting ones and ends the threads. Blocks.
    pub(super) fn finish(&self) {
        self.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        if threads.into_iter().map(JoinHandle::join).any(|ended| ended.is_err()) {
            tracing::error!("a reader thread of the store panicked");
        }
    }
}

/// A thread that could not be started leaves its siblings behind: they end with the queue.
impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
    }
}
