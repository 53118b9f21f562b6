//! A server in this process whose media can be stalled, with as many targets and portal groups as a test asks for.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lunkeep_common::login::target_side::Authentication;
use lunkeep_common::name::PortalGroupTag;
use lunkeep_target::engine::config::{
    AccessList, LunConfig, PortalConfig, PortalGroups, ReservationConfig, ServerConfig, Settings,
    TargetConfig, UnitConfig,
};
use lunkeep_target::engine::{HostEnvironment, Server};
use lunkeep_target::image::{Access, Disk, Environment, Format, MemoryFile};
use lunkeep_target::store::{FileState, MemoryParameters, Naa, PortNumbers};
use lunkeep_tests::gated_disk::GatedDisk;
use lunkeep_tests::unit;
use lunkeep_tests::wire::Peer;
use tokio::runtime::{Builder, Runtime};

use super::{GOOD, persistent_out};

/// The first target.
pub(super) const TARGET: &str = "iqn.2024-01.invalid.lunkeep:fence";
/// The second, which exports the same units.
pub(super) const OTHER: &str = "iqn.2024-01.invalid.lunkeep:other";
pub(super) const BLOCK: usize = 512;

/// How a bench is made.
pub(super) struct Setup {
    pub(super) settings: Settings,
    /// Targets; each exports both units, the second one in turned order.
    pub(super) targets: &'static [&'static str],
    /// One portal in each of these portal groups.
    pub(super) groups: &'static [u16],
    /// Where the reservations of LUN 0 are kept; a file when absent.
    pub(super) reservations: Option<ReservationConfig>,
    /// What lies behind the gate of LUN 0; memory of its own when absent.
    pub(super) medium: Option<Arc<dyn Disk>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            targets: &[TARGET],
            groups: &[1],
            reservations: None,
            medium: None,
        }
    }
}

/// A server whose LUN 0 lies behind a gate that is closed, and LUN 1 behind one that is open. Two threads do the work of its media: two
/// stalled writes take all of them.
pub(super) struct Bench {
    runtime: Runtime,
    server: Option<Server>,
    pub(super) portals: Vec<SocketAddr>,
    pub(super) disks: Vec<Arc<GatedDisk>>,
    pub(super) folder: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::of(Setup::default())
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup.settings);
        Self::of(setup)
    }

    pub(super) fn of(setup: Setup) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let disks = [setup.medium.unwrap_or_else(memory_disk), memory_disk()];
        let disks: Vec<_> = disks.into_iter().map(|disk| Arc::new(GatedDisk::new(disk))).collect();
        disks[1].open();
        let mut units: Vec<_> =
            (0..2).map(|number| unit_of(number, disks[usize::from(number)].clone(), folder.path())).collect();
        if let Some(reservations) = setup.reservations {
            units[0].reservations = reservations;
        }
        let units: Vec<_> = units.into_iter().map(Arc::new).collect();
        let target = |(turned, name): (bool, &&str)| TargetConfig {
            portal_groups: PortalGroups::All,
            redirect: None,
            name: name.parse().unwrap(),
            alias: None,
            luns: (0..2u16)
                .map(|number| LunConfig {
                    number,
                    unit: units[usize::from(number ^ u16::from(turned))].clone(),
                })
                .collect(),
            authentication: Authentication::NotRequired,
            access: AccessList::Everyone,
        };
        let portal = |group: &u16| PortalConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            announce: None,
            group: PortalGroupTag(*group),
        };
        let config = ServerConfig {
            portals: setup.groups.iter().map(portal).collect(),
            targets: [false, true].into_iter().zip(setup.targets).map(target).collect(),
            discovery_authentication: Authentication::NotRequired,
            settings: setup.settings,
            port_numbers: PortNumbers::default(),
        };
        let server = runtime.block_on(Server::start(config)).unwrap();
        Self { runtime, portals: server.portals(), server: Some(server), disks, folder }
    }

    pub(super) fn login(&self, isid: u16) -> Peer {
        let mut peer = Peer::login(self.portals[0], TARGET, isid);
        assert!(peer.is_ready(0) && peer.is_ready(1));
        peer
    }

    /// Logs in where only this LUN is ready at once.
    pub(super) fn login_to(&self, isid: u16, lun: u8) -> Peer {
        let mut peer = Peer::login(self.portals[0], TARGET, isid);
        assert!(peer.is_ready(lun));
        peer
    }

    /// Two peers that are registered with the keys 1 and 2.
    pub(super) fn registered(&self) -> (Peer, Peer) {
        let (mut one, mut two) = (self.login(1), self.login(2));
        assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
        assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
        (one, two)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.disks.iter().for_each(|disk| disk.open());
        if let Some(server) = self.server.take() {
            let report = self.runtime.block_on(server.shutdown(Duration::from_secs(30)));
            assert!(report.complete || std::thread::panicking(), "{report:?}");
        }
    }
}

/// 16 MiB of memory as a raw disk.
pub(super) fn memory_disk() -> Arc<dyn Disk> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    Format::Raw.open(Arc::new(MemoryFile::with_len(16 << 20)), Access::ReadWrite, &env).unwrap()
}

fn unit_of(number: u8, disk: Arc<GatedDisk>, folder: &Path) -> UnitConfig {
    let naa = Naa::from_random([number; 8]);
    let device = unit::device(&*disk, naa.to_bytes().to_vec(), format!("TEST{number}"));
    let store = Arc::new(FileState::new(folder.join(format!("{number}.json")), naa));
    let reservations = ReservationConfig { store, ..ReservationConfig::in_memory() };
    UnitConfig { device, disk, reservations, parameters: Arc::new(MemoryParameters::default()) }
}
