//! Which command passes which reservation, typed from the tables of SPC-4 §5.13.1, §5.13.3, §6.16.1 and SBC-3 §4.17.
//!
//! Five columns, as the standard has them. From a nexus that is not the holder: under Write Exclusive, and under Exclusive Access;
//! from a registrant, under the types with registrants; from a nexus that is not registered, under the write exclusive ones of
//! these, and under the exclusive access ones. `A` passes, `C` conflicts, `R` passes if it is registered, and `D` does what ALLOW
//! COMMANDS of REPORT CAPABILITIES declares (SPC-4 §6.15.4).

use super::HOLDER_KEY;
use crate::conformance::case::Need;

/// What a column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Allowed,
    Conflict,
    IfRegistered,
    AsDeclared,
}

/// What goes with the command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Data {
    None,
    In(u32),
    InBlocks(u32),
    Out(&'static [u8]),
    OutBlocks(u32),
    /// The list of PERSISTENT RESERVE OUT, with the sender's own key.
    List {
        action_key: u64,
    },
    /// The same, registering a new key.
    ListOfNewKey,
}

/// A command.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What tells it from another row of the same command.
    pub(super) form: &'static str,
    pub(super) cdb: [u8; 16],
    pub(super) data: Data,
    pub(super) write_exclusive: Rule,
    pub(super) exclusive_access: Rule,
    pub(super) registrant: Rule,
    pub(super) write_exclusive_stranger: Rule,
    pub(super) exclusive_access_stranger: Rule,
    pub(super) clause: &'static str,
    /// Whether it can be sent beforehand without changing what the cell is about.
    pub(super) probe: bool,
    /// Whether the unit must be started after it.
    pub(super) stops: bool,
    pub(super) need: Option<Need>,
    /// Whether it is sent only where it must conflict: where it passes it would take too long, or too much with it.
    pub(super) refused_only: bool,
}

const fn row(
    name: &'static str,
    cdb: [u8; 16],
    data: Data,
    columns: &'static str,
    clause: &'static str,
) -> Row {
    let [we, ea, registrant, we_stranger, ea_stranger] = *columns.as_bytes() else {
        // Evaluated while compiling, as all of this.
        #[expect(clippy::panic, reason = "a wrong table does not compile")]
        {
            panic!("five columns")
        }
    };
    Row {
        name,
        form: "",
        cdb,
        data,
        write_exclusive: rule(we),
        exclusive_access: rule(ea),
        registrant: rule(registrant),
        write_exclusive_stranger: rule(we_stranger),
        exclusive_access_stranger: rule(ea_stranger),
        clause,
        probe: true,
        stops: false,
        need: None,
        refused_only: false,
    }
}

const fn rule(letter: u8) -> Rule {
    match letter {
        b'A' => Rule::Allowed,
        b'R' => Rule::IfRegistered,
        b'D' => Rule::AsDeclared,
        _ => Rule::Conflict,
    }
}

impl Row {
    const fn form(self, form: &'static str) -> Self {
        Self { form, ..self }
    }

    const fn unprobed(self) -> Self {
        Self { probe: false, ..self }
    }

    const fn refused_only(self) -> Self {
        Self { refused_only: true, probe: false, ..self }
    }

    const fn stopping(self) -> Self {
        Self { stops: true, ..self }
    }

    const fn needing(self, need: Need) -> Self {
        Self { need: Some(need), ..self }
    }
}

