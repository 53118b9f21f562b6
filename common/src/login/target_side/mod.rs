//! The target's side of a login (RFC 7143 §6.3, §11.12, §11.13): requests in, responses and at last a result out.
//!
//! ```text
//!              first request, CSG=1
//!   Start ------------------------------------+
//!     |                                       |
//!     | first request, CSG=0                  v
//!     +-------> Security ---- T, NSG=1 ---> Operational ---- T, NSG=3 ---> Complete
//!                  |                                                         ^
//!                  +---------------------- T, NSG=3 -------------------------+
//!   any state ---- a request that breaks a rule, or that the policy refuses ----> Ended
//! ```
//!
//! | in state | a request with | leads to |
//! |---|---|---|
//! | Start | InitiatorName, SessionType, TargetName, admitted by the [`TargetPolicy`] | the stage of its CSG |
//! | Start, CSG=1 | an admission that asks for authentication | Ended, 0201 |
//! | Security | T, and the authentication is done or not asked for | the stage of its NSG |
//! | Security, Operational | T, and something is open: a CHAP step, an unanswered key of ours, text left to send | the same stage, T=0 |
//! | any but Start | another ISID, TSIH, CID, task tag, CmdSN, version or stage than agreed | Ended, 0200 |
//! | any | C | the same stage; the response has no text |
//!
//! Invariants: a response never has T without a request that has it; the response of the final step is given only by who
//! owns sessions ([`FinalReply`]), who supplies the TSIH; nothing is answered after the end.
//!
//! Not here: sessions. Whether a TSIH exists, whether one more connection fits, and which session an old one is replaced
//! by are the policy's and the engine's.

mod failure;
mod identity;
mod policy;
mod reply;
#[cfg(test)]
mod tests;

pub use failure::{LoginFailure, TargetLoginError};
pub use policy::{
    Admission, Authentication, LoginIdentity, LoginRefusal, RequestedSession, SessionNumbers, TargetPolicy,
};
pub use reply::{CompletedLogin, FinalReply, LoginOutcome, LoginSession, SessionLogin};

use super::chap::{ChapError, ChapRandom, ChapTarget};
use super::negotiation::Negotiation;
use super::offer::ValidOffer;
use crate::limits::{DATA_SEGMENT_LEN_DEFAULT, LOGIN_EXCHANGES_MAX};
use crate::name::{Cid, InitiatorPort, Isid, PortalGroupTag, Tsih};
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::pdu::{Bhs, InitiatorTaskTag, Pdu, PduError};
use crate::serial::{CmdSn, StatSn};
use crate::text::keys::{Key, Phase, Role};
use crate::text::pairs::Pairs;
use crate::text::transfer::{TextReceiver, TextSender};
use identity::Identity;
use reply::Header;

/// The only version of the protocol (RFC 7143 §11.12.4).
const VERSION: u8 = 0;

/// What to do after a request.
#[derive(Debug)]
pub enum TargetStep {
    /// Send this and wait for the next request.
    Send(Pdu<LoginResponse>),
    /// The initiator's part is done: find or make the session, then let [`FinalReply`] write the last response.
    Complete(Box<CompletedLogin>),
}

/// The login of one connection, from its first PDU to the full feature phase.
#[derive(Debug)]
pub struct TargetLogin {
    state: State,
    random: ChapRandom,
    negotiation: Negotiation,
    receiver: TextReceiver,
    sender: TextSender,
    /// The first request's header: what must not change later.
    first: Option<LoginRequest>,
    /// Who asks, once the first text is complete.
    identity: Option<Identity>,
    admitted: Option<Admitted>,
    stat_sn: StatSn,
    exchanges: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Security,
    Operational,
    Ended,
}

/// What the policy let in.
#[derive(Debug)]
struct Admitted {
    numbers: Option<SessionNumbers>,
    portal_group: Option<PortalGroupTag>,
    authentication: AuthenticationState,
}

#[derive(Debug)]
enum AuthenticationState {
    /// None is asked for.
    NotRequired,
    /// CHAP is asked for, and the initiator has not agreed to it yet.
    Wanted(Box<ChapTarget>),
    /// CHAP goes on, or is done.
    Chap(Box<ChapTarget>),
}

impl AuthenticationState {
    fn is_done(&self) -> bool {
        match self {
            Self::NotRequired => true,
            Self::Wanted(_) => false,
            Self::Chap(chap) => chap.authenticated().is_some(),
        }
    }
}

