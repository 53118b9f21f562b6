//! The language of the case files: one command and its result on a line.

use std::collections::HashSet;

use lunkeep_common::scsi::persistent::{
    BasicList, FullStatus, Key, OutAction, ReadKeys, ReadReservation, RegisterAndMoveList, TransportId,
};

use super::super::*;
use crate::device::reservation::{Parameters, Record};

/// A unit, and what would be found after a power cut.
struct World {
    bench: Bench,
    force: bool,
    durable: Record,
    /// Who has logged in before.
    seen: HashSet<u64>,
}

/// Runs a case; a line that does not end as it says fails the test with its place.
#[track_caller]
pub(super) fn run(name: &str, text: &str) {
    let mut world = World::new(false, Record::default());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        if line.is_empty() {
            continue;
        }
        let (command, expected) = line.split_once("->").map_or((line, "ok"), |(c, e)| (c.trim(), e.trim()));
        let found = world.line(command);
        assert_eq!(found, expected, "{name}:{number}: {line}");
    }
}

fn number(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap_or_else(|_| panic!("{word} is not a number"))
}

/// `a` is a node, `a2` the same node's port with target port 2.
fn identity(word: &str) -> (u64, Nexus) {
    let (node, port) = word.split_at(1);
    let letter = node.as_bytes()[0];
    let port: u16 = if port.is_empty() { 1 } else { port.parse().unwrap() };
    let mut nexus = nexus(letter - b'a' + 1);
    nexus.target.portal_group = PortalGroupTag(port);
    nexus.relative_target_port = port;
    (u64::from(letter) | u64::from(port) << 8, nexus)
}

impl World {
    fn new(force: bool, record: Record) -> Self {
        let mut bench = Bench::with(|config| config.tasks = TaskLimits::default());
        let export = |relative: u16| {
            let mut target = super::super::nexus(1).target;
            target.portal_group = PortalGroupTag(relative);
            ExportPort { target, relative }
        };
        let ports = vec![export(1), export(2)];
        let setup = ReservationSetup { ports, force_persist: force, record: record.clone() };
        bench.unit = LogicalUnit::new(bench.unit.config().clone()).unwrap().with_reservations(setup);
        Self { bench, force, durable: record, seen: HashSet::new() }
    }

