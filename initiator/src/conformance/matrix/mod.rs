//! Every command against every type of reservation, from every role.
//!
//! A cell first sends its command while nothing is reserved, to learn whether the device has it and how it answers. Then A reserves, the
//! command is sent again, and must end in the same way, or with RESERVATION CONFLICT.

mod table;

use bytes::Bytes;
use lunkeep_common::scsi::opcode_table::{Lookup, lookup};

use super::case::{Body, Case, Need, Stop};
use super::lab::Lab;
use super::port::{Answer, Command, Port};
use super::wire::{self, ListFlags};
use crate::commands::Transfer;
use table::{Data, ROWS, Row, Rule};

/// Keys of the holder and of the registrant.
const HOLDER_KEY: u64 = 0x1032_5476_98ba_dc0a;
const REGISTRANT_KEY: u64 = 0x1032_5476_98ba_dc0b;

/// Who sends the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Made the reservation.
    Holder,
    /// Is registered; under the types of all registrants it holds the reservation too.
    Registrant,
    /// Neither.
    Stranger,
}

/// What must come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    Passes,
    Conflicts,
    Either,
}

/// One command, type and role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cell {
    row: &'static Row,
    kind: u8,
    role: Role,
}

impl Cell {
    /// What the standard wants; `allow_commands` is what the device declares, if it does.
    fn due(&self, allow_commands: Option<u8>) -> Due {
        let column = match (self.kind, self.role) {
            (_, Role::Holder) | (7 | 8, Role::Registrant) => return Due::Passes,
            (1, _) => self.row.write_exclusive,
            (3, _) => self.row.exclusive_access,
            (_, Role::Registrant) => self.row.registrant,
            (5 | 7, Role::Stranger) => self.row.write_exclusive_stranger,
            (_, Role::Stranger) => self.row.exclusive_access_stranger,
        };
        match column {
            Rule::Allowed => Due::Passes,
            Rule::Conflict => Due::Conflicts,
            Rule::IfRegistered if self.role == Role::Registrant => Due::Passes,
            Rule::IfRegistered => Due::Conflicts,
            // 010b: not through Write Exclusive. 011b: through it. 100b: through Exclusive Access too. 000b and 001b: no information.
            Rule::AsDeclared => match (matches!(self.kind, 1 | 5 | 7), allow_commands) {
                (true, Some(2)) => Due::Conflicts,
                (true, Some(3 | 4)) => Due::Passes,
                (true, _) | (false, Some(4)) => Due::Either,
                (false, _) => Due::Conflicts,
            },
        }
    }

    fn case(self) -> Case {
        let role = match self.role {
            Role::Holder => "holder",
            Role::Registrant => "registrant",
            Role::Stranger => "stranger",
        };
        let verb = match self.due(None) {
            Due::Passes => "passes",
            Due::Conflicts => "conflicts with",
            Due::Either => "passes, or conflicts with, as ALLOW COMMANDS declares,",
        };
        let name = self.row.title();
        let mut needs = vec![Need::Type(self.kind)];
        needs.extend(self.row.need);
        Case {
            name: format!("matrix/{name}/type-{}/{role}", self.kind),
            clause: self.row.clause,
            requirement: format!("{name} of a {role} {verb} a reservation of type {}.", self.kind),
            needs,
            body: Body::Matrix(self),
        }
    }
}

impl Row {
    /// The standard's name, from the common table of commands where that has it.
    fn title(&self) -> String {
        match lookup(self.cdb[0], self.cdb[1] & 0x1f) {
            Lookup::Found(info) => format!("{}{}", info.name, self.form),
            _ => format!("{}{}", self.name, self.form),
        }
    }
}

/// Every cell.
pub(super) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for row in ROWS {
        for kind in wire::TYPES {
            for role in [Role::Holder, Role::Registrant, Role::Stranger] {
                let cell = Cell { row, kind, role };
                if !row.refused_only || cell.due(None) == Due::Conflicts {
                    all.push(cell.case());
                }
            }
        }
    }
    all
}

/// Runs a cell.
pub(super) async fn run(lab: &mut Lab, cell: Cell) -> Result<(), Stop> {
    let block_length = lab.facts.block_length;
    let command = cell.row.command(block_length, cell);
    let due = cell.due(lab.facts.capabilities.as_ref().map(|can| can.allow_commands));
    let mut holder = lab.port("a", 1, false)?;
    let mut other = lab.port("b", 2, false)?;
    open(&mut holder).await?;
    let sender = if cell.role == Role::Holder {
        None
    } else {
        open(&mut other).await?;
        Some(&mut other)
    };
    let result = judge((cell, due), &command, &mut holder, sender).await;
    if cell.row.stops {
        // Whoever may: whether the unit was stopped is the question.
        drop(holder.send(&start()).await);
    }
    drop(holder.log_out().await);
    drop(other.log_out().await);
    result
}

async fn open(port: &mut Port) -> Result<(), Stop> {
    port.open().await.map_err(|error| Stop::Failed(format!("the login: {error}")))
}

