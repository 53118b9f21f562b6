//! Tests of the logical unit as an initiator sees it: CDB bytes in, status, data and sense out.

mod absent;
mod access_state;
mod allocation;
mod attentions;
mod block_io;
mod cache;
mod capacity;
mod compare_and_write;
mod conformance_page;
mod costs;
mod erase;
mod fence;
mod histories;
mod identification;
mod inquiry;
mod mode_select;
mod mode_sense;
mod opcodes;
mod overtaking;
mod random;
mod refusals;
mod removable;
mod report;
mod reservations;
mod task_attributes;
mod task_management;
mod third_party_copy;
mod unmap;
mod verify;
mod write_same;

use bytes::Bytes;
use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::cdb::{Cdb, Form, Transfer};
use lunkeep_common::scsi::{Asc, Lun, Sense, SenseFormat, SenseKey, Status};

use super::*;

/// The clock of the test host.
const NOW_MS: u64 = 1_800_000_000_000;

/// Blocks of the test medium.
const BLOCKS: u64 = 4096;

fn config() -> LogicalUnitConfig {
    LogicalUnitConfig {
        identity: Identity {
            naa: vec![0x36, 0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60],
            serial: "3600102030405060".into(),
            vendor: "LUNKEEP".into(),
            product: "Virtual disk".into(),
            revision: "0001".into(),
        },
        medium: MediumShape {
            size: BLOCKS * 512,
            logical_block: 512,
            physical_block: 4096,
            allocation_unit: 1 << 20,
            thin: true,
            read_only: false,
        },
        // Small enough that the medium reaches beyond every limit.
        commands: CommandLimits {
            transfer: 1024 * 512,
            write_same: 2048 * 512,
            compare_and_write: 16,
            unmap_blocks: 3000,
            unmap_descriptors: 4,
        },
        tasks: TaskLimits { per_nexus: 3, total: 5 },
        task_aborted_status: false,
        removable: false,
        saved: None,
    }
}

fn nexus(number: u8) -> Nexus {
    let name = format!("iqn.2026-11.org.example:node{number}").parse().unwrap();
    let target = "iqn.2026-11.org.example:disks".parse().unwrap();
    Nexus {
        initiator: InitiatorPort { name, isid: Isid([0x80, 0, 0, 0, 0, number]) },
        target: TargetPort { name: target, portal_group: PortalGroupTag(1) },
        relative_target_port: 1,
    }
}

