//! One TCP connection: login, then full feature phase until either side ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunkeep_common::login::target_side::LoginOutcome;
use lunkeep_common::name::Cid;
use lunkeep_common::pdu::{Digests, FrameError, FrameLimits, Framer};
use tokio::net::TcpStream;

use super::login::{self, Established, LoginFailure};
use super::logins::LoginPlace;
use super::server::Shared;
use super::session_task::{Link, SessionHandle};
use super::transmit::TransmitBuffer;
use crate::session::{ConnectionFault, Session};

/// Bytes that may wait for a slow reader before we stop taking what it sends: several answers of the longest burst.
const TRANSMIT_HIGH_WATER: usize = 4 << 20;

/// Time that the last PDUs of a connection (a logout response, a reject) have to leave.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectionError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the peer sent nonsense: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer broke the rules: {0}")]
    Fault(#[from] ConnectionFault),
    #[error("login failed: {0}")]
    Login(#[from] LoginFailure),
    #[error("no login within {0:?}")]
    LoginTimeout(Duration),
    #[error("it had not finished its login when too many younger connections came")]
    Displaced,
}

/// Serves one connection from its first byte to its last.
///
/// # Errors
/// Why it ended, unless the peer closed it in good order.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    portal: usize,
    stream: TcpStream,
    peer: SocketAddr,
    place: LoginPlace,
) -> Result<(), ConnectionError> {
    stream.set_nodelay(true)?;
    let mut wire = Wire {
        stream,
        framer: Framer::new(FrameLimits::default()),
        out: TransmitBuffer::default(),
        digests: Digests::NONE,
    };
    let limit = shared.settings.login_timeout;
    let login = tokio::time::timeout(limit, login::log_in(shared, portal, &mut wire));
    let completed = tokio::select! {
        () = shared.stop.cancelled() => return Ok(()),
        () = place.displaced() => return Err(ConnectionError::Displaced),
        login = login => login.map_err(|_| ConnectionError::LoginTimeout(limit))??,
    };
    let Some(completed) = completed else { return Ok(()) };
    // It makes the session and returns at once, or waits before there is one: either is safe to give up here.
    let established = tokio::select! {
        () = shared.stop.cancelled() => return Ok(()),
        () = place.displaced() => return Err(ConnectionError::Displaced),
        established = login::establish(shared, &mut wire, completed, peer) => established,
    };
    drop(place);
    let Established { session, link, login } = match established {
        Ok(established) => established,
        Err(failure) => {
            let _ = tokio::time::timeout(FLUSH_TIME, wire.flush()).await;
            return Err(failure.into());
        }
    };
    wire.enter_full_feature(&login);
    let outcome = full_feature(shared, &session, &link, &mut wire).await;
    if matches!(outcome, Err(ConnectionError::Frame(_) | ConnectionError::Fault(_))) {
        session.lock().announce_connection_drop(link.cid);
        session.wake_others();
    }
    // What is queued explains the end to the peer; a peer that does not read must not hold us.
    let _ = tokio::time::timeout(FLUSH_TIME, wire.flush_session(&session, link.cid)).await;
    drop(wire);
    session.disconnect(shared, &link).await;
    outcome
}

/// A socket with what waits on its way in and out.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) stream: TcpStream,
    pub(super) framer: Framer,
    pub(super) out: TransmitBuffer,
    pub(super) digests: Digests,
}

impl Wire {
    /// Digests and lengths that login agreed on hold from here.
    fn enter_full_feature(&mut self, login: &LoginOutcome) {
        let parameters = &login.connection;
        self.digests = parameters.digests;
        self.framer.set_digests(self.digests);
        let data_segment_len = parameters.max_recv_data_segment_length;
        self.framer.set_limits(FrameLimits { data_segment_len, ..FrameLimits::default() });
    }

    /// Reads what the socket has; false when the peer closed it.
    pub(super) fn read(&mut self) -> io::Result<bool> {
        match self.stream.try_read_buf(self.framer.buffer_mut()) {
            Ok(0) => Ok(false),
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes until the queue is empty.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        loop {
            self.out.write_to(&self.stream)?;
            if self.out.is_empty() {
                return Ok(());
            }
            self.stream.writable().await?;
        }
    }

    /// Moves PDUs that the session has ready into the queue, as long as the peer keeps reading. True when the session may have
    /// more.
    fn fill(&mut self, session: &mut Session, cid: Cid) -> bool {
        while self.out.len() < TRANSMIT_HIGH_WATER {
            let Some(pdu) = session.poll_transmit(cid) else { return false };
            match pdu.encode(self.digests) {
                Ok(pdu) => self.out.push(pdu),
                // Cannot happen for what a session makes; the peer will miss an answer and recover.
                Err(error) => tracing::error!(%error, "cannot encode a PDU"),
            }
        }
        true
    }

    async fn flush_session(&mut self, session: &SessionHandle, cid: Cid) -> io::Result<()> {
        loop {
            self.fill(&mut session.lock(), cid);
            if self.out.is_empty() {
                return Ok(());
            }
            self.flush().await?;
        }
    }
}

/// Full feature phase. Ends with `Ok` after a logout, when the peer closes, and when we are told to stop.
async fn full_feature(
    shared: &Arc<Shared>,
    session: &Arc<SessionHandle>,
    link: &Link,
    wire: &mut Wire,
) -> Result<(), ConnectionError> {
    let cid = link.cid;
    loop {
        receive(shared, session, cid, wire)?;
        session.pump(shared);
        let (more, finished, deadline) = {
            let mut machine = session.lock();
            let more = wire.fill(&mut machine, cid);
            (more, machine.is_finished(cid), machine.poll_timeout(cid, Instant::now()))
        };
        session.wake_others();
        wire.out.write_to(&wire.stream)?;
        if finished && wire.out.is_empty() {
            return Ok(());
        }
        let deadline = deadline.unwrap_or_else(|| Instant::now() + FLUSH_TIME);
        tokio::select! {
            biased;
            () = link.cancel.cancelled() => {
                if session.cancel.is_cancelled() && !session.lock().is_ending() {
                    session.lock().announce_drop(cid);
                }
                return Ok(());
            }
            ready = wire.stream.writable(), if !wire.out.is_empty() => ready?,
            // What a peer asks for is not read while it does not take what it asked for before.
            ready = wire.stream.readable(), if wire.out.len() < TRANSMIT_HIGH_WATER && !more => {
                ready?;
                if !wire.read()? {
                    return Ok(());
                }
            }
            () = link.wake.notified() => {}
            // The socket took the whole queue at once, so nothing will tell that it can take the rest.
            () = tokio::task::yield_now(), if more && wire.out.is_empty() => {}
            () = tokio::time::sleep_until(deadline.into()) => session.lock().handle_timeout(cid, Instant::now())?,
        }
    }
}

/// Hands every whole PDU that has arrived to the session, and carries out what follows.
fn receive(
    shared: &Arc<Shared>,
    session: &Arc<SessionHandle>,
    cid: Cid,
    wire: &mut Wire,
) -> Result<(), ConnectionError> {
    loop {
        let framed = wire.framer.next_pdu();
        let handled = match framed {
            Ok(None) => return Ok(()),
            Ok(Some(pdu)) => session.lock().handle_pdu(cid, pdu, Instant::now()),
            Err(FrameError::DataDigest { bhs, .. }) => {
                session.lock().handle_data_digest_error(cid, *bhs, Instant::now())
            }
            Err(error) => {
                session.lock().handle_frame_error(cid, &error);
                return Err(error.into());
            }
        };
        session.pump(shared);
        handled?;
    }
}
