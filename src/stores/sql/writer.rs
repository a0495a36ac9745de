//! The one thread that writes, committing what waits in groups.
//!
//! Owns the writing connection and the lock on the data folder. A commit costs one sync of the disk however much is in
//! it, so the thread takes everything that waits, runs each write in its own savepoint (a failing one does not undo
//! its neighbours) and answers after the commit. It never idles to let a group grow: while one group syncs, the next
//! gathers. Two lanes: configuration is served before history. Called by `SqlStore`.

use std::{
    any::Any,
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
    sql::{
        errors::Cause,
        lanes::Lanes,
        session::{Session, Statements, Step},
    },
};

/// When a group stops accepting writes.
#[derive(Clone, Copy)]
struct GroupLimits {
    /// Bounds what a failing commit takes with it.
    writes: usize,
    /// Bounds how long the first write waits for the others.
    time: Duration,
}

const LIMITS: GroupLimits = GroupLimits { writes: 256, time: Duration::from_millis(5) };

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
            Self::Configuration => 4 * LIMITS.writes,
            Self::History => 16 * LIMITS.writes,
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
    pub(super) fn start(session: Session, lock: Box<dyn Any + Send>) -> io::Result<Self> {
        Self::start_with(session, lock, LIMITS)
    }

    fn start_with(session: Session, lock: Box<dyn Any + Send>, limits: GroupLimits) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(Lane::ALL.map(Lane::capacity)));
        let commits = Arc::new(AtomicU64::new(0));
        let worker = Worker { session, limits, queue: queue.clone(), commits: commits.clone() };
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
        self.queue.push(lane as usize, Box::new(Pending { lane, work: Some(work), outcome: None, reply })).await?;
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
    /// Whether others should hear of it.
    fn is_news(&self) -> bool;
    /// Tells the caller. `lost`: why the work was not committed although it may have succeeded.
    fn answer(self: Box<Self>, lost: Option<StoreError>);
}

struct Pending<F, T> {
    lane: Lane,
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