async fn judge(
    (cell, due): (Cell, Due),
    command: &Command,
    holder: &mut Port,
    mut other: Option<&mut Port>,
) -> Result<(), Stop> {
    let before = if cell.row.probe {
        let sender = match &mut other {
            Some(other) => other,
            None => &mut *holder,
        };
        let answer = sender.send(command).await;
        if cell.row.stops {
            drop(sender.send(&start()).await);
        }
        if answer.lacks() {
            return Err(Stop::NotSupported(format!("without a reservation: {answer}")));
        }
        answer
    } else {
        Answer::Good(Bytes::new())
    };
    done("REGISTER", holder.send(&register(HOLDER_KEY)).await)?;
    if cell.role == Role::Registrant
        && let Some(other) = &mut other
    {
        done("REGISTER", other.send(&register(REGISTRANT_KEY)).await)?;
    }
    done("RESERVE", holder.send(&out(wire::RESERVE, cell.kind, HOLDER_KEY, 0)).await)?;
    let sender = match other {
        Some(other) => other,
        None => &mut *holder,
    };
    let answer = sender.send(command).await;
    match (due, &answer) {
        (Due::Conflicts | Due::Either, Answer::Conflict) => Ok(()),
        (Due::Passes | Due::Either, _) if same(&before, &answer) => Ok(()),
        (Due::Conflicts, _) if cell.row.probe || !answer.lacks() => {
            Err(Stop::Failed(format!("{answer}, where RESERVATION CONFLICT was due")))
        }
        (_, _) if cell.row.probe || !answer.lacks() => {
            Err(Stop::Failed(format!("{answer}; without a reservation it was {before}")))
        }
        _ => Err(Stop::NotSupported(answer.to_string())),
    }
}

/// Whether the reservation made no difference. Data may differ; that of a log does.
fn same(before: &Answer, after: &Answer) -> bool {
    match (before, after) {
        (Answer::Good(_), Answer::Good(_)) => true,
        (Answer::Check(key, code), Answer::Check(key_now, code_now)) => (key, code) == (key_now, code_now),
        (Answer::Status(before), Answer::Status(after)) => before == after,
        _ => false,
    }
}

fn done(what: &str, answer: Answer) -> Result<(), Stop> {
    match answer {
        Answer::Good(_) => Ok(()),
        other if other.lacks() => Err(Stop::NotSupported(format!("{what}: {other}"))),
        other => Err(Stop::Failed(format!("{what}: {other}"))),
    }
}

fn out(action: u8, kind: u8, key: u64, action_key: u64) -> Command {
    let list = wire::basic_list(key, action_key, ListFlags::default(), None);
    Command::new(wire::reserve_out(action, kind, list.len()), Transfer::Out(list.into()))
}

fn register(key: u64) -> Command {
    out(wire::REGISTER, 0, 0, key)
}

/// START STOP UNIT with START.
fn start() -> Command {
    Command::new(wire::pad([0x1b, 0, 0, 0, 1, 0]), Transfer::None)
}

impl Row {
    fn command(&self, block_length: u32, cell: Cell) -> Command {
        let mut cdb = self.cdb;
        if cdb[0] == 0x5f {
            cdb[2] = cell.kind;
        }
        let zeros = |len: u32| Transfer::Out(Bytes::from(vec![0; len as usize]));
        let own = match cell.role {
            Role::Holder => HOLDER_KEY,
            Role::Registrant => REGISTRANT_KEY,
            Role::Stranger => 0,
        };
        let transfer = match self.data {
            Data::None => Transfer::None,
            Data::In(len) => Transfer::In(len),
            Data::InBlocks(count) => Transfer::In(count * block_length),
            Data::Out(bytes) => Transfer::Out(Bytes::from_static(bytes)),
            Data::OutBlocks(count) => zeros(count * block_length),
            Data::List { action_key } => {
                Transfer::Out(wire::basic_list(own, action_key, ListFlags::default(), None).into())
            }
            Data::ListOfNewKey => {
                // One's own key and a new one, so that it can always be done.
                Transfer::Out(wire::basic_list(own, REGISTRANT_KEY ^ 0xf0, ListFlags::default(), None).into())
            }
        };
        Command::new(cdb, transfer)
    }
}

#[cfg(test)]
mod tests {
    use lunkeep_common::scsi::opcode_table::TABLE;

    use super::*;

    #[test]
    fn no_command_of_the_common_table_is_forgotten() {
        for info in TABLE {
            let found = ROWS.iter().any(|row| {
                row.cdb[0] == info.opcode
                    && info.service_action.is_none_or(|action| row.cdb[1] & 0x1f == action)
            });
            // The two that hand a reservation over have cases of their own, with every precondition.
            let handover = info.opcode == 0x5f && matches!(info.service_action, Some(0x07 | 0x08));
            // These tell of a copy, and without one cannot be told from commands that are not there.
            let of_a_copy = info.opcode == 0x84 && matches!(info.service_action, Some(0x00 | 0x04 | 0x07));
            let elsewhere = handover || of_a_copy;
            assert!(found || elsewhere, "{} has no row in the matrix", info.name);
        }
    }

    #[test]
    fn holders_are_always_let_through_and_readers_are_never_treated_worse_by_a_write_exclusive_type() {
        for row in ROWS {
            for kind in wire::TYPES {
                assert_eq!(Cell { row, kind, role: Role::Holder }.due(None), Due::Passes);
            }
            for (mild, strict) in [(1, 3), (5, 6), (7, 8)] {
                for role in [Role::Registrant, Role::Stranger] {
                    let due = |kind| Cell { row, kind, role }.due(Some(3));
                    assert!(
                        due(mild) == Due::Passes || due(strict) == Due::Conflicts,
                        "{} {role:?}",
                        row.name
                    );
                }
            }
        }
    }
}
