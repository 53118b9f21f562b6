//! The table of all PDUs: opcode, name, whether it has a data segment, and its codec.
//!
//! Which PDUs have a data segment is read off the figures of RFC 7143 §11; only SCSI Command has additional header
//! segments (RFC 7143 §11.2.2: both types belong to a command).

use super::fields::OPCODE_MASK;
use super::{
    Ahs, AsyncMessage, Bhs, DataIn, DataOut, InitiatorHeader, InitiatorPdu, LoginRequest, LoginResponse,
    LogoutRequest, LogoutResponse, NopIn, NopOut, Pdu, PduError, R2t, RawPdu, Reject, ScsiCommand,
    ScsiResponse, SnackRequest, TargetHeader, TargetPdu, TaskManagementRequest, TaskManagementResponse,
    TextRequest, TextResponse,
};

/// What every header knows about itself.
pub trait Header {
    /// The PDU's name in RFC 7143.
    fn name(&self) -> &'static str;

    /// Whether the PDU may carry a data segment.
    fn has_data_segment(&self) -> bool;

    /// Whether the PDU may carry additional header segments.
    fn has_ahs(&self) -> bool;

    /// The basic header segment with TotalAHSLength and DataSegmentLength still zero.
    fn to_bhs(&self) -> Bhs;
}

macro_rules! headers {
    ($all:ident from $sender:literal: $($header:ident $name:literal, data: $data:literal, ahs: $ahs:literal, $decode:expr;)*) => {
        $(
            impl Header for $header {
                fn name(&self) -> &'static str {
                    $name
                }

                fn has_data_segment(&self) -> bool {
                    $data
                }

                fn has_ahs(&self) -> bool {
                    $ahs
                }

                fn to_bhs(&self) -> Bhs {
                    self.encode()
                }
            }

            impl From<$header> for $all {
                fn from(header: $header) -> Self {
                    Self::$header(header)
                }
            }

            impl From<Pdu<$header>> for Pdu<$all> {
                fn from(pdu: Pdu<$header>) -> Self {
                    Self { header: pdu.header.into(), ahs: pdu.ahs, data: pdu.data }
                }
            }
        )*

        impl Header for $all {
            fn name(&self) -> &'static str {
                match self {
                    $(Self::$header(_) => $name,)*
                }
            }

            fn has_data_segment(&self) -> bool {
                match self {
                    $(Self::$header(_) => $data,)*
                }
            }

            fn has_ahs(&self) -> bool {
                match self {
                    $(Self::$header(_) => $ahs,)*
                }
            }

            fn to_bhs(&self) -> Bhs {
                match self {
                    $(Self::$header(header) => header.encode(),)*
                }
            }
        }

        impl $all {
            /// Reads a basic header segment, choosing by its opcode.
            ///
            /// # Errors
            /// An opcode that this side does not send; whatever the chosen codec finds.
            pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
                match bhs[0] & OPCODE_MASK {
                    $($header::OPCODE => {
                        let decode: fn(&Bhs) -> Result<$header, PduError> = $decode;
                        decode(bhs).map(Self::$header)
                    })*
                    opcode => Err(PduError::UnknownOpcode { opcode, sender: $sender }),
                }
            }
        }
    };
}

headers! { InitiatorHeader from "an initiator":
    NopOut "NOP-Out", data: true, ahs: false, |bhs| Ok(NopOut::decode(bhs));
    ScsiCommand "SCSI Command", data: true, ahs: true, ScsiCommand::decode;
    TaskManagementRequest "Task Management Function Request", data: false, ahs: false,
        |bhs| Ok(TaskManagementRequest::decode(bhs));
    LoginRequest "Login Request", data: true, ahs: false, LoginRequest::decode;
    TextRequest "Text Request", data: true, ahs: false, TextRequest::decode;
    DataOut "SCSI Data-Out", data: true, ahs: false, |bhs| Ok(DataOut::decode(bhs));
    LogoutRequest "Logout Request", data: false, ahs: false, LogoutRequest::decode;
    SnackRequest "SNACK Request", data: false, ahs: false, SnackRequest::decode;
}

headers! { TargetHeader from "a target":
    NopIn "NOP-In", data: true, ahs: false, |bhs| Ok(NopIn::decode(bhs));
    ScsiResponse "SCSI Response", data: true, ahs: false, ScsiResponse::decode;
    TaskManagementResponse "Task Management Function Response", data: false, ahs: false,
        TaskManagementResponse::decode;
    LoginResponse "Login Response", data: true, ahs: false, LoginResponse::decode;
    TextResponse "Text Response", data: true, ahs: false, TextResponse::decode;
    DataIn "SCSI Data-In", data: true, ahs: false, DataIn::decode;
    LogoutResponse "Logout Response", data: false, ahs: false, LogoutResponse::decode;
    R2t "Ready To Transfer", data: false, ahs: false, R2t::decode;
    AsyncMessage "Asynchronous Message", data: true, ahs: false, |bhs| Ok(AsyncMessage::decode(bhs));
    Reject "Reject", data: true, ahs: false, Reject::decode;
}