/// The commands, by operation code.
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("TEST UNIT READY", [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "AAAAA", "SPC-4 §5.13.1"),
    row("REQUEST SENSE", [0x3, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(18), "AAAAA", "SPC-4 §5.13.1"),
    row("REASSIGN BLOCKS", [0x7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::Out(&[0, 0, 0, 0]), "CCACC", "SBC-3 §4.17"),
    row("READ(6)", [0x8, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::InBlocks(1), "ACAAC", "SBC-3 §4.17"),
    row("WRITE(6)", [0xa, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("INQUIRY", [0x12, 0, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(96), "AAAAA", "SPC-4 §5.13.1"),
    row("INQUIRY", [0x12, 0x1, 0, 0, 0x60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(96), "AAAAA", "SPC-4 §5.13.1").form(", supported pages"),
    row("MODE SELECT(6)", [0x15, 0x10, 0, 0, 0x4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::Out(&[0, 0, 0, 0]), "CCACC", "SPC-4 §5.13.1"),
    row("RESERVE(6)", [0x16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.3").unprobed().needing(Need::CompatibleHandling),
    row("RELEASE(6)", [0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.3").unprobed().needing(Need::CompatibleHandling),
    row("MODE SENSE(6)", [0x1a, 0, 0x3f, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(192), "DDADD", "SPC-4 §5.13.1"),
    row("START STOP UNIT", [0x1b, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "AAAAA", "SBC-3 §4.17").form(", start"),
    row("START STOP UNIT", [0x1b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17").form(", stop").stopping(),
    row("RECEIVE DIAGNOSTIC RESULTS", [0x1c, 0x1, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(64), "DDADD", "SPC-4 §5.13.1"),
    row("SEND DIAGNOSTIC", [0x1d, 0x4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("PREVENT ALLOW MEDIUM REMOVAL", [0x1e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "AAAAA", "SBC-3 §4.17").form(", allow"),
    row("PREVENT ALLOW MEDIUM REMOVAL", [0x1e, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17").form(", prevent"),
    row("READ CAPACITY(10)", [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(8), "AAAAA", "SBC-3 §4.17"),
    row("READ(10)", [0x28, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::InBlocks(1), "ACAAC", "SBC-3 §4.17"),
    row("WRITE(10)", [0x2a, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("WRITE AND VERIFY(10)", [0x2e, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("VERIFY(10)", [0x2f, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("VERIFY(10)", [0x2f, 0x2, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "ACAAC", "SBC-3 §4.17").form(", compare"),
    row("PRE-FETCH(10)", [0x34, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("SYNCHRONIZE CACHE(10)", [0x35, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17"),
    row("READ DEFECT DATA(10)", [0x37, 0, 0xd, 0, 0, 0, 0, 0, 0x8, 0, 0, 0, 0, 0, 0, 0], Data::In(8), "DDADD", "SBC-3 §4.17"),
    row("WRITE BUFFER", [0x3b, 0x2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("READ BUFFER", [0x3c, 0x3, 0, 0, 0, 0, 0, 0, 0x4, 0, 0, 0, 0, 0, 0, 0], Data::In(4), "DDADD", "SPC-4 §5.13.1"),
    row("WRITE SAME(10)", [0x41, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("UNMAP", [0x42, 0, 0, 0, 0, 0, 0, 0, 0x8, 0, 0, 0, 0, 0, 0, 0], Data::Out(&[0, 6, 0, 0, 0, 0, 0, 0]), "CCACC", "SBC-3 §4.17"),
    row("LOG SELECT", [0x4c, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("LOG SENSE", [0x4d, 0, 0x40, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0], Data::In(64), "AAAAA", "SPC-4 §5.13.1"),
    row("RESERVE(10)", [0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.3").unprobed().needing(Need::CompatibleHandling),
    row("RELEASE(10)", [0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.3").unprobed().needing(Need::CompatibleHandling),
    row("MODE SELECT(10)", [0x55, 0x10, 0, 0, 0, 0, 0, 0, 0x8, 0, 0, 0, 0, 0, 0, 0], Data::Out(&[0, 0, 0, 0, 0, 0, 0, 0]), "CCACC", "SPC-4 §5.13.1"),
    row("MODE SENSE(10)", [0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0], Data::In(192), "DDADD", "SPC-4 §5.13.1"),
    row("PERSISTENT RESERVE IN, READ KEYS", [0x5e, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "AAAAA", "SPC-4 §5.13.1").unprobed(),
    row("PERSISTENT RESERVE IN, READ RESERVATION", [0x5e, 0x1, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "AAAAA", "SPC-4 §5.13.1").unprobed(),
    row("PERSISTENT RESERVE IN, REPORT CAPABILITIES", [0x5e, 0x2, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "AAAAA", "SPC-4 §5.13.1").unprobed(),
    row("PERSISTENT RESERVE IN, READ FULL STATUS", [0x5e, 0x3, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "AAAAA", "SPC-4 §5.13.1").unprobed(),
    row("PERSISTENT RESERVE OUT, REGISTER", [0x5f, 0, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::ListOfNewKey, "AAAAA", "SPC-4 §6.16.1").unprobed(),
    row("PERSISTENT RESERVE OUT, CLEAR", [0x5f, 0x3, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::List { action_key: 0 }, "RRACC", "SPC-4 §6.16.1").unprobed(),
    row("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", [0x5f, 0x6, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::ListOfNewKey, "AAAAA", "SPC-4 §6.16.1").unprobed(),
    row("EXTENDED COPY", [0x83, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("POPULATE TOKEN", [0x83, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("WRITE USING TOKEN", [0x83, 0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17"),
    row("RECEIVE COPY OPERATING PARAMETERS", [0x84, 0x3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], Data::In(64), "CCACC", "SPC-4 §5.13.1"),
    row("READ(16)", [0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::InBlocks(1), "ACAAC", "SBC-3 §4.17"),
    row("COMPARE AND WRITE", [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::OutBlocks(2), "CCACC", "SBC-3 §4.17"),
    row("WRITE(16)", [0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("ORWRITE(16)", [0x8b, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("WRITE AND VERIFY(16)", [0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("VERIFY(16)", [0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("PRE-FETCH(16)", [0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("SYNCHRONIZE CACHE(16)", [0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::None, "CCACC", "SBC-3 §4.17"),
    row("WRITE SAME(16)", [0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("READ CAPACITY(16)", [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0], Data::In(32), "AAAAA", "SBC-3 §4.17"),
    row("GET LBA STATUS", [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0], Data::In(64), "ACAAC", "SBC-3 §4.17"),
    row("REPORT LUNS", [0xa0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "AAAAA", "SPC-4 §5.13.1"),
    row("REPORT IDENTIFYING INFORMATION", [0xa3, 0x5, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0], Data::In(64), "AAAAA", "SPC-4 §5.13.1"),
    row("REPORT TARGET PORT GROUPS", [0xa3, 0xa, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0], Data::In(128), "AAAAA", "SPC-4 §5.13.1"),
    row("REPORT SUPPORTED OPERATION CODES", [0xa3, 0xc, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0], Data::In(4096), "DDADD", "SPC-4 §5.13.1"),
    row("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", [0xa3, 0xd, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], Data::In(16), "DDADD", "SPC-4 §5.13.1"),
    row("REPORT TIMESTAMP", [0xa3, 0xf, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0], Data::In(16), "AAAAA", "SPC-4 §5.13.1"),
    row("SET TARGET PORT GROUPS", [0xa4, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("READ(12)", [0xa8, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0], Data::InBlocks(1), "ACAAC", "SBC-3 §4.17"),
    row("WRITE(12)", [0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("WRITE AND VERIFY(12)", [0xae, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0], Data::OutBlocks(1), "CCACC", "SBC-3 §4.17"),
    row("VERIFY(12)", [0xaf, 0, 0, 0, 0, 0, 0, 0, 0, 0x1, 0, 0, 0, 0, 0, 0], Data::None, "ACAAC", "SBC-3 §4.17"),
    row("READ DEFECT DATA(12)", [0xb7, 0xd, 0, 0, 0, 0, 0, 0, 0, 0x8, 0, 0, 0, 0, 0, 0], Data::In(8), "DDADD", "SBC-3 §4.17"),
    row("PERSISTENT RESERVE OUT, PREEMPT", [0x5f, 0x4, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::List { action_key: HOLDER_KEY }, "RRACC", "SPC-4 §6.16.1").unprobed(),
    row("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", [0x5f, 0x5, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::List { action_key: HOLDER_KEY }, "RRACC", "SPC-4 §6.16.1").unprobed(),
    row("PERSISTENT RESERVE OUT, RESERVE", [0x5f, 0x1, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::List { action_key: 0 }, "CCCCC", "SPC-4 §6.16.1").unprobed(),
    row("PERSISTENT RESERVE OUT, RELEASE", [0x5f, 0x2, 0, 0, 0, 0, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0], Data::List { action_key: 0 }, "RRACC", "SPC-4 §6.16.1").unprobed(),
    row("FORMAT UNIT", [4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17").refused_only(),
    row("SANITIZE, OVERWRITE", [0x48, 0x1, 0, 0, 0, 0, 0, 0, 0x8, 0, 0, 0, 0, 0, 0, 0], Data::Out(&[1, 0, 0, 4, 0, 0, 0, 0]), "CCACC", "SBC-3 §4.17").refused_only(),
    row("SANITIZE, BLOCK ERASE", [0x48, 0x2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17").refused_only(),
    row("SANITIZE, EXIT FAILURE MODE", [0x48, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SBC-3 §4.17").refused_only(),
    row("SET IDENTIFYING INFORMATION", [0xa4, 0x6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], Data::None, "CCACC", "SPC-4 §5.13.1"),
    row("SET TIMESTAMP", [0xa4, 0xf, 0, 0, 0, 0, 0, 0, 0, 0xc, 0, 0, 0, 0, 0, 0], Data::Out(&[0; 12]), "CCACC", "SPC-4 §5.13.1"),
];
