//! Parameter data of REPORT SUPPORTED OPERATION CODES and REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 §6.35, §6.36).

use super::bytes::{u8_at, u16_at, u32_at};
use super::opcode_table::OperationInfo;

/// SUPPORT (SPC-4 table 294).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// 1: not supported.
    No = 1,
    /// 3: supported as a standard says.
    Standard = 3,
}

/// A command descriptor of the all_commands format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SupportedCommand {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, when SERVACTV is one.
    pub service_action: Option<u16>,
    /// CDB LENGTH.
    pub cdb_len: u16,
}

/// A command timeouts descriptor (SPC-4 §6.35.4), in seconds; zero reports nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandTimeouts {
    /// NOMINAL COMMAND PROCESSING TIMEOUT: after this long it may be asked whether the command makes progress.
    pub nominal: u32,
    /// RECOMMENDED COMMAND TIMEOUT: before this, nobody should take the command for lost.
    pub recommended: u32,
}

/// Bytes of a command timeouts descriptor.
const TIMEOUTS_LEN: usize = 12;

impl CommandTimeouts {
    fn encode(self) -> [u8; TIMEOUTS_LEN] {
        let mut out = [0; TIMEOUTS_LEN];
        // DESCRIPTOR LENGTH counts what follows it.
        out[1] = 10;
        out[4..8].copy_from_slice(&self.nominal.to_be_bytes());
        out[8..].copy_from_slice(&self.recommended.to_be_bytes());
        out
    }

    /// Reads a descriptor.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self { nominal: u32_at(bytes, 4)?, recommended: u32_at(bytes, 8)? })
    }
}

