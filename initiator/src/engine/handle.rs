//! Handles to a session and to its logical units. Cheap to clone, usable from any number of tasks at once.

use std::sync::Arc;

use bytes::Bytes;
use lunkeep_common::login::{ConnectionParameters, SessionParameters};
use lunkeep_common::name::{IscsiName, PortalGroupTag, Tsih};
use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::capacity::Capacity;
use lunkeep_common::scsi::inquiry::StandardInquiry;
use lunkeep_common::scsi::{Asc, Lun, SenseKey};
use lunkeep_common::text::{Pairs, TargetAddress};
use tokio::sync::{mpsc, oneshot, watch};

use super::driver::{Ask, Reply};
use super::error::{Error, LostCause};
use crate::commands::{
    CommandError, Completion, Inquiry, Operation, Read, ReadCapacity10, ReadCapacity16, ReportLuns, Request,
    SynchronizeCache, TestUnitReady, VitalProductData, Write,
};
use crate::limits::UNIT_ATTENTIONS_MAX;
use crate::session::SubmitError;

/// What a session is.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The portal, after redirections.
    pub portal: TargetAddress,
    /// The target; `None` in a discovery session.
    pub target: Option<IscsiName>,
    /// TargetAlias, if the target has one.
    pub alias: Option<String>,
    /// The target portal group.
    pub portal_group: Option<PortalGroupTag>,
    /// The session's handle.
    pub tsih: Tsih,
    /// What was agreed for the session.
    pub parameters: SessionParameters,
    /// What was agreed for its connection.
    pub connection: ConnectionParameters,
}

/// A session in the full feature phase. It logs out when the last handle is dropped; [`Session::logout`] waits for that.
#[derive(Clone, Debug)]
pub struct Session {
    asks: mpsc::Sender<Ask>,
    end: watch::Receiver<Option<Error>>,
    info: Arc<SessionInfo>,
}

impl Session {
    pub(super) fn new(
        asks: mpsc::Sender<Ask>,
        end: watch::Receiver<Option<Error>>,
        info: SessionInfo,
    ) -> Self {
        Self { asks, end, info: Arc::new(info) }
    }

    /// What was agreed with whom.
    #[must_use]
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// A handle to a logical unit. Whether it exists shows with the first command.
    #[must_use]
    pub fn lun(&self, lun: Lun) -> LunHandle {
        LunHandle { session: self.clone(), lun }
    }

    /// Sends a command as it is. Dropping the future does not stop the command.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Submit`]; [`Error::Task`] when there is no SCSI status. `operation` is for messages.
    pub async fn execute(
        &self,
        operation: &'static str,
        lun: Lun,
        request: Request,
    ) -> Result<Completion, Error> {
        let result = self.ask(|reply| Ask::Command { lun, request, reply }).await?;
        result.map_err(|failure| Error::Task { portal: self.info.portal.clone(), operation, failure })
    }

    /// Sends a task management function for a logical unit or the target. Commands that it ends fail as aborted.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Submit`].
    pub async fn manage(
        &self,
        function: TaskManagementFunction,
        lun: Lun,
    ) -> Result<TaskManagementResult, Error> {
        self.ask(|reply| Ask::Manage { function, lun, reply }).await
    }

    /// Sends keys and collects the target's.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Submit`], [`Error::Text`].
    pub async fn text(&self, pairs: Pairs) -> Result<Pairs, Error> {
        let result = self.ask(|reply| Ask::Text { pairs, reply }).await?;
        result.map_err(|error| Error::Text { portal: self.info.portal.clone(), error })
    }

    /// Logs out when the commands under way have ended, and waits for that. New commands are refused from now on.
    ///
    /// # Errors
    /// [`Error::Lost`] when the session ended in another way.
    pub async fn logout(self) -> Result<(), Error> {
        // If nobody takes the request the session is over already, and its end says how.
        drop(self.asks.send(Ask::Logout).await);
        match self.ended().await {
            Error::Lost { cause: LostCause::Session(crate::session::SessionError::LoggedOut), .. } => Ok(()),
            other => Err(other),
        }
    }