/// A logical unit over a medium in memory, with one nexus that has taken its power-on unit attention.
struct Bench {
    unit: LogicalUnit,
    medium: Vec<u8>,
    /// What was done to the medium, in order.
    ops: Vec<MediaOp>,
    nexus: NexusId,
    last_task: u64,
    luns: Vec<Lun>,
    /// Copies that were asked for.
    copies: Vec<Copy>,
    /// The next token's.
    random: [u8; 40],
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut LogicalUnitConfig)) -> Self {
        let mut config = config();
        change(&mut config);
        let medium = vec![0; usize::try_from(config.medium.size.min(1 << 26)).unwrap()];
        let ports = [1, 2].map(|group| ExportPort {
            target: TargetPort {
                name: "iqn.2026-11.org.example:disks".parse().unwrap(),
                portal_group: PortalGroupTag(group),
            },
            relative: group,
        });
        let setup = ReservationSetup { ports: ports.to_vec(), ..ReservationSetup::default() };
        let unit = LogicalUnit::new(config).unwrap().with_reservations(setup);
        let luns = vec![Lun::from_number(0).unwrap(), Lun::from_number(300).unwrap()];
        let mut bench = Self {
            unit,
            medium,
            ops: Vec::new(),
            nexus: NexusId(1),
            last_task: 0,
            luns,
            copies: Vec::new(),
            random: [7; 40],
        };
        bench.attach(1);
        bench
    }

    /// Attaches nexus `number` and takes its unit attentions.
    fn attach(&mut self, number: u8) {
        self.unit.attach(NexusId(number.into()), nexus(number));
        self.take_attentions(number);
    }

    /// Unit attentions of a nexus, as TEST UNIT READY brings them.
    fn take_attentions(&mut self, number: u8) -> Vec<Asc> {
        let own = std::mem::replace(&mut self.nexus, NexusId(number.into()));
        let mut all = Vec::new();
        while let Completion { status: Status::CheckCondition, sense: Some(sense), .. } = self.run(&[0; 6]) {
            if sense.key != SenseKey::UnitAttention {
                break;
            }
            all.push(sense.asc);
        }
        self.nexus = own;
        all
    }

    /// Begins a command from `nexus` that announces this much data.
    fn begin_as(&mut self, nexus: u64, cdb: &[u8], expected_out: usize) -> (TaskId, Step) {
        let mut padded = cdb.to_vec();
        padded.resize(cdb.len().max(16), 0);
        self.last_task += 1;
        let task = TaskId(self.last_task);
        let step = self.unit.begin(Command {
            nexus: NexusId(nexus),
            task,
            cdb: &padded,
            attribute: TaskAttribute::Simple,
            expected_in: u32::MAX,
            expected_out: expected_out.try_into().unwrap(),
            now_ms: NOW_MS,
            luns: &self.luns,
        });
        (task, step)
    }

    fn begin(&mut self, cdb: &[u8], expected_out: usize) -> (TaskId, Step) {
        self.begin_as(self.nexus.0, cdb, expected_out)
    }

    /// Runs a command without data for the target to its end.
    fn run(&mut self, cdb: &[u8]) -> Completion {
        self.run_out(cdb, &[])
    }

    /// Runs a command with `data` for the target to its end, as a transport does: it moves the smaller of what is wanted and of
    /// what there is, in two pieces.
    fn run_out(&mut self, cdb: &[u8], data: &[u8]) -> Completion {
        let (task, mut step) = self.begin(cdb, data.len());
        loop {
            step = match step {
                Step::DataOut(wanted) => {
                    let data = &data[..data.len().min(usize::try_from(wanted).unwrap())];
                    let (a, b) = data.split_at(data.len() / 3);
                    self.unit.data_out(task, [a, b].map(Bytes::copy_from_slice).to_vec())
                }
                Step::Media(op) => {
                    let reply = self.execute(op);
                    self.unit.media_done(task, Ok(reply))
                }
                Step::Fence(_) => self.unit.fence_drained(task, Ok(())).remove(0).step,
                Step::Record(_) => self.unit.recorded(task, Ok(())).remove(0).step,
                Step::Erase(erase) => match self.erase(task, &erase) {
                    Some(completion) => return completion,
                    None => panic!("nobody waits for the erasure"),
                },
                Step::Copy(copy) => {
                    self.copies.push((*copy).clone());
                    match *copy {
                        Copy::MakeToken(list) => self.unit.make_token(task, &list, &self.random, NOW_MS),
                        _ => self.unit.copy_done(task, CopyTotals { segments: 1, bytes: 512 }, Ok(())),
                    }
                }
                Step::Waiting => panic!("no fence runs"),
                Step::Done(completion) => return completion,
                Step::Aborted => panic!("nobody aborted this"),
            };
        }
    }

    /// Erases as the engine does, at once, and gives what the task was answered.
    fn erase(&mut self, task: TaskId, erase: &Erase) -> Option<Completion> {
        assert!(erase.before.erasing.is_some() && erase.after.erasing.is_none());
        let begun = self.unit.erase_begun();
        match &erase.pattern {
            None => self.medium.fill(0),
            Some(pattern) => {
                for pass in 0..pattern.passes {
                    let invert = if pattern.invert && pass % 2 == 1 { 0xff } else { 0 };
                    let bytes = pattern.block.iter().cycle();
                    self.medium.iter_mut().zip(bytes).for_each(|(byte, new)| *byte = new ^ invert);
                }
            }
        }
        let done = self.unit.erase_done(Ok(()));
        let (answered, completion) = begun.or(done)?;
        assert_eq!(answered, task);
        Some(completion)
    }

    fn execute(&mut self, op: MediaOp) -> MediaReply {
        self.ops.push(op.clone());
        let medium = &mut self.medium;
        let range = |offset: u64, len: u64| {
            usize::try_from(offset).unwrap()..usize::try_from(offset.checked_add(len).unwrap()).unwrap()
        };
        match op {
            MediaOp::Read { offset, len } => {
                return MediaReply::Data(Bytes::copy_from_slice(&medium[range(offset, len.into())]));
            }
            MediaOp::ReadForCopy { offset, len, .. } => {
                return MediaReply::Data(Bytes::copy_from_slice(&medium[range(offset, len)]));
            }
            MediaOp::Write { offset, data, .. } => {
                let data = data.concat();
                medium[range(offset, data.len() as u64)].copy_from_slice(&data);
            }
            MediaOp::Verify { offset, len, compare } => {
                let compare = compare.map(|pieces| pieces.concat());
                let there = &medium[range(offset, len)];
                let wrong = compare
                    .and_then(|compare| there.iter().zip(compare.iter().cycle()).position(|(a, b)| a != b));
                if let Some(at) = wrong {
                    return MediaReply::Miscompare { at: at as u64 };
                }
            }
            MediaOp::WriteSame { offset, len, pattern, .. } => {
                medium[range(offset, len)]
                    .chunks_exact_mut(pattern.len())
                    .for_each(|b| b.copy_from_slice(&pattern));
            }
            MediaOp::Unmap { ranges } => ranges.iter().for_each(|&(at, len)| medium[range(at, len)].fill(0)),
            MediaOp::WriteAndVerify { offset, data, .. } => {
                let data = data.concat();
                medium[range(offset, data.len() as u64)].copy_from_slice(&data);
            }
            MediaOp::CompareAndWrite { offset, expected, write, .. } => {
                let (expected, write) = (expected.concat(), write.concat());
                let there = &mut medium[range(offset, write.len() as u64)];
                if let Some(at) = there.iter().zip(&expected).position(|(a, b)| a != b) {
                    return MediaReply::Miscompare { at: at as u64 };
                }
                there.copy_from_slice(&write);
            }
            MediaOp::OrWrite { offset, data, .. } => {
                let data = data.concat();
                medium[range(offset, data.len() as u64)].iter_mut().zip(&data).for_each(|(a, b)| *a |= b);
            }
            MediaOp::BlockStatus { len, .. } => return MediaReply::Status(vec![(len, true)]),
            MediaOp::Prefetch { offset, len } => assert!(!medium[range(offset, len)].is_empty()),
            MediaOp::Save(_) | MediaOp::Flush => {}
        }
        MediaReply::Done
    }
}

