//! What is refused: every bit of every CDB of the opcode table, and every parameter list, with the exact sense data.
//!
//! [`rows`] says for each command which of its fields take any value, and for every other field what is wrong with some value of
//! it. A bit of the usage map that is in neither is a hole, and fails the test; so does a command without a row, which does
//! not even compile. After every refused command the medium, the state of the unit and its reservations are what they were, and
//! nothing was asked of the medium.

mod blocks;
mod copies;
mod lists;
mod queries;
mod reservations;
mod rows;

use lunkeep_common::scsi::opcode_table::{Operation, OperationInfo, TABLE};

use super::*;

/// Blocks of the medium that is compared.
const SMALL: u64 = 64;
/// Blocks in one READ, WRITE or VERIFY; in one WRITE SAME; in one COMPARE AND WRITE; in one UNMAP; descriptors of an UNMAP.
const TRANSFER_MAX: u32 = 16;
const WRITE_SAME_MAX: u32 = 32;
const COMPARE_MAX: u8 = 4;
const UNMAP_MAX: u32 = 48;
const DESCRIPTORS_MAX: u32 = 2;
/// The key that the nexus is registered with where a command needs one, and that of the other nexus.
const KEY: u64 = 0x11;
const OTHER_KEY: u64 = 0x22;

/// What the initiator sends, and the sense that it gets.
struct Case {
    what: String,
    cdb: Vec<u8>,
    data: Vec<u8>,
    /// On a unit that is neither thin nor removable.
    plain_unit: bool,
    expected: Sense,
}

/// One command.
struct Row {
    /// As it is accepted.
    cdb: Vec<u8>,
    data: Vec<u8>,
    /// Fields of which every value is accepted: first byte, count of bytes, bits.
    free: Vec<(usize, usize, u8)>,
    /// What is accepted besides.
    accepted: Vec<(String, Vec<u8>, Vec<u8>)>,
    cases: Vec<Case>,
}

impl Row {
    /// The command as it is accepted: bytes of the CDB that are not zero, and what the initiator sends.
    fn new(operation: Operation, patches: &[(usize, &[u8])], data: Vec<u8>) -> Self {
        let info = operation.info();
        let mut cdb = vec![0; info.usage.len()];
        cdb[0] = info.opcode;
        cdb[1] = info.service_action.unwrap_or(0);
        Self { cdb: patched(&cdb, patches), data, free: Vec::new(), accepted: Vec::new(), cases: Vec::new() }
    }

    /// Every value of these bits is accepted.
    fn free(mut self, byte: usize, len: usize, mask: u8) -> Self {
        self.free.push((byte, len, mask));
        self
    }

    /// A wrong field of the CDB.
    fn refuse(self, what: &str, patches: &[(usize, &[u8])], expected: Sense) -> Self {
        let data = self.data.clone();
        self.refuse_with(what, patches, data, expected)
    }

    /// A wrong parameter list, or other data that does not fit the CDB.
    fn refuse_with(mut self, what: &str, patches: &[(usize, &[u8])], data: Vec<u8>, expected: Sense) -> Self {
        let cdb = patched(&self.cdb, patches);
        self.cases.push(Case { what: what.to_owned(), cdb, data, plain_unit: false, expected });
        self
    }

    /// What only a unit that is thin, or removable, takes.
    fn refuse_on_plain_unit(mut self, what: &str, patches: &[(usize, &[u8])], expected: Sense) -> Self {
        let (cdb, data) = (patched(&self.cdb, patches), self.data.clone());
        self.cases.push(Case { what: what.to_owned(), cdb, data, plain_unit: true, expected });
        self
    }

    /// The last value before what is refused.
    fn accept(mut self, what: &str, patches: &[(usize, &[u8])], data: Vec<u8>) -> Self {
        let cdb = patched(&self.cdb, patches);
        self.accepted.push((what.to_owned(), cdb, data));
        self
    }
}

fn patched(cdb: &[u8], patches: &[(usize, &[u8])]) -> Vec<u8> {
    let mut cdb = cdb.to_vec();
    for &(at, bytes) in patches {
        cdb[at..at + bytes.len()].copy_from_slice(bytes);
    }
    cdb
}

const fn length_error() -> Sense {
    illegal(Asc::PARAMETER_LIST_LENGTH_ERROR)
}

const fn in_cdb(byte: u16, bit: Option<u8>) -> Sense {
    Sense::invalid_field_in_cdb(byte, bit)
}

const fn in_list(byte: u16, bit: Option<u8>) -> Sense {
    Sense::invalid_field_in_parameter_list(byte, bit)
}

/// A small unit whose medium is full of bytes, and on which the row's command is accepted.
fn bench(operation: Operation, plain_unit: bool) -> Bench {
    let mut bench = Bench::with(|config| {
        config.medium.size = SMALL * 512;
        config.medium.thin = !plain_unit;
        config.removable = !plain_unit;
        config.commands = CommandLimits {
            transfer: TRANSFER_MAX * 512,
            write_same: WRITE_SAME_MAX * 512,
            compare_and_write: COMPARE_MAX,
            unmap_blocks: UNMAP_MAX,
            unmap_descriptors: DESCRIPTORS_MAX,
        };
    });
    bench.medium = pattern(bench.medium.len());
    reservations::prepare(&mut bench, operation);
    copies::prepare(&mut bench, operation);
    bench.ops.clear();
    bench
}

/// Everything that a refused command must leave as it is.
fn everything(bench: &Bench) -> (Vec<u8>, String) {
    let unit = &bench.unit;
    (bench.medium.clone(), format!("{:?} {:?} {:?}", unit.state, unit.reservations, unit.attentions))
}

