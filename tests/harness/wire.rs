//! A scripted iSCSI peer: PDUs as bytes, well-formed or not, over a real socket.
//!
//! Written without the code under test, so that a mistake there cannot hide itself, and without its rules, so that it can say what
//! no initiator would. RFC 7143 §11 has the layouts.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// How long a target may take to answer a peer. Generous: it only bounds a failure.
const PATIENCE: Duration = Duration::from_secs(30);

/// The initiator name of a peer that was not told another.
pub const INITIATOR: &str = "iqn.2024-01.invalid.lunkeep:peer";

/// Opcodes (RFC 7143 §11.2.1.2).
pub mod opcode {
    #![allow(missing_docs, reason = "the standard's names")]
    pub const NOP_OUT: u8 = 0x00;
    pub const SCSI_COMMAND: u8 = 0x01;
    pub const TASK_MANAGEMENT: u8 = 0x02;
    pub const LOGIN: u8 = 0x03;
    pub const TEXT: u8 = 0x04;
    pub const DATA_OUT: u8 = 0x05;
    pub const LOGOUT: u8 = 0x06;
    pub const NOP_IN: u8 = 0x20;
    pub const SCSI_RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub const LOGIN_RESPONSE: u8 = 0x23;
    pub const TEXT_RESPONSE: u8 = 0x24;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    pub const R2T: u8 = 0x31;
    pub const ASYNC_MESSAGE: u8 = 0x32;
    pub const REJECT: u8 = 0x3f;
}

/// A PDU: basic header segment, additional header segments and data segment. The two length fields are filled in when it is
/// sent, unless [`Frame::lie`] was told other lengths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The basic header segment.
    pub bhs: [u8; 48],
    /// Additional header segments, already padded.
    pub ahs: Vec<u8>,
    /// The data segment without padding.
    pub data: Vec<u8>,
    lie: Option<(u8, u32)>,
}

impl Frame {
    /// A PDU with this opcode (byte 0, so with the immediate bit if wanted), the final bit set and all else zero.
    pub fn new(opcode: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = 0x80;
        Self { bhs, ahs: Vec::new(), data: Vec::new(), lie: None }
    }

    /// Sets byte 1: the flags of the opcode.
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.bhs[1] = flags;
        self
    }

    /// Puts `bytes` at offset `at` of the basic header segment.
    #[must_use]
    pub fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        self.bhs[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Puts a big-endian number at offset `at` of the basic header segment.
    #[must_use]
    pub fn word(self, at: usize, value: u32) -> Self {
        self.put(at, &value.to_be_bytes())
    }

    /// Sets the data segment.
    #[must_use]
    pub fn data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    /// Sets the additional header segments.
    #[must_use]
    pub fn ahs(mut self, ahs: impl Into<Vec<u8>>) -> Self {
        self.ahs = ahs.into();
        self
    }

    /// Makes the header state these lengths instead of the true ones: TotalAHSLength in words, DataSegmentLength in bytes.
    #[must_use]
    pub fn lie(mut self, ahs_words: u8, data_length: u32) -> Self {
        self.lie = Some((ahs_words, data_length));
        self
    }

    /// The opcode without the immediate bit.
    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    /// The big-endian number at offset `at` of the basic header segment.
    pub fn word_at(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.bhs[at..at + 4].try_into().expect("four bytes"))
    }

    /// The bytes on the wire.
    pub fn bytes(&self, digests: Digests) -> Vec<u8> {
        let length = |length: usize| u32::try_from(length).expect("a short segment");
        let (words, data) = self.lie.unwrap_or_else(|| {
            (u8::try_from(self.ahs.len() / 4).expect("a short segment"), length(self.data.len()))
        });
        let mut out = self.bhs.to_vec();
        out[4] = words;
        out[5..8].copy_from_slice(&data.to_be_bytes()[1..]);
        out.extend_from_slice(&self.ahs);
        if digests.header {
            out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        }
        let start = out.len();
        out.extend_from_slice(&self.data);
        out.resize(start + self.data.len().next_multiple_of(4), 0);
        if digests.data && !self.data.is_empty() {
            let digest = crc32c::crc32c(&out[start..]);
            out.extend_from_slice(&digest.to_le_bytes());
        }
        out
    }
}

