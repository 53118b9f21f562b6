//! The commands: one table that the parser, the device server's dispatch and REPORT SUPPORTED OPERATION CODES share.
//!
//! A row's usage map says which bits of the CDB are evaluated (SPC-4 §6.35.3). It is at the same time the rule for all others:
//! a bit that is neither in the map nor ignored must be zero. So reserved bits are refused (SPC-4 §4.3.1), and so is a
//! feature that is not supported (protection information, power conditions, NACA), by its absence from the map.
//! What is ignored is listed: bits of older standards that only gave advice, and GROUP NUMBER, which asks that statistics be kept
//! where there is room for them (SBC-3 §4.22).

use std::fmt;

/// A command, by the name of its standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the variants are the names of the standards; the table has their clauses")]
pub enum Operation {
    TestUnitReady,
    RequestSense,
    FormatUnit,
    Read6,
    Write6,
    Inquiry,
    ModeSelect6,
    Reserve6,
    Release6,
    ModeSense6,
    StartStopUnit,
    PreventAllowMediumRemoval,
    ReadCapacity10,
    Read10,
    Write10,
    WriteAndVerify10,
    Verify10,
    PreFetch10,
    SynchronizeCache10,
    ReadDefectData10,
    WriteSame10,
    Unmap,
    SanitizeOverwrite,
    SanitizeBlockErase,
    SanitizeExitFailureMode,
    LogSense,
    ModeSelect10,
    Reserve10,
    Release10,
    ModeSense10,
    PersistentReserveInReadKeys,
    PersistentReserveInReadReservation,
    PersistentReserveInReportCapabilities,
    PersistentReserveInReadFullStatus,
    PersistentReserveOutRegister,
    PersistentReserveOutReserve,
    PersistentReserveOutRelease,
    PersistentReserveOutClear,
    PersistentReserveOutPreempt,
    PersistentReserveOutPreemptAndAbort,
    PersistentReserveOutRegisterAndIgnoreExistingKey,
    PersistentReserveOutRegisterAndMove,
    PersistentReserveOutReplaceLostReservation,
    ExtendedCopyLid1,
    PopulateToken,
    WriteUsingToken,
    ReceiveCopyStatusLid1,
    ReceiveCopyOperatingParameters,
    ReceiveCopyFailureDetailsLid1,
    ReceiveRodTokenInformation,
    Read16,
    CompareAndWrite,
    Write16,
    OrWrite16,
    WriteAndVerify16,
    Verify16,
    PreFetch16,
    SynchronizeCache16,
    WriteSame16,
    ReadCapacity16,
    GetLbaStatus,
    ReportLuns,
    ReportIdentifyingInformation,
    ReportTargetPortGroups,
    ReportSupportedOperationCodes,
    ReportSupportedTaskManagementFunctions,
    ReportTimestamp,
    SetIdentifyingInformation,
    SetTargetPortGroups,
    SetTimestamp,
    Read12,
    Write12,
    WriteAndVerify12,
    Verify12,
    ReadDefectData12,
}

/// What a command does to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumAccess {
    /// Nothing: it is answered whether or not the medium is ready.
    None,
    /// Only looks.
    Read,
    /// Can change it.
    Write,
    /// Makes earlier changes stable.
    Flush,
    /// Erases all of it; also one whose earlier erasing failed.
    Erase,
}

/// How reservations of other nexuses treat a command (SPC-4 §5.13.1, tables 65 and 66; SBC-3 table 11; SPC-2 §5.5.1). Each row of
/// [`TABLE`] must name one; a command that the standards do not list is `Write`, which conflicts with everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReservationRule {
    /// Passes everything, the reservations of SPC-2 included.
    Always,
    /// Passes every persistent reservation.
    Allowed,
    /// Passes where others may read.
    Read,
    /// Passes only for holders, and for registrants under the types that admit them.
    Write,
    /// START STOP UNIT: `Allowed` when it starts, `Write` when it stops.
    StartStop,
    /// PERSISTENT RESERVE IN: passes every persistent reservation.
    PersistentIn,
    /// PERSISTENT RESERVE OUT: each service action has conditions of its own.
    PersistentOut,
    /// RESERVE: has conditions of its own (SPC-4 §5.13.3).
    Reserve,
    /// RELEASE: has conditions of its own (SPC-4 §5.13.3).
    Release,
}

