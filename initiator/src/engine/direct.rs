//! A session that its caller drives in place.
//!
//! What [`Session`](super::Session) does in a task of its own, reached over channels, happens here in the caller's task. That
//! saves two task switches per command, for callers with many commands under way and nothing else to do: a load generator,
//! a block device.
//!
//! A connection that breaks is the end of the session, unless error recovery level 2 was agreed: then [`Joiner`] logs another one in,
//! and the state machine lets the tasks go on there.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

use lunkeep_common::name::Cid;
use lunkeep_common::scsi::Lun;
use lunkeep_common::text::TargetAddress;
use tokio::time::{Instant, sleep_until};

use super::error::{Error, LostCause};
use super::joiner::Joiner;
use super::login::LoggedIn;
use super::wire::{Received, Receiver, Sender};
use crate::commands::Request;
use crate::limits::OUTPUT_LEN_MAX;
use crate::session::{Event, FullFeature, Ticket};

/// A session in the full feature phase without a task. It makes progress only in [`Direct::turn`]. Dropping it closes its
/// connections without a logout.
pub struct Direct {
    portal: TargetAddress,
    machine: FullFeature,
    links: Vec<Link>,
    joiner: Joiner,
}

/// A connection.
struct Link {
    cid: Cid,
    receiver: Receiver,
    sender: Sender,
}

/// What ended a wait.
enum Happened {
    /// A connection moved bytes, or broke.
    Moved(usize, Result<(), LostCause>),
    /// A login ended.
    Joined(Cid, Box<Result<LoggedIn, Error>>),
    /// It is time for something.
    Time,
}

impl std::fmt::Debug for Direct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Direct").field("portal", &self.portal).field("machine", &self.machine).finish()
    }
}

impl Direct {
    pub(super) fn new(first: LoggedIn, machine: FullFeature, joiner: Joiner) -> Self {
        let LoggedIn { portal, cid, receiver, sender, .. } = first;
        Self { portal, machine, links: vec![Link { cid, receiver, sender }], joiner }
    }

    /// Where the session was opened, after redirections.
    #[must_use]
    pub const fn portal(&self) -> &TargetAddress {
        &self.portal
    }

    /// The session's state, for what was agreed and whether it takes more.
    #[must_use]
    pub const fn machine(&self) -> &FullFeature {
        &self.machine
    }

    pub(super) const fn machine_mut(&mut self) -> &mut FullFeature {
        &mut self.machine
    }

    /// Connections that are logged in now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.links.len()
    }

    /// Logs in all connections that were agreed on, one after the other.
    ///
    /// # Errors
    /// Why one of them could not be had.
    pub(super) async fn connect_all(&mut self) -> Result<(), Error> {
        while self.links.len() < self.joiner.wanted() {
            let (cid, joined) = self.joiner.join_now(&self.machine).await;
            self.add(cid, joined?);
        }
        Ok(())
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
        self.joiner.tend(&self.machine, self.links.len(), now())?;
        self.fill()?;
        let times = [self.machine.poll_time(), self.joiner.poll_time(&self.machine, self.links.len())];
        let time = times.into_iter().flatten().min().map(Instant::from_std);
        let happened = tokio::select! {
            biased;
            (at, moved) = moved(&mut self.links) => Happened::Moved(at, moved),
            (cid, joined) = self.joiner.joined() => Happened::Joined(cid, Box::new(joined)),
            () = sleep(time) => Happened::Time,
        };
        match happened {
            Happened::Moved(at, moved) => {
                let taken = match moved {
                    Ok(()) => self.take(at),
                    Err(cause) => Err(cause),
                };
                if let Err(cause) = taken {
                    self.lose(at, cause)?;
                }
            }
            Happened::Joined(cid, joined) => match *joined {
                Ok(logged_in) => self.add(cid, logged_in),
                Err(error) => self.joiner.failed(error, &self.machine, now())?,
            },
            Happened::Time => self.machine.handle_time(now())?,
        }
        self.close_what_is_lost();
        Ok(())
    }

    /// Encodes what may leave, each connection in its turn, so that they share the load.
    fn fill(&mut self) -> Result<(), LostCause> {
        loop {
            let mut idle = true;
            for link in &mut self.links {
                if link.sender.len() < OUTPUT_LEN_MAX
                    && let Some(pdu) = self.machine.poll_pdu(link.cid)
                {
                    link.sender.push(&pdu)?;
                    idle = false;
                }
            }
            if idle {
                return Ok(());
            }
        }
    }

    /// Hands in every PDU of a connection that is complete.
    fn take(&mut self, at: usize) -> Result<(), LostCause> {
        let Some(link) = self.links.get_mut(at) else { return Ok(()) };
        while let Some(received) = link.receiver.take()? {
            match received {
                Received::Pdu(pdu) => self.machine.handle_pdu(link.cid, pdu, now())?,
                Received::Damaged(bhs) => self.machine.handle_damaged(link.cid, &bhs, now())?,
            }
        }
        Ok(())
    }

    fn add(&mut self, cid: Cid, logged_in: LoggedIn) {
        let LoggedIn { established, receiver, sender, .. } = logged_in;
        self.machine.add_connection(&established, cid, now());
        self.links.push(Link { cid, receiver, sender });
        self.joiner.succeeded();
    }

    /// A connection broke, or the session did.
    fn lose(&mut self, at: usize, cause: LostCause) -> Result<(), LostCause> {
        let Some(link) = self.links.get(at).filter(|_| cause.is_of_a_connection()) else { return Err(cause) };
        if self.machine.lose_connection(link.cid, now()).is_err() {
            return Err(cause);
        }
        tracing::info!(portal = %self.portal, cid = link.cid.0, %cause, "a connection is lost");
        self.joiner.note(cause);
        Ok(())
    }

    /// Drops the sockets of connections that the state machine counts as lost.
    fn close_what_is_lost(&mut self) {
        let (before, machine) = (self.links.len(), &self.machine);
        self.links.retain(|link| machine.connection_state(link.cid).is_open());
        if self.links.len() < before {
            self.joiner.lost(machine, now());
        }
    }
}

/// Waits until a connection has moved bytes, in either direction. May be dropped at any time without losing any.
async fn moved(links: &mut [Link]) -> (usize, Result<(), LostCause>) {
    poll_fn(|context| {
        for (at, link) in links.iter_mut().enumerate() {
            if link.sender.len() > 0
                && let Poll::Ready(written) = pin!(link.sender.write()).poll(context)
            {
                return Poll::Ready((at, written));
            }
            if let Poll::Ready(filled) = pin!(link.receiver.fill()).poll(context) {
                return Poll::Ready((at, filled));
            }
        }
        Poll::Pending
    })
    .await
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
