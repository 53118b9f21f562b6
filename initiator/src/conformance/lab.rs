//! The target under test, and what every case needs of it.

use std::process::{Command as Process, Stdio};
use std::time::Duration;

use bytes::Bytes;
use lunkeep_common::login::ValidOffer;
use lunkeep_common::login::initiator_side::InitiatorAuthentication;
use lunkeep_common::name::{IscsiName, Isid};
use lunkeep_common::pdu::task_management::TaskManagementFunction;
use lunkeep_common::scsi::Lun;
use lunkeep_common::scsi::capacity::Capacity;
use lunkeep_common::scsi::inquiry::StandardInquiry;
use lunkeep_common::text::TargetAddress;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use super::case::{Body, Case, Need, Stop, Verdict};
use super::port::{Answer, Command, Port};
use super::report::CaseReport;
use super::wire::{self, Capabilities};
use super::{coded, matrix, script};
use crate::commands::Transfer;
use crate::engine::Identity;

/// Longest a case may take that does not restart the target, in command limits.
const CASE_LIMITS: u32 = 6;
/// How long a restarted target has until it takes logins.
const RESTART_LIMIT: Duration = Duration::from_secs(60);
/// The key with which the janitor registers to clear the rest.
const JANITOR_KEY: u64 = 0x6a61_6e69_746f_7221;
/// ISIDs of one case, of which there are fewer ports.
const PORTS_MAX: u16 = 64;
/// Cases whose ISIDs fit in the sixteen bits of the qualifier; then the random bits change.
const CASES_OF_A_SEED: u16 = 1000;

/// A logical unit through one target port.
#[derive(Clone, Debug)]
pub struct Portal {
    /// Where.
    pub address: TargetAddress,
    /// Which target.
    pub target: IscsiName,
    /// Which LUN.
    pub lun: Lun,
}

/// What is to be judged, and how.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The logical unit.
    pub portal: Portal,
    /// The same logical unit through another target port.
    pub second: Option<Portal>,
    /// Initiator name of the ports; each adds something to it, so that they are different nodes.
    pub name: IscsiName,
    /// Use `name` as it is for all ports, which then differ in their ISIDs alone.
    pub one_name: bool,
    /// What the ports prove and demand.
    pub authentication: InitiatorAuthentication,
    /// What is offered in the negotiation.
    pub offer: ValidOffer,
    /// For a login and for each command.
    pub command_limit: Duration,
    /// Shell command that restarts the target, as a loss of power would.
    pub restart: Option<String>,
    /// Random bits of the ISIDs (RFC 7143 §11.12.5, type 10b).
    pub seed: [u8; 3],
}

/// What the target says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// VENDOR, PRODUCT and REVISION of INQUIRY.
    pub device: String,
    /// Bytes of a block.
    pub block_length: u32,
    /// REPORT CAPABILITIES, if there is such a thing.
    pub capabilities: Option<Capabilities>,
}

/// The target, a janitor that clears up between cases, and what is known.
pub(super) struct Lab {
    pub(super) settings: Settings,
    pub(super) facts: Facts,
    janitor: Port,
    case: u16,
    /// The case after which the target took no more logins.
    gone: Option<String>,
}

impl Lab {
    pub(super) async fn open(settings: Settings) -> Result<Self, String> {
        let identity = identity(&settings, "janitor", u16::MAX, 0)?;
        let janitor = Port::new(identity, settings.portal.clone(), settings.clone());
        let facts = Facts { device: String::new(), block_length: 512, capabilities: None };
        let mut lab = Self { settings, facts, janitor, case: 0, gone: None };
        lab.janitor.open().await?;
        lab.facts.device = lab.device().await?;
        lab.facts.block_length = lab.block_length().await?;
        let command = Command::new(wire::reserve_in(wire::REPORT_CAPABILITIES, 8), Transfer::In(8));
        lab.facts.capabilities = match lab.janitor.send(&command).await {
            Answer::Good(data) => wire::capabilities(&data).ok(),
            _ => None,
        };
        Ok(lab)
    }

    pub(super) async fn close(&mut self) {
        drop(self.janitor.log_out().await);
    }

    pub(super) fn into_facts(self) -> Facts {
        self.facts
    }

    async fn device(&mut self) -> Result<String, String> {
        let command = Command::new(wire::pad([0x12, 0, 0, 0, 96, 0]), Transfer::In(96));
        match self.janitor.send(&command).await {
            Answer::Good(data) => StandardInquiry::decode(&data)
                .map(|it| format!("{} {} {}", it.vendor, it.product, it.revision))
                .ok_or_else(|| "the data of INQUIRY cannot be read".into()),
            other => Err(format!("INQUIRY: {other}")),
        }
    }

