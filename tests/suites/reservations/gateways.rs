//! Two engines in front of one medium, with one record between them: the seams for several gateways, carried out in memory.
//!
//! The store hands a record that one of them wrote to the other, waits for its word, and fences the other off the medium when none comes.
//! A gateway that was fenced can still run, but none of its writes lands. What the engine does with that is the same as with files;
//! the control leaves the fence out.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use lunkeep_target::device::AccessState;
use lunkeep_target::device::reservation::Record;
use lunkeep_target::engine::config::ReservationConfig;
use lunkeep_target::image::{BlockStatus, Disk, DiskError, Geometry};
use lunkeep_target::store::{
    Follower, LunStateError, LunStateStore, MemberId, Notice, Ownership, SwapTicket,
};

use super::bench::{BLOCK, Bench, Setup, memory_disk};
use super::fence::{assert_shut_out, begin_basic, begin_write, response};
use super::*;

/// What the gateways share.
#[derive(Debug)]
struct Cluster {
    record: Mutex<(Record, SwapTicket)>,
    followers: Mutex<BTreeMap<MemberId, Arc<dyn Follower>>>,
    /// Who owns the medium.
    owner: Mutex<Option<MemberId>>,
    /// Members that are fenced. A write holds it for reading, so a fence comes before or after it.
    fenced: RwLock<Vec<MemberId>>,
    medium: Arc<dyn Disk>,
    /// How long a member may take to confirm a record.
    patience: Mutex<Duration>,
    /// The control: members are fenced by word only.
    fences_nobody: AtomicBool,
    /// Notices do not arrive.
    deaf: AtomicBool,
}

/// One gateway's view of it: its store, its ownership and its way to the medium.
#[derive(Clone, Debug)]
struct Gateway {
    id: MemberId,
    cluster: Arc<Cluster>,
}

impl Gateway {
    fn is_fenced(&self) -> bool {
        self.cluster.fenced.read().unwrap().contains(&self.id)
    }
}

impl Ownership for Gateway {
    fn access(&self) -> AccessState {
        if self.is_fenced() {
            AccessState::Unavailable
        } else if *self.cluster.owner.lock().unwrap() == Some(self.id) {
            AccessState::Active
        } else {
            AccessState::Standby
        }
    }
}

impl LunStateStore for Gateway {
    fn load(&self) -> Result<(Record, SwapTicket), LunStateError> {
        Ok(self.cluster.record.lock().unwrap().clone())
    }

    fn compare_and_swap(&self, expected: SwapTicket, record: &Record) -> Result<SwapTicket, LunStateError> {
        if self.is_fenced() {
            return Err(LunStateError::NotOwner("it was fenced".into()));
        }
        let mut kept = self.cluster.record.lock().unwrap();
        if kept.1 != expected {
            return Err(LunStateError::Replaced { expected: expected.0, found: kept.1.0 });
        }
        *kept = (record.clone(), SwapTicket(expected.0 + 1));
        Ok(kept.1)
    }

    fn join(&self, follower: Arc<dyn Follower>) {
        // The second unit of a bench keeps its record elsewhere, so each gateway joins once.
        assert!(self.cluster.followers.lock().unwrap().insert(self.id, follower).is_none());
    }

    fn publish(&self, notice: &Notice) -> Result<Vec<MemberId>, LunStateError> {
        let members: Vec<_> = {
            let (followers, fenced) =
                (self.cluster.followers.lock().unwrap(), self.cluster.fenced.read().unwrap());
            let others = followers.iter().filter(|(id, _)| **id != self.id && !fenced.contains(id));
            others.map(|(id, follower)| (*id, follower.clone())).collect()
        };
        let patience = *self.cluster.patience.lock().unwrap();
        let mut silent = Vec::new();
        for (id, follower) in members {
            if self.cluster.deaf.load(Ordering::SeqCst) {
                continue;
            }
            let (sender, confirmed) = mpsc::channel();
            follower.follow(
                notice.clone(),
                Box::new(move || {
                    let _ = sender.send(());
                }),
            );
            if confirmed.recv_timeout(patience).is_err() {
                silent.push(id);
            }
        }
        Ok(silent)
    }

    fn fence(&self, member: MemberId) -> Result<(), LunStateError> {
        if !self.cluster.fences_nobody.load(Ordering::SeqCst) {
            self.cluster.fenced.write().unwrap().push(member);
        }
        Ok(())
    }
}

/// The medium as a gateway reaches it.
impl Disk for Gateway {
    fn geometry(&self) -> Geometry {
        self.cluster.medium.geometry()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        self.cluster.medium.read_at(buf, offset)
    }

    fn write_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> Result<(), DiskError> {
        let fenced = self.cluster.fenced.read().unwrap();
        if fenced.contains(&self.id) {
            return Err(DiskError::Write(std::io::ErrorKind::PermissionDenied.into()));
        }
        self.cluster.medium.write_at(bufs, offset)
    }

