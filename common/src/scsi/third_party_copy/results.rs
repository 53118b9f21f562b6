//! What the RECEIVE COPY commands return (SPC-4 §6.22 to §6.28).

use super::rod::{ROD_TOKEN_LEN, RodToken};
use crate::scsi::bytes::{array, u8_at, u16_at, u32_at, u64_at};

/// COPY OPERATION STATUS, of which EXTENDED COPY COMMAND STATUS has the first three (SPC-4 table 243).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyStatus {
    /// Under way, in the foreground: 00h, and 11h for the token commands.
    InProgress,
    /// 01h: all was copied.
    Completed,
    /// 02h: it ended early.
    Failed,
}

impl CopyStatus {
    const fn lid1(self) -> u8 {
        match self {
            Self::InProgress => 0,
            Self::Completed => 1,
            Self::Failed => 2,
        }
    }

    const fn token(self) -> u8 {
        match self {
            Self::InProgress => 0x11,
            other => other.lid1(),
        }
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        match bits & 0x7f {
            0 | 0x10..=0x12 => Some(Self::InProgress),
            1 => Some(Self::Completed),
            2 => Some(Self::Failed),
            _ => None,
        }
    }
}

/// Data of RECEIVE COPY STATUS(LID1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferCount {
    /// EXTENDED COPY COMMAND STATUS.
    pub status: CopyStatus,
    /// SEGMENTS PROCESSED: those that are complete.
    pub segments: u16,
    /// Bytes that were written to destinations.
    pub bytes: u64,
}

impl TransferCount {
    /// The data. A count that 32 bits cannot hold is told in units of 1024 bytes, or of 1024 times that, and so on, rounded down.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let unit = (0u8..6).find(|unit| u32::try_from(self.bytes >> (10 * unit)).is_ok()).unwrap_or(5);
        let count = u32::try_from(self.bytes >> (10 * unit)).unwrap_or(u32::MAX);
        let mut out = vec![0, 0, 0, 8, self.status.lid1()];
        out.extend(self.segments.to_be_bytes());
        out.push(unit);
        out.extend(count.to_be_bytes());
        out
    }

    /// Reads the data.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let unit = u8_at(bytes, 7).filter(|unit| *unit < 6)?;
        let count = u64::from(u32_at(bytes, 8)?);
        Some(Self {
            status: CopyStatus::from_bits(u8_at(bytes, 4)?)?,
            segments: u16_at(bytes, 5)?,
            bytes: count.checked_shl(u32::from(unit) * 10)?,
        })
    }
}

/// Data of RECEIVE COPY OPERATING PARAMETERS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatingParameters {
    /// MAXIMUM CSCD DESCRIPTOR COUNT.
    pub cscds: u16,
    /// MAXIMUM SEGMENT DESCRIPTOR COUNT.
    pub segments: u16,
    /// MAXIMUM DESCRIPTOR LIST LENGTH.
    pub descriptors_len: u32,
    /// MAXIMUM SEGMENT LENGTH in bytes; zero is no limit but that of the descriptor.
    pub segment_len: u32,
    /// TOTAL CONCURRENT COPIES, with and without a list identifier.
    pub concurrent_copies: u16,
    /// DATA SEGMENT GRANULARITY as a power of two of bytes.
    pub granularity: u8,
    /// Type codes of the descriptors.
    pub descriptors: Vec<u8>,
}

impl OperatingParameters {
    /// The data. No list identifier is asked for (SNLID), no data is inline or held.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 44];
        out[4] = 1;
        out[8..10].copy_from_slice(&self.cscds.to_be_bytes());
        out[10..12].copy_from_slice(&self.segments.to_be_bytes());
        out[12..16].copy_from_slice(&self.descriptors_len.to_be_bytes());
        out[16..20].copy_from_slice(&self.segment_len.to_be_bytes());
        out[34..36].copy_from_slice(&self.concurrent_copies.to_be_bytes());
        // MAXIMUM CONCURRENT COPIES: those with a list identifier, of which there are 256.
        out[36] = u8::try_from(self.concurrent_copies).unwrap_or(u8::MAX);
        out[37] = self.granularity;
        out[43] = u8::try_from(self.descriptors.len()).unwrap_or(u8::MAX);
        out.extend(&self.descriptors);
        let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Reads the data.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let count = usize::from(u8_at(bytes, 43)?);
        Some(Self {
            cscds: u16_at(bytes, 8)?,
            segments: u16_at(bytes, 10)?,
            descriptors_len: u32_at(bytes, 12)?,
            segment_len: u32_at(bytes, 16)?,
            concurrent_copies: u16_at(bytes, 34)?,
            granularity: u8_at(bytes, 37)?,
            descriptors: bytes.get(44..44 + count)?.to_vec(),
        })
    }
}

