//! Targets of both kinds with a raw disk, and the initiator's program and library to use on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use lunkeep_common::name::IscsiName;
use lunkeep_common::scsi::Lun;
use lunkeep_common::text::TargetAddress;
use lunkeep_initiator::engine::state::{Slot, StateFolder};
use lunkeep_initiator::engine::{Config, Initiator, Session};
use lunkeep_tests::content::sparse_disk;
use lunkeep_tests::process::Outcome;
use lunkeep_tests::random::{Random, seed};
use lunkeep_tests::report::test_name;
use lunkeep_tests::target::{Folder, Programs, Target};
use lunkeep_tests::tgt::{self, Tgt};
use lunkeep_tests::{foreign, programs};

/// Size of the disk.
pub(crate) const SIZE: u64 = 16 << 20;
pub(crate) const USER: &str = "node1";
pub(crate) const SECRET: &str = "a secret of the node";
pub(crate) const TARGET_USER: &str = "storage";
pub(crate) const TARGET_SECRET: &str = "the target's own one";

/// What a target demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    Chap,
    /// CHAP, and the target can prove itself.
    MutualChap,
    /// Nothing, and it offers four connections per session and error recovery level 2.
    Recovery,
}

/// Who serves.
pub(crate) enum Served {
    Ours(Target),
    Tgt(Tgt),
}

/// A target with a disk of known content.
pub(crate) struct Bench {
    pub(crate) folder: Folder,
    pub(crate) served: Served,
    /// Of the LUN with the disk.
    pub(crate) url: String,
    pub(crate) portal: SocketAddr,
    pub(crate) target: String,
    pub(crate) lun: u16,
}

/// The properties hold for our own target and, where it is installed, for tgt.
pub(crate) fn with_each_target(demand: Demand, property: impl Fn(&mut Bench)) {
    property(&mut Bench::ours(demand));
    if foreign::available(&["tgtd", "tgtadm"]) {
        let mut bench = Bench::tgt(demand);
        property(&mut bench);
        let Served::Tgt(tgt) = &mut bench.served else { unreachable!("it is tgt") };
        assert!(tgt.is_alive());
    }
}

impl Bench {
    pub(crate) fn ours(demand: Demand) -> Self {
        let (folder, disk) = disk();
        let disk = disk.to_str().unwrap().to_owned();
        let secret = folder.write("secret", SECRET);
        let own = folder.write("target-secret", TARGET_SECRET);
        let served = match demand {
            Demand::Nothing => Target::serve(programs!(), ["--disk", &disk]),
            Demand::Recovery => {
                let config = format!(
                    "[[portal]]\nlisten = \"127.0.0.1:0\"\n\
                     [limits]\nmax_connections = 4\nerror_recovery_level = 2\n\
                     [[target]]\nname = \"iqn.2024-01.invalid.lunkeep:recovery\"\n\
                     [[target.lun]]\npath = {disk:?}\n"
                );
                Target::configured(programs!(), &folder.write("serve.toml", config), &[])
            }
            Demand::Chap => Target::serve(
                programs!(),
                ["--disk", &disk, "--chap-user", USER, "--chap-secret-file", secret.to_str().unwrap()],
            ),
            Demand::MutualChap => {
                let config = format!(
                    "[[portal]]\nlisten = \"127.0.0.1:0\"\n\
                     [[target]]\nname = \"iqn.2024-01.invalid.lunkeep:mutual\"\n\
                     [[target.lun]]\npath = {disk:?}\n\
                     [[target.chap]]\nuser = {USER:?}\nsecret_file = {secret:?}\n\
                     [target.mutual_chap]\nuser = {TARGET_USER:?}\nsecret_file = {own:?}\n"
                );
                Target::configured(programs!(), &folder.write("serve.toml", config), &[])
            }
        };
        let (url, portal, target) = (served.url(0), served.portal(), served.iqn());
        Self { folder, served: Served::Ours(served), url, portal, target, lun: 0 }
    }

    pub(crate) fn tgt(demand: Demand) -> Self {
        let (folder, disk) = disk();
        folder.write("secret", SECRET);
        folder.write("target-secret", TARGET_SECRET);
        let served = Tgt::serve(folder.path(), &disk);
        served.allow_digests();
        if matches!(demand, Demand::Chap | Demand::MutualChap) {
            served.demand_chap(USER, SECRET);
        }
        if demand == Demand::MutualChap {
            served.prove_itself(TARGET_USER, TARGET_SECRET);
        }
        let (url, portal) = (served.url(), served.portal());
        let target = tgt::IQN.to_owned();
        Self { folder, served: Served::Tgt(served), url, portal, target, lun: tgt::LUN }
    }

    /// The image behind the LUN.
    pub(crate) fn disk(&self) -> PathBuf {
        self.folder.file("disk.raw")
    }

    /// Runs `lunkeep-initiator` with a state folder of this bench.
    pub(crate) fn run(&self, arguments: &[&str]) -> Outcome {
        run_with_state(programs!(), &self.folder, arguments)
    }

    pub(crate) fn address(&self) -> TargetAddress {
        self.portal.to_string().parse().unwrap()
    }

    pub(crate) fn target_name(&self) -> IscsiName {
        self.target.parse().unwrap()
    }

    pub(crate) fn lun(&self) -> Lun {
        Lun::from_number(self.lun).unwrap()
    }

    /// The library with the first free slot of the bench's state folder.
    pub(crate) fn initiator(&self) -> (Slot, Initiator) {
        let slot = StateFolder::open(&self.folder.file("state")).unwrap().take_slot(None).unwrap();
        let initiator = Initiator::new(Config::new(slot.identity().clone()).unwrap());
        (slot, initiator)
    }

    pub(crate) async fn login(&self) -> (Slot, Session) {
        let (slot, initiator) = self.initiator();
        (slot, initiator.login(&self.address(), &self.target_name()).await.unwrap())
    }
}

/// Runs `lunkeep-initiator` with a state folder inside `folder`.
pub(crate) fn run_with_state(programs: Programs, folder: &Folder, arguments: &[&str]) -> Outcome {
    let state = folder.name("state");
    let (command, rest) = arguments.split_first().unwrap();
    let all: Vec<&str> = [*command, "--state", &state].into_iter().chain(rest.iter().copied()).collect();
    programs.initiator(all)
}

fn disk() -> (Folder, PathBuf) {
    let folder = Folder::new();
    let disk = folder.file("disk.raw");
    sparse_disk(&disk, SIZE, &mut Random::new(seed(&test_name())));
    (folder, disk)
}
