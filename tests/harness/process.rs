//! Processes that a test starts: short ones with a hard time limit, and daemons that are watched and never outlive the test.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long a daemon may take to say something that a test waits for. Generous: it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What a short process left behind.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// `None` when the process was killed at its time limit.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Whether it ended in time with exit code 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The exit code; `None` after a signal or the time limit.
    pub fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// Standard output of a process that must succeed.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn expect_success(self) -> String {
        assert!(self.success(), "{self}");
        self.stdout
    }

    /// Both outputs of a process that must end by itself with an error.
    ///
    /// # Panics
    /// When it succeeded, hung, or died of a signal.
    #[track_caller]
    pub fn expect_failure(self) -> String {
        assert!(self.code().is_some_and(|code| code != 0), "should have failed: {self}");
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { command, status, stdout, stderr } = self;
        match status {
            Some(status) => write!(f, "{command}: {status}\n{stdout}\n{stderr}"),
            None => write!(f, "{command}: hung and was killed\n{stdout}\n{stderr}"),
        }
    }
}

/// Runs `command` without input, for at most `limit`; then it is killed.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let line = display(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{line}: {error}"));
    let stdout = drain(child.stdout.take().expect("piped"));
    let stderr = drain(child.stderr.take().expect("piped"));
    let status = wait(&mut child, limit);
    if status.is_none() {
        drop(child.kill());
        drop(child.wait());
    }
    let text = |reader: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&reader.join().expect("reader thread")).into_owned()
    };
    Outcome { command: line, status, stdout: text(stdout), stderr: text(stderr) }
}

/// The exit status, or `None` after `limit`.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn drain(mut from: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(from.read_to_end(&mut bytes));
        bytes
    })
}

fn display(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

/// Lines that a process has written so far, with a way to wait for one.
#[derive(Default)]
struct Log {
    lines: Mutex<(Vec<String>, bool)>,
    changed: Condvar,
}

impl Log {
    fn follow(from: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            let mut reader = BufReader::new(from);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                writer.lines.lock().expect("log").0.push(text);
                writer.changed.notify_all();
                line.clear();
            }
            writer.lines.lock().expect("log").1 = true;
            writer.changed.notify_all();
        });
        log
    }

    fn text(&self) -> String {
        self.lines.lock().expect("log").0.join("\n")
    }

    /// What `find` makes of the lines as soon as it makes something, or `None` when the process closed its output or `limit`
    /// has passed.
    fn wait<T>(&self, limit: Duration, mut find: impl FnMut(&[String]) -> Option<T>) -> Option<T> {
        let end = Instant::now() + limit;
        let mut lines = self.lines.lock().expect("log");
        loop {
            if let Some(found) = find(&lines.0) {
                return Some(found);
            }
            let left = end.checked_duration_since(Instant::now())?;
            if lines.1 {
                return None;
            }
            lines = self.changed.wait_timeout(lines, left).expect("log").0;
        }
    }
}

impl Log {
    /// Waits until the process has closed its output, for at most `limit`.
    fn wait_for_end(&self, limit: Duration) {
        let lines = self.lines.lock().expect("log");
        drop(self.changed.wait_timeout_while(lines, limit, |(_, ended)| !*ended).expect("log"));
    }
}

/// A long-running process. Dropping it kills it by its own process id.
pub struct Daemon {
    line: String,
    child: Child,
    stdout: Arc<Log>,
    stderr: Arc<Log>,
}