/// A row of the table.
#[derive(Clone, Copy)]
pub struct OperationInfo {
    /// The command.
    pub operation: Operation,
    /// The standard's name.
    pub name: &'static str,
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, in bits 4 to 0 of byte 1.
    pub service_action: Option<u8>,
    /// The CDB USAGE DATA of REPORT SUPPORTED OPERATION CODES: operation code, then a bit for each bit that is evaluated; the
    /// service action stands in its field. As long as the CDB.
    pub usage: &'static [u8],
    /// Byte and bits that are ignored.
    pub ignored: &'static [(usize, u8)],
    /// Fields of more than one bit that are refused as a whole, so that the sense data points at the beginning of the field.
    pub refused: &'static [Field],
    /// What it does to the medium.
    pub access: MediumAccess,
    /// What reservations of other nexuses do to it.
    pub reservation: ReservationRule,
    /// Where the command is defined.
    pub clause: &'static str,
}

/// A field of a CDB: bits of one byte, or whole bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its first byte.
    pub byte: usize,
    /// Count of bytes.
    pub len: usize,
    /// Its bits in each byte.
    pub mask: u8,
}

impl Field {
    pub(super) const fn bits(byte: usize, mask: u8) -> Self {
        Self { byte, len: 1, mask }
    }

    pub(super) const fn bytes(byte: usize, len: usize) -> Self {
        Self { byte, len, mask: 0xff }
    }

    /// Whether this bit is part of the field.
    #[must_use]
    pub const fn has(&self, byte: usize, bit: u8) -> bool {
        byte >= self.byte && byte - self.byte < self.len && self.mask >> bit & 1 != 0
    }

    /// First byte and most significant bit, as a field pointer has them; no bit for whole bytes (SPC-4 §4.5.2.4.2).
    #[must_use]
    pub fn pointer(&self) -> (u16, Option<u8>) {
        let bit = if self.mask == 0xff {
            None
        } else {
            self.mask.checked_ilog2().and_then(|bit| u8::try_from(bit).ok())
        };
        (u16::try_from(self.byte).unwrap_or(u16::MAX), bit)
    }
}

impl OperationInfo {
    /// The bits of CDB byte `index` that may be one.
    #[must_use]
    pub fn allowed(&self, index: usize) -> u8 {
        let ignored = self.ignored.iter().filter(|(byte, _)| *byte == index).map(|(_, bits)| bits);
        ignored.fold(self.usage.get(index).copied().unwrap_or(0), |allowed, bits| allowed | bits)
    }

    /// Byte and bit that the sense data points at when a bit that must be zero is one: the beginning of the field that is not
    /// supported, or a reserved bit itself.
    #[must_use]
    pub fn pointer(&self, byte: usize, bit: u8) -> (u16, Option<u8>) {
        let itself = (u16::try_from(byte).unwrap_or(u16::MAX), Some(bit));
        self.refused.iter().find(|field| field.has(byte, bit)).map_or(itself, Field::pointer)
    }
}

impl fmt::Debug for OperationInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Operation {
    /// The operation's row.
    #[must_use]
    pub const fn info(self) -> &'static OperationInfo {
        // The rows stand in the order of the variants; a test holds them to it.
        &TABLE[self as usize]
    }
}

