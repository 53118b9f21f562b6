//! Parameter data of PERSISTENT RESERVE IN (SPC-4 §6.15). Encoding gives all of it; cutting it to the allocation length is the
//! device server's, and never changes ADDITIONAL LENGTH.

use super::transport_id::TransportId;
use super::{Key, ReservationType, SCOPE_LOGICAL_UNIT};
use crate::scsi::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Bytes before the keys, the reservation or the descriptors.
const HEADER_LEN: usize = 8;
/// Bytes of the reservation of READ RESERVATION.
const RESERVATION_LEN: usize = 16;
/// Bytes of a descriptor of READ FULL STATUS before its TransportID.
const DESCRIPTOR_LEN: usize = 24;

/// READ KEYS: one key for each registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadKeys {
    /// PRGENERATION.
    pub generation: u32,
    /// The keys, in no particular order; one that several nexuses have is there several times.
    pub keys: Vec<Key>,
}

/// READ RESERVATION.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadReservation {
    /// PRGENERATION.
    pub generation: u32,
    /// The reservation, if there is one.
    pub held: Option<Held>,
}

/// A persistent reservation as READ RESERVATION tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The holder's key; zero for an all-registrants type.
    pub key: Key,
    /// Its type.
    pub kind: ReservationType,
}

/// REPORT CAPABILITIES.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// RLR_C: REPLACE LOST RESERVATION is supported.
    pub replace_lost: bool,
    /// CRH: RESERVE and RELEASE are handled compatibly.
    pub compatible_handling: bool,
    /// SIP_C: SPEC_I_PT is supported.
    pub specify_initiator_ports: bool,
    /// ATP_C: ALL_TG_PT is supported.
    pub all_target_ports: bool,
    /// PTPL_C: the record can survive a loss of power.
    pub persist_capable: bool,
    /// PTPL_A: it does.
    pub persist_active: bool,
    /// ALLOW COMMANDS, three bits.
    pub allow_commands: u8,
    /// The types that are supported, when TMV says so.
    pub types: Vec<ReservationType>,
}

/// READ FULL STATUS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FullStatus {
    /// PRGENERATION.
    pub generation: u32,
    /// One for each registration.
    pub registrants: Vec<Registrant>,
}

/// A registration as READ FULL STATUS tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrant {
    /// Its key.
    pub key: Key,
    /// ALL_TG_PT: it was made for every target port.
    pub all_target_ports: bool,
    /// R_HOLDER: the reservation's type, when it holds it.
    pub holds: Option<ReservationType>,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub relative_target_port: u16,
    /// Who.
    pub transport_id: TransportId,
}

fn header(generation: u32, additional: usize) -> Vec<u8> {
    let additional = u32::try_from(additional).unwrap_or(u32::MAX);
    [generation.to_be_bytes(), additional.to_be_bytes()].concat()
}

/// PRGENERATION, and as much of what follows as ADDITIONAL LENGTH says and as has come.
fn open(data: &[u8]) -> Option<(u32, &[u8])> {
    let (generation, additional) = (u32_at(data, 0)?, u32_at(data, 4)?);
    let rest = data.get(HEADER_LEN..)?;
    let len = usize::try_from(additional).unwrap_or(usize::MAX).min(rest.len());
    Some((generation, rest.get(..len)?))
}

impl ReadKeys {
    /// The parameter data, uncut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = header(self.generation, self.keys.len() * 8);
        self.keys.iter().for_each(|key| out.extend(key.0.to_be_bytes()));
        out
    }

    /// Reads parameter data, which may be cut; `None` when even the header is not there.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (generation, rest) = open(data)?;
        let keys = rest.chunks_exact(8).filter_map(|key| u64_at(key, 0).map(Key)).collect();
        Some(Self { generation, keys })
    }
}

impl ReadReservation {
    /// The parameter data, uncut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let Some(Held { key, kind }) = self.held else { return header(self.generation, 0) };
        let mut out = header(self.generation, RESERVATION_LEN);
        out.extend(key.0.to_be_bytes());
        out.extend([0; 5]);
        out.push(SCOPE_LOGICAL_UNIT << 4 | kind as u8);
        out.extend([0; 2]);
        out
    }

    /// Reads parameter data; `None` when it is cut, or tells of a type that there is not.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (generation, rest) = open(data)?;
        if u32_at(data, 4) == Some(0) {
            return Some(Self { generation, held: None });
        }
        let kind = ReservationType::from_bits(u8_at(rest, 13)?)?;
        Some(Self { generation, held: Some(Held { key: Key(u64_at(rest, 0)?), kind }) })
    }
}