impl Daemon {
    /// Starts `command` without input; what it prints is collected.
    pub fn start(command: &mut Command) -> Self {
        let line = display(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{line}: {error}"));
        let stdout = Log::follow(child.stdout.take().expect("piped"));
        let stderr = Log::follow(child.stderr.take().expect("piped"));
        Self { line, child, stdout, stderr }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.stderr.text()
    }

    /// Everything that it wrote to standard output so far.
    pub fn output(&self) -> String {
        self.stdout.text()
    }

    /// What `find` makes of standard output, waiting for it.
    ///
    /// # Panics
    /// When the process ends or [`PATIENCE`] does before `find` makes anything of it.
    #[track_caller]
    pub fn wait_for_output<T>(&self, find: impl FnMut(&[String]) -> Option<T>) -> T {
        self.stdout.wait(PATIENCE, find).unwrap_or_else(|| panic!("did not become ready: {self}"))
    }

    /// Waits until a line of standard error contains `text` and gives that line.
    ///
    /// # Panics
    /// When it does not come.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) -> String {
        let find = |lines: &[String]| lines.iter().find(|line| line.contains(text)).cloned();
        self.stderr.wait(PATIENCE, find).unwrap_or_else(|| panic!("no line with `{text}`: {self}"))
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("wait for a child").is_none()
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let id =
            i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("process id");
        rustix::process::kill_process(id, signal).unwrap_or_else(|error| panic!("signal: {error}: {self}"));
    }

    /// Waits for the process to end by itself, for at most `limit`. Everything that it wrote is collected then.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let status = wait(&mut self.child, limit)?;
        // A child of its own may hold the pipes open: then what came until now has to do.
        self.stdout.wait_for_end(Duration::from_secs(5));
        self.stderr.wait_for_end(Duration::from_secs(5));
        Some(status)
    }

    /// Kills the process as a power cut of the program would.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// The largest amount of memory that the process has had resident, in bytes (`VmHWM`).
    ///
    /// # Panics
    /// When the process is gone.
    pub fn peak_memory(&self) -> u64 {
        self.memory("VmHWM:")
    }

    /// The memory that the process has resident now, in bytes (`VmRSS`).
    ///
    /// # Panics
    /// When the process is gone.
    pub fn resident_memory(&self) -> u64 {
        self.memory("VmRSS:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.id())).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("key in /proc/PID/status");
        let kib: u64 = line.trim().trim_end_matches(" kB").trim().parse().expect("a number of kB");
        kib * 1024
    }
}

impl std::fmt::Display for Daemon {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let log = self.stderr.text();
        // A daemon that logs each mishap of a hostile peer fills pages; its last words matter.
        let tail = log.char_indices().rev().nth(20_000).map_or(0, |(at, _)| at);
        write!(f, "{}\n{}\n{}", self.line, self.stdout.text(), &log[tail..])
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_process_that_hangs_is_killed_and_told_from_one_that_fails() {
        let hung = run(&mut shell("echo begun; exec sleep 60"), Duration::from_millis(200));
        assert!(hung.status.is_none() && hung.stdout == "begun\n", "{hung}");
        assert_eq!(run(&mut shell("exit 3"), PATIENCE).code(), Some(3));
    }

    #[test]
    fn output_larger_than_a_pipe_does_not_block_the_process() {
        let outcome = run(&mut shell("head -c 1000000 /dev/zero | tr '\\0' x; echo late >&2"), PATIENCE);
        assert_eq!((outcome.stdout.len(), outcome.stderr.as_str()), (1_000_000, "late\n"));
    }

    #[test]
    fn a_daemon_is_waited_for_by_what_it_says_and_dies_with_its_handle() {
        let mut daemon = Daemon::start(&mut shell("echo ready; echo first >&2; exec sleep 60"));
        daemon.wait_for_output(|lines| lines.iter().any(|line| line == "ready").then_some(()));
        assert_eq!(daemon.wait_for_log("fir"), "first");
        assert!(daemon.is_alive() && daemon.peak_memory() > 0);
        let id = daemon.id();
        drop(daemon);
        assert!(!std::path::Path::new(&format!("/proc/{id}")).exists());
    }

    #[test]
    fn everything_that_a_process_said_is_there_when_it_has_ended() {
        for _ in 0..20 {
            let mut daemon = Daemon::start(&mut shell("seq 1 2000 >&2; echo last words >&2; exit 4"));
            assert_eq!(daemon.wait(PATIENCE).and_then(|status| status.code()), Some(4));
            assert!(daemon.log().ends_with("last words"));
        }
    }

    #[test]
    #[should_panic(expected = "no line with `never`")]
    fn a_daemon_that_ends_without_the_awaited_line_fails_the_test_at_once() {
        Daemon::start(&mut shell("echo other >&2")).wait_for_log("never");
    }
}