    fn write_zeroes(&self, offset: u64, len: u64, may_deallocate: bool) -> Result<(), DiskError> {
        let fenced = self.cluster.fenced.read().unwrap();
        if fenced.contains(&self.id) {
            return Err(DiskError::Write(std::io::ErrorKind::PermissionDenied.into()));
        }
        self.cluster.medium.write_zeroes(offset, len, may_deallocate)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.cluster.medium.flush()
    }

    fn block_status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        self.cluster.medium.block_status(offset, len)
    }

    fn close(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

const A: MemberId = MemberId(1);
const B: MemberId = MemberId(2);

/// Two gateways; A owns the medium. Their gates are closed.
fn gateways() -> (Arc<Cluster>, Bench, Bench) {
    let cluster = Arc::new(Cluster {
        record: Mutex::default(),
        followers: Mutex::default(),
        owner: Mutex::new(Some(A)),
        fenced: RwLock::default(),
        medium: memory_disk(),
        patience: Mutex::new(Duration::from_secs(30)),
        fences_nobody: AtomicBool::new(false),
        deaf: AtomicBool::new(false),
    });
    let bench = |id: MemberId, groups: &'static [u16]| {
        let gateway = Arc::new(Gateway { id, cluster: cluster.clone() });
        let reservations =
            ReservationConfig { store: gateway.clone(), ownership: gateway.clone(), audit: None };
        Bench::of(Setup {
            groups,
            reservations: Some(reservations),
            medium: Some(gateway),
            ..Setup::default()
        })
    };
    let (a, b) = (bench(A, &[1]), bench(B, &[2]));
    (cluster, a, b)
}

/// Logs in where LUN 0 need not be ready.
fn login(bench: &Bench, isid: u16) -> Peer {
    let mut peer = Peer::login(bench.portals[0], super::bench::TARGET, isid);
    // LUN 0 may be in standby: its unit attention is taken all the same.
    assert_ne!(peer.command_in(0, &[0; 6], 0).status, GOOD);
    peer
}

/// One is registered through A, two through B, each with its number; one holds, and has a write at A's medium. Then B takes over.
fn taken_over(cluster: &Cluster, a: &Bench, b: &Bench) -> (Peer, Peer) {
    let (mut one, mut two) = (login(a, 1), login(b, 2));
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
    assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
    assert_eq!(persistent_out(&mut one, 0, 1, 1, 1, 0).status, GOOD);
    begin_write(&mut one, 0, 0);
    a.disks[0].await_writes(1);
    *cluster.owner.lock().unwrap() = Some(B);
    (one, two)
}

fn first_block(cluster: &Cluster) -> Vec<u8> {
    let mut block = vec![0; BLOCK];
    cluster.medium.read_at(&mut block, 0).unwrap();
    block
}

#[test]
fn a_gateway_that_holds_a_write_is_fenced_before_the_answer_and_the_write_never_lands() {
    let (cluster, a, b) = gateways();
    let (mut one, mut two) = taken_over(&cluster, &a, &b);
    *cluster.patience.lock().unwrap() = Duration::from_millis(50);
    assert_eq!(persistent_out(&mut two, 0, 5, 1, 2, 1).status, GOOD);
    assert_eq!(*cluster.fenced.read().unwrap(), [A], "it could not confirm: its medium stands still");
    assert_eq!(first_block(&cluster), [0; BLOCK]);
    a.disks[0].open();
    one.ping();
    // The write has passed the gate and met the fence, or is gone; another command of the same node tells which.
    let refused = (0..4)
        .map(|_| one.write_blocks(0, 1, &[7; BLOCK], BLOCK))
        .find(|answer| answer.sense_code() == Some((2, 4, 0x0c)));
    assert!(refused.is_some(), "this gateway has no part in the unit any more");
    assert_eq!(first_block(&cluster), [0; BLOCK], "nothing landed");
    assert_eq!(held(&mut two, 0), Some((1, 2)));
    b.disks[0].open();
    assert_eq!(two.write_blocks(0, 0, &[5; BLOCK], BLOCK).status, GOOD);
    assert_eq!(first_block(&cluster), [5; BLOCK]);
}

#[test]
fn control_without_the_fence_the_write_lands_after_the_answer() {
    let (cluster, a, b) = gateways();
    let (mut one, mut two) = taken_over(&cluster, &a, &b);
    *cluster.patience.lock().unwrap() = Duration::from_millis(50);
    cluster.fences_nobody.store(true, Ordering::SeqCst);
    assert_eq!(persistent_out(&mut two, 0, 4, 1, 2, 1).status, GOOD);
    assert_eq!(first_block(&cluster), [0; BLOCK]);
    a.disks[0].open();
    response(&mut one);
    assert_eq!(first_block(&cluster), [0xee; BLOCK], "a write of a node that was fenced");
}

