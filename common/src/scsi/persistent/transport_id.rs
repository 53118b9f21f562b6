//! TransportIDs of iSCSI (SPC-4 §7.6.4.6): an initiator device, or one of its ports.

use crate::name::{InitiatorPort, IscsiName, Isid, NameError};
use crate::scsi::bytes::{u8_at, u16_at};

/// PROTOCOL IDENTIFIER of iSCSI (SPC-4 table 429).
const PROTOCOL_ISCSI: u8 = 5;
/// FORMAT CODE 00b: the name of a device.
const FORMAT_DEVICE: u8 = 0b00;
/// FORMAT CODE 01b: the name of a port.
const FORMAT_PORT: u8 = 0b01;
/// Bytes before the name.
const HEADER_LEN: usize = 4;
/// Shortest TransportID (SPC-4 §7.6.4.6: ADDITIONAL LENGTH is at least 20).
const LEN_MIN: usize = 24;
/// What stands between the name and the ISID in format 01b.
const SEPARATOR: &str = ",i,0x";
/// The longest one: a name of 223 bytes, the separator, twelve digits, a NUL, padded.
const LEN_MAX: usize = (HEADER_LEN + 223 + SEPARATOR.len() + 12 + 1).next_multiple_of(4);

/// Who, in the words of the transport.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TransportId {
    /// Format 00b: a device, whatever port of it.
    Device(IscsiName),
    /// Format 01b: one port.
    Port(InitiatorPort),
}

/// Why bytes are not a TransportID of iSCSI.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportIdError {
    /// There are fewer bytes than it says, or than any has.
    #[error("a TransportID is cut short after {0} bytes")]
    Truncated(usize),
    /// PROTOCOL IDENTIFIER or FORMAT CODE.
    #[error("byte {0:#04x} begins no TransportID of iSCSI")]
    Format(u8),
    /// ADDITIONAL LENGTH.
    #[error("ADDITIONAL LENGTH {0} is none that an iSCSI TransportID can have")]
    Length(u16),
    /// The text is not ended by NUL, not UTF-8, or goes on after the NUL.
    #[error("the name is not text that ends with NUL and is padded with NULs")]
    Text,
    /// Not an iSCSI name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The ISID is not twelve hexadecimal digits.
    #[error("the ISID is not twelve hexadecimal digits")]
    Isid,
}

impl TransportId {
    /// The bytes, padded with NULs to a multiple of four and to at least 24.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (format, text) = match self {
            Self::Device(name) => (FORMAT_DEVICE, name.to_string()),
            Self::Port(port) => (FORMAT_PORT, port.to_string()),
        };
        let len = (HEADER_LEN + text.len() + 1).next_multiple_of(4).max(LEN_MIN);
        let additional = u16::try_from(len - HEADER_LEN).unwrap_or(u16::MAX);
        let [high, low] = additional.to_be_bytes();
        let mut out = vec![format << 6 | PROTOCOL_ISCSI, 0, high, low];
        out.extend_from_slice(text.as_bytes());
        out.resize(len, 0);
        out
    }

    /// Reads the TransportID at the start of `bytes` and says how long it is.
    ///
    /// # Errors
    /// [`TransportIdError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, usize), TransportIdError> {
        let cut = || TransportIdError::Truncated(bytes.len());
        let first = u8_at(bytes, 0).ok_or_else(cut)?;
        let format = first >> 6;
        if first & 0x3f != PROTOCOL_ISCSI || !matches!(format, FORMAT_DEVICE | FORMAT_PORT) {
            return Err(TransportIdError::Format(first));
        }
        let additional = u16_at(bytes, 2).ok_or_else(cut)?;
        let len = HEADER_LEN + usize::from(additional);
        if !(LEN_MIN..=LEN_MAX).contains(&len) || !len.is_multiple_of(4) {
            return Err(TransportIdError::Length(additional));
        }
        let field = bytes.get(HEADER_LEN..len).ok_or_else(cut)?;
        let end = field.iter().position(|&byte| byte == 0).ok_or(TransportIdError::Text)?;
        let (text, padding) = field.split_at(end);
        if padding.iter().any(|&byte| byte != 0) {
            return Err(TransportIdError::Text);
        }
        let text = std::str::from_utf8(text).map_err(|_| TransportIdError::Text)?;
        let id = match text.split_once(SEPARATOR) {
            Some((name, isid)) if format == FORMAT_PORT => {
                Self::Port(InitiatorPort { name: name.parse()?, isid: parse_isid(isid)? })
            }
            None if format == FORMAT_PORT => return Err(TransportIdError::Isid),
            _ => Self::Device(text.parse()?),
        };
        Ok((id, len))
    }

    /// Every TransportID of a list that fills `bytes`.
    ///
    /// # Errors
    /// [`TransportIdError`] of the first one that is wrong.
    pub fn decode_all(mut bytes: &[u8]) -> Result<Vec<Self>, TransportIdError> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let (id, len) = Self::decode(bytes)?;
            all.push(id);
            bytes = bytes.get(len..).unwrap_or_default();
        }
        Ok(all)
    }
}

fn parse_isid(digits: &str) -> Result<Isid, TransportIdError> {
    if digits.len() != 12 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(TransportIdError::Isid);
    }
    let value = u64::from_str_radix(digits, 16).map_err(|_| TransportIdError::Isid)?;
    let [_, _, isid @ ..] = value.to_be_bytes();
    Ok(Isid(isid))
}
