//! Cases that look at bytes, at numbers of nexuses, or at the clock.

use std::time::Duration;

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, SenseKey};
use tokio::time::{Instant, sleep};

use super::case::{Body, Case, Need, Stop};
use super::lab::Lab;
use super::port::{Answer, Command, Port, send};
use super::wire::{self, ListFlags};
use crate::commands::Transfer;

/// A case that is code.
#[derive(Clone, Copy, Debug)]
pub(super) enum Coded {
    UnknownIn,
    UnknownOut,
    CutKeys,
    CutReservation,
    CutFullStatus,
    Reservation,
    FullStatus,
    Capabilities,
    TypeMask,
    ManyRegistrants,
    Fence { kind: u8, victim_holds: bool },
    Promptness,
    AbortedAreTold,
}

const KEY_A: u64 = 0x1032_5476_98ba_dcaa;
const KEY_B: u64 = 0x1032_5476_98ba_dcbb;

const TABLE: &[(&str, &str, &str, Coded)] = &[
    (
        "in/unknown-service-action",
        "SPC-4 §6.15.1",
        "Reserved service actions of PERSISTENT RESERVE IN are an INVALID FIELD IN CDB.",
        Coded::UnknownIn,
    ),
    (
        "out/unknown-service-action",
        "SPC-4 §6.16.2",
        "Reserved service actions of PERSISTENT RESERVE OUT are an INVALID FIELD IN CDB, from a registrant too.",
        Coded::UnknownOut,
    ),
    (
        "in/cut-read-keys",
        "SPC-4 §4.3.5.6",
        "ALLOCATION LENGTH cuts READ KEYS, and ADDITIONAL LENGTH tells of all of it.",
        Coded::CutKeys,
    ),
    (
        "in/cut-read-reservation",
        "SPC-4 §4.3.5.6",
        "ALLOCATION LENGTH cuts READ RESERVATION, and ADDITIONAL LENGTH tells of all of it.",
        Coded::CutReservation,
    ),
    (
        "in/cut-read-full-status",
        "SPC-4 §4.3.5.6",
        "ALLOCATION LENGTH cuts READ FULL STATUS, and ADDITIONAL LENGTH tells of all of it.",
        Coded::CutFullStatus,
    ),
    (
        "in/read-reservation",
        "SPC-4 §6.15.3",
        "READ RESERVATION is eight bytes without a reservation and 24 with one.",
        Coded::Reservation,
    ),
    (
        "in/read-full-status",
        "SPC-4 §6.15.5",
        "READ FULL STATUS names each nexus with its key, its target port and what it holds.",
        Coded::FullStatus,
    ),
    (
        "in/report-capabilities",
        "SPC-4 §6.15.4",
        "REPORT CAPABILITIES is eight bytes long, and says so.",
        Coded::Capabilities,
    ),
    (
        "in/type-mask",
        "SPC-4 §6.15.4",
        "The types that REPORT CAPABILITIES names can be reserved, and no others.",
        Coded::TypeMask,
    ),
    (
        "many/registrants",
        "SPC-4 §5.13.7",
        "32 nexuses register, all are listed, and one command removes all but one.",
        Coded::ManyRegistrants,
    ),
    (
        "fence/answered-under-load",
        "SPC-4 §5.13.11.2.6",
        "PREEMPT AND ABORT is answered while others keep the unit busy.",
        Coded::Promptness,
    ),
    (
        "fence/aborted-commands-are-told",
        "SPC-4 §5.13.11.2.6, SAM-5 §5.3.1",
        "Commands that PREEMPT AND ABORT ends are told of: with TASK ABORTED, or with the unit attention COMMANDS CLEARED BY ANOTHER INITIATOR.",
        Coded::AbortedAreTold,
    ),
];

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let case = |name: String, clause, requirement: &str, needs, coded| Case {
        name,
        clause,
        requirement: requirement.to_owned(),
        needs,
        body: Body::Coded(coded),
    };
    let mut all: Vec<Case> = TABLE
        .iter()
        .map(|&(name, clause, requirement, coded)| {
            case(name.to_owned(), clause, requirement, Vec::new(), coded)
        })
        .collect();
    for kind in wire::TYPES {
        for victim_holds in [true, false] {
            // Under the types with one holder a registrant cannot write.
            if (matches!(kind, 1 | 3) && !victim_holds) || (kind >= 7 && victim_holds) {
                continue;
            }
            let who = if victim_holds { "holder" } else { "registrant" };
            all.push(case(
                format!("fence/preempt-and-abort-of-a-{who}/type-{kind}"),
                "SPC-4 §5.13.11.2.6",
                "After PREEMPT AND ABORT is answered, no write that the preempted nexus had under way changes the medium.",
                vec![Need::Type(kind)],
                Coded::Fence { kind, victim_holds },
            ));
        }
    }
    all
}

