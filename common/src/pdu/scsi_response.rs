//! SCSI Response (RFC 7143 §11.4).
//!
//! | bytes | field |
//! |---|---|
//! | 0 | 21h |
//! | 1 | 80h, o (10h), u (08h), O (04h), U (02h) |
//! | 2 | Response |
//! | 3 | Status |
//! | 16-19 | Initiator Task Tag |
//! | 20-23 | SNACK Tag |
//! | 24-27 | StatSN |
//! | 28-31 | ExpCmdSN |
//! | 32-35 | MaxCmdSN |
//! | 36-39 | ExpDataSN |
//! | 40-43 | Bidirectional Read Residual Count |
//! | 44-47 | Residual Count |
//!
//! The data segment holds SenseLength in two bytes, the sense, and response data.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::PduError;
use super::fields::{self, FINAL, Fields, bit, u32_at};
use super::{Bhs, InitiatorTaskTag, Pdu};
use crate::scsi::Status;
use crate::serial::{CmdSn, DataSn, StatSn};

/// iSCSI service response (RFC 7143 §11.4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceResponse {
    /// 00h, command completed at target.
    CommandCompleted,
    /// 01h, target failure.
    TargetFailure,
    /// 80h to FFh, vendor specific.
    Vendor(u8),
}

/// Difference between expected and actual transfer length (RFC 7143 §11.4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Residual {
    /// Neither O nor U.
    #[default]
    None,
    /// O bit: so many bytes were not transferred because the expected length was too small.
    Overflow(u32),
    /// U bit: so many bytes of the expected length were not transferred.
    Underflow(u32),
}

/// SCSI Response header, opcode 21h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScsiResponse {
    /// Residual of the write, or only, direction.
    pub residual: Residual,
    /// Residual of the read half of a bidirectional command.
    pub bidirectional_residual: Residual,
    /// iSCSI response.
    pub response: ServiceResponse,
    /// SCSI status; meaningful with [`ServiceResponse::CommandCompleted`] only. Otherwise it is sent as 0 and decodes to
    /// CHECK CONDITION, so that nobody takes a failure for GOOD.
    pub status: Status,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// SNACK Tag, or 0.
    pub snack_tag: u32,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
    /// ExpDataSN: Data-In and R2T PDUs sent for the command.
    pub exp_data_sn: DataSn,
}

const NAME: &str = "SCSI Response";

impl ServiceResponse {
    const fn to_byte(self) -> u8 {
        match self {
            Self::CommandCompleted => 0x00,
            Self::TargetFailure => 0x01,
            Self::Vendor(byte) => byte | 0x80,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::CommandCompleted),
            0x01 => Some(Self::TargetFailure),
            0x80.. => Some(Self::Vendor(byte)),
            _ => None,
        }
    }
}

impl Residual {
    /// From the two bits of a header and the count that belongs to them; `None` when both bits are set.
    pub(super) const fn from_bits(overflow: bool, underflow: bool, count: u32) -> Option<Self> {
        match (overflow, underflow) {
            (false, false) => Some(Self::None),
            (true, false) => Some(Self::Overflow(count)),
            (false, true) => Some(Self::Underflow(count)),
            (true, true) => None,
        }
    }

    /// The flag bits, given which bit means overflow and which underflow, and the count.
    pub(super) const fn to_bits(self, overflow: u8, underflow: u8) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Overflow(count) => (overflow, count),
            Self::Underflow(count) => (underflow, count),
        }
    }
}

/// o, u, O and U bits.
const BIDIRECTIONAL_OVERFLOW: u8 = 0x10;
const BIDIRECTIONAL_UNDERFLOW: u8 = 0x08;
pub(super) const OVERFLOW: u8 = 0x04;
pub(super) const UNDERFLOW: u8 = 0x02;

impl ScsiResponse {
    /// Opcode on the wire.
    pub const OPCODE: u8 = 0x21;

