//! The login phase of a connection: who may, what must be proved, which session it becomes (RFC 7143 §6.3).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunkeep_common::login::chap::ChapRandom;
use lunkeep_common::login::target_side::{
    Admission as LoginAdmission, CompletedLogin, LoginIdentity, LoginOutcome, LoginRefusal, LoginSession,
    RequestedSession, SessionLogin, TargetLogin, TargetLoginError, TargetPolicy, TargetStep,
};
use lunkeep_common::name::{IscsiName, PortalGroupTag, TargetPort};
use lunkeep_common::pdu::login::LoginResponse;
use lunkeep_common::pdu::{
    FrameError, InitiatorHeader, InitiatorPdu, InitiatorTaskTag, LoginRequest, Pdu, RawPdu,
};

use super::connection::Wire;
use super::directory::ConnectionDirectory;
use super::server::Shared;
use super::server::relative_port;
use super::session_task::{NewSession, SessionHandle};
use super::sessions::Admission;
use super::unit::LunView;
use crate::device::Nexus;
use crate::session::{NewConnection, Session, SessionKind};

/// Time that a session of the same nexus has to end before a new one is refused, beyond the time its operations may take.
const REINSTATEMENT_MARGIN: Duration = Duration::from_secs(5);

/// Why a login came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoginFailure {
    #[error("{error}{}", who(.initiator.as_deref()))]
    Refused { error: TargetLoginError, initiator: Option<String> },
    #[error("the peer sent nonsense: {0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no random bytes for a challenge: {0}")]
    Random(#[from] getrandom::Error),
}

fn who(initiator: Option<&str>) -> String {
    initiator.map_or_else(String::new, |name| format!(" (initiator {name})"))
}

/// Takes a connection through login. `None` when the peer went away before it began.
///
/// # Errors
/// [`LoginFailure`]; the peer has been told what the protocol has words for.
pub(super) async fn log_in(
    shared: &Arc<Shared>,
    portal: usize,
    wire: &mut Wire,
    peer: SocketAddr,
) -> Result<Option<(Arc<SessionHandle>, LoginOutcome)>, LoginFailure> {
    let portal_group = shared.portals.get(portal).map_or(PortalGroupTag(1), |portal| portal.config.group);
    let policy = Policy { shared, portal_group };
    let mut login = TargetLogin::new(shared.offer.clone(), challenge()?);
    let mut begun = false;
    let completed = loop {
        let Some(raw) = next_pdu(wire).await? else {
            return if begun { Err(closed_early(&login)) } else { Ok(None) };
        };
        begun = true;
        let step = match login_request(&mut login, raw) {
            Ok(request) => login.handle(&policy, &request),
            Err(failure) => Err(failure),
        };
        match step {
            Ok(TargetStep::Send(response)) => send(wire, response).await?,
            Ok(TargetStep::Complete(completed)) => break *completed,
            Err(failure) => {
                let initiator = login.initiator().map(|port| port.name.to_string());
                return Err(refuse(wire, *failure, initiator).await);
            }
        }
    };
    establish(shared, wire, completed, peer).await.map(Some)
}

fn challenge() -> Result<ChapRandom, getrandom::Error> {
    let mut random = ChapRandom { identifier: 0, challenge: [0; 32] };
    getrandom::fill(std::slice::from_mut(&mut random.identifier))?;
    getrandom::fill(&mut random.challenge)?;
    Ok(random)
}

/// The next PDU; `None` when the peer closed the connection.
async fn next_pdu(wire: &mut Wire) -> Result<Option<RawPdu>, LoginFailure> {
    loop {
        if let Some(pdu) = wire.framer.next_pdu()? {
            return Ok(Some(pdu));
        }
        wire.stream.readable().await?;
        if !wire.read()? {
            return Ok(None);
        }
    }
}

