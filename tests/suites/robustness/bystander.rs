//! A target with two LUNs, and a session on the second one that must not notice what happens on the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lunkeep_tests::programs;
use lunkeep_tests::random::Random;
use lunkeep_tests::target::{Folder, Target};
use lunkeep_tests::wire::Peer;

/// Most memory that the process may have had resident: what sessions may hold for their data, and what it needs itself.
const MEMORY: u64 = 400 << 20;

/// LUN of the peers that misbehave.
pub(super) const LUN: u8 = 0;

/// LUN of the bystander.
const BYSTANDERS_LUN: u8 = 1;

const BLOCK: usize = 512;

/// A target, and a bystander that uses it.
pub(super) struct Scene {
    pub(super) target: Target,
    pub(super) iqn: String,
    bystander: Option<JoinHandle<()>>,
    stop: Stop,
    rounds: Arc<AtomicU64>,
    _folder: Folder,
}

impl Scene {
    /// Starts both.
    pub(super) fn new() -> Self {
        let folder = Folder::new();
        let disks = ["a.vhdx", "b.vhdx"].map(|name| format!("{},size=64M", folder.name(name)));
        let target = Target::serve(programs!(), ["--disk", &disks[0], "--disk", &disks[1]]);
        let iqn = target.iqn();
        let (stop, rounds) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut peer = Peer::login(target.portal(), &iqn, 0x7777);
        assert!(peer.is_ready(BYSTANDERS_LUN));
        let (stops, counts) = (Arc::clone(&stop), Arc::clone(&rounds));
        let bystander = Some(thread::spawn(move || work(peer, &stops, &counts)));
        let mut scene = Self { target, iqn, bystander, stop: Stop(stop), rounds, _folder: folder };
        scene.bystander_goes_on();
        scene
    }

    /// A session of a peer on [`LUN`], without digests.
    pub(super) fn peer(&self, isid: u16) -> Peer {
        self.peer_with(isid, &[])
    }

    /// A session of a peer on [`LUN`] with more login keys.
    pub(super) fn peer_with(&self, isid: u16, keys: &[(&str, &str)]) -> Peer {
        let mut peer = Peer::login_with(self.target.portal(), &self.iqn, isid, keys).expect("login");
        assert!(peer.is_ready(LUN));
        peer
    }

    /// Waits until the bystander has done two whole rounds that began after this call.
    #[track_caller]
    pub(super) fn bystander_goes_on(&mut self) {
        let (before, end) = (self.rounds.load(Ordering::SeqCst), Instant::now() + Duration::from_secs(60));
        while self.rounds.load(Ordering::SeqCst) < before + 3 {
            let running = self.bystander.as_ref().is_some_and(|bystander| !bystander.is_finished());
            self.target.assert_healthy();
            assert!(running, "the bystander met an error (its message is above)");
            assert!(Instant::now() < end, "the bystander does not get on");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the test: the bystander has seen nothing, memory stayed bounded, and Ctrl-C ends the target cleanly.
    #[track_caller]
    pub(super) fn finish(mut self) {
        self.bystander_goes_on();
        drop(self.stop);
        let bystander = self.bystander.take().expect("it runs until now");
        assert!(bystander.join().is_ok(), "the bystander met an error (its message is above)");
        let peak = self.target.daemon().peak_memory();
        assert!(peak <= MEMORY, "the target used {} MiB", peak >> 20);
        self.target.stop();
    }
}

/// Tells the bystander to stop, also when the test fails.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Writes random content at random places and reads it back, until told to stop.
fn work(mut peer: Peer, stop: &AtomicBool, rounds: &AtomicU64) {
    let mut random = Random::new(7);
    while !stop.load(Ordering::SeqCst) {
        let mut data = vec![0; BLOCK * (1 + random.index(64))];
        random.fill(&mut data);
        let lba = u32::try_from(random.below(100_000)).expect("below a small bound");
        let written = peer.write_blocks(BYSTANDERS_LUN, lba, &data, BLOCK);
        assert_eq!(written.status, 0, "the bystander's write: {written:02x?}");
        let blocks = u16::try_from(data.len() / BLOCK).expect("few blocks");
        let read = peer.read_blocks(BYSTANDERS_LUN, lba, blocks, 512);
        assert!(read.status == 0 && read.data == data, "the bystander read something else than it wrote");
        rounds.fetch_add(1, Ordering::SeqCst);
    }
    peer.logout();
}
