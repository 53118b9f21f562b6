//! The task that drives one session.

use std::collections::HashMap;

use lunkeep_common::pdu::task_management::{TaskManagementFunction, TaskManagementResult};
use lunkeep_common::scsi::Lun;
use lunkeep_common::text::{Pairs, TargetAddress};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, info};

use super::direct::{Direct, now};
use super::error::{Error, LostCause};
use crate::commands::{Completion, Request};
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
    pub(super) direct: Direct,
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
        let portal = self.direct.portal().clone();
        debug!(%portal, %cause, "the session is over");
        self.end.send_replace(Some(Error::Lost { portal, cause }));
    }

    async fn drive(&mut self, waiting: &mut HashMap<Ticket, Waiting>) -> Result<(), LostCause> {
        let mut handles = true;
        loop {
            while let Some(event) = self.direct.poll_event() {
                if event == Event::LoggedOut {
                    return Ok(());
                }
                answer(waiting, event, self.direct.portal());
            }
            let listens = handles && self.direct.machine().has_room();
            tokio::select! {
                step = self.direct.step() => step?,
                ask = self.asks.recv(), if listens => match ask {
                    Some(ask) => take(self.direct.machine_mut(), waiting, ask),
                    None => {
                        handles = false;
                        self.direct.logout();
                    }
                },
            }
        }
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
