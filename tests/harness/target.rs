//! `lunkeep-target` as a process under test.

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::process::{self, Daemon, Outcome, PATIENCE};

/// The programs under test, which Cargo builds for a suite: `Programs { … env!("CARGO_BIN_EXE_…") }`, by [`crate::programs!`].
#[derive(Clone, Copy, Debug)]
pub struct Programs {
    /// `lunkeep-target`
    pub target: &'static str,
    /// `lunkeep-initiator`
    pub initiator: &'static str,
}

/// The programs under test, from within a suite (Cargo tells only suites where they are).
#[macro_export]
macro_rules! programs {
    () => {
        $crate::target::Programs {
            target: env!("CARGO_BIN_EXE_lunkeep-target-under-test"),
            initiator: env!("CARGO_BIN_EXE_lunkeep-initiator-under-test"),
        }
    };
}

impl Programs {
    /// Runs `lunkeep-target` to its end.
    pub fn target<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        process::run(Command::new(self.target).args(arguments), PATIENCE * 2)
    }

    /// Runs `lunkeep-initiator` to its end.
    pub fn initiator<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Outcome {
        process::run(Command::new(self.initiator).args(arguments), PATIENCE * 2)
    }
}

/// A running `lunkeep-target serve`. When the test ends it must still run, and must not have panicked.
pub struct Target {
    daemon: Daemon,
    document: Value,
    finished: bool,
}

impl Target {
    /// Serves what the flags say on a free port of the loopback interface.
    pub fn serve<A: AsRef<OsStr>>(programs: Programs, arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(programs.target);
        command.args(["serve", "--json", "--listen", "127.0.0.1:0"]).args(arguments);
        Self::start(command)
    }

    /// Serves what a configuration file says, with these environment variables. The file must name its portals.
    pub fn configured(programs: Programs, config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(programs.target);
        command.args(["serve", "--json"]).arg(config).envs(variables.iter().copied());
        Self::start(command)
    }

    /// Starts `command`, which must be a `serve --json`, and waits for its document.
    pub fn start(mut command: Command) -> Self {
        let daemon = Daemon::start(&mut command);
        // The document may span several lines: it is complete when it parses.
        let document = daemon.wait_for_output(|lines| serde_json::from_str(&lines.join("\n")).ok());
        Self { daemon, document, finished: false }
    }

    /// What `serve --json` printed.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The first portal.
    pub fn portal(&self) -> SocketAddr {
        let text = self.document["portals"][0]["addresses"][0].as_str().unwrap_or_default();
        text.parse().unwrap_or_else(|error| panic!("portal {text:?}: {error}: {}", self.document))
    }

    /// The name of the first target.
    pub fn iqn(&self) -> String {
        self.text(&self.document["targets"][0]["name"])
    }

    /// The URL of LUN `index` of the first target, in the order of the document.
    pub fn url(&self, index: usize) -> String {
        self.text(&self.document["targets"][0]["luns"][index]["urls"][0])
    }

    fn text(&self, value: &Value) -> String {
        value.as_str().unwrap_or_else(|| panic!("not in the document: {:#}", self.document)).to_owned()
    }

    /// The process.
    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.daemon.log()
    }

    /// Waits until a line of the log contains `text`.
    pub fn wait_for_log(&self, text: &str) -> String {
        self.daemon.wait_for_log(text)
    }

    /// The test fails unless the process runs and has not panicked.
    #[track_caller]
    pub fn assert_healthy(&mut self) {
        assert!(self.daemon.is_alive(), "the target is gone: {}", self.daemon);
        assert!(!self.daemon.log().contains("panicked at"), "the target panicked: {}", self.daemon);
    }

    /// Ends the process as Ctrl-C does; it must close everything and end with exit code 0.
    #[track_caller]
    pub fn stop(mut self) {
        self.assert_healthy();
        self.finished = true;
        self.daemon.signal(Signal::INT);
        let status = self.daemon.wait(PATIENCE);
        assert_eq!(
            status.and_then(|status| status.code()),
            Some(0),
            "Ctrl-C did not end it cleanly: {}",
            self.daemon
        );
        assert!(
            !self.daemon.log().contains("panicked at"),
            "the target panicked at its end: {}",
            self.daemon
        );
    }

    /// Ends the process with SIGKILL.
    pub fn kill(mut self) {
        self.finished = true;
        self.daemon.kill();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the target said:\n{}", self.daemon);
        } else if !self.finished {
            self.assert_healthy();
        }
    }
}

/// A folder for one test, with paths as text for command lines. It goes away with the value.
#[derive(Debug)]
pub struct Folder(tempfile::TempDir);

impl Folder {
    /// A new, empty folder.
    #[expect(clippy::new_without_default, reason = "a default should not touch the disk")]
    pub fn new() -> Self {
        Self(tempfile::Builder::new().prefix("lunkeep-").tempdir().expect("a folder for temporary files"))
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The path of `name` in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of `name` in it, as text.
    pub fn name(&self, name: &str) -> String {
        self.file(name).to_str().expect("a UTF-8 path").to_owned()
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }
}

/// How long one run of a foreign tool may take.
pub const TOOL_LIMIT: Duration = Duration::from_secs(120);
