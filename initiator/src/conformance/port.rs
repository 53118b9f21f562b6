//! An initiator port of a case: an identity, and the session that it has or has not.
//!
//! Each session runs on a runtime of its own, so that its connection can be cut without a logout, and so that nothing of a case
//! outlives it.

use std::fmt;

use bytes::Bytes;
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::{Asc, Sense, SenseKey, Status};
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep, timeout};

use super::lab::{Portal, Settings};
use crate::commands::{Completion, Request, Transfer};
use crate::engine::{Config, Error, Identity, Initiator, LostCause, Session};

/// Unit attentions that are taken before a command counts as never processed.
const ATTENTIONS_MAX: usize = 16;

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Good(Bytes),
    Conflict,
    /// CHECK CONDITION with sense that can be read.
    Check(SenseKey, Asc),
    /// Another status.
    Status(Status),
    /// No status: aborted, rejected, out of time.
    None(String),
    /// The session is over.
    Lost(String),
}

impl Answer {
    fn new(result: Result<Completion, Error>) -> Self {
        match result {
            Ok(Completion { status: Status::Good, data, .. }) => Self::Good(data),
            Ok(Completion { status: Status::ReservationConflict, .. }) => Self::Conflict,
            Ok(Completion { status: Status::CheckCondition, sense, .. }) => match Sense::decode(&sense) {
                Some(sense) => Self::Check(sense.key, sense.asc),
                None => Self::None("CHECK CONDITION without sense data that can be read".into()),
            },
            Ok(Completion { status, .. }) => Self::Status(status),
            Err(error @ Error::Lost { .. }) => Self::Lost(error.to_string()),
            Err(error) => Self::None(error.to_string()),
        }
    }

    /// The sense of a device that lacks what it was asked for: ILLEGAL REQUEST with 20/00 or 24/00.
    pub(super) fn lacks(&self) -> bool {
        let codes = [Asc { code: 0x20, qualifier: 0 }, Asc { code: 0x24, qualifier: 0 }];
        matches!(self, Self::Check(SenseKey::IllegalRequest, asc) if codes.contains(asc))
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good(_) => f.write_str("GOOD"),
            Self::Conflict => f.write_str("RESERVATION CONFLICT"),
            Self::Check(key, asc) => write!(f, "CHECK CONDITION {:02x}/{asc:?}", *key as u8),
            Self::Status(status) => write!(f, "{status:?}"),
            Self::None(text) | Self::Lost(text) => f.write_str(text),
        }
    }
}

/// A command to send.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) cdb: [u8; 16],
    pub(super) transfer: Transfer,
}

impl Command {
    pub(super) const fn new(cdb: [u8; 16], transfer: Transfer) -> Self {
        Self { cdb, transfer }
    }

    pub(super) const fn test_unit_ready() -> Self {
        Self::new([0; 16], Transfer::None)
    }
}

/// An initiator port.
pub(super) struct Port {
    identity: Identity,
    portal: Portal,
    settings: Settings,
    live: Option<(Session, Runtime)>,
    /// Unit attentions that were reported since somebody looked.
    pub(super) attentions: Vec<Asc>,
}

impl Port {
    pub(super) const fn new(identity: Identity, portal: Portal, settings: Settings) -> Self {
        Self { identity, portal, settings, live: None, attentions: Vec::new() }
    }

    pub(super) const fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Name and ISID as READ FULL STATUS has them.
    pub(super) fn text(&self) -> String {
        format!("{},i,{}", self.identity.name, self.identity.isid).to_lowercase()
    }

    pub(super) const fn session(&self) -> Option<&Session> {
        match &self.live {
            Some((session, _)) => Some(session),
            None => None,
        }
    }

    /// Logs in. With a session that is still there this is session reinstatement (RFC 7143 §6.3.5).
    pub(super) async fn log_in(&mut self) -> Result<(), String> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| format!("this machine cannot start a thread: {error}"))?;
        let mut config = Config::new(self.identity.clone()).map_err(|error| error.to_string())?;
        config.authentication = self.settings.authentication.clone();
        config.offer = self.settings.offer.clone();
        config.login_limit = self.settings.command_limit;
        config.timing.command = self.settings.command_limit;
        config.timing.answer = self.settings.command_limit;
        let (address, target) = (self.portal.address.clone(), self.portal.target.clone());
        let login = runtime.spawn(async move { Initiator::new(config).login(&address, &target).await });
        let session = match login.await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => {
                runtime.shutdown_background();
                return Err(error.to_string());
            }
            Err(error) => {
                runtime.shutdown_background();
                return Err(format!("the login did not end: {error}"));
            }
        };
        // The old session is let go after the new one stands, so that the target sees a reinstatement and no loss.
        self.cut();
        self.live = Some((session, runtime));
        Ok(())
    }

    /// Logs in, and takes the unit attentions of a new nexus.
    pub(super) async fn open(&mut self) -> Result<(), String> {
        self.log_in().await?;
        self.settle().await;
        self.attentions.clear();
        Ok(())
    }

    pub(super) async fn log_out(&mut self) -> Result<(), String> {
        let Some((session, runtime)) = self.live.take() else { return Ok(()) };
        let result = timeout(self.settings.command_limit, session.logout()).await;
        runtime.shutdown_background();
        match result {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the logout was not answered in time".into()),
        }
    }

    /// Closes the connection without a word.
    pub(super) fn cut(&mut self) {
        if let Some((_, runtime)) = self.live.take() {
            runtime.shutdown_background();
        }
    }

    /// Sends a command once.
    pub(super) async fn once(&self, command: &Command) -> Answer {
        let Some((session, _)) = &self.live else { return Answer::Lost("there is no session".into()) };
        send(session, &self.portal, command).await
    }

    /// Sends a command until it is processed: unit attentions are noted, busy states waited for.
    pub(super) async fn send(&mut self, command: &Command) -> Answer {
        let end = Instant::now() + self.settings.command_limit;
        let mut attentions = 0;
        loop {
            match self.once(command).await {
                Answer::Check(SenseKey::UnitAttention, asc) if attentions < ATTENTIONS_MAX => {
                    attentions += 1;
                    self.attentions.push(asc);
                }
                Answer::Status(Status::Busy | Status::TaskSetFull) if Instant::now() < end => {
                    sleep(std::time::Duration::from_millis(20)).await;
                }
                other => return other,
            }
        }
    }

    /// Takes all unit attentions that are waiting.
    pub(super) async fn settle(&mut self) {
        drop(self.send(&Command::test_unit_ready()).await);
    }

    pub(super) async fn manage(
        &self,
        function: TaskManagementFunction,
    ) -> Result<TaskManagementResult, Error> {
        let gone = || Error::Lost { portal: self.portal.address.clone(), cause: LostCause::Gone };
        let Some((session, _)) = &self.live else { return Err(gone()) };
        session.manage(function, self.portal.lun).await
    }
}

/// Sends a command on a session.
pub(super) async fn send(session: &Session, portal: &Portal, command: &Command) -> Answer {
    let request = Request::new(command.cdb, command.transfer.clone());
    Answer::new(session.execute("a command of the suite", portal.lun, request).await)
}

impl Drop for Port {
    fn drop(&mut self) {
        self.cut();
    }
}
