//! What the process and the runtime of its tasks tell of themselves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use procfs::{
    WithCurrentSystemInfo,
    process::{LimitValue, Process},
};
use tokio::{runtime::Handle, time::Instant};

use super::{Now, families as f, log};

/// Between two looks how late one is.
const CANARY_INTERVAL: Duration = Duration::from_millis(100);

/// Wakes up ten times a second and notes how late it is, for ever: so long every request waits for the processor.
pub async fn canary() {
    let delay = f::SCHEDULING_DELAY.spread(&[]);
    loop {
        let due = Instant::now() + CANARY_INTERVAL;
        tokio::time::sleep_until(due).await;
        delay.record(due.elapsed());
    }
}

/// What is true of the process now. What the system does not tell is left out.
pub fn tell(now: &mut Now) {
    let runtime = Handle::current().metrics();
    let workers = runtime.num_workers();
    now.is(&f::WORKERS, &[], workers as f64);
    now.is(&f::TASKS, &[], runtime.num_alive_tasks() as f64);
    now.is(&f::TASKS_WAITING, &[], runtime.global_queue_depth() as f64);
    let busy: Duration = (0..workers).map(|worker| runtime.worker_total_busy_duration(worker)).sum();
    now.is(&f::BUSY, &[], busy.as_secs_f64());
    log::tell(now);
    let Ok(process) = Process::myself() else { return };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second() as f64;
        now.is(&f::PROCESS_CPU, &[], (stat.utime + stat.stime) as f64 / ticks);
        now.is(&f::PROCESS_RESIDENT, &[], stat.rss_bytes().get() as f64);
        now.is(&f::PROCESS_VIRTUAL, &[], stat.vsize as f64);
        now.is(&f::PROCESS_THREADS, &[], stat.num_threads as f64);
        if let Ok(boot) = procfs::boot_time_secs() {
            now.is(&f::PROCESS_STARTED, &[], boot as f64 + stat.starttime as f64 / ticks);
        }
    }
    if let Ok(open) = process.fd_count() {
        now.is(&f::PROCESS_FDS, &[], open as f64);
    }
    if let Ok(limits) = process.limits()
        && let LimitValue::Value(most) = limits.max_open_files.soft_limit
    {
        now.is(&f::PROCESS_MAX_FDS, &[], most as f64);
    }
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