pub(super) async fn run(lab: &mut Lab, coded: Coded) -> Result<(), Stop> {
    match coded {
        Coded::UnknownIn => unknown(lab, 0x5e, 4..=0x1f).await,
        // REPLACE LOST RESERVATION is 08h; what it does needs a loss.
        Coded::UnknownOut => unknown(lab, 0x5f, 9..=0x1f).await,
        Coded::CutKeys => cut(lab, wire::READ_KEYS).await,
        Coded::CutReservation => cut(lab, wire::READ_RESERVATION).await,
        Coded::CutFullStatus => cut(lab, wire::READ_FULL_STATUS).await,
        Coded::Reservation => reservation(lab).await,
        Coded::FullStatus => full_status(lab).await,
        Coded::Capabilities => {
            let data = lab.read(wire::REPORT_CAPABILITIES).await?;
            let can = wire::capabilities(&data).map_err(Stop::Failed)?;
            check(can.allow_commands <= 5, || format!("ALLOW COMMANDS {} is reserved", can.allow_commands))
        }
        Coded::TypeMask => type_mask(lab).await,
        Coded::ManyRegistrants => many(lab).await,
        Coded::Fence { kind, victim_holds } => fence(lab, kind, victim_holds).await,
        Coded::Promptness => prompt(lab).await,
        Coded::AbortedAreTold => aborted_are_told(lab).await,
    }
}

fn check(fine: bool, reason: impl FnOnce() -> String) -> Result<(), Stop> {
    if fine { Ok(()) } else { Err(Stop::Failed(reason())) }
}

fn out(action: u8, kind: u8, key: u64, action_key: u64) -> Command {
    let list = wire::basic_list(key, action_key, ListFlags::default(), None);
    Command::new(wire::reserve_out(action, kind, list.len()), Transfer::Out(list.into()))
}

async fn good(port: &mut Port, what: &str, command: Command) -> Result<Bytes, Stop> {
    match port.send(&command).await {
        Answer::Good(data) => Ok(data),
        other if other.lacks() => Err(Stop::NotSupported(format!("{what}: {other}"))),
        other => Err(Stop::Failed(format!("{what}: {other}"))),
    }
}

async fn open(lab: &Lab, node: &str, isid: u16) -> Result<Port, Stop> {
    let mut port = lab.port(node, isid, false)?;
    port.open().await.map_err(|error| Stop::Failed(format!("the login: {error}")))?;
    Ok(port)
}

async fn registered(lab: &Lab, node: &str, isid: u16, key: u64) -> Result<Port, Stop> {
    let mut port = open(lab, node, isid).await?;
    good(&mut port, "REGISTER", out(wire::REGISTER, 0, 0, key)).await?;
    Ok(port)
}

