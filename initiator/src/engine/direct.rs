//! A session that its caller drives in place.
//!
//! What [`Session`](super::Session) does in a task of its own, reached over channels, happens here in the caller's task. That
//! saves two task switches per command, for callers with many commands under way and nothing else to do: a load generator,
//! a block device.

use lunkeep_common::scsi::Lun;
use lunkeep_common::text::TargetAddress;
use tokio::time::{Instant, sleep_until};

use super::error::{Error, LostCause};
use super::login::CID;
use super::wire::{Receiver, Sender};
use crate::commands::Request;
use crate::limits::OUTPUT_LEN_MAX;
use crate::session::{Event, FullFeature, Ticket};

/// A session in the full feature phase without a task. It makes progress only in [`Direct::turn`]. Dropping it closes the
/// connection without a logout.
pub struct Direct {
    pub(super) portal: TargetAddress,
    pub(super) machine: FullFeature,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("portal", &self.portal).field("machine", &self.machine).finish()
    }
}

impl Direct {
    /// The session's state, for what was agreed and whether it takes more.
    #[must_use]
    pub const fn machine(&self) -> &FullFeature {
        &self.machine
    }

    /// Takes a command. It is sent by the next [`Direct::turn`] for which the target's window has room.
    ///
    /// # Errors
    /// [`Error::Submit`].
    pub fn submit(&mut self, lun: Lun, request: Request) -> Result<Ticket, Error> {
        Ok(self.machine.submit(lun, request, now())?)
    }

    /// Takes no more commands and logs out when those under way have ended; [`Event::LoggedOut`] tells.
    pub fn logout(&mut self) {
        self.machine.logout(now());
    }

    /// The next event, in the order in which things happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.machine.poll_event()
    }

    /// Sends what waits, and waits until something of it has left, the target has sent something, or a time has come. Take
    /// all events before the next turn. May be dropped at any time without losing anything.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub async fn turn(&mut self) -> Result<(), Error> {
        self.step().await.map_err(|cause| Error::Lost { portal: self.portal.clone(), cause })
    }

    pub(super) async fn step(&mut self) -> Result<(), LostCause> {
        while self.sender.len() < OUTPUT_LEN_MAX
            && let Some(pdu) = self.machine.poll_pdu(CID)
        {
            self.sender.push(&pdu)?;
        }
        let time = self.machine.poll_time().map(Instant::from_std);
        tokio::select! {
            biased;
            written = self.sender.write(), if self.sender.len() > 0 => written?,
            filled = self.receiver.fill() => filled?,
            () = sleep(time) => self.machine.handle_time(now())?,
        }
        while let Some(pdu) = self.receiver.take()? {
            self.machine.handle_pdu(CID, pdu, now())?;
        }
        Ok(())
    }
}

/// The clock of all timers of the engine.
pub(super) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}