/// Byte and bit of each type in PERSISTENT RESERVATION TYPE MASK, from the start of the data.
const TYPE_MASK: [(ReservationType, usize, u8); 6] = [
    (ReservationType::WriteExclusiveAllRegistrants, 4, 0x80),
    (ReservationType::ExclusiveAccessRegistrantsOnly, 4, 0x40),
    (ReservationType::WriteExclusiveRegistrantsOnly, 4, 0x20),
    (ReservationType::ExclusiveAccess, 4, 0x08),
    (ReservationType::WriteExclusive, 4, 0x02),
    (ReservationType::ExclusiveAccessAllRegistrants, 5, 0x01),
];

impl Capabilities {
    /// The parameter data, uncut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flag = |bit: u8, value: bool| u8::from(value) << bit;
        let features = flag(7, self.replace_lost)
            | flag(4, self.compatible_handling)
            | flag(3, self.specify_initiator_ports)
            | flag(2, self.all_target_ports)
            | flag(0, self.persist_capable);
        // TMV is one: the mask is valid.
        let modes = 0x80 | (self.allow_commands & 7) << 4 | flag(0, self.persist_active);
        let mut out = vec![0, 8, features, modes, 0, 0, 0, 0];
        for (kind, byte, bit) in TYPE_MASK {
            if let Some(mask) = out.get_mut(byte).filter(|_| self.types.contains(&kind)) {
                *mask |= bit;
            }
        }
        out
    }

    /// Reads parameter data; `None` when it is cut.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        if u16_at(data, 0)? < 8 {
            return None;
        }
        let (features, modes) = (u8_at(data, 2)?, u8_at(data, 3)?);
        let flag = |bit: u8| features >> bit & 1 != 0;
        let mask = [u8_at(data, 4)?, u8_at(data, 5)?];
        let has =
            |byte: usize, bit: u8| modes & 0x80 != 0 && mask.get(byte - 4).is_some_and(|m| m & bit != 0);
        Some(Self {
            replace_lost: flag(7),
            compatible_handling: flag(4),
            specify_initiator_ports: flag(3),
            all_target_ports: flag(2),
            persist_capable: flag(0),
            persist_active: modes & 1 != 0,
            allow_commands: modes >> 4 & 7,
            types: ReservationType::ALL
                .into_iter()
                .filter(|kind| TYPE_MASK.iter().any(|&(k, byte, bit)| k == *kind && has(byte, bit)))
                .collect(),
        })
    }
}

impl FullStatus {
    /// The parameter data, uncut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let descriptors: Vec<u8> = self.registrants.iter().flat_map(Registrant::encode).collect();
        let mut out = header(self.generation, descriptors.len());
        out.extend(descriptors);
        out
    }

    /// Reads parameter data, which may be cut: a descriptor that is not all there is left out. `None` when even the header is
    /// not there.
    #[must_use]
    pub fn decode(data: &[u8]) -> Option<Self> {
        let (generation, mut rest) = open(data)?;
        let mut registrants = Vec::new();
        while let Some((registrant, len)) = Registrant::decode(rest) {
            registrants.push(registrant);
            rest = rest.get(len..).unwrap_or_default();
        }
        Some(Self { generation, registrants })
    }
}

impl Registrant {
    fn encode(&self) -> Vec<u8> {
        let transport_id = self.transport_id.encode();
        let mut out = self.key.0.to_be_bytes().to_vec();
        out.extend([0; 4]);
        out.push(u8::from(self.all_target_ports) << 1 | u8::from(self.holds.is_some()));
        out.push(self.holds.map_or(0, |kind| SCOPE_LOGICAL_UNIT << 4 | kind as u8));
        out.extend([0; 4]);
        out.extend(self.relative_target_port.to_be_bytes());
        out.extend(u32::try_from(transport_id.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(transport_id);
        out
    }

    fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        let len = DESCRIPTOR_LEN.checked_add(usize::try_from(u32_at(bytes, 20)?).ok()?)?;
        let (transport_id, _) = TransportId::decode(bytes.get(DESCRIPTOR_LEN..len)?).ok()?;
        let flags = u8_at(bytes, 12)?;
        let kind = u8_at(bytes, 13).and_then(ReservationType::from_bits);
        let registrant = Self {
            key: Key(u64_at(bytes, 0)?),
            all_target_ports: flags & 2 != 0,
            holds: kind.filter(|_| flags & 1 != 0),
            relative_target_port: u16_at(bytes, 18)?,
            transport_id,
        };
        Some((registrant, len))
    }
}
