//! The machine that a measurement ran on, and the time.

use std::{fs, thread, time::SystemTime};

use crate::{report::results::Machine, sim};

/// This machine.
pub(crate) fn this() -> Machine {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
    };
    let kib = field(&memory, "MemTotal").and_then(|kib| kib.split(' ').next()?.parse::<f64>().ok());
    let kernel = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).unwrap_or_default();
    Machine {
        processor: field(&cpu, "model name").unwrap_or_else(|| "unknown".to_owned()),
        cores: thread::available_parallelism().map_or(1, usize::from),
        memory_gib: kib.unwrap_or_default() / f64::from(1 << 20),
        kernel: format!("{} {}", kernel("ostype").trim(), kernel("osrelease").trim()),
    }
}

/// RFC 3339, to the second.
pub(crate) fn written(time: SystemTime) -> String {
    let whole = sim::rfc3339(time);
    whole.split_once('.').map_or(whole.clone(), |(seconds, _)| format!("{seconds}Z"))
}
