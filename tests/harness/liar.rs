//! A relay that lies: it changes what passes between an initiator and a target, so that a correct target looks like a wrong one.
//!
//! It cuts the stream into PDUs by itself and knows just enough of them: the CDB of each command, where the status stands, and
//! where sense data and parameter data are. Connections without digests only.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A PDU without additional header segments.
#[derive(Clone, Debug)]
pub struct Lie {
    /// The basic header segment.
    pub header: [u8; 48],
    /// The data segment, without padding.
    pub data: Vec<u8>,
    /// For a response to a command, and for the command itself: its CDB.
    pub cdb: Option<[u8; 16]>,
}

impl Lie {
    /// The opcode, without the I bit.
    pub fn opcode(&self) -> u8 {
        self.header[0] & 0x3f
    }

    /// SCSI status of a SCSI Response; `None` for other PDUs.
    pub fn status(&self) -> Option<u8> {
        (self.opcode() == 0x21).then_some(self.header[3])
    }

    /// Makes a SCSI Response end with this status and without sense data.
    pub fn set_status(&mut self, status: u8) {
        self.header[3] = status;
        // No residual either.
        self.header[1] = 0x80;
        self.header[44..48].fill(0);
        self.data.clear();
    }

    /// Additional sense code and qualifier of a CHECK CONDITION in fixed format.
    pub fn code(&self) -> Option<(u8, u8)> {
        let fixed = self.status() == Some(2) && matches!(self.data.get(2), Some(0x70));
        fixed.then(|| (self.data.get(14).copied().unwrap_or(0), self.data.get(15).copied().unwrap_or(0)))
    }
}

/// What to change, for each direction.
pub type Twist = Box<dyn FnMut(&mut Lie) + Send>;

/// A running liar. It serves until the process ends.
#[derive(Debug)]
pub struct Liar {
    portal: SocketAddr,
}

impl Liar {
    /// Relays to `target`; `requests` sees what goes there, `responses` what comes back.
    ///
    /// # Panics
    /// When the loopback interface has no free port.
    #[must_use]
    pub fn to(target: SocketAddr, requests: Twist, responses: Twist) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let portal = listener.local_addr().expect("it is bound");
        let (requests, responses) = (Arc::new(Mutex::new(requests)), Arc::new(Mutex::new(responses)));
        thread::spawn(move || {
            for initiator in listener.incoming().flatten() {
                let Ok(target) = TcpStream::connect(target) else { continue };
                drop(target.set_nodelay(true));
                drop(initiator.set_nodelay(true));
                let (Ok(from), Ok(to)) = (initiator.try_clone(), target.try_clone()) else { continue };
                let commands = Arc::new(Mutex::new(HashMap::new()));
                pump(from, to, requests.clone(), commands.clone());
                pump(target, initiator, responses.clone(), commands);
            }
        });
        Self { portal }
    }

    /// Where to connect.
    #[must_use]
    pub const fn portal(&self) -> SocketAddr {
        self.portal
    }
}

type Commands = Arc<Mutex<HashMap<[u8; 4], [u8; 16]>>>;

fn pump(mut from: TcpStream, mut to: TcpStream, twist: Arc<Mutex<Twist>>, commands: Commands) {
    thread::spawn(move || {
        while let Some(mut pdu) = read(&mut from, &commands) {
            (twist.lock().expect("no twist panics"))(&mut pdu);
            if write(&mut to, &pdu).is_err() {
                break;
            }
        }
        drop(to.shutdown(Shutdown::Write));
    });
}

fn read(from: &mut TcpStream, commands: &Commands) -> Option<Lie> {
    let mut header = [0; 48];
    from.read_exact(&mut header).ok()?;
    assert_eq!(header[4], 0, "a PDU with additional header segments");
    let len = usize::from(header[5]) << 16 | usize::from(header[6]) << 8 | usize::from(header[7]);
    let mut data = vec![0; len.next_multiple_of(4)];
    from.read_exact(&mut data).ok()?;
    data.truncate(len);
    let tag: [u8; 4] = header[16..20].try_into().expect("four bytes");
    let mut commands = commands.lock().expect("no reader panics");
    let cdb = match header[0] & 0x3f {
        0x01 => {
            let cdb: [u8; 16] = header[32..48].try_into().expect("sixteen bytes");
            commands.insert(tag, cdb);
            Some(cdb)
        }
        0x05 | 0x21 | 0x25 => commands.get(&tag).copied(),
        _ => None,
    };
    Some(Lie { header, data, cdb })
}

fn write(to: &mut TcpStream, pdu: &Lie) -> std::io::Result<()> {
    let mut header = pdu.header;
    let len = u32::try_from(pdu.data.len()).expect("a PDU is short").to_be_bytes();
    header[5..8].copy_from_slice(&len[1..]);
    let mut bytes = header.to_vec();
    bytes.extend_from_slice(&pdu.data);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    to.write_all(&bytes)
}
