//! Mode parameters: header, block descriptor and pages (SPC-4 §7.5, SBC-3 §6.4).
//!
//! [`Page`] lists the pages that are sent here, each with the fields that have a meaning for a virtual disk; everything else is
//! zero. Pages are encoded as current values or as a mask of what can be changed.

use super::bytes::{u8_at, u16_at, u24_at, u32_at, u64_at};
use super::cdb::Form;
use super::opcode_table::Field;

/// PAGE CODE that asks for all pages.
pub const ALL_PAGES: u8 = 0x3f;
/// SUBPAGE CODE that asks for all subpages.
pub const ALL_SUBPAGES: u8 = 0xff;

/// DEVICE-SPECIFIC PARAMETER: WP (SBC-3 §6.4.1).
const WRITE_PROTECTED: u8 = 0x80;
/// DEVICE-SPECIFIC PARAMETER: DPOFUA, DPO and FUA are supported.
const DPO_FUA: u8 = 0x10;

/// Header and block descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeHeader {
    /// WP: the medium cannot be written.
    pub write_protected: bool,
    /// DPOFUA.
    pub dpo_fua: bool,
    /// The block descriptor, unless it is disabled.
    pub block_descriptor: Option<BlockDescriptor>,
}

/// A direct access block descriptor (SBC-3 §6.4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDescriptor {
    /// NUMBER OF LOGICAL BLOCKS.
    pub blocks: u64,
    /// LOGICAL BLOCK LENGTH.
    pub block_len: u32,
    /// Whether it is, or is to be, the sixteen-byte form with 64 bits for the count.
    pub long: bool,
}

impl BlockDescriptor {
    fn encode(&self) -> Vec<u8> {
        if self.long {
            let mut out = self.blocks.to_be_bytes().to_vec();
            out.extend([0; 4]);
            out.extend(self.block_len.to_be_bytes());
            out
        } else {
            // A count that needs more bits is FFFFFFFFh (SBC-3 §6.4.2.2); block lengths of 24 bits always fit.
            let mut out = u32::try_from(self.blocks).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            out.extend((self.block_len & 0x00ff_ffff).to_be_bytes());
            out
        }
    }
}

impl ModeHeader {
    /// Header, block descriptor and `pages` as MODE SENSE of this form returns them, not yet cut to an allocation length.
    ///
    /// MODE DATA LENGTH counts the bytes after itself, and everything that could be sent (SPC-4 §7.5.5); in six bytes it stops
    /// at 255.
    #[must_use]
    pub fn encode(&self, form: Form, pages: &[u8]) -> Vec<u8> {
        let descriptor = self.block_descriptor.map(|d| d.encode()).unwrap_or_default();
        let specific =
            if self.write_protected { WRITE_PROTECTED } else { 0 } | if self.dpo_fua { DPO_FUA } else { 0 };
        let tail = descriptor.len() + pages.len();
        let descriptor_len = u8::try_from(descriptor.len()).unwrap_or(u8::MAX);
        let head = if form == Form::Six {
            vec![u8::try_from(3 + tail).unwrap_or(u8::MAX), 0, specific, descriptor_len]
        } else {
            let [high, low] = u16::try_from(6 + tail).unwrap_or(u16::MAX).to_be_bytes();
            let long = self.block_descriptor.is_some_and(|d| d.long);
            vec![high, low, 0, specific, long.into(), 0, 0, descriptor_len]
        };
        [head, descriptor, pages.to_vec()].concat()
    }

    /// Reads what MODE SENSE of this form returned, and the pages that follow. `None` when header or descriptor are cut.
    #[must_use]
    pub fn decode(form: Form, bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (specific, long, descriptor_len, head) = if form == Form::Six {
            (u8_at(bytes, 2)?, false, usize::from(u8_at(bytes, 3)?), 4)
        } else {
            (u8_at(bytes, 3)?, u8_at(bytes, 4)? & 1 != 0, usize::from(u16_at(bytes, 6)?), 8)
        };
        let descriptor = bytes.get(head..head + descriptor_len)?;
        let block_descriptor = match (long, descriptor.len()) {
            (_, 0) => None,
            (true, _) => Some(BlockDescriptor {
                blocks: u64_at(descriptor, 0)?,
                block_len: u32_at(descriptor, 12)?,
                long,
            }),
            (false, _) => Some(BlockDescriptor {
                blocks: u32_at(descriptor, 0)?.into(),
                block_len: u24_at(descriptor, 5)?,
                long,
            }),
        };
        let header = Self {
            write_protected: specific & WRITE_PROTECTED != 0,
            dpo_fua: specific & DPO_FUA != 0,
            block_descriptor,
        };
        Some((header, bytes.get(head + descriptor_len..)?))
    }
}