async fn unknown(lab: &mut Lab, opcode: u8, actions: std::ops::RangeInclusive<u8>) -> Result<(), Stop> {
    let mut port = registered(lab, "a", 1, KEY_A).await?;
    for action in actions {
        let command = if opcode == 0x5e {
            Command::new(wire::reserve_in(action, 256), Transfer::In(256))
        } else {
            out(action, 1, KEY_A, 0)
        };
        let answer = port.send(&command).await;
        let expected = Answer::Check(SenseKey::IllegalRequest, Asc { code: 0x24, qualifier: 0 });
        check(answer == expected, || format!("service action {action:02x}h: {answer}"))?;
    }
    drop(port.log_out().await);
    Ok(())
}

async fn cut(lab: &mut Lab, action: u8) -> Result<(), Stop> {
    let mut a = registered(lab, "a", 1, KEY_A).await?;
    let mut b = registered(lab, "b", 2, KEY_B).await?;
    good(&mut a, "RESERVE", out(wire::RESERVE, 1, KEY_A, 0)).await?;
    let all = lab.read(action).await?;
    wire::body(&all).map_err(Stop::Failed)?;
    for allocation in [0, 4, 7, 8, 12, 15, 16, 20, 23, 24, 40, 64, 96] {
        let command = Command::new(wire::reserve_in(action, allocation), Transfer::In(allocation.into()));
        let data = good(&mut b, "PERSISTENT RESERVE IN", command).await?;
        let expected = all.slice(..all.len().min(allocation.into()));
        check(data == expected, || {
            format!("with ALLOCATION LENGTH {allocation}: {data:02x?}, where {expected:02x?} was due")
        })?;
    }
    drop(a.log_out().await);
    drop(b.log_out().await);
    Ok(())
}

async fn reservation(lab: &mut Lab) -> Result<(), Stop> {
    let mut a = registered(lab, "a", 1, KEY_A).await?;
    check(lab.reservation().await?.is_none(), || "there is a reservation that nobody made".into())?;
    good(&mut a, "RESERVE", out(wire::RESERVE, 5, KEY_A, 0)).await?;
    let found = lab.reservation().await?;
    check(found == Some((KEY_A, 5)), || format!("the reservation is {found:x?}"))?;
    drop(a.log_out().await);
    Ok(())
}

async fn full_status(lab: &mut Lab) -> Result<(), Stop> {
    let found = lab.full_status().await?;
    check(found.is_empty(), || format!("registrations that nobody made: {found:x?}"))?;
    let mut a = registered(lab, "a", 1, KEY_A).await?;
    let mut b = registered(lab, "b", 2, KEY_B).await?;
    good(&mut a, "RESERVE", out(wire::RESERVE, 6, KEY_A, 0)).await?;
    let found = lab.full_status().await?;
    let [first, second] = found.as_slice() else {
        return Err(Stop::Failed(format!("two registrations were made, and {found:x?} are listed")));
    };
    check((first.port.as_str(), first.key, first.holds) == (a.text().as_str(), KEY_A, Some(6)), || {
        format!("the holder is listed as {first:x?}")
    })?;
    check((second.port.as_str(), second.key, second.holds) == (b.text().as_str(), KEY_B, None), || {
        format!("the registrant is listed as {second:x?}")
    })?;
    check(first.target_port == second.target_port && first.target_port != 0, || {
        format!("RELATIVE TARGET PORT IDENTIFIERs {} and {}", first.target_port, second.target_port)
    })?;
    drop(a.log_out().await);
    drop(b.log_out().await);
    Ok(())
}

async fn type_mask(lab: &mut Lab) -> Result<(), Stop> {
    let data = lab.read(wire::REPORT_CAPABILITIES).await?;
    let named = wire::capabilities(&data).map_err(Stop::Failed)?.types;
    let mut a = registered(lab, "a", 1, KEY_A).await?;
    for kind in 0..=15 {
        let answer = a.send(&out(wire::RESERVE, kind, KEY_A, 0)).await;
        let reserved = matches!(answer, Answer::Good(_));
        check(reserved == named.contains(&kind), || {
            format!("type {kind}: named is {}, and RESERVE is answered {answer}", named.contains(&kind))
        })?;
        if reserved {
            good(&mut a, "RELEASE", out(wire::RELEASE, kind, KEY_A, 0)).await?;
        }
    }
    drop(a.log_out().await);
    Ok(())
}

