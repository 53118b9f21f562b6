//! Targets that a shell command can restart, and the suite's program to run at them.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use lunkeep_tests::process::{Outcome, PATIENCE, run};
use lunkeep_tests::target::Folder;
use lunkeep_tests::{foreign, programs};
use serde_json::Value;

/// For the whole suite: more than it takes on a busy machine, so that it bounds a hang alone.
const LIMIT: Duration = Duration::from_secs(1200);

const SIZE: u64 = 16 << 20;
const OURS: &str = "iqn.2026-11.org.lunkeep:conformance";
const TGT: &str = "iqn.2024-01.invalid.lunkeep:tgt";

/// A target that was started by a script, and ends with this value.
pub(crate) struct Served {
    pub(crate) folder: Folder,
    pub(crate) portals: Vec<SocketAddr>,
    target: &'static str,
    lun: u16,
    script: PathBuf,
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port")
}

/// Kills what the script started before, as a loss of power would, and waits until it is gone.
const KILL: &str = "\
cd \"$(dirname \"$0\")\"
if [ -f pid ]; then
  kill -9 \"$(cat pid)\" 2>/dev/null
  while kill -0 \"$(cat pid)\" 2>/dev/null; do sleep 0.02; done
fi
";

impl Served {
    /// Ours, with two target ports, and without what goes beyond the standard.
    pub(crate) fn ours() -> Self {
        let folder = Folder::new();
        let portals = vec![free_port(), free_port()];
        std::fs::File::create(folder.file("disk.raw")).and_then(|disk| disk.set_len(SIZE)).expect("a disk");
        let config = format!(
            "[[portal]]\nlisten = \"{}\"\ngroup = 1\n[[portal]]\nlisten = \"{}\"\ngroup = 2\n\
             [reservations]\nforce_aptpl = false\ncold_reset = \"everyone\"\n\
             [[target]]\nname = \"{OURS}\"\n[[target.lun]]\npath = \"disk.raw\"\nremovable = true\n",
            portals[0], portals[1]
        );
        folder.write("serve.toml", config);
        let program = programs!().target;
        let start = format!(
            "setsid \"{program}\" serve --log warn serve.toml >>log 2>&1 </dev/null &\necho $! >pid\n"
        );
        Self::start(folder, portals, OURS, 0, &start)
    }

    /// Debian's tgt; `None` when it is missing.
    pub(crate) fn tgt() -> Option<Self> {
        if !foreign::available(&["tgtd", "tgtadm"]) {
            return None;
        }
        let folder = Folder::new();
        let portal = free_port();
        std::fs::File::create(folder.file("disk.raw")).and_then(|disk| disk.set_len(SIZE)).expect("a disk");
        let path = |name| foreign::find(name).expect("it is available").display().to_string();
        let (tgtd, admin) = (path("tgtd"), path("tgtadm"));
        let start = format!(
            "export TGT_IPC_SOCKET=\"$PWD/socket\"\nrm -f socket*\n\
             setsid \"{tgtd}\" -f -C 1 --iscsi portal={portal} >>log 2>&1 </dev/null &\necho $! >pid\n\
             admin() {{ \"{admin}\" -C 1 --lld iscsi \"$@\"; }}\n\
             for try in $(seq 200); do\n\
               admin --op new --mode target --tid 1 -T {TGT} 2>/dev/null && break\n  sleep 0.05\ndone\n\
             admin --op new --mode logicalunit --tid 1 --lun 1 -b \"$PWD/disk.raw\" &&\n\
             admin --op bind --mode target --tid 1 -I ALL\n"
        );
        Some(Self::start(folder, vec![portal], TGT, 1, &start))
    }

    fn start(folder: Folder, portals: Vec<SocketAddr>, target: &'static str, lun: u16, start: &str) -> Self {
        let script = folder.write("start.sh", format!("{KILL}{start}"));
        let served = Self { folder, portals, target, lun, script };
        run(Command::new("sh").arg(&served.script), PATIENCE).expect_success();
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(served.portals[0]).is_err() {
            assert!(Instant::now() < end, "the target does not listen: {}", served.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        served
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.file("log")).unwrap_or_default()
    }

    /// The test fails if the target, which is ours, has panicked.
    pub(crate) fn assert_healthy(&self) {
        assert!(!self.log().contains("panicked at"), "{}", self.log());
    }

    pub(crate) fn url(&self, portal: SocketAddr) -> String {
        format!("iscsi://{portal}/{}/{}", self.target, self.lun)
    }

    /// Runs the suite through `portal`.
    pub(crate) fn judge(&self, portal: SocketAddr, arguments: &[&str]) -> (Outcome, Value) {
        let state = self.folder.name("state");
        let mut command = Command::new(programs!().initiator);
        command.args(["conformance", "reservations", &self.url(portal), "--state", &state]);
        command.args(["--destructive", "--json"]).args(arguments);
        let outcome = run(&mut command, LIMIT);
        let report =
            serde_json::from_str(&outcome.stdout).unwrap_or_else(|error| panic!("{error}: {outcome}"));
        (outcome, report)
    }

    /// Runs all of it.
    pub(crate) fn judge_all(&self) -> (Outcome, Value) {
        let restart = format!("sh {}", self.script.display());
        let second = self.portals.get(1).map(|portal| self.url(*portal));
        let mut arguments = vec!["--restart-command", &restart];
        arguments.extend(second.iter().flat_map(|url| ["--second-portal", url]));
        self.judge(self.portals[0], &arguments)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let kill = self.folder.write("kill.sh", KILL);
        drop(Command::new("sh").arg(kill).status());
    }
}

/// The cases with a verdict, as `name: reason`.
pub(crate) fn with_verdict(report: &Value, verdict: &str) -> Vec<String> {
    let cases = report["cases"].as_array().expect("cases");
    cases
        .iter()
        .filter(|case| case["verdict"] == verdict)
        .map(|case| format!("{}: {}", case["name"].as_str().unwrap(), case["reason"].as_str().unwrap_or("")))
        .collect()
}