/// A mode page with the fields that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// 01h Read-Write Error Recovery (SBC-3 §6.4.7).
    ReadWriteErrorRecovery,
    /// 08h Caching (SBC-3 §6.4.5).
    Caching {
        /// WCE: writes may be answered before they are on the medium.
        write_cache: bool,
    },
    /// 0Ah Control (SPC-4 §7.5.8).
    Control {
        /// D_SENSE: autosense in descriptor format.
        descriptor_sense: bool,
        /// TAS: tasks that another nexus aborts end with TASK ABORTED.
        task_aborted_status: bool,
        /// SWP: software write protect.
        software_write_protect: bool,
    },
    /// 0Ah/01h Control Extension (SPC-4 §7.5.9).
    ControlExtension {
        /// MAXIMUM SENSE DATA LENGTH.
        max_sense_len: u8,
    },
    /// 1Ch Informational Exceptions Control (SBC-3 §6.4.6), with exceptions disabled.
    InformationalExceptions,
}

impl Page {
    /// PAGE CODE and SUBPAGE CODE.
    #[must_use]
    pub const fn code(&self) -> (u8, u8) {
        match self {
            Self::ReadWriteErrorRecovery => (0x01, 0),
            Self::Caching { .. } => (0x08, 0),
            Self::Control { .. } => (0x0a, 0),
            Self::ControlExtension { .. } => (0x0a, 1),
            Self::InformationalExceptions => (0x1c, 0),
        }
    }

    /// The page with its header and the values that it has, PS zero.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match *self {
            Self::ReadWriteErrorRecovery => page_0(0x01, 0x0a, &[]),
            Self::Caching { write_cache } => page_0(0x08, 0x12, &[(2, u8::from(write_cache) << 2)]),
            Self::Control { descriptor_sense, task_aborted_status, software_write_protect } => page_0(
                0x0a,
                0x0a,
                // QUEUE ALGORITHM MODIFIER 1: tasks that wait for the medium at the same time run in any order.
                &[
                    (2, u8::from(descriptor_sense) << 2),
                    (3, 0x10),
                    (4, u8::from(software_write_protect) << 3),
                    (5, u8::from(task_aborted_status) << 6),
                ],
            ),
            Self::ControlExtension { max_sense_len } => {
                let mut out = vec![0; 32];
                out[0] = 0x40 | 0x0a;
                out[1] = 0x01;
                out[3] = 28;
                // TCMOS and SCSIP: the clock of the host sets the timestamp, and SET TIMESTAMP goes before it.
                out[4] = 0x06;
                out[6] = max_sense_len;
                out
            }
            // DEXCPT.
            Self::InformationalExceptions => page_0(0x1c, 0x0a, &[(2, 0x08)]),
        }
    }

    /// The page with its header and a one for each bit that MODE SELECT may change.
    #[must_use]
    pub fn encode_changeable(&self) -> Vec<u8> {
        match self {
            Self::Caching { .. } => page_0(0x08, 0x12, &[(2, 0x04)]),
            Self::Control { .. } => page_0(0x0a, 0x0a, &[(2, 0x04), (4, 0x08), (5, 0x40)]),
            Self::ReadWriteErrorRecovery | Self::ControlExtension { .. } | Self::InformationalExceptions => {
                let mut out = self.encode();
                let head = if out.first().is_some_and(|b| b & 0x40 != 0) { 4 } else { 2 };
                if let Some(fields) = out.get_mut(head..) {
                    fields.fill(0);
                }
                out
            }
        }
    }

    /// Byte of the page and bit that the sense data points at when this bit of it is wrong: the beginning of its field.
    #[must_use]
    pub fn pointer(&self, byte: usize, bit: u8) -> (usize, Option<u8>) {
        let fields = match self {
            Self::ReadWriteErrorRecovery => RECOVERY_FIELDS,
            Self::Caching { .. } => CACHING_FIELDS,
            Self::Control { .. } => CONTROL_FIELDS,
            Self::ControlExtension { .. } => CONTROL_EXTENSION_FIELDS,
            Self::InformationalExceptions => EXCEPTIONS_FIELDS,
        };
        let found = fields.iter().find(|field| field.has(byte, bit));
        found.map_or((byte, Some(bit)), |field| (field.byte, field.pointer().1))
    }

    /// Whether MODE SELECT can change something in the page.
    #[must_use]
    pub const fn is_changeable(&self) -> bool {
        matches!(self, Self::Caching { .. } | Self::Control { .. })
    }

    /// The page with the changeable values of `bytes`, a page of the same code and length.
    #[must_use]
    pub fn with_values_of(&self, bytes: &[u8]) -> Self {
        let bit = |at: usize, mask: u8| bytes.get(at).is_some_and(|byte| byte & mask != 0);
        match *self {
            Self::Caching { .. } => Self::Caching { write_cache: bit(2, 0x04) },
            Self::Control { .. } => Self::Control {
                descriptor_sense: bit(2, 0x04),
                software_write_protect: bit(4, 0x08),
                task_aborted_status: bit(5, 0x40),
            },
            other => other,
        }
    }
}