/// Which digests PDUs carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    /// After the header segments.
    pub header: bool,
    /// After a data segment that is not empty.
    pub data: bool,
}

/// Status class and detail of a login that was refused (RFC 7143 §11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 1 redirection, 2 the initiator's fault, 3 the target's.
    pub class: u8,
    /// What exactly.
    pub detail: u8,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// SCSI status; 00h is GOOD.
    pub status: u8,
    /// Data-In, in order of arrival.
    pub data: Vec<u8>,
    /// Sense data without its length; empty when there is none.
    pub sense: Vec<u8>,
}

impl Answer {
    /// Sense key, additional sense code and qualifier of fixed format sense data.
    pub fn sense_code(&self) -> Option<(u8, u8, u8)> {
        match (self.sense.get(2), self.sense.get(12), self.sense.get(13)) {
            (Some(key), Some(code), Some(qualifier)) => Some((key & 0xf, *code, *qualifier)),
            _ => None,
        }
    }
}

/// One connection to a target.
pub struct Peer {
    stream: TcpStream,
    /// Digests of both directions.
    pub digests: Digests,
    /// CmdSN of the next command.
    pub cmd_sn: u32,
    /// ExpStatSN to acknowledge with.
    pub exp_stat_sn: u32,
    /// Initiator task tag of the next command.
    pub tag: u32,
    /// TSIH of the session, from the login.
    pub tsih: u16,
}