#[track_caller]
fn assert_refused(bench: &mut Bench, (cdb, data): (&[u8], &[u8]), expected: &Sense, what: &str) {
    let before = everything(bench);
    assert_eq!(sense(bench.run_out(cdb, data)), *expected, "{what}: {cdb:02x?}");
    assert!(everything(bench) == before, "{what} changed something: {cdb:02x?}");
    assert_eq!((&bench.ops[..], bench.unit.task_count()), (&[][..], 0), "{what}: {cdb:02x?}");
}

/// Whether a bit of the CDB is evaluated, other than those that say which command it is.
fn is_evaluated(info: &OperationInfo, byte: usize, bit: u8) -> bool {
    info.usage[byte] >> bit & 1 != 0 && !is_service_action(info, byte, bit)
}

fn is_service_action(info: &OperationInfo, byte: usize, bit: u8) -> bool {
    byte == 1 && bit < 5 && info.service_action.is_some()
}

#[test]
fn each_wrong_field_and_each_wrong_list_is_refused_with_its_own_sense_and_changes_nothing() {
    for info in TABLE {
        let row = rows::row(info.operation);
        let mut benches = [bench(info.operation, false), bench(info.operation, true)];
        for Case { what, cdb, data, plain_unit, expected } in &row.cases {
            let bench = &mut benches[usize::from(*plain_unit)];
            assert_refused(bench, (cdb, data), expected, &format!("{}: {what}", info.name));
        }
    }
}

#[test]
fn each_command_is_accepted_without_what_is_refused() {
    for info in TABLE {
        let row = rows::row(info.operation);
        let whole = [("as it is".to_owned(), row.cdb.clone(), row.data.clone())];
        for (what, cdb, data) in whole.iter().chain(&row.accepted) {
            let completion = bench(info.operation, false).run_out(cdb, data);
            assert_eq!(completion.sense, None, "{}: {what}: {cdb:02x?}", info.name);
            let good = [Status::Good, Status::ConditionMet].contains(&completion.status);
            assert!(good, "{}: {what}: {:?}", info.name, completion.status);
        }
        for &(byte, len, mask) in &row.free {
            for value in [0, mask] {
                let cdb = patched(&row.cdb, &[(byte, &vec![value | (row.cdb[byte] & !mask); len])]);
                let completion = bench(info.operation, false).run_out(&cdb, &row.data);
                assert_eq!(completion.sense, None, "{} byte {byte}: {cdb:02x?}", info.name);
            }
        }
    }
}

#[test]
fn each_bit_that_is_evaluated_takes_every_value_or_has_a_case() {
    for info in TABLE {
        let row = rows::row(info.operation);
        for byte in 1..info.usage.len() {
            for bit in (0..8).filter(|&bit| is_evaluated(info, byte, bit)) {
                let free = row
                    .free
                    .iter()
                    .any(|&(at, len, mask)| (at..at + len).contains(&byte) && mask >> bit & 1 != 0);
                let tried = row.cases.iter().any(|case| (case.cdb[byte] ^ row.cdb[byte]) >> bit & 1 != 0);
                assert!(free || tried, "{} has no case for byte {byte} bit {bit}", info.name);
            }
        }
    }
}

#[test]
fn each_other_bit_is_refused_or_ignored_as_the_table_says() {
    for info in TABLE {
        let row = rows::row(info.operation);
        let mut bench_of_refused = bench(info.operation, false);
        for byte in 1..info.usage.len() {
            for bit in (0..8).filter(|&bit| !is_evaluated(info, byte, bit)) {
                let mut cdb = row.cdb.clone();
                cdb[byte] ^= 1 << bit;
                let what = format!("{} byte {byte} bit {bit}", info.name);
                if is_service_action(info, byte, bit) {
                    continue;
                } else if info.ignored.iter().any(|&(at, mask)| at == byte && mask >> bit & 1 != 0) {
                    let completion = bench(info.operation, false).run_out(&cdb, &row.data);
                    assert_eq!(completion.sense, None, "{what} is ignored");
                } else {
                    let (at, most_significant) = info.pointer(byte, bit);
                    let expected = in_cdb(at, most_significant);
                    assert_refused(&mut bench_of_refused, (&cdb, &row.data), &expected, &what);
                }
            }
        }
    }
}

#[test]
fn each_cdb_that_is_cut_is_refused_and_changes_nothing() {
    for info in TABLE {
        let row = rows::row(info.operation);
        let mut bench = bench(info.operation, false);
        for len in 2..row.cdb.len() {
            let before = everything(&bench);
            let step = bench.unit.begin(Command {
                nexus: bench.nexus,
                task: TaskId(u64::MAX),
                cdb: &row.cdb[..len],
                attribute: TaskAttribute::Simple,
                expected_in: u32::MAX,
                expected_out: 0,
                now_ms: NOW_MS,
                luns: &[],
            });
            let Step::Done(completion) = step else { panic!("{}: {step:?}", info.name) };
            assert_eq!(sense(completion), illegal(Asc::INVALID_FIELD_IN_CDB), "{} cut to {len}", info.name);
            assert!(everything(&bench) == before, "{} cut to {len} changed something", info.name);
        }
    }
}

/// A control: the comparison does see a byte that changes, and the state that a command changes.
#[test]
#[should_panic(expected = "changed something")]
fn a_command_that_writes_before_it_is_refused_would_be_seen() {
    let mut bench = bench(Operation::Write10, false);
    let before = everything(&bench);
    bench.medium[512] ^= 1;
    assert!(everything(&bench) == before, "changed something");
}
