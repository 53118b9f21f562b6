//! Sense data: what went wrong, in a form that initiators act on (SPC-4 §4.5).
//!
//! [`Sense`] is the meaning; [`Sense::encode`] lays it out in fixed or descriptor format, [`Sense::decode`] reads either.
//! Deferred errors (71h, 73h) read like current ones and are never sent: this target reports no error of a command that it has
//! already answered.

use std::fmt;

use super::asc::Asc;
use super::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Sense key (SPC-4 table 48).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// Completed with some recovery.
    RecoveredError = 0x1,
    /// The logical unit is not accessible.
    NotReady = 0x2,
    /// A flaw of the medium.
    MediumError = 0x3,
    /// A failure of the device itself.
    HardwareError = 0x4,
    /// The CDB or parameter list is wrong.
    IllegalRequest = 0x5,
    /// Something changed since the nexus last looked.
    UnitAttention = 0x6,
    /// The medium may not be written.
    DataProtect = 0x7,
    /// A blank medium was met.
    BlankCheck = 0x8,
    /// Vendor specific.
    VendorSpecific = 0x9,
    /// EXTENDED COPY stopped.
    CopyAborted = 0xa,
    /// The device server aborted the command.
    AbortedCommand = 0xb,
    /// Data remained in a buffer.
    VolumeOverflow = 0xd,
    /// Source data did not match.
    Miscompare = 0xe,
    /// Completion of a background operation.
    Completed = 0xf,
}

impl SenseKey {
    /// The key of the low four bits of a byte; `None` for Ch, which is reserved.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        use SenseKey::*;
        [
            NoSense,
            RecoveredError,
            NotReady,
            MediumError,
            HardwareError,
            IllegalRequest,
            UnitAttention,
            DataProtect,
            BlankCheck,
            VendorSpecific,
            CopyAborted,
            AbortedCommand,
            VolumeOverflow,
            Miscompare,
            Completed,
        ]
        .into_iter()
        .find(|&key| key as u8 == bits & 0x0f)
    }
}

/// Which field of a CDB or a parameter list is wrong (SPC-4 §4.5.2.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// Whether the field is in the CDB (C/D one) or in the parameter list.
    pub in_cdb: bool,
    /// First byte of the field.
    pub byte: u16,
    /// Most significant bit of the field within `byte`, when the field is not whole bytes.
    pub bit: Option<u8>,
}

/// Layout of sense data (SPC-4 §4.5.2, §4.5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SenseFormat {
    /// Response code 70h.
    Fixed,
    /// Response code 72h.
    Descriptor,
}

/// What a CHECK CONDITION carries, before it is laid out as fixed or descriptor format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code and qualifier.
    pub asc: Asc,
    /// INFORMATION field: an LBA or a count, as the command defines it.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION field: with COPY ABORTED the number of the segment, from zero.
    pub command_specific: Option<u64>,
    /// Which field is wrong, with ILLEGAL REQUEST.
    pub field: Option<FieldPointer>,
    /// PROGRESS INDICATION in parts of 65536, with NO SENSE and NOT READY (SPC-4 §4.5.2.4.4).
    pub progress: Option<u16>,
}

/// Bytes of fixed format sense data: ADDITIONAL SENSE LENGTH 10 (SPC-4 §4.5.3).
const FIXED_LEN: usize = 18;

impl Sense {
    /// Sense with a key and a code of the table, no information.
    #[must_use]
    pub const fn new(key: SenseKey, asc: Asc) -> Self {
        Self { key, asc, information: None, command_specific: None, field: None, progress: None }
    }

