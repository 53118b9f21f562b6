//! A relay between an initiator and a target that notes every PDU, in the order of cause and effect: a PDU is noted before it is
//! passed on, so whatever one side does because of it is noted later.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use lunkeep_common::pdu::{
    FrameLimits, Framer, InitiatorHeader, InitiatorPdu, RawPdu, TargetHeader, TargetPdu,
};

/// A PDU that went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// From the initiator.
    Request(InitiatorHeader),
    /// From the target.
    Response(TargetHeader),
}

/// A running relay. It serves connections without digests until the process ends.
#[derive(Debug)]
pub struct Relay {
    portal: SocketAddr,
    passed: Arc<Mutex<Vec<Passed>>>,
}

impl Relay {
    /// Relays to `target`.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let portal = listener.local_addr().expect("it is bound");
        let passed = Arc::new(Mutex::new(Vec::new()));
        let notes = passed.clone();
        thread::spawn(move || {
            for initiator in listener.incoming().flatten() {
                let Ok(target) = TcpStream::connect(target) else { continue };
                let (Ok(from), Ok(to)) = (initiator.try_clone(), target.try_clone()) else { continue };
                pump(from, to, notes.clone(), |raw| {
                    InitiatorPdu::decode(raw).ok().map(|p| Passed::Request(p.header))
                });
                pump(target, initiator, notes.clone(), |raw| {
                    TargetPdu::decode(raw).ok().map(|p| Passed::Response(p.header))
                });
            }
        });
        Self { portal, passed }
    }

    /// Where to connect.
    #[must_use]
    pub const fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// Everything that went through so far.
    ///
    /// # Panics
    /// When a relay thread panicked.
    #[must_use]
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.lock().unwrap().clone()
    }
}

/// Passes one direction on until it ends.
fn pump(
    mut from: TcpStream,
    mut to: TcpStream,
    notes: Arc<Mutex<Vec<Passed>>>,
    note: impl Fn(RawPdu) -> Option<Passed> + Send + 'static,
) {
    thread::spawn(move || {
        let mut framer =
            Framer::new(FrameLimits { data_segment_len: (1 << 24) - 1, ..FrameLimits::default() });
        let mut buffer = vec![0; 1 << 16];
        while let Ok(read) = from.read(&mut buffer)
            && read > 0
        {
            framer.push(&buffer[..read]);
            while let Ok(Some(raw)) = framer.next_pdu() {
                notes.lock().unwrap().extend(note(raw));
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}
