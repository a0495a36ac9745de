//! What the kernel tells of a process and of those that it started: CPU time, memory, context switches. Linux's `/proc`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The kernel tells times of whole processes in hundredths of a second, whatever its own clock.
const NANOS_PER_TICK: u64 = 10_000_000;

/// A process with its descendants, by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub u32);

/// What was counted so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all threads that run, in nanoseconds.
    pub cpu_nanos: u64,
    /// Context switches of these threads, wanted or not.
    pub switches: u64,
    /// Memory in RAM in bytes.
    pub resident_bytes: u64,
}

impl Process {
    /// What was counted so far, of all of them.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn usage(self) -> io::Result<Usage> {
        let mut usage = Usage::default();
        for pid in self.tree()? {
            // A child may end while it is read.
            if let Ok(own) = usage_of(pid) {
                usage.cpu_nanos += own.cpu_nanos;
                usage.switches += own.switches;
                usage.resident_bytes += own.resident_bytes;
            }
        }
        Ok(usage)
    }

    /// Its own CPU time so far, in nanoseconds, that of threads that have ended among it; as coarse as 10 ms.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn own_cpu_nanos(self) -> io::Result<u64> {
        let stat = fs::read_to_string(folder(self.0).join("stat"))?;
        // The name stands in brackets and may hold anything; user and system time are the 12th and 13th field behind it.
        let fields = stat.rsplit_once(')').map_or("", |(_, behind)| behind).split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(ticks * NANOS_PER_TICK)
    }

    /// Its own id, and those of its descendants.
    fn tree(self) -> io::Result<Vec<u32>> {
        fs::metadata(folder(self.0))?;
        let mut tree = vec![self.0];
        let mut at = 0;
        while let Some(pid) = tree.get(at) {
            tree.extend(children_of(*pid));
            at += 1;
        }
        Ok(tree)
    }
}

fn folder(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// The children that its threads have started.
fn children_of(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(folder(pid).join("task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

fn usage_of(pid: u32) -> io::Result<Usage> {
    let mut usage = Usage::default();
    for thread in fs::read_dir(folder(pid).join("task"))? {
        let thread = thread?.path();
        // A thread may end while it is read.
        let Ok(counted) = fs::read_to_string(thread.join("schedstat")) else { continue };
        usage.cpu_nanos += counted.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
        let status = fs::read_to_string(thread.join("status")).unwrap_or_default();
        usage.switches += numbers(&status, "ctxt_switches:");
    }
    let status = fs::read_to_string(folder(pid).join("status"))?;
    usage.resident_bytes = numbers(&status, "VmRSS:") * 1024;
    Ok(usage)
}

/// The sum of the numbers on the lines that have this in their name.
fn numbers(status: &str, name: &str) -> u64 {
    let lines = status.lines().filter_map(|line| line.split_once(name));
    lines.filter_map(|(_, value)| value.split_whitespace().next()?.parse::<u64>().ok()).sum()
}

/// The machine's processor time so far: all of it, and what was taken by other machines on the same host.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessorTime {
    all: u64,
    stolen: u64,
}

impl ProcessorTime {
    /// Until now; nothing where the kernel does not tell.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
        let fields: Vec<u64> = fields.filter_map(|field| field.parse().ok()).collect();
        // The ninth and tenth are counted in the first two already.
        Self { all: fields.iter().take(8).sum(), stolen: fields.get(7).copied().unwrap_or_default() }
    }

    /// The share that was stolen since then, 0 to 1.
    pub fn stolen_since(self, before: Self) -> f64 {
        let all = self.all.saturating_sub(before.all);
        if all == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / all as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_and_its_children_use_is_counted() {
        let own = Process(std::process::id());
        let before = own.usage().unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(own.tree().unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let mut sum = 0u64;
        while own.usage().unwrap().cpu_nanos < before.cpu_nanos + 5_000_000 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(before.resident_bytes > 1 << 20 && before.switches > 0, "{before:?}");
    }

    #[test]
    fn what_threads_used_that_have_ended_stays_in_a_process_s_own_time() {
        let own = Process(std::process::id());
        let before = own.own_cpu_nanos().unwrap();
        std::thread::spawn(move || while own.own_cpu_nanos().unwrap() < before + 50_000_000 {}).join().unwrap();
        assert!(own.own_cpu_nanos().unwrap() >= before + 50_000_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(Process(u32::MAX).usage().is_err());
    }
}
