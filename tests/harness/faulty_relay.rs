//! A relay between an initiator and a target that does to PDUs what a bad network does, while digests are in use: it damages their
//! data, damages their headers, loses them, and cuts connections. It knows where PDUs begin and end, so every fault hits what it is
//! meant to hit.
//!
//! Faults come by chance from a seed; which PDU they hit depends on timing too, so a seed makes a run likely, not certain, to repeat.
//! The login is left alone: it has no digests, and nothing recovers it but another login.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::random::Random;

/// How often what happens: to one PDU in so many; 0 for never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The data segment or its digest is damaged.
    pub damage: u64,
    /// The PDU is lost whole.
    pub loss: u64,
    /// The header is damaged.
    pub header: u64,
    /// The connection is cut, after a part of the PDU.
    pub cut: u64,
}

/// A safeguard of the two sides that a control takes away, by keeping its PDUs from arriving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Nothing is taken away.
    Nothing,
    /// SNACK, of every kind.
    Snacks,
    /// The status that a target keeps and sends again.
    StatusAgain,
    /// The Data-In that a target keeps and sends again.
    DataAgain,
    /// The R2T for data that did not come.
    RecoveryR2ts,
    /// Commands that are sent again.
    Retries,
    /// TASK REASSIGN.
    Reassigns,
}

/// What happened so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// PDUs with damaged data.
    pub damaged: AtomicU64,
    /// PDUs with damaged headers.
    pub headers: AtomicU64,
    /// PDUs that were lost.
    pub lost: AtomicU64,
    /// Connections that were cut.
    pub cuts: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    faults: Faults,
    without: Without,
    random: Mutex<Random>,
    calm: AtomicBool,
    counts: Counts,
    /// What went through before, for what is told by its second coming: (opcode, one number, another).
    seen: Mutex<HashSet<(u8, u32, u32, u32)>>,
    /// Where the data of each task was asked for up to, by its tag.
    asked: Mutex<std::collections::HashMap<u32, u32>>,
}

/// A running relay. It serves until the process ends.
#[derive(Debug)]
pub struct FaultyRelay {
    portal: SocketAddr,
    shared: Arc<Shared>,
}

/// What becomes of a PDU.
enum Fate {
    Passes,
    IsLost,
    /// The connection is cut after so many bytes of it.
    Cut(usize),
}

impl FaultyRelay {
    /// Relays to `target`, whose sessions must all use header and data digests.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    #[must_use]
    pub fn to(target: SocketAddr, faults: Faults, without: Without, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let portal = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            faults,
            without,
            random: Mutex::new(Random::new(seed)),
            calm: AtomicBool::new(false),
            counts: Counts::default(),
            seen: Mutex::default(),
            asked: Mutex::default(),
        });
        let all = shared.clone();
        thread::spawn(move || {
            for (number, initiator) in (0..).zip(listener.incoming().flatten()) {
                let Ok(target) = TcpStream::connect(target) else { continue };
                let (Ok(up_from), Ok(up_to)) = (initiator.try_clone(), target.try_clone()) else { continue };
                let full_feature = Arc::new(AtomicBool::new(false));
                let up = Pump { shared: all.clone(), full_feature: full_feature.clone(), up: true, number };
                let down = Pump { shared: all.clone(), full_feature, up: false, number };
                thread::spawn(move || up.run(up_from, up_to));
                thread::spawn(move || down.run(target, initiator));
            }
        });
        Self { portal, shared }
    }

    /// Where to connect.
    #[must_use]
    pub const fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// No faults any more.
    pub fn calm(&self) {
        self.shared.calm.store(true, Ordering::SeqCst);
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }
}

/// One direction of one connection.
struct Pump {
    shared: Arc<Shared>,
    /// The login is over.
    full_feature: Arc<AtomicBool>,
    up: bool,
    /// Of the connection, since status numbers are each connection's own.
    number: u32,
}