    /// Waits for the end of the session and says how it ended.
    pub async fn ended(&self) -> Error {
        let gone = || Error::Lost { portal: self.info.portal.clone(), cause: LostCause::Gone };
        let mut end = self.end.clone();
        end.wait_for(Option::is_some).await.ok().and_then(|end| end.clone()).unwrap_or_else(gone)
    }

    async fn ask<T>(&self, ask: impl FnOnce(Reply<T>) -> Ask) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel::<Result<T, SubmitError>>();
        if self.asks.send(ask(reply)).await.is_err() {
            return Err(self.ended().await);
        }
        match answer.await {
            Ok(result) => Ok(result?),
            Err(_) => Err(self.ended().await),
        }
    }
}

/// A logical unit of a session.
#[derive(Clone, Debug)]
pub struct LunHandle {
    session: Session,
    lun: Lun,
}

impl LunHandle {
    /// Its number.
    #[must_use]
    pub const fn lun(&self) -> Lun {
        self.lun
    }

    /// Its session.
    #[must_use]
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// Runs an operation.
    ///
    /// # Errors
    /// [`Error::Command`] for any status other than GOOD, unit attentions among them, and for data that cannot be read;
    /// those of [`Session::execute`].
    pub async fn run<O: Operation>(&self, operation: &O) -> Result<O::Output, Error> {
        let request = operation.request().map_err(|error| self.command(error))?;
        let completion = self.session.execute(operation.name(), self.lun, request).await?;
        operation.finish(completion).map_err(|error| self.command(error))
    }

    /// TEST UNIT READY until no unit attention is left, and what the unit attentions were.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`]; the last unit attention when they do not end.
    pub async fn ready(&self) -> Result<Vec<Asc>, Error> {
        let mut attentions = Vec::new();
        loop {
            match self.run(&TestUnitReady).await {
                Ok(()) => return Ok(attentions),
                Err(Error::Command { error, .. })
                    if attentions.len() < UNIT_ATTENTIONS_MAX as usize
                        && let Some(asc) = error.unit_attention() =>
                {
                    attentions.push(asc);
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Standard INQUIRY data.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`].
    pub async fn inquiry(&self) -> Result<StandardInquiry, Error> {
        self.run(&Inquiry).await
    }

    /// The body of a vital product data page.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`]; a device without the page answers ILLEGAL REQUEST.
    pub async fn vital_product_data(&self, page: u8) -> Result<Bytes, Error> {
        self.run(&VitalProductData(page)).await
    }

    /// Size and block length, by READ CAPACITY(16), or by (10) from devices that know only that.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`].
    pub async fn read_capacity(&self) -> Result<Capacity, Error> {
        match self.run(&ReadCapacity16).await {
            Err(Error::Command { error: CommandError::Status { sense: Some(sense), .. }, .. })
                if sense.key == SenseKey::IllegalRequest =>
            {
                self.run(&ReadCapacity10).await
            }
            other => other,
        }
    }

    /// All logical units of the target that this initiator may see.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`].
    pub async fn report_luns(&self) -> Result<Vec<Lun>, Error> {
        self.run(&ReportLuns).await
    }

    /// Reads blocks of `block_len` bytes each, which [`LunHandle::read_capacity`] tells.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`].
    pub async fn read(&self, lba: u64, blocks: u32, block_len: u32) -> Result<Bytes, Error> {
        self.run(&Read { lba, blocks, block_len, force_unit_access: false }).await
    }

    /// Writes whole blocks. They are on stable storage after a [`LunHandle::flush`] that began later has succeeded.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`]. After [`Error::Lost`] or [`Error::Task`] any part of the data may have been written.
    pub async fn write(&self, lba: u64, data: Bytes, block_len: u32) -> Result<(), Error> {
        self.run(&Write { lba, data, block_len, force_unit_access: false }).await
    }

    /// SYNCHRONIZE CACHE of the whole unit.
    ///
    /// # Errors
    /// Those of [`LunHandle::run`]: then nothing is known about what was written since the last flush.
    pub async fn flush(&self) -> Result<(), Error> {
        self.run(&SynchronizeCache).await
    }

    fn command(&self, error: CommandError) -> Error {
        Error::Command { portal: self.session.info.portal.clone(), lun: self.lun, error }
    }
}