    async fn block_length(&mut self) -> Result<u32, String> {
        let command = Command::new(wire::pad([0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Transfer::In(8));
        match self.janitor.send(&command).await {
            Answer::Good(data) => Capacity::decode_10(&data)
                .map(|capacity| capacity.block_len)
                .filter(|len| (512..=65536).contains(len))
                .ok_or_else(|| "the data of READ CAPACITY(10) cannot be read".into()),
            other => Err(format!("READ CAPACITY(10): {other}")),
        }
    }

    /// Runs one case and clears up before and after it.
    pub(super) async fn judge(&mut self, number: usize, case: &Case) -> CaseReport {
        self.case = u16::try_from(number).unwrap_or(u16::MAX);
        if let Some(killer) = &self.gone {
            let reason =
                format!("the target takes no more logins since {killer}, and there is no --restart-command");
            return CaseReport::new(case, Verdict::NotRun, Some(reason));
        }
        for need in &case.needs {
            if let Err((verdict, reason)) = self.has(*need) {
                return CaseReport::new(case, verdict, Some(reason));
            }
        }
        let mut limit = self.settings.command_limit * CASE_LIMITS;
        if case.needs.contains(&Need::Restart) {
            limit += RESTART_LIMIT * 2;
        }
        let result = match timeout(limit, self.attempt(case)).await {
            Ok(result) => result,
            Err(_) => Err(Stop::Failed(format!("did not end within {} s", limit.as_secs()))),
        };
        // What the case leaves behind is cleared even if it failed; that this works is a requirement of the next one.
        let slow = |_| Err(Stop::Failed("the rest cannot be cleared up in time".into()));
        let cleared = timeout(limit, self.clear()).await.unwrap_or_else(slow);
        match result.and(cleared) {
            Ok(()) => CaseReport::new(case, Verdict::Passed, None),
            Err(Stop::NotSupported(reason)) => CaseReport::new(case, Verdict::NotSupported, Some(reason)),
            Err(Stop::Failed(reason)) => {
                let after = self.revive(case).await;
                CaseReport::new(case, Verdict::Failed, Some(reason + after))
            }
        }
    }

    /// After a failure: a target that does not take a login any more is restarted, so that it is not judged by one case alone.
    async fn revive(&mut self, case: &Case) -> &'static str {
        if self.janitor.open().await.is_ok() {
            return "";
        }
        match self.restart().await {
            Ok(()) => "; the target took no more logins and was restarted",
            Err(_) => {
                self.gone = Some(case.name.clone());
                "; the target takes no more logins"
            }
        }
    }

    async fn attempt(&mut self, case: &Case) -> Result<(), Stop> {
        self.clear().await?;
        match &case.body {
            Body::Script(text) => script::run(self, text).await,
            Body::Coded(coded) => coded::run(self, *coded).await,
            Body::Matrix(cell) => matrix::run(self, *cell).await,
        }
    }

    fn has(&self, need: Need) -> Result<(), (Verdict, String)> {
        let lacks = |what: &str| Err((Verdict::NotSupported, format!("REPORT CAPABILITIES: {what}")));
        let not_given = |what: &str| Err((Verdict::NotRun, format!("needs {what}")));
        match (need, &self.facts.capabilities) {
            (Need::SecondPortal, _) if self.settings.second.is_none() => not_given("--second-portal"),
            (Need::Restart, _) if self.settings.restart.is_none() => not_given("--restart-command"),
            (Need::SecondPortal | Need::Restart, _) | (_, None) => Ok(()),
            (Need::Type(kind), Some(can)) if !can.types.contains(&kind) => lacks(&format!("no type {kind}")),
            (Need::SpecifyInitiatorPorts, Some(can)) if !can.specify_initiator_ports => {
                lacks("SIP_C is zero")
            }
            (Need::AllTargetPorts, Some(can)) if !can.all_target_ports => lacks("ATP_C is zero"),
            (Need::PersistThroughPowerLoss, Some(can)) if !can.persist_capable => lacks("PTPL_C is zero"),
            (Need::CompatibleHandling, Some(can)) if !can.compatible_handling => lacks("CRH is zero"),
            _ => Ok(()),
        }
    }

    /// A port for the running case: `node` is part of its initiator name, `isid` tells the ISIDs of one case apart.
    pub(super) fn port(&self, node: &str, isid: u16, second: bool) -> Result<Port, Stop> {
        let identity = identity(&self.settings, node, self.case, isid).map_err(Stop::Failed)?;
        let portal = if second { self.settings.second.clone() } else { None };
        Ok(Port::new(identity, portal.unwrap_or_else(|| self.settings.portal.clone()), self.settings.clone()))
    }

    /// A command from the janitor, who is party to nothing. Its session is made anew when it was lost.
    pub(super) async fn ask(&mut self, command: &Command) -> Answer {
        for _ in 0..2 {
            match self.janitor.send(command).await {
                Answer::Lost(_) if self.janitor.open().await.is_ok() => {}
                other => return other,
            }
        }
        self.janitor.send(command).await
    }

    /// PERSISTENT RESERVE IN by the janitor, with room for all that may come.
    pub(super) async fn read(&mut self, action: u8) -> Result<Bytes, Stop> {
        const ROOM: u16 = 32768;
        match self.ask(&Command::new(wire::reserve_in(action, ROOM), Transfer::In(ROOM.into()))).await {
            Answer::Good(data) => Ok(data),
            other if other.lacks() => {
                Err(Stop::NotSupported(format!("PERSISTENT RESERVE IN {action:02x}h: {other}")))
            }
            other => Err(Stop::Failed(format!("PERSISTENT RESERVE IN {action:02x}h by a stranger: {other}"))),
        }
    }

    /// PRGENERATION and the registered keys, sorted.
    pub(super) async fn keys(&mut self) -> Result<(u32, Vec<u64>), Stop> {
        let data = self.read(wire::READ_KEYS).await?;
        wire::keys(&data).map_err(|error| Stop::Failed(format!("READ KEYS: {error}")))
    }

    /// The reservation.
    pub(super) async fn reservation(&mut self) -> Result<Option<(u64, u8)>, Stop> {
        let data = self.read(wire::READ_RESERVATION).await?;
        wire::reservation(&data).map_err(|error| Stop::Failed(format!("READ RESERVATION: {error}")))
    }

    /// The registrations.
    pub(super) async fn full_status(&mut self) -> Result<Vec<wire::Registration>, Stop> {
        let data = self.read(wire::READ_FULL_STATUS).await?;
        wire::full_status(&data).map_err(|error| Stop::Failed(format!("READ FULL STATUS: {error}")))
    }

    /// Ends every reservation and every registration.
    pub(super) async fn clear(&mut self) -> Result<(), Stop> {
        let read = Command::new(wire::reserve_in(wire::READ_KEYS, 32768), Transfer::In(32768));
        if self.ask(&read).await == Answer::Conflict {
            // Somebody holds a reservation of SPC-2, which no PERSISTENT RESERVE command passes.
            drop(self.janitor.manage(TaskManagementFunction::LogicalUnitReset).await);
        }
        // Where this is not supported nothing is, and each case says so by itself.
        let (_, keys) = self.keys().await?;
        if keys.is_empty() {
            return Ok(());
        }
        let out = |action, key, action_key| {
            let list = wire::basic_list(key, action_key, wire::ListFlags::default(), None);
            Command::new(wire::reserve_out(action, 0, list.len()), Transfer::Out(list.into()))
        };
        let registered = match self.ask(&out(wire::REGISTER_AND_IGNORE, 0, JANITOR_KEY)).await {
            Answer::Good(_) => Answer::Good(Bytes::new()),
            _ => self.ask(&out(wire::REGISTER, 0, JANITOR_KEY)).await,
        };
        let cleared = self.ask(&out(wire::CLEAR, JANITOR_KEY, 0)).await;
        match self.keys().await? {
            (_, keys) if keys.is_empty() => Ok(()),
            _ => Err(Stop::Failed(format!(
                "cannot clear the registrations: REGISTER: {registered}; CLEAR: {cleared}"
            ))),
        }
    }

    /// Restarts the target and waits until it takes logins.
    pub(super) async fn restart(&mut self) -> Result<(), Stop> {
        let Some(line) = self.settings.restart.clone() else {
            return Err(Stop::Failed("there is no restart command".into()));
        };
        self.janitor.cut();
        let end = Instant::now() + RESTART_LIMIT;
        let failed = |error: &dyn std::fmt::Display| Stop::Failed(format!("the restart command: {error}"));
        let mut child = Process::new("sh")
            .args(["-c", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(&error))?;
        loop {
            match child.try_wait().map_err(|error| failed(&error))? {
                Some(status) if status.success() => break,
                Some(status) => return Err(failed(&status)),
                None if Instant::now() > end => {
                    drop(child.kill());
                    drop(child.wait());
                    return Err(failed(&"it did not end in time"));
                }
                None => sleep(Duration::from_millis(20)).await,
            }
        }
        loop {
            match self.janitor.open().await {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > end => {
                    return Err(Stop::Failed(format!("the target did not come back: {error}")));
                }
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

/// Type 10b of RFC 7143 §11.12.5: random bits, and a qualifier that no other port of the run has.
fn identity(settings: &Settings, node: &str, case: u16, isid: u16) -> Result<Identity, String> {
    let [a, b, c] = settings.seed;
    let c = c.wrapping_add(u8::try_from(case / CASES_OF_A_SEED).unwrap_or(u8::MAX));
    let [high, low] = (case % CASES_OF_A_SEED * PORTS_MAX + isid % PORTS_MAX).to_be_bytes();
    let name = if settings.one_name {
        settings.name.clone()
    } else {
        let separator = if settings.name.as_str().contains(':') { '-' } else { ':' };
        format!("{}{separator}{node}", settings.name).parse().map_err(|error| format!("{error}"))?
    };
    Ok(Identity { name, isid: Isid([0x80, a, b, c, high, low]) })
}