impl Peer {
    /// Connects and says nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(portal: SocketAddr) -> Self {
        Self::over(TcpStream::connect(portal).unwrap_or_else(|error| panic!("connect to {portal}: {error}")))
    }

    /// A peer on a connection that was made with other socket options.
    ///
    /// # Panics
    /// When the socket takes no options.
    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("socket option");
        stream.set_write_timeout(Some(PATIENCE)).expect("socket option");
        stream.set_nodelay(true).expect("socket option");
        Self { stream, digests: Digests::default(), cmd_sn: 1, exp_stat_sn: 0, tag: 1, tsih: 0 }
    }

    /// A normal session of [`INITIATOR`] with `target`, without authentication and digests. `isid` tells sessions apart.
    ///
    /// # Panics
    /// When the target refuses.
    pub fn login(portal: SocketAddr, target: &str, isid: u16) -> Self {
        Self::login_with(portal, target, isid, &[]).expect("login")
    }

    /// As [`Peer::login`], with more keys in the one login request.
    ///
    /// # Errors
    /// When the target refuses with a status.
    ///
    /// # Panics
    /// When the target answers with anything else.
    pub fn login_with(
        portal: SocketAddr,
        target: &str,
        isid: u16,
        keys: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        Self::log_in(portal, target, isid, (0, 0), keys)
    }

    /// A further connection of a session, or one in place of its connection with this CID: the `isid` and `tsih` of the session
    /// name it. Command numbers are the session's: copy them from the other connection's peer.
    ///
    /// # Errors
    /// When the target refuses with a status.
    pub fn join(
        portal: SocketAddr,
        target: &str,
        isid: u16,
        tsih: u16,
        cid: u16,
        keys: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        Self::log_in(portal, target, isid, (tsih, cid), keys)
    }

    fn log_in(
        portal: SocketAddr,
        target: &str,
        isid: u16,
        (tsih, cid): (u16, u16),
        keys: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        let request = |flags, keys: &[(&str, &str)]| {
            login_request(flags, isid, keys).put(14, &tsih.to_be_bytes()).put(20, &cid.to_be_bytes())
        };
        let mut peer = Self::connect(portal);
        let mut all = vec![("InitiatorName", INITIATOR), ("TargetName", target), ("SessionType", "Normal")];
        all.extend_from_slice(keys);
        // T, CSG = LoginOperationalNegotiation, NSG = FullFeaturePhase.
        peer.send(&request(0x87, &all));
        let mut digests = Digests::default();
        loop {
            let answer = peer.receive().expect("the target answers a login");
            assert_eq!(answer.opcode(), opcode::LOGIN_RESPONSE, "{answer:?}");
            if answer.bhs[36] != 0 {
                return Err(Refused { class: answer.bhs[36], detail: answer.bhs[37] });
            }
            peer.exp_stat_sn = answer.word_at(24).wrapping_add(1);
            let said = text_keys(&answer.data);
            for (key, value) in &said {
                match key.as_str() {
                    "HeaderDigest" => digests.header = value == "CRC32C" && offered(&all, key),
                    "DataDigest" => digests.data = value == "CRC32C" && offered(&all, key),
                    _ => {}
                }
            }
            if answer.bhs[1] & 0x83 == 0x83 {
                peer.tsih = u16::from_be_bytes([answer.bhs[14], answer.bhs[15]]);
                break;
            }
            // The target offers keys of its own first. It gets no digest that the test did not ask for, and its own way
            // in all else.
            let replies: Vec<(&str, &str)> = said
                .iter()
                .filter(|(key, _)| !offered(&all, key) && !DECLARED.contains(&key.as_str()))
                .map(|(key, value)| {
                    (key.as_str(), if key.ends_with("Digest") { "None" } else { value.as_str() })
                })
                .collect();
            peer.send(&request(0x87, &replies).word(28, peer.exp_stat_sn));
        }
        peer.digests = digests;
        Ok(peer)
    }

    /// Sends a PDU.
    pub fn send(&mut self, frame: &Frame) {
        let bytes = frame.bytes(self.digests);
        self.send_bytes(&bytes);
    }

    /// Sends bytes as they are. A target that has already closed the connection is no error: what it answered tells more.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    /// Our address and port, by which the target's log names this peer.
    pub fn address(&self) -> SocketAddr {
        self.stream.local_addr().expect("a connected socket")
    }

    /// Sends a PDU as long as the target takes bytes. `false` when it has not taken all of it for a while: it holds the peer
    /// back, and the connection is of no more use for sending.
    pub fn send_what_fits(&mut self, frame: &Frame) -> bool {
        self.stream.set_write_timeout(Some(Duration::from_millis(300))).expect("socket option");
        let bytes = frame.bytes(self.digests);
        self.stream.write_all(&bytes).is_ok()
    }

    /// Reads until the target has said nothing for a while or has closed the connection, and gives what it sent.
    pub fn until_quiet(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            self.stream.set_read_timeout(Some(Duration::from_millis(300))).expect("socket option");
            let quiet = self
                .stream
                .peek(&mut [0])
                .map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |_| false);
            self.stream.set_read_timeout(Some(PATIENCE)).expect("socket option");
            let frame = if quiet { None } else { self.receive() };
            match frame {
                Some(frame) => frames.push(frame),
                None => return frames,
            }
        }
    }

    /// The next PDU, or `None` when the target has closed the connection.
    ///
    /// # Panics
    /// When neither comes in time, or a digest is wrong.
    pub fn receive(&mut self) -> Option<Frame> {
        let mut bhs = [0; 48];
        if !self.read(&mut bhs) {
            return None;
        }
        let mut ahs = vec![0; usize::from(bhs[4]) * 4];
        assert!(self.read(&mut ahs), "the connection ended within a PDU");
        if self.digests.header {
            let expected = crc32c::crc32c(&[bhs.as_slice(), &ahs].concat());
            assert_eq!(self.read_digest(), expected, "header digest of {bhs:02x?}");
        }
        let length = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        assert!(self.read(&mut data), "the connection ended within a PDU");
        if self.digests.data && length > 0 {
            let expected = crc32c::crc32c(&data);
            assert_eq!(self.read_digest(), expected, "data digest after {bhs:02x?}");
        }
        data.truncate(length);
        Some(Frame { bhs, ahs, data, lie: None })
    }

    fn read_digest(&mut self) -> u32 {
        let mut digest = [0; 4];
        assert!(self.read(&mut digest), "the connection ended within a PDU");
        u32::from_le_bytes(digest)
    }

    /// `false` when the target closed or reset the connection first.
    fn read(&mut self, into: &mut [u8]) -> bool {
        match self.stream.read_exact(into) {
            Ok(()) => true,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) =>
            {
                false
            }
            Err(error) => panic!("the target neither answered nor closed the connection: {error}"),
        }
    }

    /// The next PDU with this opcode; unasked NOP-Ins on the way are skipped.
    ///
    /// # Panics
    /// When another comes or the connection ends.
    pub fn expect(&mut self, opcode: u8) -> Frame {
        loop {
            let frame = self.receive().unwrap_or_else(|| panic!("closed instead of sending {opcode:#04x}"));
            if frame.opcode() == opcode {
                return frame;
            }
            assert_eq!(frame.opcode(), opcode::NOP_IN, "waiting for {opcode:#04x}, got {frame:02x?}");
        }
    }

    /// Reads until the target closes the connection and gives what it still sent.
    ///
    /// # Panics
    /// When it keeps the connection.
    pub fn until_closed(&mut self) -> Vec<Frame> {
        let end = Instant::now() + PATIENCE;
        let mut frames = Vec::new();
        while let Some(frame) = self.receive() {
            frames.push(frame);
            assert!(Instant::now() < end, "the target keeps sending: {frames:02x?}");
        }
        frames
    }

    /// A SCSI command with the next CmdSN and tag. `expected` is the expected data transfer length in bytes.
    pub fn command_frame(&mut self, lun: u8, cdb: &[u8], flags: u8, expected: u32) -> Frame {
        let frame = Frame::new(opcode::SCSI_COMMAND)
            .flags(flags)
            .put(9, &[lun])
            .word(16, self.tag)
            .word(20, expected)
            .word(24, self.cmd_sn)
            .word(28, self.exp_stat_sn)
            .put(32, cdb);
        self.tag += 1;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        frame
    }

    /// Runs a command without data or with Data-In of at most `expected` bytes.
    pub fn command_in(&mut self, lun: u8, cdb: &[u8], expected: u32) -> Answer {
        // F, R (if there is data), ATTR = simple.
        let frame = self.command_frame(lun, cdb, if expected > 0 { 0xc1 } else { 0x81 }, expected);
        self.send(&frame);
        self.answer(&[])
    }

    /// Runs a command with Data-Out: nothing immediate, all on request.
    pub fn command_out(&mut self, lun: u8, cdb: &[u8], data: &[u8]) -> Answer {
        let frame = self.command_frame(lun, cdb, 0xa1, u32::try_from(data.len()).expect("a short transfer"));
        self.send(&frame);
        self.answer(data)
    }

    /// Collects what answers the command that was sent last, giving `data` on request.
    fn answer(&mut self, data: &[u8]) -> Answer {
        let mut received = Vec::new();
        loop {
            let frame = self.receive().expect("the target answers a command");
            match frame.opcode() {
                opcode::DATA_IN => {
                    assert_eq!(frame.word_at(40) as usize, received.len(), "Buffer Offset of {frame:02x?}");
                    received.extend_from_slice(&frame.data);
                    if frame.bhs[1] & 1 != 0 {
                        self.exp_stat_sn = frame.word_at(24).wrapping_add(1);
                        return Answer { status: frame.bhs[3], data: received, sense: Vec::new() };
                    }
                }
                opcode::R2T => self.give(&frame, data),
                opcode::SCSI_RESPONSE => {
                    self.exp_stat_sn = frame.word_at(24).wrapping_add(1);
                    let sense = frame.data.get(2..).unwrap_or_default().to_vec();
                    return Answer { status: frame.bhs[3], data: received, sense };
                }
                opcode::NOP_IN => {}
                _ => panic!("not an answer to a command: {frame:02x?}"),
            }
        }
    }

    /// Sends what the R2T asks for, in one Data-Out PDU for each 8 KiB.
    pub fn give(&mut self, r2t: &Frame, data: &[u8]) {
        let (offset, length) = (r2t.word_at(40) as usize, r2t.word_at(44) as usize);
        let asked = &data[offset..offset + length];
        let count = asked.chunks(8192).count();
        for (number, chunk) in asked.chunks(8192).enumerate() {
            let number_word = u32::try_from(number).expect("few PDUs");
            let frame = Frame::new(opcode::DATA_OUT)
                .flags(if number + 1 == count { 0x80 } else { 0 })
                .put(8, &r2t.bhs[8..24])
                .word(28, self.exp_stat_sn)
                .word(36, number_word)
                .word(40, u32::try_from(offset + number * 8192).expect("a short transfer"))
                .data(chunk);
            self.send(&frame);
        }
    }

    /// READ(10) of `blocks` blocks of `block` bytes.
    pub fn read_blocks(&mut self, lun: u8, lba: u32, blocks: u16, block: u32) -> Answer {
        self.command_in(lun, &rw10(0x28, lba, blocks), u32::from(blocks) * block)
    }

    /// WRITE(10) of whole blocks of `block` bytes.
    pub fn write_blocks(&mut self, lun: u8, lba: u32, data: &[u8], block: usize) -> Answer {
        let blocks = u16::try_from(data.len() / block).expect("a short transfer");
        self.command_out(lun, &rw10(0x2a, lba, blocks), data)
    }

    /// READ(16) of `blocks` blocks of `block` bytes.
    pub fn read16(&mut self, lun: u8, lba: u64, blocks: u32, block: u32) -> Answer {
        self.command_in(lun, &rw16(0x88, lba, blocks), blocks * block)
    }

    /// WRITE(16) of whole blocks of `block` bytes.
    pub fn write16(&mut self, lun: u8, lba: u64, data: &[u8], block: usize) -> Answer {
        let blocks = u32::try_from(data.len() / block).expect("a short transfer");
        self.command_out(lun, &rw16(0x8a, lba, blocks), data)
    }

    /// Clears the unit attentions that a new session finds and says whether the unit is ready then.
    pub fn is_ready(&mut self, lun: u8) -> bool {
        (0..5).any(|_| self.command_in(lun, &[0; 6], 0).status == 0)
    }

    /// Sends a NOP-Out that asks for an answer, and waits for it: everything sent before has been looked at.
    pub fn ping(&mut self) {
        let frame = Frame::new(opcode::NOP_OUT | 0x40)
            .word(16, 0xfeed)
            .word(20, u32::MAX)
            .word(24, self.cmd_sn)
            .word(28, self.exp_stat_sn)
            .data(*b"ping");
        self.send(&frame);
        loop {
            let answer = self.expect(opcode::NOP_IN);
            if answer.word_at(16) == 0xfeed {
                assert_eq!(answer.data, b"ping");
                self.exp_stat_sn = answer.word_at(24).wrapping_add(1);
                return;
            }
        }
    }

    /// Logs out and waits for the answer.
    pub fn logout(mut self) {
        let frame = Frame::new(opcode::LOGOUT | 0x40)
            .word(16, self.tag)
            .word(24, self.cmd_sn)
            .word(28, self.exp_stat_sn);
        self.send(&frame);
        self.expect(opcode::LOGOUT_RESPONSE);
    }

    /// Closes the sending half of the connection.
    pub fn half_close(&self) {
        drop(self.stream.shutdown(Shutdown::Write));
    }
}