impl InitiatorPdu {
    /// Types a PDU from an initiator.
    ///
    /// # Errors
    /// What the header's codec or the chain of additional header segments refuses; a segment that this PDU cannot have.
    /// [`PduError::reject_reason`] is what to answer, with the PDU's header as data.
    pub fn decode(raw: RawPdu) -> Result<Self, PduError> {
        assemble(InitiatorHeader::decode(&raw.bhs)?, raw)
    }
}

impl TargetPdu {
    /// Types a PDU from a target.
    ///
    /// # Errors
    /// As for [`InitiatorPdu::decode`]; there is no Reject in this direction, so the connection is at its end.
    pub fn decode(raw: RawPdu) -> Result<Self, PduError> {
        assemble(TargetHeader::decode(&raw.bhs)?, raw)
    }
}

fn assemble<H: Header>(header: H, raw: RawPdu) -> Result<Pdu<H>, PduError> {
    if !raw.ahs.is_empty() && !header.has_ahs() {
        return Err(PduError::UnexpectedAhs { pdu: header.name(), len: raw.ahs.len() });
    }
    if !raw.data.is_empty() && !header.has_data_segment() {
        return Err(PduError::UnexpectedData { pdu: header.name(), len: raw.data.len() });
    }
    Ok(Pdu { header, ahs: Ahs::decode_chain(&raw.ahs)?, data: raw.data })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::reject::RejectReason;
    use super::super::{BHS_LEN, strategies};
    use super::*;

    #[test]
    fn an_opcode_of_the_other_side_is_a_command_not_supported() {
        let initiators = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10];
        let targets = [0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x31, 0x32, 0x3f];
        for opcode in 0..=0x3f {
            let mut bhs = [0; BHS_LEN];
            bhs[0] = opcode;
            let unknown = |error| matches!(error, PduError::UnknownOpcode { opcode: o, .. } if o == opcode);
            assert_eq!(InitiatorHeader::decode(&bhs).is_err_and(unknown), !initiators.contains(&opcode));
            assert_eq!(TargetHeader::decode(&bhs).is_err_and(unknown), !targets.contains(&opcode));
        }
        let error = InitiatorHeader::decode(&[0x1c; BHS_LEN]).unwrap_err();
        assert_eq!(error.reject_reason(), RejectReason::CommandNotSupported);
    }

    #[test]
    fn segments_that_a_pdu_cannot_have_are_refused() {
        let raw = |opcode: u8, ahs: &'static [u8], data: &'static [u8]| {
            let mut bhs = [0; BHS_LEN];
            (bhs[0], bhs[1]) = (opcode, 0x80);
            RawPdu { bhs, ahs: Bytes::from_static(ahs), data: Bytes::from_static(data) }
        };
        let ahs = &[0, 5, 2, 0, 0, 0, 2, 0];
        assert!(InitiatorPdu::decode(raw(0x01, ahs, b"")).is_ok());
        let error = InitiatorPdu::decode(raw(0x05, ahs, b"")).unwrap_err();
        assert_eq!(error, PduError::UnexpectedAhs { pdu: "SCSI Data-Out", len: 8 });
        assert!(InitiatorPdu::decode(raw(0x00, b"", b"ping")).is_ok());
        let error = InitiatorPdu::decode(raw(0x06, b"", b"bye")).unwrap_err();
        assert_eq!(error, PduError::UnexpectedData { pdu: "Logout Request", len: 3 });
        assert_eq!(error.reject_reason(), RejectReason::InvalidPduField);
    }

    proptest! {
        #[test]
        fn every_initiator_header_survives(header in strategies::initiator_header()) {
            prop_assert_eq!(InitiatorHeader::decode(&header.to_bhs()), Ok(header));
        }

        #[test]
        fn every_target_header_survives(header in strategies::target_header()) {
            prop_assert_eq!(TargetHeader::decode(&header.to_bhs()), Ok(header));
        }

        /// Whatever a peer puts into reserved bits, what we understood is what we would send, with those bits zero.
        #[test]
        fn reserved_bits_never_change_the_meaning(bytes in any::<[u8; 24]>(), rest in any::<[u8; 24]>()) {
            let mut bhs = [0; BHS_LEN];
            bhs[..24].copy_from_slice(&bytes);
            bhs[24..].copy_from_slice(&rest);
            if let Ok(header) = InitiatorHeader::decode(&bhs) {
                prop_assert_eq!(InitiatorHeader::decode(&header.to_bhs()), Ok(header));
            }
            if let Ok(header) = TargetHeader::decode(&bhs) {
                prop_assert_eq!(TargetHeader::decode(&header.to_bhs()), Ok(header));
            }
        }
    }
}