#[test]
fn a_gateway_whose_medium_works_confirms_after_the_write_and_is_not_fenced() {
    let (cluster, a, b) = gateways();
    let (mut one, mut two) = taken_over(&cluster, &a, &b);
    begin_basic(&mut two, 4, 1, 2, 1);
    // The record is at A when the unit tells it there, and not answered at B.
    let mut reader = login(&a, 3);
    two.ping();
    assert_eq!((keys(&mut reader, 0), first_block(&cluster)), (vec![1, 2], vec![0; BLOCK]));
    a.disks[0].open();
    assert_eq!(response(&mut two).bhs[3], GOOD);
    assert_eq!(first_block(&cluster), [0xee; BLOCK], "it landed before the answer");
    assert_eq!(response(&mut one).bhs[3], GOOD);
    assert!(cluster.fenced.read().unwrap().is_empty());
    assert_eq!((keys(&mut reader, 0), held(&mut reader, 0)), (vec![2], Some((1, 2))), "A tells it too");
    assert_eq!(one.command_in(0, &[0; 6], 0).sense_code(), Some((6, 0x2a, 5)), "and told one");
}

#[test]
fn registrations_of_one_gateway_are_in_force_at_the_other_and_shut_out_there() {
    let (_cluster, a, b) = gateways();
    let (mut one, mut two) = (login(&a, 1), login(&b, 2));
    a.disks[0].open();
    assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
    assert_eq!(persistent_out(&mut two, 0, 1, 1, 2, 0).status, GOOD, "in standby, too");
    assert_eq!((keys(&mut one, 0), held(&mut one, 0)), (vec![2], Some((1, 2))));
    assert_shut_out(&mut one);
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
    assert_eq!(persistent_out(&mut one, 0, 5, 1, 1, 2).status, GOOD);
    assert_eq!(two.command_in(0, &[0x12, 0, 0, 0, 36, 0], 36).status, GOOD);
    assert_eq!(persistent_out(&mut two, 0, 2, 1, 2, 0).sense_code(), Some((6, 0x2a, 5)));
    assert_eq!(one.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD);
}

#[test]
fn a_gateway_in_standby_tells_so_and_does_nothing_on_the_medium() {
    let (cluster, _a, b) = gateways();
    b.disks[0].open();
    let mut two = login(&b, 2);
    let standby = Some((2, 4, 0x0b));
    assert_eq!(two.write_blocks(0, 0, &[1; BLOCK], BLOCK).sense_code(), standby);
    assert_eq!(two.read_blocks(0, 0, 1, 512).sense_code(), standby);
    assert_eq!(two.command_in(0, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0).sense_code(), standby);
    assert_eq!(two.command_in(0, &[0; 6], 0).sense_code(), standby);
    let groups = two.command_in(0, &[0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 0, 64, 0, 0], 64).data;
    assert_eq!(groups[4] & 0xf, 2, "standby: {groups:02x?}");
    assert_eq!((first_block(&cluster), b.disks[0].passed()), (vec![0; BLOCK], 0));
    *cluster.owner.lock().unwrap() = Some(B);
    assert_eq!(two.write_blocks(0, 0, &[1; BLOCK], BLOCK).status, GOOD);
}

/// Two threads serve the media, and two writes hold them; what waits for a thread then is not begun by one that owns nothing.
#[test]
fn a_write_that_waits_for_a_thread_when_ownership_goes_is_not_begun() {
    let (cluster, a, _b) = gateways();
    let mut one = login(&a, 1);
    for lba in 0..3 {
        begin_write(&mut one, 0, lba);
    }
    a.disks[0].await_writes(2);
    one.ping();
    *cluster.owner.lock().unwrap() = None;
    a.disks[0].open();
    let answers: Vec<u8> = (0..3).map(|_| response(&mut one).bhs[3]).collect();
    assert_eq!(answers.iter().filter(|&&status| status == CHECK_CONDITION).count(), 1, "{answers:?}");
    let mut third = vec![0; BLOCK];
    cluster.medium.read_at(&mut third, 2 * BLOCK as u64).unwrap();
    assert_eq!((third, a.disks[0].passed()), (vec![0; BLOCK], 2));
}

#[test]
fn a_gateway_that_was_fenced_writes_no_record() {
    let (cluster, a, _b) = gateways();
    let mut one = login(&a, 1);
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 0, 1).status, GOOD);
    let before = cluster.record.lock().unwrap().clone();
    cluster.fenced.write().unwrap().push(A);
    assert_eq!(persistent_out(&mut one, 0, 0, 0, 1, 5).sense_code(), Some((2, 4, 0x0c)));
    assert_eq!(*cluster.record.lock().unwrap(), before);
}

#[test]
fn a_gateway_that_missed_a_record_overwrites_nothing_and_is_busy() {
    let (cluster, a, b) = gateways();
    let (mut one, mut two) = (login(&a, 1), login(&b, 2));
    cluster.deaf.store(true, Ordering::SeqCst);
    assert_eq!(persistent_out(&mut two, 0, 0, 0, 0, 2).status, GOOD);
    let busy = persistent_out(&mut one, 0, 0, 0, 0, 1);
    assert_eq!((busy.status, cluster.record.lock().unwrap().0.registrations.len()), (0x08, 1));
    assert_eq!(keys(&mut one, 0), Vec::<u64>::new(), "and nothing changed here");
}