async fn many(lab: &mut Lab) -> Result<(), Stop> {
    const COUNT: u16 = 32;
    let mut ports = Vec::new();
    for number in 0..COUNT {
        ports.push(registered(lab, &format!("n{number}"), 10 + number, KEY_A + u64::from(number % 2)).await?);
    }
    let (_, keys) = lab.keys().await?;
    check(keys.len() == usize::from(COUNT), || format!("{} keys are listed", keys.len()))?;
    let Some(first) = ports.first_mut() else { return Ok(()) };
    good(first, "RESERVE", out(wire::RESERVE, 5, KEY_A, 0)).await?;
    // Its own key is shared by half of them: self-preemption removes these, and a second command the others.
    good(first, "PREEMPT AND ABORT", out(wire::PREEMPT_AND_ABORT, 5, KEY_A, KEY_A)).await?;
    good(first, "PREEMPT AND ABORT", out(wire::PREEMPT_AND_ABORT, 5, KEY_A, KEY_A + 1)).await?;
    let (_, keys) = lab.keys().await?;
    check(keys == [KEY_A], || format!("{} keys are left", keys.len()))?;
    for port in &mut ports {
        drop(port.log_out().await);
    }
    Ok(())
}

/// Blocks that the victim and the winner write, and how often.
const FENCE_BLOCKS: u16 = 256;
const FENCE_WRITERS: usize = 16;
const FENCE_ROUNDS: u8 = 3;

fn blocks(lab: &Lab, byte: u8) -> Command {
    let [high, low] = FENCE_BLOCKS.to_be_bytes();
    let data = vec![byte; usize::from(FENCE_BLOCKS) * lab.facts.block_length as usize];
    Command::new(wire::pad([0x2a, 0, 0, 0, 0, 0, 0, high, low, 0]), Transfer::Out(data.into()))
}

fn read_back(lab: &Lab) -> Command {
    let [high, low] = FENCE_BLOCKS.to_be_bytes();
    let len = u32::from(FENCE_BLOCKS) * lab.facts.block_length;
    Command::new(wire::pad([0x28, 0, 0, 0, 0, 0, 0, high, low, 0]), Transfer::In(len))
}

/// Keeps writes of the victim under way until they end in something else than GOOD.
fn load(lab: &Lab, port: &Port) -> Result<Vec<tokio::task::JoinHandle<()>>, Stop> {
    let Some(session) = port.session() else { return Err(Stop::Failed("there is no session".into())) };
    let command = blocks(lab, 0xbb);
    let writer = || {
        let (session, portal, command) = (session.clone(), lab.settings.portal.clone(), command.clone());
        tokio::spawn(
            async move { while matches!(send(&session, &portal, &command).await, Answer::Good(_)) {} },
        )
    };
    Ok((0..FENCE_WRITERS).map(|_| writer()).collect())
}

async fn fence(lab: &mut Lab, kind: u8, victim_holds: bool) -> Result<(), Stop> {
    for round in 0..FENCE_ROUNDS {
        lab.clear().await?;
        let mut a = registered(lab, "a", 1, KEY_A).await?;
        let mut b = registered(lab, "b", 2, KEY_B).await?;
        let (holder, key) = if victim_holds { (&mut b, KEY_B) } else { (&mut a, KEY_A) };
        good(holder, "RESERVE", out(wire::RESERVE, kind, key, 0)).await?;
        let writers = load(lab, &b)?;
        sleep(Duration::from_millis(15 + 10 * u64::from(round))).await;
        let result = fenced(lab, &mut a, kind, round).await;
        b.cut();
        for writer in writers {
            writer.abort();
        }
        drop(a.log_out().await);
        result?;
    }
    Ok(())
}

