//! A road to a server that can be cut: what stands on it then is gone, and nothing new gets through until it is mended.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// A listener of our own in front of a port of this machine.
pub struct Cuttable {
    /// Where to connect instead.
    pub port: u16,
    is_cut: Arc<AtomicBool>,
    cut: Arc<Notify>,
    _serving: AbortOnDropHandle<()>,
}

impl Cuttable {
    /// A whole road to `port`.
    pub async fn to(port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let (is_cut, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
        let tasks = TaskTracker::new();
        let (is_cut_now, cutting) = (Arc::clone(&is_cut), Arc::clone(&cut));
        let serving = tasks.clone().spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let cutting = Arc::clone(&cutting);
                if is_cut_now.load(Ordering::Acquire) {
                    continue;
                }
                tasks.spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        // Either end may leave as it likes.
                        ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
                        () = cutting.notified() => {}
                    }
                });
            }
        });
        Ok(Self { port: own, is_cut, cut, _serving: AbortOnDropHandle::new(serving) })
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        self.cut.notify_waiters();
    }

    /// Mends it.
    pub fn mend(&self) {
        self.is_cut.store(false, Ordering::Release);
    }
}
