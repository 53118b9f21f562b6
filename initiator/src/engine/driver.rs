//! The task that drives one session.

use std::collections::HashMap;
use std::future;

use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::Lun;
use lunkeep_common::text::{Pairs, TargetAddress};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info};

use super::error::{Error, LostCause};
use super::login::CID;
use super::wire::{Receiver, Sender};
use crate::commands::{Completion, Request};
use crate::limits::OUTPUT_LEN_MAX;
use crate::session::{Event, FullFeature, SessionError, SubmitError, TaskFailure, TextFailure, Ticket};

/// What a handle wants.
pub(super) enum Ask {
    Command { lun: Lun, request: Request, reply: Reply<Result<Completion, TaskFailure>> },
    Manage { function: TaskManagementFunction, lun: Lun, reply: Reply<TaskManagementResult> },
    Text { pairs: Pairs, reply: Reply<Result<Pairs, TextFailure>> },
    Logout,
}

/// Where the answer goes. It is dropped without one when the session ends.
pub(super) type Reply<T> = oneshot::Sender<Result<T, SubmitError>>;

/// Who waits for a ticket.
enum Waiting {
    Command(Reply<Result<Completion, TaskFailure>>),
    Management(Reply<TaskManagementResult>),
    Text(Reply<Result<Pairs, TextFailure>>),
}

pub(super) struct Driver {
    pub(super) portal: TargetAddress,
    pub(super) machine: FullFeature,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    pub(super) asks: mpsc::Receiver<Ask>,
    /// Set when the session is over, before waiting requests are let go.
    pub(super) end: watch::Sender<Option<Error>>,
}

impl Driver {
    /// Runs the session to its end.
    pub(super) async fn run(mut self) {
        let mut waiting = HashMap::new();
        let cause = match self.drive(&mut waiting).await {
            Ok(()) => LostCause::Session(SessionError::LoggedOut),
            Err(cause) => cause,
        };
        debug!(portal = %self.portal, %cause, "the session is over");
        self.end.send_replace(Some(Error::Lost { portal: self.portal, cause }));
    }

    async fn drive(&mut self, waiting: &mut HashMap<Ticket, Waiting>) -> Result<(), LostCause> {
        let mut logged_out = false;
        let mut handles = true;
        loop {
            while let Some(pdu) = self.receiver.take()? {
                self.machine.handle_pdu(CID, pdu, now())?;
            }
            while let Some(event) = self.machine.poll_event() {
                logged_out |= event == Event::LoggedOut;
                answer(waiting, event, &self.portal);
            }
            if logged_out {
                return Ok(());
            }
            while self.sender.len() < OUTPUT_LEN_MAX
                && let Some(pdu) = self.machine.poll_pdu(CID)
            {
                self.sender.push(&pdu)?;
            }
            let time = self.machine.poll_time().map(Instant::from_std);
            let listens = handles && self.machine.has_room();
            tokio::select! {
                filled = self.receiver.fill() => filled?,
                written = self.sender.write(), if self.sender.len() > 0 => written?,
                ask = self.asks.recv(), if listens => match ask {
                    Some(ask) => take(&mut self.machine, waiting, ask),
                    None => {
                        handles = false;
                        self.machine.logout(now());
                    }
                },
                () = sleep(time) => self.machine.handle_time(now())?,
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => future::pending().await,
    }
}

fn take(machine: &mut FullFeature, waiting: &mut HashMap<Ticket, Waiting>, ask: Ask) {
    let (ticket, waiter) = match ask {
        Ask::Command { lun, request, reply } => match machine.submit(lun, request, now()) {
            Ok(ticket) => (ticket, Waiting::Command(reply)),
            Err(error) => return send(reply, Err(error)),
        },
        Ask::Manage { function, lun, reply } => match machine.manage(function, lun, now()) {
            Ok(ticket) => (ticket, Waiting::Management(reply)),
            Err(error) => return send(reply, Err(error)),
        },
        Ask::Text { pairs, reply } => match machine.text(&pairs, now()) {
            Ok(ticket) => (ticket, Waiting::Text(reply)),
            Err(error) => return send(reply, Err(error)),
        },
        Ask::Logout => return machine.logout(now()),
    };
    waiting.insert(ticket, waiter);
}

/// A caller that went away does not mind.
fn send<T>(reply: Reply<T>, result: Result<T, SubmitError>) {
    let _ = reply.send(result);
}

/// Hands an event to who waits for it.
fn answer(waiting: &mut HashMap<Ticket, Waiting>, event: Event, portal: &TargetAddress) {
    match event {
        Event::Command { ticket, result } => {
            if let Some(Waiting::Command(reply)) = waiting.remove(&ticket) {
                send(reply, Ok(result));
            }
        }
        Event::Management { ticket, result } => {
            if let Some(Waiting::Management(reply)) = waiting.remove(&ticket) {
                send(reply, Ok(result));
            }
        }
        Event::Text { ticket, result } => {
            if let Some(Waiting::Text(reply)) = waiting.remove(&ticket) {
                send(reply, Ok(result));
            }
        }
        Event::Message { message, .. } => info!(%portal, event = ?message.event, "the target sent a message"),
        Event::LoggedOut => {}
    }
}