    fn is_news(&self) -> bool {
        matches!(self.lane, Lane::Configuration)
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
    limits: GroupLimits,
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
        self.session.conn().end();
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
                if self.session.conn().in_transaction()
                    && let Err(error) = self.session.conn().step(Step::RollBack)
                {
                    tracing::error!(error = %error, "a failed group of writes was not rolled back");
                }
                let error = Arc::new(error);
                group
                    .into_iter()
                    .for_each(|write| write.answer(Some(StoreError::Unavailable(Box::new(error.clone())))));
            }
        }
        self.session.conn().rest();
    }

    fn run_group(&self, group: &mut Vec<Box<dyn Write>>) -> Result<(), Cause> {
        let started = Instant::now();
        self.session.conn().step(Step::BeginWriting)?;
        while let Some(write) = group.last_mut() {
            self.run_in_savepoint(write.as_mut())?;
            if group.len() >= self.limits.writes || started.elapsed() >= self.limits.time {
                break;
            }
            match self.queue.try_pop() {
                Some(next) => group.push(next),
                None => break,
            }
        }
        self.session.conn().step(Step::Commit)?;
        Ok(())
    }

    fn run_in_savepoint(&self, write: &mut dyn Write) -> Result<(), Cause> {
        self.session.conn().step(Step::Mark)?;
        let keep = write.run(&self.session);
        if !self.session.conn().in_transaction() {
            // On a full disk or an I/O error SQLite may give up the whole transaction, earlier writes included; so does a
            // server that is lost.
            return Err(Cause::RolledBack);
        }
        self.session.conn().step(match (keep, write.is_news()) {
            (true, true) => Step::Keep,
            (true, false) => Step::KeepQuietly,
            (false, _) => Step::Undo,
        })?;
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::stores::{embedded::connection::writing, sql::secrets::Sealer};
    use futures_util::future::join_all;

    fn session(path: &std::path::Path) -> Session {
        Session::new(Box::new(writing(path)), Arc::new(Sealer::new(Vec::new(), None)), u64::MAX)
    }

    /// A writer on a table `t` of unique numbers, with its folder. Its groups take all that waits, up to 60.
    fn writer() -> (Writer, tempfile::TempDir) {
        let limits = GroupLimits { writes: 60, time: Duration::MAX };
        let folder = tempfile::tempdir().unwrap();
        let session = session(&folder.path().join("db"));
        session.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, parent INTEGER REFERENCES t (n))", ()).unwrap();
        session.execute("PRAGMA foreign_keys = ON", ()).unwrap();
        (Writer::start_with(session, Box::new(()), limits).unwrap(), folder)
    }

    fn insert(session: &Session, number: i64) -> Result<i64, StoreError> {
        session.execute("INSERT INTO t (n) VALUES (?1)", (number,))?;
        Ok(number)
    }

    fn stored(folder: &tempfile::TempDir) -> Vec<i64> {
        session(&folder.path().join("db")).list("SELECT n FROM t ORDER BY n", (), |row| row.only()).unwrap()
    }

    /// Holds the writer until the sender is used or dropped, so that everything pushed meanwhile joins its group.
    fn gate(writer: &Writer) -> (impl Future<Output = Result<(), StoreError>>, mpsc::Sender<()>) {
        let (open, opened) = mpsc::channel::<()>();
        let held = writer.write(Lane::Configuration, move |_| {
            opened.recv().ok();
            Ok(())
        });
        (held, open)
    }

    #[tokio::test]
    async fn waiting_writes_share_commits_of_bounded_size() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let writes = (0..100).map(|number| writer.write(Lane::Configuration, move |session| insert(session, number)));
        let (_, outcomes, ()) = tokio::join!(held, join_all(writes), async { open.send(()).unwrap() });
        assert!(outcomes.iter().all(Result::is_ok));
        assert_eq!(writer.commits.load(Ordering::Relaxed), 2, "101 writes in groups of at most 60");
        writer.finish();
        assert!(stored(&folder).into_iter().eq(0..100));
    }

    #[tokio::test]
    async fn a_failing_and_a_panicking_write_leave_their_neighbours_alone() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let half_done = |number: i64, outcome: fn() -> Result<(), StoreError>| {
            writer.write(Lane::Configuration, move |session| {
                insert(session, number)?;
                outcome()
            })
        };
        let (_, first, failed, panicked, taken, last, ()) = tokio::join!(
            held,
            half_done(1, || Ok(())),
            half_done(2, || Err(StoreError::Invalid("no".to_owned()))),
            half_done(3, || panic!("a fault in a write")),
            half_done(1, || Ok(())),
            half_done(4, || Ok(())),
            async { open.send(()).unwrap() },
        );
        assert!(first.is_ok() && last.is_ok());
        assert!(matches!(failed, Err(StoreError::Invalid(_))));
        assert!(matches!(panicked, Err(StoreError::Internal(_))));
        assert!(matches!(taken, Err(StoreError::Internal(_))));
        writer.finish();
        assert_eq!(stored(&folder), [1, 4]);
    }

    #[tokio::test]
    async fn configuration_overtakes_history_and_both_are_kept() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let order = Arc::new(Mutex::new(Vec::new()));
        let write = |lane, number| {
            let order = order.clone();
            writer.write(lane, move |session| {
                order.lock().unwrap().push(number);
                insert(session, number)
            })
        };
        let outcomes = tokio::join!(
            held,
            write(Lane::History, 3),
            write(Lane::History, 4),
            write(Lane::Configuration, 1),
            write(Lane::Configuration, 2),
            async { open.send(()).unwrap() },
        );
        assert!(outcomes.1.is_ok() && outcomes.4.is_ok());
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4]);
        writer.finish();
        assert_eq!(stored(&folder), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn nobody_is_told_of_success_before_a_commit_that_fails() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let good = writer.write(Lane::Configuration, |session| insert(session, 1));
        // A reference that is checked at the commit only, and does not hold.
        let spoiling = writer.write(Lane::Configuration, |session| {
            session.execute("PRAGMA defer_foreign_keys = ON", ())?;
            Ok(session.execute("INSERT INTO t (n, parent) VALUES (2, 99)", ())?)
        });
        let (_, good, spoiling, ()) = tokio::join!(held, good, spoiling, async { open.send(()).unwrap() });
        assert!(matches!(spoiling, Err(StoreError::Unavailable(_))));
        assert!(matches!(good, Err(StoreError::Unavailable(_))));
        writer.write(Lane::Configuration, |session| insert(session, 3)).await.unwrap();
        writer.finish();
        assert_eq!(stored(&folder), [3]);
    }

    #[tokio::test]
    async fn a_transaction_that_the_database_gave_up_is_no_success() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let earlier = writer.write(Lane::Configuration, |session| insert(session, 1));
        // What SQLite does by itself on a full disk.
        let full = writer.write(Lane::Configuration, |session| Ok(session.execute("ROLLBACK", ())?));
        let later = writer.write(Lane::Configuration, |session| insert(session, 2));
        let (_, earlier, full, later, ()) = tokio::join!(held, earlier, full, later, async { open.send(()).unwrap() });
        assert!(matches!(earlier, Err(StoreError::Unavailable(_))));
        assert!(matches!(full, Err(StoreError::Unavailable(_))));
        assert!(later.is_ok());
        writer.finish();
        assert_eq!(stored(&folder), [2]);
    }

    #[tokio::test]
    async fn a_write_whose_caller_has_gone_is_not_begun() {
        let (writer, folder) = writer();
        let (held, open) = gate(&writer);
        let abandoned = writer.write(Lane::Configuration, |session| insert(session, 1));
        let giving_up = async {
            // Polled once, so that it is queued, then dropped.
            let mut abandoned = Box::pin(abandoned);
            assert!(futures_util::poll!(&mut abandoned).is_pending());
            drop(abandoned);
            open.send(()).unwrap();
        };
        let _gate = tokio::join!(held, giving_up);
        writer.write(Lane::Configuration, |session| insert(session, 2)).await.unwrap();
        writer.finish();
        assert_eq!(stored(&folder), [2]);
    }
}