    /// ILLEGAL REQUEST with this code.
    #[must_use]
    pub const fn illegal_request(asc: Asc) -> Self {
        Self::new(SenseKey::IllegalRequest, asc)
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN CDB, with a pointer at the field that starts at bit `bit` of byte `byte`.
    #[must_use]
    pub const fn invalid_field_in_cdb(byte: u16, bit: Option<u8>) -> Self {
        let field = Some(FieldPointer { in_cdb: true, byte, bit });
        Self { field, ..Self::illegal_request(Asc::INVALID_FIELD_IN_CDB) }
    }

    /// ILLEGAL REQUEST, INVALID FIELD IN PARAMETER LIST, with a pointer at the field.
    #[must_use]
    pub const fn invalid_field_in_parameter_list(byte: u16, bit: Option<u8>) -> Self {
        let field = Some(FieldPointer { in_cdb: false, byte, bit });
        Self { field, ..Self::illegal_request(Asc::INVALID_FIELD_IN_PARAMETER_LIST) }
    }

    /// UNIT ATTENTION with this code.
    #[must_use]
    pub const fn unit_attention(asc: Asc) -> Self {
        Self::new(SenseKey::UnitAttention, asc)
    }

    /// The same with an INFORMATION field.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// The same with a COMMAND-SPECIFIC INFORMATION field.
    #[must_use]
    pub const fn with_command_specific(mut self, information: u64) -> Self {
        self.command_specific = Some(information);
        self
    }

    /// The same with a PROGRESS INDICATION.
    #[must_use]
    pub const fn with_progress(mut self, progress: u16) -> Self {
        self.progress = Some(progress);
        self
    }

    /// The three sense key specific bytes, when there are any.
    fn key_specific(&self) -> Option<[u8; 3]> {
        let progress = |progress: u16| {
            let [high, low] = progress.to_be_bytes();
            [0x80, high, low]
        };
        self.field.map(FieldPointer::encode).or(self.progress.map(progress))
    }

    /// The bytes as they follow a CHECK CONDITION, or as REQUEST SENSE returns them.
    ///
    /// Fixed format has 32 bits for INFORMATION: a larger value is left out with VALID zero (SPC-4 §4.5.3).
    #[must_use]
    pub fn encode(&self, format: SenseFormat) -> Vec<u8> {
        match format {
            SenseFormat::Fixed => self.encode_fixed(),
            SenseFormat::Descriptor => self.encode_descriptor(),
        }
    }

    fn encode_fixed(&self) -> Vec<u8> {
        let mut out = vec![0; FIXED_LEN];
        out[0] = 0x70;
        out[2] = self.key as u8;
        if let Some(information) = self.information.and_then(|value| u32::try_from(value).ok()) {
            out[0] |= 0x80;
            out[3..7].copy_from_slice(&information.to_be_bytes());
        }
        out[7] = 10;
        if let Some(information) = self.command_specific.and_then(|value| u32::try_from(value).ok()) {
            out[8..12].copy_from_slice(&information.to_be_bytes());
        }
        out[12] = self.asc.code;
        out[13] = self.asc.qualifier;
        if let Some(specific) = self.key_specific() {
            out[15..18].copy_from_slice(&specific);
        }
        out
    }

    fn encode_descriptor(&self) -> Vec<u8> {
        let mut out = vec![0x72, self.key as u8, self.asc.code, self.asc.qualifier, 0, 0, 0, 0];
        if let Some(information) = self.information {
            // Information descriptor (SPC-4 §4.5.2.2): type 00h, VALID.
            out.extend([0x00, 0x0a, 0x80, 0]);
            out.extend(information.to_be_bytes());
        }
        if let Some(information) = self.command_specific {
            // Command specific information descriptor (SPC-4 §4.5.2.3).
            out.extend([0x01, 0x0a, 0, 0]);
            out.extend(information.to_be_bytes());
        }
        if let Some([a, b, c]) = self.key_specific() {
            // Sense key specific descriptor (SPC-4 §4.5.2.4).
            out.extend([0x02, 0x06, 0, 0, a, b, c, 0]);
        }
        out[7] = u8::try_from(out.len() - 8).unwrap_or(u8::MAX);
        out
    }

    /// Reads sense data of either format, current or deferred. `None` when it is too short for a key and a code, when the
    /// response code is none of 70h to 73h, or the sense key is reserved.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match u8_at(bytes, 0)? & 0x7f {
            0x70 | 0x71 => Self::decode_fixed(bytes),
            0x72 | 0x73 => Self::decode_descriptor(bytes),
            _ => None,
        }
    }

    fn decode_fixed(bytes: &[u8]) -> Option<Self> {
        let key = SenseKey::from_bits(u8_at(bytes, 2)?)?;
        // Targets may cut the data short; what is beyond the stated length is not sense data either.
        let len = bytes.len().min(8 + usize::from(u8_at(bytes, 7).unwrap_or(0)));
        let bytes = bytes.get(..len)?;
        let asc = Asc { code: u8_at(bytes, 12).unwrap_or(0), qualifier: u8_at(bytes, 13).unwrap_or(0) };
        let valid = bytes.first()? & 0x80 != 0;
        let information = u32_at(bytes, 3).filter(|_| valid).map(u64::from);
        // Nothing says whether the field has a meaning but the command; EXTENDED COPY always gives it one.
        let command_specific = u32_at(bytes, 8).filter(|_| key == SenseKey::CopyAborted).map(u64::from);
        let specific = bytes.get(15..18);
        let (field, progress) = (FieldPointer::decode(key, specific), decode_progress(key, specific));
        Some(Self { key, asc, information, command_specific, field, progress })
    }

    fn decode_descriptor(bytes: &[u8]) -> Option<Self> {
        let key = SenseKey::from_bits(u8_at(bytes, 1)?)?;
        let asc = Asc { code: u8_at(bytes, 2)?, qualifier: u8_at(bytes, 3)? };
        let mut sense = Self::new(key, asc);
        let len = bytes.len().min(8 + usize::from(u8_at(bytes, 7).unwrap_or(0)));
        let mut rest = bytes.get(8..len).unwrap_or_default();
        while let Some(descriptor) = rest.get(1).and_then(|&len| rest.get(..2 + usize::from(len))) {
            match descriptor.first() {
                Some(0x00) if descriptor.get(2).is_some_and(|b| b & 0x80 != 0) => {
                    sense.information = u64_at(descriptor, 4);
                }
                Some(0x01) => sense.command_specific = u64_at(descriptor, 4),
                Some(0x02) => {
                    sense.field = FieldPointer::decode(key, descriptor.get(4..7));
                    sense.progress = decode_progress(key, descriptor.get(4..7));
                }
                _ => {}
            }
            rest = &rest[descriptor.len()..];
        }
        Some(sense)
    }
}

