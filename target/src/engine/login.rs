//! The login phase of a connection: who may, what must be proved, which session it becomes (RFC 7143 §6.3).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lunkeep_common::login::SessionParameters;
use lunkeep_common::login::chap::ChapRandom;
use lunkeep_common::login::target_side::{
    Admission as LoginAdmission, CompletedLogin, LoginIdentity, LoginOutcome, LoginRefusal, LoginSession,
    RequestedSession, SessionLogin, SessionNumbers, TargetLogin, TargetLoginError, TargetPolicy, TargetStep,
};
use lunkeep_common::name::{InitiatorPort, PortalGroupTag, TargetPort, Tsih};
use lunkeep_common::pdu::login::LoginResponse;
use lunkeep_common::pdu::{
    FrameError, InitiatorHeader, InitiatorPdu, InitiatorTaskTag, LoginRequest, Pdu, RawPdu,
};
use tokio::sync::watch;

use super::config::Redirect;
use super::connection::Wire;
use super::directory::ConnectionDirectory;
use super::server::Shared;
use super::session_task::{Link, NewSession, SessionHandle};
use super::sessions::Admission;
use super::unit::LunView;
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

/// A connection in the full feature phase.
pub(super) struct Established {
    pub(super) session: Arc<SessionHandle>,
    pub(super) link: Arc<Link>,
    pub(super) login: LoginOutcome,
}

/// Takes a connection through the exchange of login requests and responses, up to the last response. `None` when the peer went away before it began.
///
/// # Errors
/// [`LoginFailure`]; the peer has been told what the protocol has words for.
pub(super) async fn log_in(
    shared: &Arc<Shared>,
    portal: usize,
    wire: &mut Wire,
) -> Result<Option<CompletedLogin>, LoginFailure> {
    let portal_group = shared.portals.get(portal).map_or(PortalGroupTag(1), |portal| portal.config.group);
    let policy = Policy { shared, portal_group };
    let mut login = TargetLogin::new(shared.offer.clone(), challenge()?);
    let mut begun = false;
    loop {
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
            Ok(TargetStep::Complete(completed)) => return Ok(Some(*completed)),
            Err(failure) => {
                let initiator = login.initiator().map(|port| port.name.to_string());
                return Err(refuse(wire, *failure, initiator).await);
            }
        }
    }
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
    queue(wire, response);
    Ok(wire.flush().await?)
}

fn queue(wire: &mut Wire, response: Pdu<LoginResponse>) {
    match response.encode(wire.digests) {
        Ok(pdu) => wire.out.push(pdu),
        Err(error) => tracing::error!(%error, "cannot encode a login response"),
    }
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

/// Turns a login that is done into a session or a connection of one, after a session of the same nexus, or a connection with the
/// same CID, has ended (RFC 7143 §6.3.4, §6.3.5). The last response, or a refusal, is queued and not sent.
///
/// Once the session is there nothing is waited for: a peer that does not take the response, or a shutdown, could otherwise leave it
/// behind without anyone to close it.
///
/// # Errors
/// [`LoginFailure::Refused`].
pub(super) async fn establish(
    shared: &Arc<Shared>,
    wire: &mut Wire,
    completed: CompletedLogin,
    peer: SocketAddr,
) -> Result<Established, LoginFailure> {
    let CompletedLogin { outcome, reply } = completed;
    let initiator = Some(outcome.initiator.name.to_string());
    let admitted = match &outcome.login {
        SessionLogin::New(parameters) => begin(shared, wire, &outcome, parameters).await,
        SessionLogin::Joins(tsih) => join(shared, wire, &outcome, *tsih).await,
    };
    let (session, link) = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => {
            let failure = reply.refuse(refusal);
            failure.response.into_iter().for_each(|response| queue(wire, response));
            return Err(LoginFailure::Refused { error: failure.error, initiator });
        }
    };
    queue(wire, reply.respond(session.tsih, session.lock().window()));
    let target = session.target.as_ref().map(ToString::to_string);
    let (tsih, cid) = (session.tsih.0, link.cid.0);
    tracing::info!(%peer, initiator = %outcome.initiator, target, tsih, cid, "connection established");
    Ok(Established { session, link, login: outcome })
}

type Admitted = (Arc<SessionHandle>, Arc<Link>);