/// READ(10) or WRITE(10).
pub fn rw10(operation: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [operation, 0, a, b, c, d, 0, e, f, 0]
}

/// READ(16) or WRITE(16).
pub fn rw16(operation: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = operation;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A login request with these flags (T, C, CSG, NSG) and keys.
pub fn login_request(flags: u8, isid: u16, keys: &[(&str, &str)]) -> Frame {
    let [high, low] = isid.to_be_bytes();
    let text: String = keys.iter().map(|(key, value)| format!("{key}={value}\0")).collect();
    // The ISID is of the random kind (RFC 7143 §11.12.5); CmdSN 1, and immediate as a login always is.
    Frame::new(opcode::LOGIN | 0x40).flags(flags).put(8, &[0x80, 0, 0, 0, high, low]).word(24, 1).data(text)
}

/// Keys that are declared and get no answer (RFC 7143 §13).
const DECLARED: [&str; 4] =
    ["TargetPortalGroupTag", "TargetAlias", "TargetAddress", "MaxRecvDataSegmentLength"];

fn offered(keys: &[(&str, &str)], key: &str) -> bool {
    keys.iter().any(|(name, _)| *name == key)
}

/// The `key=value` pairs of a text.
pub fn text_keys(data: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(data);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_states_its_lengths_pads_its_data_and_carries_its_digests() {
        let frame = Frame::new(0x05).data(*b"12345");
        let plain = frame.bytes(Digests::default());
        assert_eq!((plain.len(), &plain[4..8], &plain[48..]), (56, &[0, 0, 0, 5][..], &b"12345\0\0\0"[..]));
        let digested = frame.bytes(Digests { header: true, data: true });
        assert_eq!(digested.len(), 64);
        assert_eq!(digested[60..], crc32c::crc32c(b"12345\0\0\0").to_le_bytes());
        assert_eq!(frame.lie(1, 0xabcdef).bytes(Digests::default())[4..8], [1, 0xab, 0xcd, 0xef]);
    }
}