impl FieldPointer {
    fn encode(self) -> [u8; 3] {
        let [high, low] = self.byte.to_be_bytes();
        let bit = self.bit.map_or(0, |bit| 0x08 | (bit & 7));
        [0x80 | (u8::from(self.in_cdb) << 6) | bit, high, low]
    }

    fn decode(key: SenseKey, bytes: Option<&[u8]>) -> Option<Self> {
        let bytes = bytes.filter(|_| key == SenseKey::IllegalRequest)?;
        let first = u8_at(bytes, 0).filter(|b| b & 0x80 != 0)?;
        let bit = (first & 0x08 != 0).then_some(first & 7);
        Some(Self { in_cdb: first & 0x40 != 0, byte: u16_at(bytes, 1)?, bit })
    }
}

fn decode_progress(key: SenseKey, bytes: Option<&[u8]>) -> Option<u16> {
    let bytes = bytes.filter(|_| matches!(key, SenseKey::NoSense | SenseKey::NotReady))?;
    u8_at(bytes, 0).filter(|first| first & 0x80 != 0)?;
    u16_at(bytes, 1)
}

impl fmt::Display for Sense {
    /// `05/24/00 INVALID FIELD IN CDB (CDB byte 1 bit 4)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}/{:?}", self.key as u8, self.asc)?;
        if let Some(FieldPointer { in_cdb, byte, bit }) = self.field {
            write!(f, " ({} byte {byte}", if in_cdb { "CDB" } else { "parameter list" })?;
            bit.map_or(Ok(()), |bit| write!(f, " bit {bit}"))?;
            f.write_str(")")?;
        }
        self.information.map_or(Ok(()), |value| write!(f, ", information {value:#x}"))?;
        self.command_specific.map_or(Ok(()), |value| write!(f, ", command-specific information {value:#x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fixed_format_is_eighteen_bytes_with_the_field_pointer() {
        let sense = Sense::invalid_field_in_cdb(1, Some(4));
        let expected = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x24, 0, 0, 0xcc, 0, 1];
        assert_eq!(sense.encode(SenseFormat::Fixed), expected);
    }