impl Pump {
    fn run(&self, mut from: TcpStream, mut to: TcpStream) {
        let (mut held, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
        'stream: while let Ok(read) = from.read(&mut buffer)
            && read > 0
        {
            held.extend_from_slice(&buffer[..read]);
            while let Some((len, data_start)) = self.layout(&held) {
                let mut pdu: Vec<u8> = held.drain(..len).collect();
                let fate = self.fate(&mut pdu, data_start);
                let sent = match fate {
                    Fate::Passes => to.write_all(&pdu),
                    Fate::IsLost => Ok(()),
                    Fate::Cut(at) => {
                        drop(to.write_all(&pdu[..at]));
                        break 'stream;
                    }
                };
                if sent.is_err() {
                    break 'stream;
                }
            }
        }
        drop((from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)));
    }

    /// Length of the PDU at the front, and where its data begins; `None` when it is not whole.
    fn layout(&self, held: &[u8]) -> Option<(usize, usize)> {
        let bhs = held.first_chunk::<48>()?;
        let digest = if self.full_feature.load(Ordering::SeqCst) { 4 } else { 0 };
        let data_start = 48 + usize::from(bhs[4]) * 4 + digest;
        let data = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let len = data_start + data.next_multiple_of(4) + if data > 0 { digest } else { 0 };
        (held.len() >= len).then_some((len, data_start))
    }

    fn fate(&self, pdu: &mut [u8], data_start: usize) -> Fate {
        if !self.full_feature.load(Ordering::SeqCst) {
            // The last Login Response: success, T, and the full feature phase next.
            let last = pdu[0] & 0x3f == 0x23 && pdu[1] & 0x83 == 0x83 && pdu[36] == 0;
            if !self.up && last {
                self.full_feature.store(true, Ordering::SeqCst);
            }
            return Fate::Passes;
        }
        if self.is_taken_away(pdu) {
            return Fate::IsLost;
        }
        if self.shared.calm.load(Ordering::SeqCst) {
            return Fate::Passes;
        }
        let Faults { damage, loss, header, cut } = self.shared.faults;
        let mut random = self.shared.random.lock().unwrap();
        let mut hits = |n: u64| n > 0 && random.one_in(n);
        let (damage, loss, header, cut) = (hits(damage), hits(loss), hits(header), hits(cut));
        let counts = &self.shared.counts;
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::SeqCst);
        if cut {
            count(&counts.cuts);
            return Fate::Cut(random.index(pdu.len()));
        }
        if loss {
            count(&counts.lost);
            return Fate::IsLost;
        }
        if header {
            count(&counts.headers);
            // Not the lengths: the relay itself must still find the end of the PDU.
            pdu[8 + random.index(40)] ^= 0x40;
        }
        if damage && pdu.len() > data_start {
            count(&counts.damaged);
            let at = data_start + random.index(pdu.len() - data_start);
            pdu[at] ^= 1 << random.index(8);
        }
        Fate::Passes
    }

    fn is_taken_away(&self, pdu: &[u8]) -> bool {
        let word = |at: usize| u32::from_be_bytes([pdu[at], pdu[at + 1], pdu[at + 2], pdu[at + 3]]);
        let opcode = pdu[0] & 0x3f;
        let again = |a: u32, b: u32, c: u32| !self.shared.seen.lock().unwrap().insert((opcode, a, b, c));
        match (self.shared.without, opcode) {
            (Without::Snacks, 0x10) => true,
            (Without::StatusAgain, 0x21) => again(self.number, word(24), 0),
            (Without::DataAgain, 0x25) => again(self.number, word(16), word(36)),
            (Without::Retries, 0x01) => again(0, word(16), word(24)),
            (Without::Reassigns, 0x02) => pdu[1] & 0x7f == 8,
            (Without::RecoveryR2ts, 0x31) => {
                let until = word(40) + word(44);
                let mut asked = self.shared.asked.lock().unwrap();
                let before = asked.entry(word(16)).or_default();
                let again = until <= *before;
                *before = until.max(*before);
                again
            }
            _ => false,
        }
    }
}