impl TargetLogin {
    /// A connection on which nothing came yet. `random` must be fresh for each connection.
    #[must_use]
    pub fn new(offer: ValidOffer, random: ChapRandom) -> Self {
        Self {
            state: State::Start,
            random,
            negotiation: Negotiation::new(Role::Target, offer),
            receiver: TextReceiver::default(),
            sender: TextSender::default(),
            first: None,
            identity: None,
            admitted: None,
            stat_sn: StatSn(0),
            exchanges: 0,
        }
    }

    /// Takes a Login Request.
    ///
    /// # Errors
    /// [`LoginFailure`]: send its response, if it has one, and close the connection.
    pub fn handle(
        &mut self,
        policy: &dyn TargetPolicy,
        request: &Pdu<LoginRequest>,
    ) -> Result<TargetStep, Box<LoginFailure>> {
        self.step(policy, request).map_err(|error| {
            self.state = State::Ended;
            Box::new(LoginFailure::new(error, &request.header))
        })
    }

    /// Takes a Login Request whose header or digest cannot be read. Whatever the state, the initiator is told so
    /// with 0200, as far as its header names it.
    #[must_use]
    pub fn handle_undecodable(&mut self, bhs: &Bhs, error: PduError) -> LoginFailure {
        self.state = State::Ended;
        let request = self.first.clone().unwrap_or_else(|| LoginRequest {
            transit: false,
            continues: false,
            current_stage: Stage::SecurityNegotiation,
            next_stage: Stage::SecurityNegotiation,
            version_max: VERSION,
            version_min: VERSION,
            isid: Isid([bhs[8], bhs[9], bhs[10], bhs[11], bhs[12], bhs[13]]),
            tsih: Tsih(u16::from_be_bytes([bhs[14], bhs[15]])),
            itt: InitiatorTaskTag(u32::from_be_bytes([bhs[16], bhs[17], bhs[18], bhs[19]])),
            cid: Cid(u16::from_be_bytes([bhs[20], bhs[21]])),
            cmd_sn: CmdSn(u32::from_be_bytes([bhs[24], bhs[25], bhs[26], bhs[27]])),
            exp_stat_sn: StatSn(0),
        });
        LoginFailure::new(error.into(), &request)
    }

    /// Takes any other PDU that came in place of a Login Request, by its task tag.
    ///
    /// Before the first Login Request there is nothing to answer: the connection is closed (RFC 7143 §6.3). Later the
    /// login ends with 020b.
    #[must_use]
    pub fn handle_other(&mut self, itt: InitiatorTaskTag) -> LoginFailure {
        self.state = State::Ended;
        let error = TargetLoginError::NotALoginRequest;
        match &self.first {
            Some(first) => LoginFailure::new(error, &LoginRequest { itt, ..first.clone() }),
            None => LoginFailure::silent(error),
        }
    }

    /// What the initiator said of itself so far, for log lines: its port once that is known.
    #[must_use]
    pub fn initiator(&self) -> Option<&InitiatorPort> {
        self.identity.as_ref().map(|identity| &identity.port)
    }

    fn step(
        &mut self,
        policy: &dyn TargetPolicy,
        request: &Pdu<LoginRequest>,
    ) -> Result<TargetStep, TargetLoginError> {
        let header = &request.header;
        self.check_header(header)?;
        if self.sender.is_pending() {
            // The initiator asks for the rest of our text with an empty request (RFC 7143 §6.2).
            if !request.data.is_empty() || header.continues {
                return Err(TargetLoginError::TextInsteadOfContinuation);
            }
            return self.answer(header, None);
        }
        match self.receiver.push(&request.data, header.continues)? {
            None => Ok(TargetStep::Send(self.respond(header, false, false, bytes::Bytes::new()))),
            Some(text) => {
                let reply = self.take_text(policy, header, &text)?;
                self.answer(header, Some(reply))
            }
        }
    }