/// all_commands parameter data (SPC-4 §6.35.2), not yet cut to an allocation length, of commands with what is reported of their
/// timeouts, if anything was asked for.
pub fn encode_all<'a>(
    commands: impl IntoIterator<Item = (&'a OperationInfo, Option<CommandTimeouts>)>,
) -> Vec<u8> {
    let mut out = vec![0; 4];
    for (info, timeouts) in commands {
        let action = u16::from(info.service_action.unwrap_or(0));
        let flags = u8::from(timeouts.is_some()) << 1 | u8::from(info.service_action.is_some());
        out.extend([info.opcode, 0]);
        out.extend(action.to_be_bytes());
        out.extend([0, flags]);
        out.extend(u16::try_from(info.usage.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(timeouts.into_iter().flat_map(CommandTimeouts::encode));
    }
    let len = u32::try_from(out.len() - 4).unwrap_or(u32::MAX);
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// Reads all_commands parameter data. Ends at the first descriptor that is cut; `None` without a header.
#[must_use]
pub fn decode_all(bytes: &[u8]) -> Option<Vec<SupportedCommand>> {
    let stated = usize::try_from(u32_at(bytes, 0)?).unwrap_or(usize::MAX);
    let mut rest = bytes.get(4..)?;
    rest = rest.get(..rest.len().min(stated))?;
    let mut all = Vec::new();
    while let (Some(opcode), Some(flags)) = (u8_at(rest, 0), u8_at(rest, 5)) {
        let (Some(action), Some(cdb_len)) = (u16_at(rest, 2), u16_at(rest, 6)) else { break };
        all.push(SupportedCommand { opcode, service_action: (flags & 1 != 0).then_some(action), cdb_len });
        let len = if flags & 2 != 0 { 8 + TIMEOUTS_LEN } else { 8 };
        rest = rest.get(len..).unwrap_or_default();
    }
    Some(all)
}

/// one_command parameter data (SPC-4 §6.35.3): `usage` is empty when the command is not supported.
#[must_use]
pub fn encode_one(support: Support, usage: &[u8], timeouts: Option<CommandTimeouts>) -> Vec<u8> {
    // CTDP; without a command there is nothing to time.
    let timeouts = timeouts.filter(|_| !usage.is_empty());
    let mut out = vec![0, u8::from(timeouts.is_some()) << 7 | support as u8];
    out.extend(u16::try_from(usage.len()).unwrap_or(u16::MAX).to_be_bytes());
    out.extend(usage);
    out.extend(timeouts.into_iter().flat_map(CommandTimeouts::encode));
    out
}

/// Reads one_command parameter data: whether the command is supported, and its usage map.
#[must_use]
pub fn decode_one(bytes: &[u8]) -> Option<(bool, &[u8])> {
    let supported = matches!(u8_at(bytes, 1)? & 7, 3 | 5);
    let len = usize::from(u16_at(bytes, 2)?);
    Some((supported, bytes.get(4..4 + len)?))
}

/// Which task management functions a device server performs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of SAM-5 §7")]
pub struct TaskManagementFunctions {
    pub abort_task: bool,
    pub abort_task_set: bool,
    pub clear_aca: bool,
    pub clear_task_set: bool,
    pub logical_unit_reset: bool,
    pub query_task: bool,
    pub query_asynchronous_event: bool,
    pub query_task_set: bool,
    pub i_t_nexus_reset: bool,
}

impl TaskManagementFunctions {
    /// Parameter data: four bytes, or sixteen for the extended form, which reports no timeouts.
    #[must_use]
    pub fn encode(&self, extended: bool) -> Vec<u8> {
        let bits =
            |all: [(bool, u8); 8]| all.into_iter().fold(0, |byte, (on, bit)| byte | u8::from(on) << bit);
        let first = bits([
            (self.abort_task, 7),
            (self.abort_task_set, 6),
            (self.clear_aca, 5),
            (self.clear_task_set, 4),
            (self.logical_unit_reset, 3),
            (self.query_task, 2),
            (false, 1),
            (false, 0),
        ]);
        let second = u8::from(self.query_asynchronous_event) << 2
            | u8::from(self.query_task_set) << 1
            | u8::from(self.i_t_nexus_reset);
        let mut out = vec![first, second, 0, 0];
        if extended {
            // REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS ADDITIONAL DATA LENGTH; TMFTMOV zero.
            out[3] = 12;
            out.resize(16, 0);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::opcode_table::{Operation, TABLE};
    use super::*;

    #[test]
    fn all_commands_survive_the_wire_with_and_without_timeouts() {
        let expected: Vec<_> = TABLE
            .iter()
            .map(|info| SupportedCommand {
                opcode: info.opcode,
                service_action: info.service_action.map(u16::from),
                cdb_len: info.usage.len().try_into().unwrap(),
            })
            .collect();
        for timeouts in [None, Some(CommandTimeouts { nominal: 7, recommended: 1 << 20 })] {
            let bytes = encode_all(TABLE.iter().map(|info| (info, timeouts)));
            assert_eq!(bytes.len(), 4 + TABLE.len() * if timeouts.is_some() { 20 } else { 8 });
            assert_eq!(timeouts.and_then(|_| CommandTimeouts::decode(&bytes[12..])), timeouts);
            assert_eq!(decode_all(&bytes).as_ref(), Some(&expected));
            for end in 0..bytes.len() {
                assert!(decode_all(&bytes[..end]).is_none_or(|all| all.len() <= TABLE.len()));
            }
        }
    }

    #[test]
    fn one_command_survives_the_wire() {
        let usage = Operation::ReadCapacity16.info().usage;
        let bytes = encode_one(Support::Standard, usage, Some(CommandTimeouts::default()));
        assert_eq!(bytes.len(), 4 + 16 + 12);
        assert_eq!(decode_one(&bytes), Some((true, usage)));
        let bytes = encode_one(Support::No, &[], Some(CommandTimeouts::default()));
        assert_eq!(bytes, [0, 1, 0, 0]);
        assert_eq!(decode_one(&bytes), Some((false, [].as_slice())));
    }

    #[test]
    fn task_management_functions_are_bits() {
        let functions = TaskManagementFunctions {
            abort_task: true,
            abort_task_set: true,
            clear_task_set: true,
            logical_unit_reset: true,
            ..Default::default()
        };
        assert_eq!(functions.encode(false), [0xd8, 0, 0, 0]);
        assert_eq!(functions.encode(true), [0xd8, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