    /// Reads the header.
    ///
    /// # Errors
    /// An undefined Response or, when the command completed, an undefined Status; overflow and underflow together.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        let undefined = |field, value: u8| PduError::UndefinedValue { pdu: NAME, field, value: value.into() };
        let response = ServiceResponse::from_byte(bhs[2]).ok_or_else(|| undefined("Response", bhs[2]))?;
        let status = match response {
            ServiceResponse::CommandCompleted => {
                Status::from_byte(bhs[3]).ok_or_else(|| undefined("Status", bhs[3]))?
            }
            _ => Status::CheckCondition,
        };
        let residual = |overflow, underflow, at| {
            Residual::from_bits(bhs[1] & overflow != 0, bhs[1] & underflow != 0, u32_at(bhs, at)).ok_or(
                PduError::Contradiction { pdu: NAME, rule: "overflow and underflow are both set (11.4.1)" },
            )
        };
        Ok(Self {
            residual: residual(OVERFLOW, UNDERFLOW, 44)?,
            bidirectional_residual: residual(BIDIRECTIONAL_OVERFLOW, BIDIRECTIONAL_UNDERFLOW, 40)?,
            response,
            status,
            itt: fields::itt(bhs),
            snack_tag: u32_at(bhs, 20),
            stat_sn: StatSn(u32_at(bhs, 24)),
            exp_cmd_sn: CmdSn(u32_at(bhs, 28)),
            max_cmd_sn: CmdSn(u32_at(bhs, 32)),
            exp_data_sn: DataSn(u32_at(bhs, 36)),
        })
    }

    /// The header with its lengths still zero.
    #[must_use]
    pub fn encode(&self) -> Bhs {
        let (flags, residual) = self.residual.to_bits(OVERFLOW, UNDERFLOW);
        let (bidirectional_flags, bidirectional_residual) =
            self.bidirectional_residual.to_bits(BIDIRECTIONAL_OVERFLOW, BIDIRECTIONAL_UNDERFLOW);
        let completed = self.response == ServiceResponse::CommandCompleted;
        Fields::new(Self::OPCODE, FINAL | flags | bidirectional_flags)
            .u8(2, self.response.to_byte())
            .u8(3, bit(completed, self.status as u8))
            .itt(self.itt)
            .u32(20, self.snack_tag)
            .u32(24, self.stat_sn.0)
            .u32(28, self.exp_cmd_sn.0)
            .u32(32, self.max_cmd_sn.0)
            .u32(36, self.exp_data_sn.0)
            .u32(40, bidirectional_residual)
            .u32(44, residual)
            .build()
    }
}

/// The data segment of a response with sense data: SenseLength and the sense itself (RFC 7143 §11.4.7). Empty for no
/// sense. Sense beyond 65535 bytes cannot be stated and is cut; SPC-4 allows 252.
#[must_use]
pub fn sense_segment(sense: &[u8]) -> Bytes {
    if sense.is_empty() {
        return Bytes::new();
    }
    let len = u16::try_from(sense.len()).unwrap_or(u16::MAX);
    let mut segment = BytesMut::with_capacity(2 + usize::from(len));
    segment.put_u16(len);
    segment.put_slice(&sense[..usize::from(len)]);
    segment.freeze()
}

/// Splits the data segment of a response into sense and response data (RFC 7143 §11.4.7): both empty for an empty segment.
///
/// # Errors
/// [`PduError::SenseTruncated`] when SenseLength reaches past the segment.
pub fn split_sense(segment: &Bytes) -> Result<(Bytes, Bytes), PduError> {
    if segment.is_empty() {
        return Ok((Bytes::new(), Bytes::new()));
    }
    let [high, low, rest @ ..] = &segment[..] else {
        return Err(PduError::SenseTruncated { sense_len: 2, available: segment.len() });
    };
    let sense_len = usize::from(u16::from_be_bytes([*high, *low]));
    if sense_len > rest.len() {
        return Err(PduError::SenseTruncated { sense_len, available: rest.len() });
    }
    Ok((segment.slice(2..2 + sense_len), segment.slice(2 + sense_len..)))
}