    /// Checks what a header may be in this state, and enters the first stage.
    fn check_header(&mut self, header: &LoginRequest) -> Result<(), TargetLoginError> {
        use TargetLoginError as E;
        if self.state == State::Ended {
            return Err(E::AfterTheEnd);
        }
        self.exchanges += 1;
        if self.exchanges > LOGIN_EXCHANGES_MAX {
            return Err(E::TooManyRequests);
        }
        match &self.first {
            None => {
                if !(header.version_min..=header.version_max).contains(&VERSION) {
                    return Err(E::Version { min: header.version_min, max: header.version_max });
                }
            }
            Some(first) => {
                let changed = [
                    ("ISID", first.isid != header.isid),
                    ("TSIH", first.tsih != header.tsih),
                    ("CID", first.cid != header.cid),
                    ("Initiator Task Tag", first.itt != header.itt),
                    ("CmdSN", first.cmd_sn != header.cmd_sn),
                    ("Version-min", first.version_min != header.version_min),
                    ("Version-max", first.version_max != header.version_max),
                ];
                if let Some(&(field, _)) = changed.iter().find(|(_, changed)| *changed) {
                    return Err(E::Changed { field });
                }
            }
        }
        let (current, next) = (header.current_stage, header.next_stage);
        let expected = match self.state {
            State::Security => current == Stage::SecurityNegotiation,
            State::Operational => current == Stage::OperationalNegotiation,
            State::Start | State::Ended => current != Stage::FullFeaturePhase,
        };
        if !expected {
            return Err(E::WrongStage { current });
        }
        if header.transit && header.continues {
            return Err(E::TransitWithContinue);
        }
        if header.transit && next as u8 <= current as u8 {
            return Err(E::BadTransit { current, next });
        }
        if self.first.is_none() {
            // What the initiator expects is as good a start as any, and a repeated login never goes back by it.
            self.stat_sn = header.exp_stat_sn;
            self.first = Some(header.clone());
        }
        self.state = match current {
            Stage::SecurityNegotiation => State::Security,
            Stage::OperationalNegotiation | Stage::FullFeaturePhase => State::Operational,
        };
        Ok(())
    }

    /// Takes a whole text and returns the text to answer.
    fn take_text(
        &mut self,
        policy: &dyn TargetPolicy,
        header: &LoginRequest,
        text: &Pairs,
    ) -> Result<Pairs, TargetLoginError> {
        let phase = match self.state {
            State::Security => Phase::Security,
            _ => Phase::Operational,
        };
        let mut reply = Pairs::new();
        let received = match &self.identity {
            None => {
                self.admit(policy, header, text, &mut reply)?;
                self.negotiation.receive(phase, text)?
            }
            Some(identity) => {
                let text = identity::without_repetition(identity, text)?;
                self.negotiation.receive(phase, &text)?
            }
        };
        if phase == Phase::Security {
            reply.append(self.authenticate(&received.authentication)?);
        }
        reply.append(received.answers);
        if phase == Phase::Operational {
            reply.append(self.negotiation.declare());
            if header.transit {
                // The initiator has no more keys, so what is missing is ours to begin.
                reply.append(self.negotiation.begin());
            }
        }
        Ok(reply)
    }

    /// Reads who asks for what, and asks the policy.
    fn admit(
        &mut self,
        policy: &dyn TargetPolicy,
        header: &LoginRequest,
        text: &Pairs,
        reply: &mut Pairs,
    ) -> Result<(), TargetLoginError> {
        let identity = self.identity.insert(Identity::read(header, text)?);
        if identity.target.is_none() {
            self.negotiation.set_discovery();
        }
        if header.tsih.0 != 0 {
            self.negotiation.set_not_leading();
        }
        let admission = policy
            .admit(&identity.as_request(header))
            .map_err(|refusal| TargetLoginError::Refused { refusal, target: identity.target.clone() })?;
        let authentication = match admission.authentication {
            Authentication::NotRequired => AuthenticationState::NotRequired,
            Authentication::Chap(chap) => {
                AuthenticationState::Wanted(Box::new(ChapTarget::new(chap, self.random.clone())))
            }
        };
        if self.state == State::Operational && !authentication.is_done() {
            return Err(TargetLoginError::AuthenticationSkipped);
        }
        if identity.target.is_some() {
            // RFC 7143 §13.9: in the first response of a normal session.
            if let Some(tag) = admission.portal_group {
                reply.push(Key::TargetPortalGroupTag, tag.0.to_string());
            }
            if let Some(alias) = admission.target_alias {
                reply.push(Key::TargetAlias, alias);
            }
        }
        self.admitted = Some(Admitted {
            numbers: admission.numbers,
            portal_group: admission.portal_group,
            authentication,
        });
        Ok(())
    }

