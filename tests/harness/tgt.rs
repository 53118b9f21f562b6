//! Debian's tgt as a foreign target, in a process of its own that disturbs no other: own port, own control socket, no root.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::foreign;
use super::process::{Daemon, PATIENCE, run};

/// The name under which [`Tgt`] serves its one target.
pub const IQN: &str = "iqn.2024-01.invalid.lunkeep:tgt";

/// The LUN of the disk; LUN 0 is tgt's own controller.
pub const LUN: u16 = 1;

/// A running `tgtd` that serves one disk image to everybody.
pub struct Tgt {
    daemon: Daemon,
    socket: std::path::PathBuf,
    portal: SocketAddr,
}

impl Tgt {
    /// Serves the raw image `disk`, with control socket and lock in `folder`.
    ///
    /// # Panics
    /// When tgt is missing (ask [`foreign::available`] for `tgtd` and `tgtadm` first) or refuses a command.
    pub fn serve(folder: &Path, disk: &Path) -> Self {
        // tgtd cannot choose a port by itself. Another process may take the free one in between: then try another.
        for _ in 0..10 {
            let portal =
                TcpListener::bind("127.0.0.1:0").and_then(|probe| probe.local_addr()).expect("a free port");
            let socket = folder.join("tgt");
            let mut daemon = Daemon::start(
                foreign::command("tgtd")
                    .args(["-f", "-C", "1", "--iscsi", &format!("portal={portal}")])
                    .env("TGT_IPC_SOCKET", &socket),
            );
            if !comes_up(&mut daemon, portal) {
                continue;
            }
            let tgt = Self { daemon, socket, portal };
            tgt.admin(&["--lld", "iscsi", "--op", "new", "--mode", "target", "--tid", "1", "-T", IQN]);
            let disk = disk.to_str().expect("a UTF-8 path");
            let lun = LUN.to_string();
            tgt.admin(&[
                "--lld",
                "iscsi",
                "--op",
                "new",
                "--mode",
                "logicalunit",
                "--tid",
                "1",
                "--lun",
                &lun,
                "-b",
                disk,
            ]);
            tgt.admin(&["--lld", "iscsi", "--op", "bind", "--mode", "target", "--tid", "1", "-I", "ALL"]);
            return tgt;
        }
        panic!("tgtd found no free port");
    }

    /// Allows header and data digests, which tgt refuses by default.
    pub fn allow_digests(&self) {
        self.set("HeaderDigest", "CRC32C,None");
        self.set("DataDigest", "CRC32C,None");
    }

    /// Sets a key of the target's negotiation.
    pub fn set(&self, key: &str, value: &str) {
        let target = ["--lld", "iscsi", "--op", "update", "--mode", "target", "--tid", "1"];
        self.admin(&[&target[..], &["--name", key, "--value", value]].concat());
    }

    /// The process id of tgtd.
    pub fn id(&self) -> u32 {
        self.daemon.id()
    }

    /// Demands one-way CHAP from initiators.
    pub fn demand_chap(&self, user: &str, secret: &str) {
        let new =
            ["--lld", "iscsi", "--op", "new", "--mode", "account", "--user", user, "--password", secret];
        self.admin(&new);
        self.admin(&["--lld", "iscsi", "--op", "bind", "--mode", "account", "--tid", "1", "--user", user]);
    }

    /// Answers initiators that ask for mutual CHAP.
    pub fn prove_itself(&self, user: &str, secret: &str) {
        let new =
            ["--lld", "iscsi", "--op", "new", "--mode", "account", "--user", user, "--password", secret];
        self.admin(&new);
        self.admin(&[
            "--lld",
            "iscsi",
            "--op",
            "bind",
            "--mode",
            "account",
            "--tid",
            "1",
            "--user",
            user,
            "--outgoing",
        ]);
    }

    /// Address and port.
    pub fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// The URL of the disk.
    pub fn url(&self) -> String {
        format!("iscsi://{}/{IQN}/{LUN}", self.portal)
    }

    /// Whether tgtd still runs.
    pub fn is_alive(&mut self) -> bool {
        self.daemon.is_alive()
    }

    /// Runs `tgtadm` and gives what it printed.
    pub fn admin(&self, arguments: &[&str]) -> String {
        let mut command: Command = foreign::command("tgtadm");
        command.args(["-C", "1"]).args(arguments).env("TGT_IPC_SOCKET", &self.socket);
        run(&mut command, PATIENCE).expect_success()
    }
}

/// Whether `daemon` listens on `portal`; `false` when it ended instead, which it does when the port is taken.
fn comes_up(daemon: &mut Daemon, portal: SocketAddr) -> bool {
    let end = Instant::now() + PATIENCE;
    while daemon.is_alive() {
        if TcpStream::connect(portal).is_ok() {
            return true;
        }
        assert!(Instant::now() < end, "tgtd does not listen on {portal}: {daemon}");
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