/// Data of RECEIVE COPY FAILURE DETAILS(LID1); `sense` is `None` when the copy did not fail.
#[must_use]
pub fn encode_failure_details(sense: Option<&[u8]>) -> Vec<u8> {
    let mut out = vec![0; 60];
    // Without a failure nothing is available (SPC-4 §6.22).
    let Some(sense) = sense else { return out };
    out[56] = CopyStatus::Failed.lid1();
    out[58..60].copy_from_slice(&u16::try_from(sense.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(sense);
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// The sense data of a RECEIVE COPY FAILURE DETAILS(LID1); `None` when there was no failure.
#[must_use]
pub fn decode_failure_details(bytes: &[u8]) -> Option<&[u8]> {
    u32_at(bytes, 0).filter(|&available| available != 0)?;
    bytes.get(60..60 + usize::from(u16_at(bytes, 58)?))
}

/// Data of RECEIVE ROD TOKEN INFORMATION.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RodTokenInformation {
    /// RESPONSE TO SERVICE ACTION: which command it is about.
    pub service_action: u8,
    /// COPY OPERATION STATUS.
    pub status: CopyStatus,
    /// EXTENDED COPY COMPLETION STATUS: the SCSI status.
    pub completion: u8,
    /// SENSE DATA, with CHECK CONDITION.
    pub sense: Vec<u8>,
    /// TRANSFER COUNT in logical blocks.
    pub blocks: u64,
    /// The token that was made.
    pub token: Option<Box<RodToken>>,
}

/// TRANSFER COUNT UNITS: logical blocks (SPC-4 table 244).
const UNITS_BLOCKS: u8 = 0xf1;

impl RodTokenInformation {
    /// The data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; 32];
        out[4] = self.service_action & 0x1f;
        out[5] = self.status.token();
        // ESTIMATED STATUS UPDATE DELAY: none is known while it runs, and none is needed after it.
        let delay = if self.status == CopyStatus::InProgress { 0xffff_fffe } else { u32::MAX };
        out[8..12].copy_from_slice(&delay.to_be_bytes());
        out[12] = self.completion;
        let sense = self.sense.get(..self.sense.len().min(252)).unwrap_or_default();
        let sense_len = u8::try_from(sense.len()).unwrap_or(0);
        (out[13], out[14]) = (sense_len, sense_len);
        out[15] = UNITS_BLOCKS;
        out[16..24].copy_from_slice(&self.blocks.to_be_bytes());
        out.extend(sense);
        match &self.token {
            None => out.extend([0; 4]),
            Some(token) => {
                // One descriptor: ID FOR CREATING ROD CSCD DESCRIPTOR, which is none here, and the token.
                out.extend([0, 0, 2, 2, 0, 0]);
                out.extend(token.0);
            }
        }
        let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
        out[..4].copy_from_slice(&len.to_be_bytes());
        out
    }

    /// Reads the data; `None` when it is cut.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let sense_field = usize::from(u8_at(bytes, 13)?);
        let sense = bytes.get(32..32 + usize::from(u8_at(bytes, 14)?))?.to_vec();
        let tokens_at = 32 + sense_field;
        let token = if u32_at(bytes, tokens_at)? == 0 {
            None
        } else {
            Some(Box::new(RodToken(array::<ROD_TOKEN_LEN>(bytes, tokens_at + 6)?)))
        };
        Some(Self {
            service_action: u8_at(bytes, 4)? & 0x1f,
            status: CopyStatus::from_bits(u8_at(bytes, 5)?)?,
            completion: u8_at(bytes, 12)?,
            sense,
            blocks: u64_at(bytes, 16)?,
            token,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_survives_the_wire_and_large_counts_are_told_in_larger_units() {
        let count = |bytes| TransferCount { status: CopyStatus::Completed, segments: 0x0102, bytes };
        assert_eq!(count(0x0304).encode(), [0, 0, 0, 8, 1, 1, 2, 0, 0, 0, 3, 4]);
        assert_eq!(count(5 << 32).encode()[7..], [1, 1, 0x40, 0, 0]);
        for bytes in [0, 1, u32::MAX.into(), 1 << 32, 7 << 50] {
            assert_eq!(TransferCount::decode(&count(bytes).encode()), Some(count(bytes)));
        }
        assert_eq!(TransferCount::decode(&count(0).encode()[..11]), None);
    }

    #[test]
    fn operating_parameters_survive_the_wire() {
        let parameters = OperatingParameters {
            cscds: 1,
            segments: 2,
            descriptors_len: 3,
            segment_len: 4,
            concurrent_copies: 5,
            granularity: 9,
            descriptors: vec![2, 0xe4],
        };
        let bytes = parameters.encode();
        assert_eq!((bytes[3], bytes[4], bytes[43], bytes.len()), (42, 1, 2, 46));
        assert_eq!(OperatingParameters::decode(&bytes), Some(parameters));
        assert_eq!(OperatingParameters::decode(&bytes[..45]), None);
    }

    #[test]
    fn failure_details_have_the_sense_data_or_nothing_at_all() {
        let bytes = encode_failure_details(Some(&[1, 2, 3]));
        assert_eq!((bytes[3], bytes[56], bytes[59], bytes.len()), (59, 2, 3, 63));
        assert_eq!(decode_failure_details(&bytes), Some([1, 2, 3].as_slice()));
        assert_eq!(decode_failure_details(&encode_failure_details(None)), None);
    }

    #[test]
    fn token_information_survives_the_wire() {
        let mut information = RodTokenInformation {
            service_action: 0x10,
            status: CopyStatus::Completed,
            completion: 0,
            sense: Vec::new(),
            blocks: 0x0102,
            token: Some(Box::new(RodToken([0x5a; ROD_TOKEN_LEN]))),
        };
        let bytes = information.encode();
        assert_eq!(bytes.len(), 32 + 4 + 2 + 512);
        assert_eq!(bytes[..6], [0, 0, 2, 34, 0x10, 1]);
        assert_eq!(bytes[32..38], [0, 0, 2, 2, 0, 0]);
        assert_eq!(RodTokenInformation::decode(&bytes), Some(information.clone()));
        information.sense = vec![0x70; 18];
        (information.status, information.token) = (CopyStatus::Failed, None);
        let bytes = information.encode();
        assert_eq!(RodTokenInformation::decode(&bytes), Some(information));
        for end in 0..bytes.len() {
            assert_eq!(RodTokenInformation::decode(&bytes[..end]), None);
        }
    }
}