/// The Login Request that a PDU is, or why the login fails.
fn login_request(
    login: &mut TargetLogin,
    raw: RawPdu,
) -> Result<Pdu<LoginRequest>, Box<lunkeep_common::login::target_side::LoginFailure>> {
    let bhs = raw.bhs;
    let InitiatorPdu { header, ahs, data } =
        InitiatorPdu::decode(raw).map_err(|error| login.handle_undecodable(&bhs, error))?;
    match header {
        InitiatorHeader::LoginRequest(header) => Ok(Pdu { header, ahs, data }),
        _ => Err(Box::new(
            login.handle_other(InitiatorTaskTag(u32::from_be_bytes([bhs[16], bhs[17], bhs[18], bhs[19]]))),
        )),
    }
}

async fn send(wire: &mut Wire, response: Pdu<LoginResponse>) -> Result<(), LoginFailure> {
    match response.encode(wire.digests) {
        Ok(pdu) => wire.out.push(pdu),
        Err(error) => tracing::error!(%error, "cannot encode a login response"),
    }
    Ok(wire.flush().await?)
}

/// Tells the peer why, and returns the reason for the log.
async fn refuse(
    wire: &mut Wire,
    failure: lunkeep_common::login::target_side::LoginFailure,
    initiator: Option<String>,
) -> LoginFailure {
    if let Some(response) = failure.response
        && let Err(error) = send(wire, response).await
    {
        tracing::debug!(%error, "the peer did not take the refusal");
    }
    LoginFailure::Refused { error: failure.error, initiator }
}

fn closed_early(login: &TargetLogin) -> LoginFailure {
    let initiator = login.initiator().map(|port| port.name.to_string());
    tracing::debug!(?initiator, "the peer closed the connection in the middle of its login");
    LoginFailure::Io(std::io::ErrorKind::UnexpectedEof.into())
}

/// Turns a login that is done into a session, after a session of the same nexus has ended (RFC 7143 §6.3.5).
async fn establish(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    completed: CompletedLogin,
    peer: SocketAddr,
) -> Result<(Arc<SessionHandle>, LoginOutcome), LoginFailure> {
    let CompletedLogin { outcome, reply } = completed;
    let initiator = Some(outcome.initiator.name.to_string());
    let session = match admit(shared, wire, &outcome).await {
        Ok(session) => session,
        Err(refusal) => return Err(refuse(wire, reply.refuse(refusal), initiator).await),
    };
    let response = reply.respond(session.tsih, session.lock().window());
    if let Err(error) = send(wire, response).await {
        super::connection::close_session(shared, &session, outcome.cid).await;
        return Err(error);
    }
    let target = session.target.as_ref().map(ToString::to_string);
    tracing::info!(%peer, initiator = %outcome.initiator, target, tsih = session.tsih.0, "session established");
    Ok((session, outcome))
}