/// A new session with its first connection.
async fn begin(
    shared: &Arc<Shared>,
    wire: &Wire,
    outcome: &LoginOutcome,
    parameters: &SessionParameters,
) -> Result<Admitted, LoginRefusal> {
    let port = match &outcome.session {
        LoginSession::Discovery => None,
        LoginSession::Normal { target, portal_group } => {
            Some(TargetPort { name: target.clone(), portal_group: portal_group.unwrap_or_default() })
        }
    };
    let key = port.clone().map(|port| (outcome.initiator.clone(), port));
    let deadline = Instant::now() + shared.settings.drain_timeout + REINSTATEMENT_MARGIN;
    let connection = new_connection(shared, wire, outcome)?;
    loop {
        let admission = {
            // Held until the session is among the others: a change of the target's LUNs comes before it, or finds it.
            let topology = shared.topology();
            let luns = match &port {
                None => LunView::new(),
                Some(port) => topology.target(&port.name)?.view(&outcome.initiator.name),
            };
            let make = |nexus, tsih| {
                let kind = if port.is_some() { SessionKind::Normal } else { SessionKind::Discovery };
                let machine = Session::new(
                    kind,
                    parameters.clone(),
                    shared.offer.clone(),
                    shared.settings.session,
                    outcome.initial_cmd_sn,
                    shared.numbers.clone(),
                );
                if let Some(port) = &port {
                    let nexus_value = topology.nexus(&outcome.initiator, port);
                    luns.values().for_each(|unit| unit.lock().attach(nexus, nexus_value.clone()));
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
            shared.sessions.add(key.clone(), make)
        };
        match admission {
            Admission::Added(session) => {
                let link = session.lead(connection);
                return Ok((session, link));
            }
            Admission::Full(refusal) => return Err(refusal),
            Admission::Occupied(old) => {
                tracing::info!(initiator = %outcome.initiator, "session reinstatement ends the old session");
                old.cancel.cancel();
                wait_closed(&old.closed, deadline).await?;
            }
        }
    }
}

/// One more connection of a session, or one in place of its connection with the same CID.
async fn join(
    shared: &Arc<Shared>,
    wire: &Wire,
    outcome: &LoginOutcome,
    tsih: Tsih,
) -> Result<Admitted, LoginRefusal> {
    let LoginSession::Normal { target, portal_group } = &outcome.session else {
        return Err(LoginRefusal::SessionDoesNotExist);
    };
    let port = TargetPort { name: target.clone(), portal_group: portal_group.unwrap_or_default() };
    let session = shared
        .sessions
        .find(&(outcome.initiator.clone(), port), tsih)
        .ok_or(LoginRefusal::SessionDoesNotExist)?;
    let deadline = Instant::now() + shared.settings.drain_timeout + REINSTATEMENT_MARGIN;
    while let Some(old) = session.link(outcome.cid) {
        tracing::info!(initiator = %outcome.initiator, cid = outcome.cid.0, "connection reinstatement ends the old connection");
        old.cancel.cancel();
        wait_closed(&old.closed, deadline).await?;
    }
    let link = session.connect(new_connection(shared, wire, outcome)?)?;
    Ok((session, link))
}

async fn wait_closed(closed: &watch::Sender<bool>, deadline: Instant) -> Result<(), LoginRefusal> {
    let mut closed = closed.subscribe();
    let gone = tokio::time::timeout_at(deadline.into(), closed.wait_for(|&closed| closed)).await;
    if matches!(gone, Ok(Ok(_))) { Ok(()) } else { Err(LoginRefusal::ServiceUnavailable) }
}

fn new_connection(
    shared: &Arc<Shared>,
    wire: &Wire,
    outcome: &LoginOutcome,
) -> Result<NewConnection, LoginRefusal> {
    let own = match &outcome.session {
        LoginSession::Discovery => None,
        LoginSession::Normal { target, .. } => Some(target.clone()),
    };
    let directory = Arc::new(ConnectionDirectory {
        shared: shared.clone(),
        initiator: outcome.initiator.name.clone(),
        own,
        local: wire.stream.local_addr().map_err(|_| LoginRefusal::TargetError)?,
    });
    let (cid, parameters, stat_sn) = (outcome.cid, outcome.connection.clone(), outcome.next_stat_sn);
    Ok(NewConnection { cid, parameters, stat_sn, directory })
}

/// Who may log in, and what must be proved.
struct Policy<'a> {
    shared: &'a Shared,
    portal_group: PortalGroupTag,
}

impl TargetPolicy for Policy<'_> {
    fn admit(&self, identity: &LoginIdentity<'_>) -> Result<LoginAdmission, LoginRefusal> {
        let numbers = if identity.tsih.0 == 0 { None } else { Some(self.admit_to_session(identity)?) };
        let (authentication, target_alias) = match identity.session {
            RequestedSession::Discovery => (self.shared.discovery_authentication.clone(), None),
            RequestedSession::Normal { target } => {
                let topology = self.shared.topology();
                let target = topology.target(target)?;
                if !target.admits(identity.initiator) {
                    return Err(LoginRefusal::AuthorizationFailure);
                }
                if !target.portal_groups.contains(self.portal_group) {
                    return Err(LoginRefusal::NotFound);
                }
                // Only who begins a session goes elsewhere: a connection belongs where its session is.
                if let Some(Redirect { to, permanent }) =
                    target.redirect.clone().filter(|_| numbers.is_none())
                {
                    return Err(if permanent {
                        LoginRefusal::MovedPermanently(to)
                    } else {
                        LoginRefusal::MovedTemporarily(to)
                    });
                }
                (target.authentication.clone(), target.alias.clone())
            }
        };
        Ok(LoginAdmission { authentication, portal_group: Some(self.portal_group), target_alias, numbers })
    }
}

impl Policy<'_> {
    /// Whether a connection may join the session that it names.
    fn admit_to_session(&self, identity: &LoginIdentity<'_>) -> Result<SessionNumbers, LoginRefusal> {
        let RequestedSession::Normal { target } = identity.session else {
            return Err(LoginRefusal::SessionDoesNotExist);
        };
        let initiator = InitiatorPort { name: identity.initiator.clone(), isid: identity.isid };
        let port = TargetPort { name: target.clone(), portal_group: self.portal_group };
        let Some(session) = self.shared.sessions.find(&(initiator.clone(), port), identity.tsih) else {
            // RFC 7143 §4.2.7.2: all connections of a session come to one portal group.
            let elsewhere = self.shared.sessions.all().into_iter().any(|session| {
                session.tsih == identity.tsih
                    && session.initiator == initiator
                    && session.target.as_ref().is_some_and(|port| port.name == *target)
            });
            return Err(if elsewhere {
                LoginRefusal::CantIncludeInSession
            } else {
                LoginRefusal::SessionDoesNotExist
            });
        };
        let machine = session.lock();
        if machine.is_ending() {
            return Err(LoginRefusal::SessionDoesNotExist);
        }
        if !machine.admits(identity.cid) {
            return Err(LoginRefusal::TooManyConnections);
        }
        let window = machine.window();
        Ok(SessionNumbers { exp_cmd_sn: window.exp_cmd_sn(), max_cmd_sn: window.max_cmd_sn() })
    }
}