    /// AuthMethod, and the keys of the method.
    fn authenticate(&mut self, keys: &[(Key, String)]) -> Result<Pairs, TargetLoginError> {
        let Some(admitted) = self.admitted.as_mut() else { return Ok(Pairs::new()) };
        let mut reply = Pairs::new();
        let (offer, keys): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|(key, _)| *key == Key::AuthMethod);
        if let Some((_, offered)) = offer.into_iter().next() {
            let methods: Vec<&str> = offered.split(',').collect();
            let state = std::mem::replace(&mut admitted.authentication, AuthenticationState::NotRequired);
            let (method, state) = match state {
                AuthenticationState::NotRequired => ("None", AuthenticationState::NotRequired),
                AuthenticationState::Wanted(chap) | AuthenticationState::Chap(chap) => {
                    ("CHAP", AuthenticationState::Chap(chap))
                }
            };
            if !methods.contains(&method) {
                return Err(TargetLoginError::NoCommonMethod { offered, needed: method });
            }
            admitted.authentication = state;
            reply.push(Key::AuthMethod, method);
            if let Some(&(key, _)) = keys.first() {
                // The keys of a method follow once the method is agreed on (RFC 7143 §12.1).
                return Err(ChapError::Unexpected { key }.into());
            }
            return Ok(reply);
        }
        match &mut admitted.authentication {
            AuthenticationState::Chap(chap) => reply.append(chap.receive(&keys)?),
            AuthenticationState::NotRequired | AuthenticationState::Wanted(_) => {
                if let Some(&(key, _)) = keys.first() {
                    return Err(ChapError::Unexpected { key }.into());
                }
            }
        }
        Ok(reply)
    }

    /// Sends a text, or the rest of one, and moves on when both sides are ready.
    fn answer(&mut self, header: &LoginRequest, text: Option<Pairs>) -> Result<TargetStep, TargetLoginError> {
        if let Some(text) = text {
            self.sender.begin(&text);
        }
        let piece = self.sender.next_piece(DATA_SEGMENT_LEN_DEFAULT);
        let authenticated = self.admitted.as_ref().is_some_and(|admitted| admitted.authentication.is_done());
        if header.transit && !authenticated {
            self.check_authentication_began()?;
        }
        let ready = header.transit
            && !piece.continues
            && authenticated
            && (self.state != State::Operational || self.negotiation.open_key().is_none());
        if !ready {
            return Ok(TargetStep::Send(self.respond(header, false, piece.continues, piece.data)));
        }
        if header.next_stage == Stage::FullFeaturePhase {
            return self.complete(header, piece.data);
        }
        self.state = State::Operational;
        Ok(TargetStep::Send(self.respond(header, true, false, piece.data)))
    }

    /// An initiator that wants to leave the stage without ever offering AuthMethod will not offer it later.
    fn check_authentication_began(&self) -> Result<(), TargetLoginError> {
        match self.admitted.as_ref().map(|admitted| &admitted.authentication) {
            Some(AuthenticationState::Wanted(_)) => Err(TargetLoginError::AuthenticationSkipped),
            _ => Ok(()),
        }
    }

    fn complete(
        &mut self,
        header: &LoginRequest,
        data: bytes::Bytes,
    ) -> Result<TargetStep, TargetLoginError> {
        let (session, connection) = self.negotiation.finish()?;
        let (Some(identity), Some(admitted)) = (&self.identity, self.admitted.take()) else {
            return Err(TargetLoginError::AfterTheEnd);
        };
        self.state = State::Ended;
        let stat_sn = self.stat_sn.advance();
        let requested = match identity.target.clone() {
            Some(target) => LoginSession::Normal { target, portal_group: admitted.portal_group },
            None => LoginSession::Discovery,
        };
        let authenticated_as = match &admitted.authentication {
            AuthenticationState::Chap(chap) => chap.authenticated().map(str::to_owned),
            _ => None,
        };
        let outcome = LoginOutcome {
            initiator: identity.port.clone(),
            initiator_alias: self.negotiation.declared(Key::InitiatorAlias).map(str::to_owned),
            session: requested,
            login: if header.tsih.0 == 0 {
                SessionLogin::New(session)
            } else {
                SessionLogin::Joins(header.tsih)
            },
            cid: header.cid,
            connection,
            authenticated_as,
            initial_cmd_sn: header.cmd_sn,
            next_stat_sn: self.stat_sn,
        };
        let reply =
            FinalReply::new(Header { request: header.clone(), stat_sn }, data, identity.target.clone());
        Ok(TargetStep::Complete(Box::new(CompletedLogin { outcome, reply })))
    }

    /// A response within the login, StatSN counted.
    fn respond(
        &mut self,
        header: &LoginRequest,
        transit: bool,
        continues: bool,
        data: bytes::Bytes,
    ) -> Pdu<LoginResponse> {
        let stat_sn = self.stat_sn.advance();
        let numbers = self.admitted.as_ref().and_then(|admitted| admitted.numbers);
        let mut response = Header { request: header.clone(), stat_sn }.response(LoginStatus::Success);
        response.transit = transit;
        response.continues = continues;
        if let Some(SessionNumbers { exp_cmd_sn, max_cmd_sn }) = numbers {
            response.exp_cmd_sn = exp_cmd_sn;
            response.max_cmd_sn = max_cmd_sn;
        }
        if transit {
            response.next_stage = header.next_stage;
        }
        Pdu::with_data(response, data)
    }
}
