//! The one thread that writes, committing what waits in groups.
//!
//! Owns the writing connection and the lock on the data folder. A commit costs one sync of the disk however much is in
//! it, so the thread takes everything that waits, runs each write in its own savepoint (a failing one does not undo
//! its neighbours) and answers after the commit. It never idles to let a group grow: while one group syncs, the next
//! gathers. Two lanes: configuration is served before history. Called by `EmbeddedStore`.

use std::{
    fs::File,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::stores::{
    catalog::StoreError,
    embedded::{errors::Cause, lanes::Lanes, session::Session},
};

/// Most writes in a commit: bounds what a failing commit takes with it.
const MAX_GROUP: usize = 256;
/// Longest time a group accepts further writes: bounds how long its first one waits.
const MAX_GATHERING: Duration = Duration::from_millis(5);

/// Which writes go first.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// What users configure.
    Configuration,
    /// What the runtime records.
    History,
}

impl Lane {
    const ALL: [Self; 2] = [Self::Configuration, Self::History];

    /// Writes that may wait: a few groups of configuration; more of history, which comes in bursts.
    const fn capacity(self) -> usize {
        match self {
            Self::Configuration => 4 * MAX_GROUP,
            Self::History => 16 * MAX_GROUP,
        }
    }
}

type Queue = Lanes<Box<dyn Write>, { Lane::ALL.len() }>;

/// The writer thread, from outside.
pub(super) struct Writer {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    #[cfg_attr(not(test), expect(dead_code, reason = "read by tests; becomes a metric with the others"))]
    commits: Arc<AtomicU64>,
}

impl Writer {
    /// Starts the thread. It holds `lock` until it has closed the database.
    pub(super) fn start(session: Session, lock: File) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(Lane::ALL.map(Lane::capacity)));
        let commits = Arc::new(AtomicU64::new(0));
        let worker = Worker { session, queue: queue.clone(), commits: commits.clone() };
        let thread = thread::Builder::new().name("store-writer".to_owned()).spawn(move || {
            worker.run();
            drop(lock);
        })?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)), commits })
    }

    /// Runs a write and returns once it is durable. A write whose caller has gone before its turn is not begun.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        lane: Lane,
        work: impl FnOnce(&Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.push(lane as usize, Box::new(Pending { work: Some(work), outcome: None, reply })).await?;
        answer.await.map_err(|_| Cause::Closed.unavailable())?
    }

    /// Refuses new writes, finishes the waiting ones, moves the log into the database and ends the thread. Blocks.
    pub(super) fn finish(&self) {
        self.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer thread panicked");
        }
    }
}

/// A write and whoever waits for it.
trait Write: Send {
    /// Does the work; true when its changes are to be kept.
    fn run(&mut self, session: &Session) -> bool;
    /// Tells the caller. `lost`: why the work was not committed although it may have succeeded.
    fn answer(self: Box<Self>, lost: Option<StoreError>);
}

struct Pending<F, T> {
    work: Option<F>,
    outcome: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Write for Pending<F, T>
where
    F: FnOnce(&Session) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn run(&mut self, session: &Session) -> bool {
        if self.reply.is_closed() {
            return false;
        }
        self.outcome = self.work.take().map(|work| {
            // The savepoint around it undoes whatever a panic left half done.
            catch_unwind(AssertUnwindSafe(|| work(session))).unwrap_or_else(|_| Err(Cause::Panicked.internal()))
        });
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, lost: Option<StoreError>) {
        let outcome = match (self.outcome, lost) {
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(outcome), None) => outcome,
            (None, None) => return,
        };
        // A caller that has gone needs no answer.
        drop(self.reply.send(outcome));
    }
}

struct Worker {
    session: Session,
    queue: Arc<Queue>,
    commits: Arc<AtomicU64>,
}

impl Worker {
    fn run(self) {
        // Also if something here panics: callers are refused then, not left waiting.
        let _closer = CloseOnExit(self.queue.clone());
        while let Some(first) = self.queue.pop() {
            self.commit_group(first);
        }
        if let Err(error) = self.session.find("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(())) {
            tracing::warn!(error = %error, "the store's log was not checkpointed, the next start does it");
        }
    }

    /// Runs `first` and what waits behind it in one transaction, then answers all of them.
    fn commit_group(&self, first: Box<dyn Write>) {
        let mut group = vec![first];
        match self.run_group(&mut group) {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                group.into_iter().for_each(|write| write.answer(None));
            }
            Err(error) => {
                tracing::error!(error = %error, writes = group.len(), "a group of writes was not committed");
                if !self.session.is_idle()
                    && let Err(error) = self.session.execute("ROLLBACK", ())
                {
                    tracing::error!(error = %error, "a failed group of writes was not rolled back");
                }
                let error = Arc::new(error);
                group
                    .into_iter()
                    .for_each(|write| write.answer(Some(StoreError::Unavailable(Box::new(error.clone())))));
            }
        }
    }

    fn run_group(&self, group: &mut Vec<Box<dyn Write>>) -> Result<(), Cause> {
        let started = Instant::now();
        self.session.execute("BEGIN IMMEDIATE", ())?;
        while let Some(write) = group.last_mut() {
            self.run_in_savepoint(write.as_mut())?;
            if group.len() == MAX_GROUP || started.elapsed() >= MAX_GATHERING {
                break;
            }
            match self.queue.try_pop() {
                Some(next) => group.push(next),
                None => break,
            }
        }
        self.session.execute("COMMIT", ())?;
        Ok(())
    }

    fn run_in_savepoint(&self, write: &mut dyn Write) -> Result<(), Cause> {
        self.session.execute("SAVEPOINT one", ())?;
        let keep = write.run(&self.session);
        if self.session.is_idle() {
            // On a full disk or an I/O error SQLite may give up the whole transaction, earlier writes included.
            return Err(Cause::RolledBack);
        }
        if !keep {
            self.session.execute("ROLLBACK TO one", ())?;
        }
        self.session.execute("RELEASE one", ())?;
        Ok(())
    }
}

struct CloseOnExit(Arc<Queue>);

impl Drop for CloseOnExit {
    fn drop(&mut self) {
        self.0.close();
        while self.0.try_pop().is_some() {}
    }
}