impl Pdu<ScsiResponse> {
    /// The sense data, empty when there is none.
    ///
    /// # Errors
    /// See [`split_sense`].
    pub fn sense(&self) -> Result<Bytes, PduError> {
        split_sense(&self.data).map(|(sense, _)| sense)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{bhs, undefined};
    use super::*;

    fn response() -> ScsiResponse {
        ScsiResponse {
            residual: Residual::Underflow(0x200),
            bidirectional_residual: Residual::None,
            response: ServiceResponse::CommandCompleted,
            status: Status::CheckCondition,
            itt: InitiatorTaskTag(0x1011_1213),
            snack_tag: 0,
            stat_sn: StatSn(0x2021_2223),
            exp_cmd_sn: CmdSn(0x3031_3233),
            max_cmd_sn: CmdSn(0x4041_4243),
            exp_data_sn: DataSn(0x5051_5253),
        }
    }

    #[test]
    fn a_response_stands_at_the_offsets_of_the_standard() {
        let wire = bhs("21820002 0 0 0 10111213 0 20212223 30313233 40414243 50515253 0 00000200");
        assert_eq!(response().encode(), wire);
        assert_eq!(ScsiResponse::decode(&wire), Ok(response()));
    }

    #[test]
    fn residual_bits_go_with_their_own_counts() {
        let wire =
            bhs("21940000 0 0 0 10111213 00000007 20212223 30313233 40414243 50515253 00000001 00000002");
        let decoded = ScsiResponse::decode(&wire).unwrap();
        assert_eq!(decoded.bidirectional_residual, Residual::Overflow(1));
        assert_eq!(decoded.residual, Residual::Overflow(2));
        assert_eq!(decoded.snack_tag, 7);
        for both in [0x86, 0x98] {
            let mut wire = wire;
            wire[1] = both;
            assert!(matches!(ScsiResponse::decode(&wire), Err(PduError::Contradiction { .. })));
        }
    }

    #[test]
    fn an_undefined_status_is_an_error_and_never_good() {
        for byte in 0..=255 {
            let mut wire = response().encode();
            wire[3] = byte;
            match ScsiResponse::decode(&wire) {
                Ok(decoded) => assert_eq!(decoded.status as u8, byte),
                Err(error) => {
                    assert_eq!(Status::from_byte(byte), None);
                    assert_eq!(error, undefined("SCSI Response", "Status", byte.into()));
                }
            }
        }
    }

    #[test]
    fn a_target_failure_never_decodes_as_good() {
        let failed = ScsiResponse { response: ServiceResponse::TargetFailure, ..response() };
        let wire = failed.encode();
        assert_eq!(&wire[2..4], [1, 0]);
        assert_eq!(ScsiResponse::decode(&wire).unwrap().status, Status::CheckCondition);
        let mut wire = wire;
        wire[2] = 0x7f;
        assert_eq!(ScsiResponse::decode(&wire), Err(undefined("SCSI Response", "Response", 0x7f)));
    }

    #[test]
    fn sense_is_preceded_by_its_length() {
        let segment = sense_segment(&[0x72, 0x06, 0x29]);
        assert_eq!(&segment[..], [0, 3, 0x72, 0x06, 0x29]);
        assert_eq!(&split_sense(&segment).unwrap().0[..], [0x72, 0x06, 0x29]);
        let (sense, data) = split_sense(&Bytes::from_static(&[0, 1, 0x70, 0xaa, 0xbb])).unwrap();
        assert_eq!((&sense[..], &data[..]), (&[0x70][..], &[0xaa, 0xbb][..]));
        assert_eq!(split_sense(&sense_segment(&[])), Ok((Bytes::new(), Bytes::new())));
    }

    #[test]
    fn a_sense_length_past_the_segment_is_an_error() {
        for segment in [&[0u8, 4, 1, 2, 3][..], &[0], &[0xff, 0xff]] {
            let error = split_sense(&Bytes::copy_from_slice(segment)).unwrap_err();
            assert!(matches!(error, PduError::SenseTruncated { .. }), "{segment:?}");
        }
    }
}