async fn fenced(lab: &Lab, a: &mut Port, kind: u8, round: u8) -> Result<(), Stop> {
    good(a, "PREEMPT AND ABORT", out(wire::PREEMPT_AND_ABORT, kind, KEY_A, KEY_B)).await?;
    good(a, "WRITE(10)", blocks(lab, 0xa0 + round)).await?;
    for look in 0..6 {
        let data = good(a, "READ(10)", read_back(lab)).await?;
        let stale = data.iter().position(|byte| *byte != 0xa0 + round);
        check(stale.is_none(), || {
            format!(
                "byte {} was written by the fenced nexus after PREEMPT AND ABORT was answered (round {round}, look {look})",
                stale.unwrap_or_default()
            )
        })?;
        sleep(Duration::from_millis(30)).await;
    }
    Ok(())
}

async fn prompt(lab: &mut Lab) -> Result<(), Stop> {
    let mut a = registered(lab, "a", 1, KEY_A).await?;
    let mut b = registered(lab, "b", 2, KEY_B).await?;
    let mut c = registered(lab, "c", 3, KEY_B ^ 0x77).await?;
    good(&mut a, "RESERVE", out(wire::RESERVE, 5, KEY_A, 0)).await?;
    let writers = load(lab, &b)?;
    sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    let answered =
        good(&mut a, "PREEMPT AND ABORT", out(wire::PREEMPT_AND_ABORT, 5, KEY_A, KEY_B ^ 0x77)).await;
    let taken = begin.elapsed();
    b.cut();
    for writer in writers {
        writer.abort();
    }
    drop(a.log_out().await);
    drop(c.log_out().await);
    answered?;
    // Cluster software gives the owner of a disk three seconds to defend it.
    check(taken < Duration::from_secs(3), || format!("the answer took {:.1} s", taken.as_secs_f64()))
}

/// Writes that the victim has under way when it is preempted.
const ABORTED_WRITES: usize = 64;

/// How long a command may be without an answer before it counts as one that has none.
const SILENCE: Duration = Duration::from_millis(700);

/// Whether a command was under way is the target's affair, so a round without one that was ended proves nothing, and there are some.
async fn aborted_are_told(lab: &mut Lab) -> Result<(), Stop> {
    for _ in 0..FENCE_ROUNDS {
        lab.clear().await?;
        let mut a = registered(lab, "a", 1, KEY_A).await?;
        let mut b = registered(lab, "b", 2, KEY_B).await?;
        good(&mut a, "RESERVE", out(wire::RESERVE, 5, KEY_A, 0)).await?;
        let Some(session) = b.session() else { return Err(Stop::Failed("there is no session".into())) };
        let command = blocks(lab, 0xbb);
        let write = || {
            let (session, portal, command) = (session.clone(), lab.settings.portal.clone(), command.clone());
            tokio::spawn(async move { send(&session, &portal, &command).await })
        };
        let writes: Vec<_> = (0..ABORTED_WRITES).map(|_| write()).collect();
        sleep(Duration::from_millis(10)).await;
        let fenced = good(&mut a, "PREEMPT AND ABORT", out(wire::PREEMPT_AND_ABORT, 5, KEY_A, KEY_B)).await;
        b.settle().await;
        let end = Instant::now() + SILENCE;
        let (mut silent, mut told) = (0, std::mem::take(&mut b.attentions));
        for write in writes {
            match tokio::time::timeout_at(end, write).await {
                Ok(Ok(Answer::Check(SenseKey::UnitAttention, asc))) => told.push(asc),
                Ok(_) => {}
                Err(_) => silent += 1,
            }
        }
        b.cut();
        drop(a.log_out().await);
        fenced?;
        let cleared = Asc { code: 0x2f, qualifier: 0 };
        check(silent == 0 || told.contains(&cleared), || {
            format!("{silent} commands have no answer, and of unit attentions there were {told:?}")
        })?;
        let preempted = Asc { code: 0x2a, qualifier: 5 };
        check(told.contains(&preempted), || format!("REGISTRATIONS PREEMPTED is not among {told:?}"))?;
    }
    Ok(())
}
