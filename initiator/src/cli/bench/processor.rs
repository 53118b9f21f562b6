//! Processor time of a process.

use std::fs;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::cli::failure::Failure;

/// What a process had used at some moment, user and system together.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessorTime {
    at: Instant,
    used: Duration,
}

/// What a process used in a while.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub(super) seconds: f64,
    /// Processors that it kept busy: 1.0 is one all the time.
    pub(super) processors: f64,
}

impl ProcessorTime {
    /// Of a process, or of this one. For another the resolution is a clock tick, 10 ms.
    pub(super) fn of(process: Option<u32>) -> Result<Self, Failure> {
        let used = match process {
            None => own(),
            Some(pid) => {
                let path = format!("/proc/{pid}/stat");
                let stat = fs::read_to_string(&path)
                    .map_err(|error| Failure::usage(format!("--pid {pid}: {path}: {error}")))?;
                parse(&stat).ok_or_else(|| Failure::local(format!("{path} is not as proc(5) says")))?
            }
        };
        Ok(Self { at: Instant::now(), used })
    }

    pub(super) fn since(&self, earlier: &Self) -> Used {
        let seconds = self.used.saturating_sub(earlier.used).as_secs_f64();
        Used { seconds, processors: seconds / self.at.duration_since(earlier.at).as_secs_f64().max(1e-9) }
    }
}

fn own() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// utime and stime, fields 14 and 15 (proc_pid_stat(5)). The second field is a name in parentheses that may hold any
/// character, so they are counted from its end.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // sysconf(_SC_CLK_TCK) is 100 on every Linux that this runs on: it is part of the kernel's interface.
    Some(Duration::from_millis((user + system) * 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_may_have_any_name() {
        let stat = "4711 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse("4711 (a) S 1"), None);
    }

    #[test]
    fn work_shows_and_the_kernel_agrees_with_itself() {
        let (ours, proc) =
            (|| ProcessorTime::of(None).unwrap(), || ProcessorTime::of(Some(std::process::id())).unwrap());
        let (before, before_proc) = (ours(), proc());
        while ours().since(&before).seconds < 0.05 {}
        let (own, other) = (ours().since(&before).seconds, proc().since(&before_proc).seconds);
        assert!(own >= 0.05 && other >= 0.03, "{own} {other}");
    }
}