    fn line(&mut self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["force_aptpl"] => {
                self.force = true;
                *self = Self::new(true, self.durable.clone());
            }
            ["power", "cut"] => *self = Self::new(self.force, self.durable.clone()),
            ["damage"] => *self = Self::new(self.force, Record::lost()),
            ["reset", kind] => {
                let kind = match kind {
                    "unit" => Reset::LogicalUnit,
                    "warm" => Reset::TargetWarm,
                    "cold" => Reset::TargetCold,
                    _ => panic!("reset {kind}"),
                };
                self.bench.unit.reset(kind, NexusId(1));
                self.attentions();
            }
            [who, ref rest @ ..] => return self.command(who, rest),
            [] => {}
        }
        "ok".into()
    }

    /// Takes the unit attentions of a reset from everybody: they are not what the case is about.
    fn attentions(&mut self) {
        let ids: Vec<NexusId> = self.bench.unit.nexuses.keys().copied().collect();
        for id in ids {
            self.bench.nexus = id;
            while self.take_attention().is_some() {}
        }
    }

    fn take_attention(&mut self) -> Option<Asc> {
        let sense = self.bench.run(&[0x03, 0, 0, 0, 252, 0]).data_in.concat();
        let found = Sense::decode(&sense).unwrap();
        (found.key == SenseKey::UnitAttention).then_some(found.asc)
    }

    fn command(&mut self, who: &str, words: &[&str]) -> String {
        let (id, nexus) = identity(who);
        if words[0] == "logout" {
            self.bench.unit.detach(NexusId(id));
            return "ok".into();
        }
        if !self.bench.unit.nexuses.contains_key(&NexusId(id)) {
            let new = self.seen.insert(id);
            self.bench.unit.attach(NexusId(id), nexus);
            self.bench.nexus = NexusId(id);
            // A node's first login finds the power-on; later ones what the case is about, but for the loss of nexus.
            while new && self.take_attention().is_some() {}
        }
        self.bench.nexus = NexusId(id);
        match words {
            ["ua"] => {
                let codes: Vec<_> = std::iter::from_fn(|| self.take_attention())
                    .filter(|asc| *asc != Asc::NEXUS_LOSS)
                    .map(|asc| format!("{:02x}{:02x}", asc.code, asc.qualifier))
                    .collect();
                if codes.is_empty() { "none".into() } else { codes.join(" ") }
            }
            ["login"] => "ok".into(),
            ["keys"] => {
                let completion = self.bench.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0]);
                self.told(completion, |data| {
                    let keys = ReadKeys::decode(data).unwrap().keys;
                    let mut keys: Vec<_> = keys.iter().map(|key| key.0).collect();
                    keys.sort_unstable();
                    match keys.len() {
                        0 => "none".into(),
                        _ => keys.iter().map(|key| format!("{key:x}")).collect::<Vec<_>>().join(" "),
                    }
                })
            }
            ["generation"] => {
                let completion = self.bench.run(&[0x5e, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0]);
                self.told(completion, |data| ReadKeys::decode(data).unwrap().generation.to_string())
            }
            ["held"] => {
                let completion = self.bench.run(&[0x5e, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0]);
                self.told(completion, |data| match ReadReservation::decode(data).unwrap().held {
                    None => "none".into(),
                    Some(held) => format!("{} {:x}", held.kind as u8, held.key.0),
                })
            }
            ["status"] => {
                let completion = self.bench.run(&[0x5e, 3, 0, 0, 0, 0, 0, 0xff, 0xff, 0]);
                self.told(completion, |data| {
                    let status = FullStatus::decode(data).unwrap();
                    let one = |registrant: &lunkeep_common::scsi::persistent::Registrant| {
                        let TransportId::Port(port) = &registrant.transport_id else { panic!("a device") };
                        let node: u8 = port.name.as_str().rsplit("node").next().unwrap().parse().unwrap();
                        format!(
                            "{}{}:{:x}{}{}",
                            char::from(b'a' + node - 1),
                            registrant.relative_target_port,
                            registrant.key.0,
                            if registrant.holds.is_some() { "*" } else { "" },
                            if registrant.all_target_ports { "+" } else { "" }
                        )
                    };
                    status.registrants.iter().map(one).collect::<Vec<_>>().join(" ")
                })
            }
            ["read"] => self.plain(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0),
            ["write"] => self.plain(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512),
            ["sync"] => self.plain(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            ["ready"] => self.plain(&[0; 6], 0),
            ["inquiry"] => self.plain(&[0x12, 0, 0, 0, 96, 0], 0),
            ["capacity"] => self.plain(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            ["verify"] => self.plain(&[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0], 0),
            ["start"] => self.plain(&[0x1b, 0, 0, 0, 1, 0], 0),
            ["stop"] => self.plain(&[0x1b, 0, 0, 0, 0, 0], 0),
            ["unmap"] => self.plain(&[0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0], 8),
            ["reserve6"] => self.plain(&[0x16, 0, 0, 0, 0, 0], 0),
            ["release6"] => self.plain(&[0x17, 0, 0, 0, 0, 0], 0),
            ["reserve10"] => self.plain(&[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            ["release10"] => self.plain(&[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            _ => self.persistent_out(words),
        }
    }

    fn persistent_out(&mut self, words: &[&str]) -> String {
        let (words, options): (Vec<&str>, Vec<&str>) = words.iter().partition(|word| !is_option(word));
        let option = |name: &str| options.contains(&name);
        let listed = |prefix: &str| options.iter().find_map(|option| option.strip_prefix(prefix));
        let ids = listed("spec=").map(|names| names.split(',').map(transport_id).collect());
        let basic = |key: u64, service_action_key: u64| {
            Parameters::Basic(BasicList {
                key: Key(key),
                service_action_key: Key(service_action_key),
                initiator_ports: ids.clone(),
                all_target_ports: option("alltg"),
                activate_persist: option("aptpl"),
            })
        };
        let args: Vec<u64> =
            words[1..].iter().filter(|word| !is_node(word)).map(|word| number(word)).collect();
        let (action, kind, list) = match (words[0], &args[..]) {
            ("register", &[key, new]) => (OutAction::Register, 0, basic(key, new)),
            ("ignore", &[new]) => (OutAction::RegisterAndIgnoreExistingKey, 0, basic(0xdead, new)),
            ("reserve", &[key, kind]) => (OutAction::Reserve, kind, basic(key, 0)),
            ("release", &[key, kind]) => (OutAction::Release, kind, basic(key, 0)),
            ("clear", &[key]) => (OutAction::Clear, 0, basic(key, 0)),
            ("preempt", &[key, victim, kind]) => (OutAction::Preempt, kind, basic(key, victim)),
            ("abort", &[key, victim, kind]) => (OutAction::PreemptAndAbort, kind, basic(key, victim)),
            ("replace", &[new, kind]) => (OutAction::ReplaceLostReservation, kind, basic(0, new)),
            ("move", &[key, new]) => {
                let list = RegisterAndMoveList {
                    key: Key(key),
                    service_action_key: Key(new),
                    unregister: option("unreg"),
                    activate_persist: option("aptpl"),
                    relative_target_port: listed("port=").map_or(1, |port| port.parse().unwrap()),
                    transport_id: transport_id(words.iter().find(|word| is_node(word)).unwrap()),
                };
                (OutAction::RegisterAndMove, 0, Parameters::Move(list))
            }
            other => panic!("{other:?} is no command"),
        };
        let list = match list {
            Parameters::Basic(list) => list.encode(),
            Parameters::Move(list) => list.encode(),
        };
        let cdb = Cdb::PersistentReserveOut {
            action,
            scope: 0,
            kind: kind.try_into().unwrap(),
            parameter_list_length: list.len().try_into().unwrap(),
        };
        let cdb = cdb.encode().unwrap();
        // As Bench::run_out, but the record is kept as the engine keeps it.
        let (task, mut step) = self.bench.begin(&cdb[..10], list.len());
        loop {
            step = match step {
                Step::DataOut(_) => self.bench.unit.data_out(task, vec![list.clone().into()]),
                Step::Fence(_) => self.bench.unit.fence_drained(task, Ok(())).remove(0).step,
                Step::Record(change) => {
                    if let Some(record) = change.persist {
                        self.durable = record;
                    }
                    self.bench.unit.recorded(task, Ok(())).remove(0).step
                }
                Step::Done(completion) => return outcome(&completion),
                other => panic!("{other:?}"),
            };
        }
    }

    fn plain(&mut self, cdb: &[u8], len: usize) -> String {
        outcome(&self.bench.run_out(cdb, &vec![0; len]))
    }

    fn told(&self, completion: Completion, tell: impl Fn(&[u8]) -> String) -> String {
        match completion.status {
            Status::Good => tell(&completion.data_in.concat()),
            _ => outcome(&completion),
        }
    }
}

fn is_option(word: &str) -> bool {
    ["aptpl", "alltg", "unreg"].contains(&word) || word.contains('=')
}

fn is_node(word: &str) -> bool {
    word.len() == 2 && word.starts_with('@')
}

/// `@b` is a node's port, `*b` the node without a port.
fn transport_id(word: &str) -> TransportId {
    let (_, nexus) = identity(word.trim_start_matches(['@', '*']));
    if word.starts_with('*') {
        TransportId::Device(nexus.initiator.name)
    } else {
        TransportId::Port(nexus.initiator)
    }
}

fn outcome(completion: &Completion) -> String {
    match (completion.status, &completion.sense) {
        (Status::Good, _) => "good".into(),
        (Status::ReservationConflict, _) => "conflict".into(),
        (Status::CheckCondition, Some(sense)) => {
            format!("{:x}/{:02x}{:02x}", sense.key as u8, sense.asc.code, sense.asc.qualifier)
        }
        (other, _) => format!("{other:?}"),
    }
}