    #[test]
    fn fixed_format_leaves_out_information_that_needs_more_than_32_bits() {
        let sense = Sense::illegal_request(Asc::LBA_OUT_OF_RANGE).with_information(0xffff_ffff);
        assert_eq!(sense.encode(SenseFormat::Fixed)[..7], [0xf0, 0, 5, 0xff, 0xff, 0xff, 0xff]);
        let sense = sense.with_information(0x1_0000_0000);
        assert_eq!(sense.encode(SenseFormat::Fixed)[..7], [0x70, 0, 5, 0, 0, 0, 0]);
        assert_eq!(Sense::decode(&sense.encode(SenseFormat::Descriptor)), Some(sense));
    }

    #[test]
    fn descriptor_format_has_a_descriptor_for_each_part() {
        let sense = Sense::invalid_field_in_parameter_list(0x0102, None).with_information(7);
        let expected = [
            [0x72, 5, 0x26, 0, 0, 0, 0, 20].as_slice(),
            &[0, 10, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            &[2, 6, 0, 0, 0x80, 1, 2, 0],
        ]
        .concat();
        assert_eq!(sense.encode(SenseFormat::Descriptor), expected);
    }

    #[test]
    fn sense_prints_key_code_text_and_place() {
        let sense = Sense::invalid_field_in_cdb(8, Some(2)).with_information(16);
        assert_eq!(sense.to_string(), "05/24/00 INVALID FIELD IN CDB (CDB byte 8 bit 2), information 0x10");
    }

    #[test]
    fn sense_of_unknown_shape_is_refused() {
        assert_eq!(Sense::decode(&[]), None);
        assert_eq!(Sense::decode(&[0x7f, 0, 5]), None, "vendor specific response code");
        assert_eq!(Sense::decode(&[0x70, 0, 0x0c, 0, 0, 0, 0, 10]), None, "reserved sense key");
        assert_eq!(
            Sense::decode(&[0x70, 0, 2]),
            Some(Sense::new(SenseKey::NotReady, Asc { code: 0, qualifier: 0 })),
            "cut before the code"
        );
    }

    fn any_sense() -> impl Strategy<Value = Sense> {
        let key = (0u8..16).prop_filter_map("reserved", SenseKey::from_bits);
        let field = (any::<bool>(), any::<u16>(), prop::option::of(0u8..8))
            .prop_map(|(in_cdb, byte, bit)| FieldPointer { in_cdb, byte, bit });
        let progress = prop::option::of(any::<u16>());
        let numbers = (prop::option::of(any::<u32>()), any::<u32>());
        (key, any::<(u8, u8)>(), numbers, prop::option::of(field), progress).prop_map(
            |(key, (code, qualifier), (information, segment), field, progress)| Sense {
                key,
                asc: Asc { code, qualifier },
                information: information.map(u64::from),
                command_specific: (key == SenseKey::CopyAborted).then_some(segment.into()),
                field: field.filter(|_| key == SenseKey::IllegalRequest),
                progress: progress.filter(|_| matches!(key, SenseKey::NoSense | SenseKey::NotReady)),
            },
        )
    }

    proptest! {
        #[test]
        fn both_formats_survive_the_wire(sense in any_sense()) {
            prop_assert_eq!(Sense::decode(&sense.encode(SenseFormat::Fixed)), Some(sense.clone()));
            prop_assert_eq!(Sense::decode(&sense.encode(SenseFormat::Descriptor)), Some(sense));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..64), first in 0x70u8..0x74) {
            let _ = Sense::decode(&bytes);
            let mut bytes = bytes;
            if let Some(byte) = bytes.first_mut() { *byte = first; }
            let _ = Sense::decode(&bytes);
        }
    }
}