async fn admit(
    shared: &Arc<Shared>,
    wire: &Wire,
    outcome: &LoginOutcome,
) -> Result<Arc<SessionHandle>, LoginRefusal> {
    let SessionLogin::New(parameters) = &outcome.login else { return Err(LoginRefusal::TooManyConnections) };
    let local = wire.stream.local_addr().map_err(|_| LoginRefusal::TargetError)?;
    let (port, luns) = match &outcome.session {
        LoginSession::Discovery => (None, LunView::new()),
        LoginSession::Normal { target, portal_group } => {
            let served = shared.targets.get(target).ok_or(LoginRefusal::NotFound)?;
            let portal_group = portal_group.unwrap_or_default();
            (Some(TargetPort { name: target.clone(), portal_group }), served.view(&outcome.initiator.name))
        }
    };
    let key = port.clone().map(|port| (outcome.initiator.clone(), port));
    let deadline = Instant::now() + shared.settings.drain_timeout + REINSTATEMENT_MARGIN;
    loop {
        let make = |nexus, tsih| {
            let kind = if port.is_some() { SessionKind::Normal } else { SessionKind::Discovery };
            let settings = shared.settings.session;
            let numbers = shared.numbers.clone();
            let mut machine = Session::new(
                kind,
                parameters.clone(),
                shared.offer.clone(),
                settings,
                outcome.initial_cmd_sn,
                numbers,
            );
            let directory = Arc::new(ConnectionDirectory {
                shared: shared.clone(),
                initiator: outcome.initiator.name.clone(),
                own: port.as_ref().map(|port| port.name.clone()),
                local,
            });
            let (cid, parameters, stat_sn) = (outcome.cid, outcome.connection.clone(), outcome.next_stat_sn);
            machine.add_connection(NewConnection { cid, parameters, stat_sn, directory }, Instant::now());
            if let Some(port) = &port {
                attach(&luns, nexus, outcome, port);
            }
            SessionHandle::new(NewSession {
                nexus,
                tsih,
                initiator: outcome.initiator.clone(),
                target: port.clone(),
                luns: luns.clone(),
                machine,
                cancel: shared.stop.child_token(),
                buffer_bytes: shared.settings.session_buffer_bytes,
                shared: Arc::downgrade(shared),
            })
        };
        match shared.sessions.add(key.clone(), make) {
            Admission::Added(session) => return Ok(session),
            Admission::Full(refusal) => return Err(refusal),
            Admission::Occupied(old) => {
                tracing::info!(initiator = %outcome.initiator, "session reinstatement ends the old session");
                old.cancel.cancel();
                let mut closed = old.closed.subscribe();
                let gone = tokio::time::timeout_at(deadline.into(), closed.wait_for(|&closed| closed));
                if !matches!(gone.await, Ok(Ok(_))) {
                    return Err(LoginRefusal::ServiceUnavailable);
                }
            }
        }
    }
}

/// Makes the nexus known to every unit that the session sees.
fn attach(luns: &LunView, id: crate::device::NexusId, outcome: &LoginOutcome, port: &TargetPort) {
    for unit in luns.values() {
        let nexus = Nexus {
            initiator: outcome.initiator.clone(),
            target: port.clone(),
            relative_target_port: relative_port(port.portal_group),
        };
        unit.lock().attach(id, nexus);
    }
}

/// Who may log in, and what must be proved.
struct Policy<'a> {
    shared: &'a Shared,
    portal_group: PortalGroupTag,
}

impl TargetPolicy for Policy<'_> {
    fn admit(&self, identity: &LoginIdentity<'_>) -> Result<LoginAdmission, LoginRefusal> {
        if identity.tsih.0 != 0 {
            // MaxConnections is 1 and error recovery level 0: nothing can join a session, existing or not.
            return Err(self.refuse_join(identity));
        }
        let (authentication, target_alias) = match identity.session {
            RequestedSession::Discovery => (self.shared.discovery_authentication.clone(), None),
            RequestedSession::Normal { target } => {
                let target = self.shared.targets.get(target).ok_or(LoginRefusal::NotFound)?;
                if !target.admits(identity.initiator) {
                    return Err(LoginRefusal::AuthorizationFailure);
                }
                (target.authentication.clone(), target.alias.clone())
            }
        };
        Ok(LoginAdmission {
            authentication,
            portal_group: Some(self.portal_group),
            target_alias,
            numbers: None,
        })
    }
}

impl Policy<'_> {
    fn refuse_join(&self, identity: &LoginIdentity<'_>) -> LoginRefusal {
        let exists = |target: &IscsiName| {
            let initiator =
                lunkeep_common::name::InitiatorPort { name: identity.initiator.clone(), isid: identity.isid };
            let target = TargetPort { name: target.clone(), portal_group: self.portal_group };
            self.shared.sessions.exists(&(initiator, target), identity.tsih)
        };
        match identity.session {
            RequestedSession::Normal { target } if exists(target) => LoginRefusal::TooManyConnections,
            _ => LoginRefusal::SessionDoesNotExist,
        }
    }
}
