//! Steps, done.

use std::collections::BTreeMap;

use bytes::Bytes;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::{Asc, SenseKey};

use super::super::case::Stop;
use super::super::lab::Lab;
use super::super::port::{Answer, Command, Port};
use super::super::wire::{self, ListFlags};
use super::parse::{Act, Expect, Listed, Options, Plain, Ports, Reset, Step, Verb, Who, parse};
use crate::commands::Transfer;
use crate::engine::Error;

/// Unit attentions about reservations (SPC-4 §5.13.11) and about the commands that they ended (SAM-5 §5.3.3).
const ABOUT_RESERVATIONS: [Asc; 4] = [
    Asc { code: 0x2a, qualifier: 0x03 },
    Asc { code: 0x2a, qualifier: 0x04 },
    Asc { code: 0x2a, qualifier: 0x05 },
    Asc { code: 0x2f, qualifier: 0x00 },
];

/// A running script.
struct Stage<'a> {
    lab: &'a mut Lab,
    ports: BTreeMap<Who, Port>,
    mark: u32,
}

/// Runs the steps of a case.
pub(in super::super) async fn run(lab: &mut Lab, text: &str) -> Result<(), Stop> {
    let steps = parse(text).map_err(|error| Stop::Failed(format!("this suite is wrong: {error}")))?;
    let mut stage = Stage { lab, ports: BTreeMap::new(), mark: 0 };
    // Whoever has a part in it is logged in from the beginning, so that unit attentions have somewhere to go.
    for step in &steps {
        if let Act::By(who, _) = step.act {
            stage.enter(who).await?;
        }
    }
    let mut result = Ok(());
    for step in &steps {
        result = stage.step(step).await.map_err(|stop| match stop {
            Stop::Failed(reason) => Stop::Failed(format!("{}: {reason}", step.text)),
            Stop::NotSupported(reason) => Stop::NotSupported(format!("{}: {reason}", step.text)),
        });
        if result.is_err() {
            break;
        }
    }
    for port in stage.ports.values_mut() {
        drop(port.log_out().await);
    }
    result
}