/// The data of a command that must have ended GOOD.
#[track_caller]
fn good(completion: Completion) -> Vec<u8> {
    assert_eq!((completion.status, completion.sense), (Status::Good, None));
    completion.data_in.concat()
}

/// The sense of a command that must have ended with CHECK CONDITION.
#[track_caller]
fn sense(completion: Completion) -> Sense {
    assert_eq!(completion.status, Status::CheckCondition);
    assert!(completion.data_in.is_empty());
    completion.sense.unwrap()
}

const fn illegal(asc: Asc) -> Sense {
    Sense::illegal_request(asc)
}

const fn out_of_range(lba: u64) -> Sense {
    illegal(Asc::LBA_OUT_OF_RANGE).with_information(lba)
}

fn read_cdb(form: Form, lba: u64, blocks: u32) -> [u8; 16] {
    Cdb::Read(transfer(form, lba, blocks)).encode().unwrap()
}

fn write_cdb(form: Form, lba: u64, blocks: u32) -> [u8; 16] {
    Cdb::Write(transfer(form, lba, blocks)).encode().unwrap()
}

const fn transfer(form: Form, lba: u64, blocks: u32) -> Transfer {
    Transfer { form, lba, blocks, disable_page_out: false, force_unit_access: false }
}

const FORMS: [Form; 4] = [Form::Six, Form::Ten, Form::Twelve, Form::Sixteen];
const LONG_FORMS: [Form; 3] = [Form::Ten, Form::Twelve, Form::Sixteen];

/// `len` bytes that differ from block to block and within each.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i % 251) ^ (i / 512 % 256)).unwrap()).collect()
}

/// Sixteen bytes to a line.
fn hex(bytes: &[u8]) -> String {
    let line = |line: &[u8]| line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
    bytes.chunks(16).map(line).collect::<Vec<_>>().join("\n")
}
