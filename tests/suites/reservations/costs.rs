//! What a command costs where many are registered, as a table for docs/reservations.md. Nothing is asserted about time; that the costs grow no
//! faster than the number of registrants is a test of the target's own, which counts.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lunkeep_common::name::{InitiatorPort, Isid, PortalGroupTag, TargetPort};
use lunkeep_common::pdu::scsi_command::TaskAttribute;
use lunkeep_common::scsi::persistent::{BasicList, Key, ReservationType};
use lunkeep_target::device::reservation::{Record, Registration, Reservation};
use lunkeep_target::device::{
    Command, CommandLimits, Identity, LogicalUnit, LogicalUnitConfig, MediaReply, MediumShape, Nexus,
    NexusId, ReservationSetup, Step, TaskId, TaskLimits,
};
use lunkeep_target::store::{FileState, LunStateStore, Naa};
use lunkeep_tests::report;

/// Times that a command is run for its mean.
fn repeats() -> u32 {
    if report::full() { 2000 } else { 5 }
}

struct Unit {
    unit: LogicalUnit,
    task: u64,
}

fn nexus(number: u16) -> Nexus {
    Nexus {
        initiator: InitiatorPort {
            name: format!("iqn.2026-11.org.example:node{number:03}").parse().unwrap(),
            isid: Isid([0x80, 0, 0, 0, 0, 1]),
        },
        target: TargetPort {
            name: "iqn.2026-11.org.example:disks".parse().unwrap(),
            portal_group: PortalGroupTag(1),
        },
        relative_target_port: 1,
    }
}

fn record(count: u16) -> Record {
    let mut record = Record::default();
    for number in 0..count {
        let registration = Registration { key: Key(u64::from(number) + 1), all_target_ports: false };
        record.registrations.insert(nexus(number), registration);
    }
    record.reservation = Some(Reservation::new(ReservationType::WriteExclusiveRegistrantsOnly, &nexus(0)));
    record
}

impl Unit {
    /// The first nexus is attached and holds.
    fn new(record: Record) -> Self {
        let config = LogicalUnitConfig {
            identity: Identity {
                naa: vec![3; 8],
                serial: "1".into(),
                vendor: "LUNKEEP".into(),
                product: "TEST".into(),
                revision: "1".into(),
            },
            medium: MediumShape {
                size: 1 << 30,
                logical_block: 512,
                physical_block: 4096,
                allocation_unit: 4096,
                thin: true,
                read_only: false,
            },
            commands: CommandLimits::default(),
            tasks: TaskLimits::default(),
            task_aborted_status: false,
            removable: false,
            saved: None,
        };
        let setup = ReservationSetup { force_persist: true, record, ..ReservationSetup::default() };
        let mut unit = LogicalUnit::new(config).unwrap().with_reservations(setup);
        unit.attach(NexusId(1), nexus(0));
        let mut unit = Self { unit, task: 0 };
        while unit.run(&[0; 6], &[]) != 0 {}
        unit
    }

    /// Runs a command to its end and gives its status.
    fn run(&mut self, cdb: &[u8], data: &[u8]) -> u8 {
        self.task += 1;
        let task = TaskId(self.task);
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        let mut step = self.unit.begin(Command {
            nexus: NexusId(1),
            task,
            cdb: &padded,
            attribute: TaskAttribute::Simple,
            expected_in: u32::MAX,
            expected_out: u32::try_from(data.len()).unwrap(),
            now_ms: 0,
            luns: &[],
        });
        loop {
            step = match step {
                Step::DataOut(_) => self.unit.data_out(task, vec![Bytes::copy_from_slice(data)]),
                Step::Media(_) => self.unit.media_done(task, Ok(MediaReply::Done)),
                Step::Fence(_) => self.unit.fence_drained(task, Ok(())).remove(0).step,
                Step::Record(_) => self.unit.recorded(task, Ok(())).remove(0).step,
                Step::Done(completion) => return completion.status as u8,
                other => panic!("{other:?}"),
            };
        }
    }
}

fn list(key: u64, other: u64) -> Vec<u8> {
    BasicList { key: Key(key), service_action_key: Key(other), ..BasicList::default() }.encode()
}

fn out(action: u8) -> [u8; 10] {
    [0x5f, action, 5, 0, 0, 0, 0, 0, 24, 0]
}

/// Mean time of a command, and of what must be done before it each time.
fn time(record: &Record, work: impl Fn(&mut Unit)) -> Duration {
    let mut unit = Unit::new(record.clone());
    let begin = Instant::now();
    (0..repeats()).for_each(|_| work(&mut unit));
    begin.elapsed() / repeats()
}

#[test]
fn each_command_is_carried_out_however_many_are_registered_and_its_time_is_told() {
    type Work = (&'static str, fn(&mut Unit));
    let works: [Work; 7] = [
        ("WRITE, from the CDB to the answer, without the medium", |unit| {
            assert_eq!(unit.run(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512]), 0);
        }),
        ("READ KEYS", |unit| assert_eq!(unit.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0], &[]), 0)),
        ("READ FULL STATUS", |unit| assert_eq!(unit.run(&[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0], &[]), 0)),
        ("REGISTER AND IGNORE EXISTING KEY", |unit| assert_eq!(unit.run(&out(6), &list(0, 1)), 0)),
        ("RELEASE and RESERVE", |unit| {
            assert_eq!(unit.run(&out(2), &list(1, 0)), 0);
            assert_eq!(unit.run(&out(1), &list(1, 0)), 0);
        }),
        ("PREEMPT of its own key", |unit| assert_eq!(unit.run(&out(4), &list(1, 1)), 0)),
        ("PREEMPT AND ABORT of its own key", |unit| assert_eq!(unit.run(&out(5), &list(1, 1)), 0)),
    ];
    let mut table = String::from("| | 1 | 16 | 128 |\n|---|---|---|---|\n");
    let counts = [1, 16, 128];
    for (name, work) in works {
        write!(table, "| {name} |").unwrap();
        for count in counts {
            write!(table, " {:.2} µs |", time(&record(count), work).as_secs_f64() * 1e6).unwrap();
        }
        table.push('\n');
    }
    let folder = tempfile::tempdir().unwrap();
    write!(table, "| writing the record, with its syncs |").unwrap();
    for count in counts {
        let store = FileState::new(folder.path().join(format!("{count}.json")), Naa::from_random([1; 8]));
        let (record, (_, mut ticket)) = (record(count), store.load().unwrap());
        let begin = Instant::now();
        for _ in 0..repeats() {
            ticket = store.compare_and_swap(ticket, &record).unwrap();
        }
        write!(table, " {:.0} µs |", begin.elapsed().as_secs_f64() * 1e6 / f64::from(repeats())).unwrap();
    }
    report::table("costs by registrants", &table);
}