/// What a search of the table found.
#[derive(Clone, Copy, Debug)]
pub enum Lookup {
    /// The command.
    Found(&'static OperationInfo),
    /// The operation code has service actions, and this is none of them.
    UnknownServiceAction,
    /// No such operation code.
    UnknownOpcode,
}

/// The row for an operation code and, where the code has them, a service action.
#[must_use]
pub fn lookup(opcode: u8, service_action: u8) -> Lookup {
    let mut known = false;
    for info in TABLE.iter().filter(|info| info.opcode == opcode) {
        known = true;
        if info.service_action.is_none_or(|action| action == service_action) {
            return Lookup::Found(info);
        }
    }
    if known { Lookup::UnknownServiceAction } else { Lookup::UnknownOpcode }
}

/// RELADR of SBC-2 in byte 1, and FUA_NV of SBC-3 before revision 36.
const RELADR: (usize, u8) = (1, 0x01);
const FUA_NV: (usize, u8) = (1, 0x02);
/// SYNC_NV of SBC-3 before revision 36.
const SYNC_NV: (usize, u8) = (1, 0x04);
/// PBDATA and LBDATA of SBC-2.
const LBDATA_PBDATA: (usize, u8) = (1, 0x06);
/// PMI of SBC-2 in READ CAPACITY. The LOGICAL BLOCK ADDRESS that went with it is not ignored: SBC-2 refuses it without PMI, and
/// with PMI it asks a question that is not answered here.
const PMI_10: (usize, u8) = (8, 0x01);
const PMI_16: (usize, u8) = (14, 0x01);

/// GROUP NUMBER: nothing is collected by groups, as GROUP_SUP says (SPC-4 §7.8.7).
const GROUP_10: (usize, u8) = (6, 0x1f);
const GROUP_12: (usize, u8) = (10, 0x1f);
const GROUP_16: (usize, u8) = (14, 0x1f);
/// INTERLEAVE of SBC-2 in FORMAT UNIT.
const FORMAT_INTERLEAVE_HIGH: (usize, u8) = (3, 0xff);
const FORMAT_INTERLEAVE_LOW: (usize, u8) = (4, 0xff);
/// PPC of SPC-3 in LOG SENSE.
const LOG_PPC: (usize, u8) = (1, 0x02);

/// RDPROTECT, WRPROTECT, VRPROTECT, ORPROTECT.
const PROTECT: Field = Field::bits(1, 0xe0);
/// FMTPINFO and DEFECT LIST FORMAT of FORMAT UNIT.
const FMTPINFO: Field = Field::bits(1, 0xc0);
const DEFECT_LIST_FORMAT: Field = Field::bits(1, 0x07);
/// POWER CONDITION MODIFIER and POWER CONDITION of START STOP UNIT: there is no power condition page.
const POWER_CONDITION_MODIFIER: Field = Field::bits(3, 0x0f);
const POWER_CONDITION: Field = Field::bits(4, 0xf0);
/// LOGICAL BLOCK ADDRESS of READ CAPACITY.
const CAPACITY_LBA_10: Field = Field::bytes(2, 4);
const CAPACITY_LBA_16: Field = Field::bytes(2, 8);
/// PARAMETER LIST LENGTH of a SANITIZE that takes no list.
const NO_LIST: Field = Field::bytes(7, 2);
/// THIRD-PARTY DEVICE ID of RESERVE(6) and RELEASE(6).
const THIRD_PARTY_6: Field = Field::bits(1, 0x0e);
/// EXTENT LIST LENGTH of RESERVE(6).
const EXTENT_LIST_6: Field = Field::bytes(3, 2);
/// RESERVATION IDENTIFICATION.
const RESERVATION_IDENTIFICATION: Field = Field::bytes(2, 1);
/// THIRD-PARTY DEVICE ID, and the length of the list that has it when it is long, of RESERVE(10) and RELEASE(10).
const THIRD_PARTY_10: Field = Field::bytes(3, 1);
const THIRD_PARTY_LIST_10: Field = Field::bytes(7, 2);
/// PARAMETER DATA FORMAT of REPORT TARGET PORT GROUPS.
const PARAMETER_DATA_FORMAT: Field = Field::bits(1, 0xe0);

macro_rules! table {
    ($($operation:ident, $name:literal, $opcode:literal $(/ $action:literal)?, $access:ident, $reservation:ident, $clause:literal,
        [$($usage:literal)*], [$($ignored:expr),*] $(, [$($refused:expr),*])?;)*) => {
        /// Every command, in the order of operation codes.
        pub const TABLE: &[OperationInfo] = &[$(OperationInfo {
            operation: Operation::$operation,
            name: $name,
            opcode: $opcode,
            service_action: table!(@action $($action)?),
            usage: &[$($usage),*],
            ignored: &[$($ignored),*],
            refused: &[$($($refused),*)?],
            access: MediumAccess::$access,
            reservation: ReservationRule::$reservation,
            clause: $clause,
        }),*];
    };
    (@action) => { None };
    (@action $action:literal) => { Some($action) };
}

table! {
    TestUnitReady, "TEST UNIT READY", 0x00, None, Allowed, "SPC-4 §6.47",
        [0x00 0x00 0x00 0x00 0x00 0x00], [];
    RequestSense, "REQUEST SENSE", 0x03, None, Always, "SPC-4 §6.39",
        [0x03 0x01 0x00 0x00 0xff 0x00], [];
    FormatUnit, "FORMAT UNIT", 0x04, Erase, Write, "SBC-3 §5.3",
        [0x04 0x38 0x00 0x00 0x00 0x00], [FORMAT_INTERLEAVE_HIGH, FORMAT_INTERLEAVE_LOW], [FMTPINFO, DEFECT_LIST_FORMAT];
    Read6, "READ(6)", 0x08, Read, Read, "SBC-2 §5.5",
        [0x08 0x1f 0xff 0xff 0xff 0x00], [];
    Write6, "WRITE(6)", 0x0a, Write, Write, "SBC-2 §5.24",
        [0x0a 0x1f 0xff 0xff 0xff 0x00], [];
    Inquiry, "INQUIRY", 0x12, None, Always, "SPC-4 §6.6",
        [0x12 0x01 0xff 0xff 0xff 0x00], [];
    ModeSelect6, "MODE SELECT(6)", 0x15, None, Write, "SPC-4 §6.10",
        [0x15 0x11 0x00 0x00 0xff 0x00], [];
    Reserve6, "RESERVE(6)", 0x16, None, Reserve, "SPC-2 §7.21",
        [0x16 0x00 0x00 0x00 0x00 0x00], [], [THIRD_PARTY_6, RESERVATION_IDENTIFICATION, EXTENT_LIST_6];
    Release6, "RELEASE(6)", 0x17, None, Release, "SPC-2 §7.17",
        [0x17 0x00 0x00 0x00 0x00 0x00], [], [THIRD_PARTY_6, RESERVATION_IDENTIFICATION];
    ModeSense6, "MODE SENSE(6)", 0x1a, None, Read, "SPC-4 §6.13",
        [0x1a 0x08 0xff 0xff 0xff 0x00], [];
    StartStopUnit, "START STOP UNIT", 0x1b, None, StartStop, "SBC-3 §5.25",
        [0x1b 0x01 0x00 0x00 0x07 0x00], [], [POWER_CONDITION_MODIFIER, POWER_CONDITION];
    PreventAllowMediumRemoval, "PREVENT ALLOW MEDIUM REMOVAL", 0x1e, None, Write, "SBC-3 §5.10",
        [0x1e 0x00 0x00 0x00 0x01 0x00], [];
    ReadCapacity10, "READ CAPACITY(10)", 0x25, None, Allowed, "SBC-3 §5.15",
        [0x25 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00], [RELADR, PMI_10], [CAPACITY_LBA_10];
    Read10, "READ(10)", 0x28, Read, Read, "SBC-3 §5.11",
        [0x28 0x18 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, FUA_NV, GROUP_10], [PROTECT];
    Write10, "WRITE(10)", 0x2a, Write, Write, "SBC-3 §5.33",
        [0x2a 0x18 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, FUA_NV, GROUP_10], [PROTECT];
    WriteAndVerify10, "WRITE AND VERIFY(10)", 0x2e, Write, Write, "SBC-3 §5.37",
        [0x2e 0x12 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, GROUP_10], [PROTECT];
    Verify10, "VERIFY(10)", 0x2f, Read, Read, "SBC-3 §5.29",
        [0x2f 0x16 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, GROUP_10], [PROTECT];
    PreFetch10, "PRE-FETCH(10)", 0x34, Read, Read, "SBC-3 §5.8",
        [0x34 0x02 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, GROUP_10];
    SynchronizeCache10, "SYNCHRONIZE CACHE(10)", 0x35, Flush, Write, "SBC-3 §5.26",
        [0x35 0x02 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, SYNC_NV, GROUP_10];
    ReadDefectData10, "READ DEFECT DATA(10)", 0x37, Read, Read, "SBC-3 §5.17",
        [0x37 0x00 0x1f 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    WriteSame10, "WRITE SAME(10)", 0x41, Write, Write, "SBC-3 §5.43",
        [0x41 0x08 0xff 0xff 0xff 0xff 0x00 0xff 0xff 0x00], [RELADR, LBDATA_PBDATA, GROUP_10], [PROTECT];
    Unmap, "UNMAP", 0x42, Write, Write, "SBC-3 §5.28",
        [0x42 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [GROUP_10];
    SanitizeOverwrite, "SANITIZE, OVERWRITE", 0x48 / 0x01, Erase, Write, "SBC-3 §5.24",
        [0x48 0xa1 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    SanitizeBlockErase, "SANITIZE, BLOCK ERASE", 0x48 / 0x02, Erase, Write, "SBC-3 §5.24",
        [0x48 0xa2 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00], [], [NO_LIST];
    SanitizeExitFailureMode, "SANITIZE, EXIT FAILURE MODE", 0x48 / 0x1f, None, Write, "SBC-3 §5.24",
        [0x48 0xbf 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00], [], [NO_LIST];
    LogSense, "LOG SENSE", 0x4d, None, Allowed, "SPC-4 §6.8",
        [0x4d 0x00 0xff 0xff 0x00 0xff 0xff 0xff 0xff 0x00], [LOG_PPC];
    ModeSelect10, "MODE SELECT(10)", 0x55, None, Write, "SPC-4 §6.11",
        [0x55 0x11 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    Reserve10, "RESERVE(10)", 0x56, None, Reserve, "SPC-2 §7.22",
        [0x56 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00], [], [RESERVATION_IDENTIFICATION, THIRD_PARTY_10, THIRD_PARTY_LIST_10];
    Release10, "RELEASE(10)", 0x57, None, Release, "SPC-2 §7.18",
        [0x57 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00], [], [RESERVATION_IDENTIFICATION, THIRD_PARTY_10, THIRD_PARTY_LIST_10];
    ModeSense10, "MODE SENSE(10)", 0x5a, None, Read, "SPC-4 §6.14",
        [0x5a 0x18 0xff 0xff 0x00 0x00 0x00 0xff 0xff 0x00], [];
    PersistentReserveInReadKeys, "PERSISTENT RESERVE IN, READ KEYS", 0x5e / 0x00, None, PersistentIn, "SPC-4 §6.15.2",
        [0x5e 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    PersistentReserveInReadReservation, "PERSISTENT RESERVE IN, READ RESERVATION", 0x5e / 0x01, None, PersistentIn, "SPC-4 §6.15.3",
        [0x5e 0x01 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    PersistentReserveInReportCapabilities, "PERSISTENT RESERVE IN, REPORT CAPABILITIES", 0x5e / 0x02, None, PersistentIn, "SPC-4 §6.15.4",
        [0x5e 0x02 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    PersistentReserveInReadFullStatus, "PERSISTENT RESERVE IN, READ FULL STATUS", 0x5e / 0x03, None, PersistentIn, "SPC-4 §6.15.5",
        [0x5e 0x03 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0x00], [];
    PersistentReserveOutRegister, "PERSISTENT RESERVE OUT, REGISTER", 0x5f / 0x00, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x00 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutReserve, "PERSISTENT RESERVE OUT, RESERVE", 0x5f / 0x01, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x01 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutRelease, "PERSISTENT RESERVE OUT, RELEASE", 0x5f / 0x02, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x02 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutClear, "PERSISTENT RESERVE OUT, CLEAR", 0x5f / 0x03, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x03 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutPreempt, "PERSISTENT RESERVE OUT, PREEMPT", 0x5f / 0x04, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x04 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutPreemptAndAbort, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", 0x5f / 0x05, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x05 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutRegisterAndIgnoreExistingKey, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", 0x5f / 0x06, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x06 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutRegisterAndMove, "PERSISTENT RESERVE OUT, REGISTER AND MOVE", 0x5f / 0x07, None, PersistentOut, "SPC-4 §6.16.2",
        [0x5f 0x07 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    PersistentReserveOutReplaceLostReservation, "PERSISTENT RESERVE OUT, REPLACE LOST RESERVATION", 0x5f / 0x08, None, PersistentOut, "SPC-5 §6.16.2",
        [0x5f 0x08 0xff 0x00 0x00 0xff 0xff 0xff 0xff 0x00], [];
    ExtendedCopyLid1, "EXTENDED COPY(LID1)", 0x83 / 0x00, None, Write, "SPC-4 §6.5",
        [0x83 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    PopulateToken, "POPULATE TOKEN", 0x83 / 0x10, Read, Read, "SBC-3 §5.7",
        [0x83 0x10 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [GROUP_16];
    WriteUsingToken, "WRITE USING TOKEN", 0x83 / 0x11, Write, Write, "SBC-3 §5.46",
        [0x83 0x11 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [GROUP_16];
    ReceiveCopyStatusLid1, "RECEIVE COPY STATUS(LID1)", 0x84 / 0x00, None, Write, "SPC-4 §6.25",
        [0x84 0x00 0xff 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReceiveCopyOperatingParameters, "RECEIVE COPY OPERATING PARAMETERS", 0x84 / 0x03, None, Write, "SPC-4 §6.23",
        [0x84 0x03 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReceiveCopyFailureDetailsLid1, "RECEIVE COPY FAILURE DETAILS(LID1)", 0x84 / 0x04, None, Write, "SPC-4 §6.22",
        [0x84 0x04 0xff 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReceiveRodTokenInformation, "RECEIVE ROD TOKEN INFORMATION", 0x84 / 0x07, None, Write, "SPC-4 §6.28",
        [0x84 0x07 0xff 0xff 0xff 0xff 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    Read16, "READ(16)", 0x88, Read, Read, "SBC-3 §5.13",
        [0x88 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, FUA_NV, GROUP_16], [PROTECT];
    CompareAndWrite, "COMPARE AND WRITE", 0x89, Write, Write, "SBC-3 §5.2",
        [0x89 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00 0x00 0xff 0x00 0x00], [FUA_NV, GROUP_16], [PROTECT];
    Write16, "WRITE(16)", 0x8a, Write, Write, "SBC-3 §5.35",
        [0x8a 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, FUA_NV, GROUP_16], [PROTECT];
    OrWrite16, "ORWRITE(16)", 0x8b, Write, Write, "SBC-3 §5.6",
        [0x8b 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [FUA_NV, GROUP_16], [PROTECT];
    WriteAndVerify16, "WRITE AND VERIFY(16)", 0x8e, Write, Write, "SBC-3 §5.39",
        [0x8e 0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, GROUP_16], [PROTECT];
    Verify16, "VERIFY(16)", 0x8f, Read, Read, "SBC-3 §5.31",
        [0x8f 0x16 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, GROUP_16], [PROTECT];
    PreFetch16, "PRE-FETCH(16)", 0x90, Read, Read, "SBC-3 §5.9",
        [0x90 0x02 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, GROUP_16];
    SynchronizeCache16, "SYNCHRONIZE CACHE(16)", 0x91, Flush, Write, "SBC-3 §5.27",
        [0x91 0x02 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, SYNC_NV, GROUP_16];
    WriteSame16, "WRITE SAME(16)", 0x93, Write, Write, "SBC-3 §5.44",
        [0x93 0x09 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [LBDATA_PBDATA, GROUP_16], [PROTECT];
    ReadCapacity16, "READ CAPACITY(16)", 0x9e / 0x10, None, Allowed, "SBC-3 §5.16",
        [0x9e 0x10 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [PMI_16], [CAPACITY_LBA_16];
    GetLbaStatus, "GET LBA STATUS", 0x9e / 0x12, Read, Read, "SBC-3 §5.4",
        [0x9e 0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReportLuns, "REPORT LUNS", 0xa0, None, Always, "SPC-4 §6.33",
        [0xa0 0x00 0xff 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReportIdentifyingInformation, "REPORT IDENTIFYING INFORMATION", 0xa3 / 0x05, None, Allowed, "SPC-4 §6.32",
        [0xa3 0x05 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0xfe 0x00], [];
    ReportTargetPortGroups, "REPORT TARGET PORT GROUPS", 0xa3 / 0x0a, None, Allowed, "SPC-4 §6.37",
        [0xa3 0x2a 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [], [PARAMETER_DATA_FORMAT];
    ReportSupportedOperationCodes, "REPORT SUPPORTED OPERATION CODES", 0xa3 / 0x0c, None, Read, "SPC-4 §6.35",
        [0xa3 0x0c 0x87 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReportSupportedTaskManagementFunctions, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", 0xa3 / 0x0d, None, Read, "SPC-4 §6.36",
        [0xa3 0x0d 0x80 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    ReportTimestamp, "REPORT TIMESTAMP", 0xa3 / 0x0f, None, Allowed, "SPC-4 §6.38",
        [0xa3 0x0f 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    SetIdentifyingInformation, "SET IDENTIFYING INFORMATION", 0xa4 / 0x06, None, Write, "SPC-4 §6.43",
        [0xa4 0x06 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0xfe 0x00], [];
    SetTargetPortGroups, "SET TARGET PORT GROUPS", 0xa4 / 0x0a, None, Write, "SPC-4 §6.45",
        [0xa4 0x0a 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    SetTimestamp, "SET TIMESTAMP", 0xa4 / 0x0f, None, Write, "SPC-4 §6.46",
        [0xa4 0x0f 0x00 0x00 0x00 0x00 0xff 0xff 0xff 0xff 0x00 0x00], [];
    Read12, "READ(12)", 0xa8, Read, Read, "SBC-3 §5.12",
        [0xa8 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, FUA_NV, GROUP_12], [PROTECT];
    Write12, "WRITE(12)", 0xaa, Write, Write, "SBC-3 §5.34",
        [0xaa 0x18 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, FUA_NV, GROUP_12], [PROTECT];
    WriteAndVerify12, "WRITE AND VERIFY(12)", 0xae, Write, Write, "SBC-3 §5.38",
        [0xae 0x12 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, GROUP_12], [PROTECT];
    Verify12, "VERIFY(12)", 0xaf, Read, Read, "SBC-3 §5.30",
        [0xaf 0x16 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [RELADR, GROUP_12], [PROTECT];
    ReadDefectData12, "READ DEFECT DATA(12)", 0xb7, Read, Read, "SBC-3 §5.18",
        [0xb7 0x1f 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0xff 0x00 0x00], [];
}

/// Length of the CDB with this operation code by its group (SPC-4 §4.2.5.1): 6, 10, 12 or 16; `None` for the groups without a
/// fixed length.
#[must_use]
pub const fn cdb_len(opcode: u8) -> Option<usize> {
    match opcode >> 5 {
        0 => Some(6),
        1 | 2 => Some(10),
        4 => Some(16),
        5 => Some(12),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_the_row_at_its_number_and_rows_ascend() {
        for (at, info) in TABLE.iter().enumerate() {
            assert_eq!(info.operation as usize, at, "{info:?}");
            assert_eq!(info.operation.info().opcode, info.opcode);
        }
        let keys: Vec<_> = TABLE.iter().map(|info| (info.opcode, info.service_action)).collect();
        assert!(keys.is_sorted() && keys.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn usage_maps_have_the_length_of_the_group_and_name_the_command() {
        for info in TABLE {
            assert_eq!(Some(info.usage.len()), cdb_len(info.opcode), "{info:?}");
            assert_eq!(info.usage[0], info.opcode, "{info:?}");
            assert_eq!(
                info.usage.last(),
                Some(&0),
                "{info:?}: NACA is not supported, so CONTROL is not evaluated"
            );
            if let Some(action) = info.service_action {
                assert_eq!(info.usage[1] & 0x1f, action, "{info:?}");
            }
        }
    }

    #[test]
    fn lookup_tells_an_unknown_service_action_from_an_unknown_code() {
        assert!(matches!(lookup(0x9e, 0x10), Lookup::Found(i) if i.operation == Operation::ReadCapacity16));
        assert!(matches!(lookup(0x28, 0x1f), Lookup::Found(i) if i.operation == Operation::Read10));
        assert!(matches!(lookup(0x9e, 0x11), Lookup::UnknownServiceAction));
        assert!(matches!(lookup(0x7f, 0), Lookup::UnknownOpcode));
    }
}