impl Stage<'_> {
    /// The node and the ISID of a port: D is A's node, E has A's ISID.
    fn make(&self, who: Who) -> Result<Port, Stop> {
        let (node, isid) = match who.letter {
            'A' => ("a", 1),
            'B' => ("b", 2),
            'C' => ("c", 3),
            'D' => ("a", 4),
            _ => ("e", 1),
        };
        self.lab.port(node, isid, who.second)
    }

    async fn enter(&mut self, who: Who) -> Result<(), Stop> {
        if !self.ports.contains_key(&who) {
            let mut port = self.make(who)?;
            port.open()
                .await
                .map_err(|error| Stop::Failed(format!("{} cannot log in: {error}", who.letter)))?;
            self.ports.insert(who, port);
        }
        Ok(())
    }

    fn port(&mut self, who: Who) -> Result<&mut Port, Stop> {
        self.ports.get_mut(&who).ok_or_else(|| Stop::Failed("this suite is wrong: no such port".into()))
    }

    async fn step(&mut self, step: &Step) -> Result<(), Stop> {
        match &step.act {
            Act::By(who, verb) => self.by(*who, verb, &step.expect).await,
            Act::Keys(expected) => {
                let (_, found) = self.lab.keys().await?;
                equal(*expected == found, || format!("READ KEYS shows {found:x?}, not {expected:x?}"))
            }
            Act::Holder(expected) => {
                let found = self.lab.reservation().await?;
                equal(*expected == found, || format!("READ RESERVATION shows {found:x?}, not {expected:x?}"))
            }
            Act::Status(expected) => self.status(expected).await,
            Act::Persists(expected) => {
                let data = self.lab.read(wire::REPORT_CAPABILITIES).await?;
                let found = wire::capabilities(&data).map_err(Stop::Failed)?.persist_active;
                equal(*expected == found, || format!("PTPL_A is {found}"))
            }
            Act::Mark => {
                self.mark = self.lab.keys().await?.0;
                Ok(())
            }
            Act::Generation(by) => {
                let (found, _) = self.lab.keys().await?;
                let grown = found.wrapping_sub(self.mark);
                equal(grown == *by, || {
                    format!("PRGENERATION has grown by {grown}, from {} to {found}", self.mark)
                })
            }
            Act::Restart => {
                self.ports.values_mut().for_each(Port::cut);
                self.lab.restart().await
            }
        }
    }

    async fn by(&mut self, who: Who, verb: &Verb, expect: &[Expect]) -> Result<(), Stop> {
        let block_length = self.lab.facts.block_length;
        let command = match verb {
            Verb::Out { action, key, action_key, scope_type, options } => {
                let ports = self.transport_ids(&options.ports)?;
                let flags = ListFlags { aptpl: options.aptpl, all_target_ports: options.all };
                let mut list = wire::basic_list(*key, *action_key, flags, ports.as_deref());
                list.resize(options.len.unwrap_or(list.len()), 0);
                out(*action, *scope_type, list)
            }
            Verb::Move { key, action_key, to, options } => {
                self.relocation(*key, *action_key, *to, options).await?
            }
            Verb::In(action) => Command::new(wire::reserve_in(*action, 8192), Transfer::In(8192)),
            Verb::Plain(plain) => plain.command(block_length),
            Verb::Write(byte) => {
                let data = Bytes::from(vec![*byte; block_length as usize]);
                Command::new(wire::pad([0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Transfer::Out(data))
            }
            Verb::Block(byte) => return self.block(who, *byte).await,
            Verb::Attention(_) | Verb::NoAttention => return self.attention(who, verb).await,
            Verb::Login | Verb::Logout | Verb::Cut => return self.session(who, verb).await,
            Verb::Reset(reset) => return self.reset(who, *reset).await,
        };
        let port = self.port(who)?;
        let answer = if expect.iter().any(|one| matches!(one, Expect::Attention(_))) {
            port.once(&command).await
        } else {
            port.send(&command).await
        };
        judge(&answer, expect)
    }

    /// SPEC_I_PT: TransportIDs of ports that may not have logged in.
    fn transport_ids(&self, ports: &Ports) -> Result<Option<Vec<Vec<u8>>>, Stop> {
        let all = match ports {
            Ports::None => return Ok(None),
            Ports::Of(all) => all.clone(),
            Ports::Cut => vec![Who { letter: 'B', second: false }],
        };
        let id = |who: &Who| {
            let port = self.make(*who)?;
            Ok(wire::transport_id(port.identity().name.as_str(), port.identity().isid.0))
        };
        let mut ids = all.iter().map(id).collect::<Result<Vec<_>, Stop>>()?;
        if *ports == Ports::Cut {
            // The last one promises four bytes more than there are.
            ids.iter_mut().for_each(|id| id.truncate(id.len().saturating_sub(4)));
        }
        Ok(Some(ids))
    }

    async fn relocation(
        &mut self,
        key: u64,
        action_key: u64,
        to: Who,
        options: &Options,
    ) -> Result<Command, Stop> {
        let port = self.make(to)?;
        let id = wire::transport_id(port.identity().name.as_str(), port.identity().isid.0);
        let target_port = match options.port {
            Some(port) => port,
            None => self.target_port().await?,
        };
        let list = wire::move_list(key, action_key, options.unregister, options.aptpl, target_port, &id);
        Ok(out(wire::REGISTER_AND_MOVE, 0, list))
    }

    /// RELATIVE TARGET PORT IDENTIFIER of the first portal: that of a registration made through it, or 1, the usual one.
    async fn target_port(&mut self) -> Result<u16, Stop> {
        let first: Vec<String> =
            self.ports.iter().filter(|(who, _)| !who.second).map(|(_, port)| port.text()).collect();
        let found = match self.lab.full_status().await {
            Ok(found) => found,
            Err(Stop::NotSupported(_)) => return Ok(1),
            Err(stop) => return Err(stop),
        };
        Ok(found.iter().find(|one| first.contains(&one.port)).map_or(1, |one| one.target_port))
    }

    async fn status(&mut self, expected: &[Listed]) -> Result<(), Stop> {
        let found = self.lab.full_status().await?;
        let kind = self.lab.reservation().await?.map(|(_, kind)| kind);
        let mut missing = found.clone();
        for listed in expected {
            let port = self.make(listed.who)?.text();
            let fits = |one: &wire::Registration| {
                one.port == port
                    && one.key == listed.key
                    && one.holds == kind.filter(|_| listed.holds)
                    && one.all_target_ports == listed.all
            };
            match missing.iter().position(fits) {
                // A registration for all target ports may be listed once, or once for each (SPC-4 §6.15.5).
                Some(_) if listed.all => missing.retain(|one| !fits(one)),
                Some(at) => drop(missing.remove(at)),
                None => {
                    let what = if listed.holds { ", holder" } else { "" };
                    return Err(Stop::Failed(format!(
                        "READ FULL STATUS has no {port} with key {:x}{what}: {found:x?}",
                        listed.key
                    )));
                }
            }
        }
        equal(missing.is_empty(), || format!("READ FULL STATUS has too much: {missing:x?}"))
    }

    async fn block(&mut self, who: Who, byte: u8) -> Result<(), Stop> {
        let command = Plain::Read.command(self.lab.facts.block_length);
        match self.port(who)?.send(&command).await {
            Answer::Good(data) => equal(data.iter().all(|found| *found == byte), || {
                format!("the block begins with {:02x?}, not {byte:02x}", data.get(..4).unwrap_or_default())
            }),
            other => Err(Stop::Failed(format!("READ(10): {other}"))),
        }
    }

    async fn attention(&mut self, who: Who, verb: &Verb) -> Result<(), Stop> {
        let port = self.port(who)?;
        port.settle().await;
        let seen = std::mem::take(&mut port.attentions);
        match verb {
            Verb::Attention(expected) => {
                equal(seen.contains(expected), || format!("reported were {seen:?}, not {expected:?}"))
            }
            _ => {
                let about = seen.iter().any(|asc| ABOUT_RESERVATIONS.contains(asc));
                equal(!about, || format!("reported were {seen:?}, and nothing was to be"))
            }
        }
    }

    async fn session(&mut self, who: Who, verb: &Verb) -> Result<(), Stop> {
        let port = self.port(who)?;
        match verb {
            Verb::Login => port.log_in().await.map_err(|error| Stop::Failed(format!("the login: {error}"))),
            Verb::Logout => {
                port.log_out().await.map_err(|error| Stop::Failed(format!("the logout: {error}")))
            }
            _ => {
                port.cut();
                Ok(())
            }
        }
    }

    async fn reset(&mut self, who: Who, reset: Reset) -> Result<(), Stop> {
        let function = match reset {
            Reset::Unit => TaskManagementFunction::LogicalUnitReset,
            Reset::Warm => TaskManagementFunction::TargetWarmReset,
            Reset::Cold => TaskManagementFunction::TargetColdReset,
        };
        match self.port(who)?.manage(function).await {
            Ok(TaskManagementResult::FunctionComplete) => {}
            Ok(
                result @ (TaskManagementResult::NotSupported
                | TaskManagementResult::AuthorizationFailed
                | TaskManagementResult::Rejected),
            ) => {
                return Err(Stop::NotSupported(format!("{function:?}: {result:?}")));
            }
            Ok(result) => return Err(Stop::Failed(format!("{function:?}: {result:?}"))),
            // A cold reset ends the session, perhaps before its own answer (RFC 7143 §11.5.1).
            Err(Error::Lost { .. }) if reset == Reset::Cold => {}
            Err(error) => return Err(Stop::Failed(format!("{function:?}: {error}"))),
        }
        if reset == Reset::Cold {
            self.ports.values_mut().for_each(Port::cut);
        }
        Ok(())
    }
}

fn out(action: u8, scope_type: u8, list: Vec<u8>) -> Command {
    Command::new(wire::reserve_out(action, scope_type, list.len()), Transfer::Out(list.into()))
}

impl Plain {
    fn command(self, block_length: u32) -> Command {
        let none = |cdb| Command::new(cdb, Transfer::None);
        match self {
            Self::TestUnitReady => Command::test_unit_ready(),
            Self::Inquiry => Command::new(wire::pad([0x12, 0, 0, 0, 96, 0]), Transfer::In(96)),
            Self::ReportLuns => {
                Command::new(wire::pad([0xa0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0]), Transfer::In(4096))
            }
            Self::Read => {
                Command::new(wire::pad([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Transfer::In(block_length))
            }
            Self::Reserve6 => none(wire::pad([0x16, 0, 0, 0, 0, 0])),
            Self::Release6 => none(wire::pad([0x17, 0, 0, 0, 0, 0])),
            Self::Reserve10 => none(wire::pad([0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
            Self::Release10 => none(wire::pad([0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        }
    }
}

/// Holds an answer to what was expected.
fn judge(answer: &Answer, expect: &[Expect]) -> Result<(), Stop> {
    let fits = |one: &Expect| match (one, answer) {
        (Expect::Good, Answer::Good(_)) | (Expect::Conflict, Answer::Conflict) => true,
        (Expect::Illegal(code), Answer::Check(SenseKey::IllegalRequest, asc)) => code == asc,
        (Expect::Attention(code), Answer::Check(SenseKey::UnitAttention, asc)) => code == asc,
        (Expect::Refused, Answer::Conflict | Answer::Check(..)) => true,
        _ => false,
    };
    if expect.iter().any(fits) {
        return Ok(());
    }
    if answer.lacks() {
        return Err(Stop::NotSupported(answer.to_string()));
    }
    Err(Stop::Failed(format!("answered {answer}")))
}

fn equal(equal: bool, reason: impl FnOnce() -> String) -> Result<(), Stop> {
    if equal { Ok(()) } else { Err(Stop::Failed(reason())) }
}