/// Fields of more than one bit. READ RETRY COUNT, WRITE RETRY COUNT, RECOVERY TIME LIMIT.
const RECOVERY_FIELDS: &[Field] = &[Field::bytes(3, 1), Field::bytes(8, 1), Field::bytes(10, 2)];
/// The two retention priorities, four lengths of pre-fetching, SYNC_PROG, NUMBER OF CACHE SEGMENTS, CACHE SEGMENT SIZE.
const CACHING_FIELDS: &[Field] = &[
    Field::bits(3, 0xf0),
    Field::bits(3, 0x0f),
    Field::bytes(4, 2),
    Field::bytes(6, 2),
    Field::bytes(8, 2),
    Field::bytes(10, 2),
    Field::bits(12, 0x06),
    Field::bytes(13, 1),
    Field::bytes(14, 2),
];
/// TST, QUEUE ALGORITHM MODIFIER, QERR, UA_INTLCK_CTRL, AUTOLOAD MODE, BUSY TIMEOUT PERIOD, EXTENDED SELF-TEST COMPLETION TIME.
const CONTROL_FIELDS: &[Field] = &[
    Field::bits(2, 0xe0),
    Field::bits(3, 0xf0),
    Field::bits(3, 0x06),
    Field::bits(4, 0x30),
    Field::bits(5, 0x07),
    Field::bytes(8, 2),
    Field::bytes(10, 2),
];
/// INITIAL COMMAND PRIORITY, MAXIMUM SENSE DATA LENGTH.
const CONTROL_EXTENSION_FIELDS: &[Field] = &[Field::bits(5, 0x0f), Field::bytes(6, 1)];
/// MRIE, INTERVAL TIMER, REPORT COUNT.
const EXCEPTIONS_FIELDS: &[Field] = &[Field::bits(3, 0x0f), Field::bytes(4, 4), Field::bytes(8, 4)];

fn page_0(code: u8, len: u8, bytes: &[(usize, u8)]) -> Vec<u8> {
    let mut out = vec![0; 2 + usize::from(len)];
    out[0] = code;
    out[1] = len;
    for &(at, value) in bytes {
        out[at] = value;
    }
    out
}

/// Splits the pages of MODE SENSE data: page code, subpage code, and the whole page with its header. Ends at the first that is cut.
pub fn pages(mut bytes: &[u8]) -> impl Iterator<Item = (u8, u8, &[u8])> {
    std::iter::from_fn(move || {
        let first = u8_at(bytes, 0)?;
        let (subpage, len) = if first & 0x40 != 0 {
            (u8_at(bytes, 1)?, 4 + usize::from(u16_at(bytes, 2)?))
        } else {
            (0, 2 + usize::from(u8_at(bytes, 1)?))
        };
        let page = bytes.get(..len)?;
        bytes = bytes.get(len..)?;
        Some((first & 0x3f, subpage, page))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: [Page; 5] = [
        Page::ReadWriteErrorRecovery,
        Page::Caching { write_cache: true },
        Page::Control { descriptor_sense: true, task_aborted_status: true, software_write_protect: true },
        Page::ControlExtension { max_sense_len: 252 },
        Page::InformationalExceptions,
    ];

    #[test]
    fn headers_survive_the_wire_in_both_forms() {
        for (form, long) in [(Form::Six, false), (Form::Ten, false), (Form::Ten, true)] {
            let header = ModeHeader {
                write_protected: true,
                dpo_fua: true,
                block_descriptor: Some(BlockDescriptor { blocks: 0x1234, block_len: 4096, long }),
            };
            let pages = PAGES[0].encode();
            let bytes = header.encode(form, &pages);
            assert_eq!(ModeHeader::decode(form, &bytes), Some((header, pages.as_slice())));
            let without = ModeHeader { block_descriptor: None, ..header };
            assert_eq!(ModeHeader::decode(form, &without.encode(form, &[])), Some((without, [].as_slice())));
        }
    }

    #[test]
    fn the_short_descriptor_saturates_its_count() {
        let descriptor = BlockDescriptor { blocks: 1 << 32, block_len: 512, long: false };
        assert_eq!(descriptor.encode(), [0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0]);
    }

    #[test]
    fn pages_are_told_apart_by_code_and_length() {
        let bytes: Vec<u8> = PAGES.iter().flat_map(Page::encode).collect();
        let found: Vec<_> = pages(&bytes).map(|(page, subpage, _)| (page, subpage)).collect();
        assert_eq!(found, PAGES.map(|page| page.code()));
        assert_eq!(pages(&bytes[..bytes.len() - 1]).count(), PAGES.len() - 1, "a cut page is left out");
    }

    #[test]
    fn what_is_changeable_is_taken_from_the_bytes_and_nothing_else_is() {
        for page in PAGES {
            let (current, changeable) = (page.encode(), page.encode_changeable());
            let head = if page.code().1 == 0 { 2 } else { 4 };
            assert_eq!(current[..head], changeable[..head], "{page:?}");
            assert_eq!(changeable[head..].iter().any(|&b| b != 0), page.is_changeable(), "{page:?}");
            let flipped: Vec<u8> = current
                .iter()
                .zip(&changeable)
                .enumerate()
                .map(|(at, (byte, mask))| if at < head { *byte } else { byte ^ mask })
                .collect();
            assert_eq!(page.with_values_of(&flipped).encode(), flipped, "{page:?}");
            assert_eq!(page.with_values_of(&current), page);
        }
    }
}
