//! The initiator's side of a login (RFC 7143 §6.3, §11.12, §11.13): responses in, requests and at last a result out.
//!
//! ```text
//!   start --> Security ---- answer T, NSG=1 ---> Operational ---- answer T, NSG=3 ---> Done
//!                |                                                                      ^
//!                +---- answer T, NSG=3 -------------------------------------------------+
//!   any state ---- status class 1 ----> Redirect        any state ---- anything else ----> Failed
//! ```
//!
//! | in state | a response with | leads to |
//! |---|---|---|
//! | Security | AuthMethod=CHAP, or keys of a CHAP step | Security; the next step is sent |
//! | Security | T, and every proof that we ask for was given | the stage of its NSG |
//! | Security | T, and the target did not prove itself although it must | Failed |
//! | Operational | keys that the target begins | Operational; they are answered |
//! | Operational | T, and no key of ours is open | Done |
//! | any | C | the same; an empty request asks for the rest |
//! | any | another ISID, task tag, stage or StatSN than expected | Failed |
//!
//! The initiator always begins in the security stage, with AuthMethod=None when it has nothing to prove: every target
//! understands that, and it lets the target say that it needs more.

mod config;
mod failure;
#[cfg(test)]
mod tests;

pub use config::{EstablishedLogin, InitiatorAuthentication, InitiatorLoginConfig, InitiatorSession};
pub use failure::{InitiatorConfigError, InitiatorLoginError};

use super::chap::{ChapInitiator, ChapRandom};
use super::negotiation::{Negotiation, Received};
use crate::limits::{DATA_SEGMENT_LEN_DEFAULT, LOGIN_EXCHANGES_MAX};
use crate::name::{PortalGroupTag, Tsih};
use crate::pdu::Pdu;
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::serial::StatSn;
use crate::text::address::TargetAddress;
use crate::text::grammar::number;
use crate::text::keys::{Key, Phase, Role};
use crate::text::pairs::Pairs;
use crate::text::transfer::{TextReceiver, TextSender};

/// The only version of the protocol (RFC 7143 §11.12.4).
const VERSION: u8 = 0;

/// What to do after a response.
#[derive(Debug)]
pub enum InitiatorStep {
    /// Send this and wait for the next response.
    Send(Pdu<LoginRequest>),
    /// The full feature phase begins.
    Done(Box<EstablishedLogin>),
    /// Close the connection and log in over there. For a permanent redirection, remember the address.
    Redirect {
        /// Where.
        address: TargetAddress,
        /// Whether it holds for later logins too.
        permanent: bool,
    },
    /// Close the connection.
    Failed(InitiatorLoginError),
}

/// The login of one connection.
#[derive(Debug)]
pub struct InitiatorLogin {
    config: InitiatorLoginConfig,
    random: ChapRandom,
    state: State,
    authentication: AuthenticationState,
    negotiation: Negotiation,
    receiver: TextReceiver,
    sender: TextSender,
    /// T of the request that is under way, to be set on its last piece.
    asks_transit: bool,
    /// Whether the last request that was sent had T.
    sent_transit: bool,
    /// StatSN of the next response, once one has come.
    exp_stat_sn: Option<StatSn>,
    exchanges: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Security,
    Operational,
    Ended,
}

#[derive(Debug)]
enum AuthenticationState {
    /// AuthMethod is offered and not answered.
    Offered,
    /// AuthMethod=None.
    NotNeeded,
    /// CHAP goes on, or is done.
    Chap(Box<ChapInitiator>),
}

impl InitiatorLogin {
    /// Begins a login; the request is the first to send. `random` must be fresh for each login.
    ///
    /// # Errors
    /// [`InitiatorConfigError`]: the configuration would break the protocol.
    pub fn start(
        config: InitiatorLoginConfig,
        random: ChapRandom,
    ) -> Result<(Self, Pdu<LoginRequest>), InitiatorConfigError> {
        config.check()?;
        let mut negotiation = Negotiation::new(Role::Initiator, config.offer.clone());
        let mut text = Pairs::new();
        text.push(Key::InitiatorName, config.name.as_str());
        if let Some(alias) = &config.alias {
            text.push(Key::InitiatorAlias, alias.as_str());
        }
        match &config.session {
            InitiatorSession::Normal { target } => {
                text.push(Key::TargetName, target.as_str());
                text.push(Key::SessionType, "Normal");
            }
            InitiatorSession::Discovery => {
                negotiation.set_discovery();
                text.push(Key::SessionType, "Discovery");
            }
        }
        if config.tsih.0 != 0 {
            negotiation.set_not_leading();
        }
        let methods = config.authentication.methods();
        text.push(Key::AuthMethod, methods.join(","));
        let mut login = Self {
            random,
            state: State::Security,
            authentication: AuthenticationState::Offered,
            negotiation,
            receiver: TextReceiver::default(),
            sender: TextSender::default(),
            asks_transit: false,
            sent_transit: false,
            exp_stat_sn: None,
            exchanges: 0,
            config,
        };
        // With nothing to prove there is nothing left to say in this stage.
        let request = login.send(&text, methods == ["None"]);
        Ok((login, request))
    }

    /// Takes a Login Response.
    pub fn handle(&mut self, response: &Pdu<LoginResponse>) -> InitiatorStep {
        let step = self.step(response).unwrap_or_else(InitiatorStep::Failed);
        if !matches!(step, InitiatorStep::Send(_)) {
            self.state = State::Ended;
        }
        step
    }

    fn step(&mut self, response: &Pdu<LoginResponse>) -> Result<InitiatorStep, InitiatorLoginError> {
        use InitiatorLoginError as E;
        let header = &response.header;
        if self.state == State::Ended {
            return Err(E::AfterTheEnd);
        }
        self.exchanges += 1;
        if self.exchanges > LOGIN_EXCHANGES_MAX {
            return Err(E::TooManyResponses);
        }
        if header.itt != self.config.itt {
            return Err(E::Changed { field: "Initiator Task Tag" });
        }
        match header.status {
            LoginStatus::Success => {}
            LoginStatus::TargetMovedTemporarily => return redirect(&response.data, false),
            LoginStatus::TargetMovedPermanently => return redirect(&response.data, true),
            status => return Err(E::Refused { status }),
        }
        self.check_header(header)?;
        if self.sender.is_pending() {
            if !response.data.is_empty() || header.continues || header.transit {
                return Err(E::TextInsteadOfContinuation);
            }
            return Ok(InitiatorStep::Send(self.next_request()));
        }
        let Some(text) = self.receiver.push(&response.data, header.continues)? else {
            // The rest is asked for with an empty request; what we are ready for stays the same.
            return Ok(InitiatorStep::Send(self.send(&Pairs::new(), self.asks_transit)));
        };
        let phase = if self.state == State::Security { Phase::Security } else { Phase::Operational };
        let received = self.negotiation.receive(phase, &text)?;
        match self.state {
            State::Security => self.security(header, received),
            _ => self.operational(header, received.answers),
        }
    }

    fn check_header(&mut self, header: &LoginResponse) -> Result<(), InitiatorLoginError> {
        use InitiatorLoginError as E;
        if header.version_active != VERSION {
            return Err(E::Version { active: header.version_active });
        }
        if header.isid != self.config.isid {
            return Err(E::Changed { field: "ISID" });
        }
        if let Some(expected) = self.exp_stat_sn.filter(|&expected| expected != header.stat_sn) {
            return Err(E::StatSn { expected, found: header.stat_sn });
        }
        self.exp_stat_sn = Some(header.stat_sn.next());
        let (current, next) = (header.current_stage, header.next_stage);
        if current != self.stage() {
            return Err(E::WrongStage { current });
        }
        if header.transit && header.continues {
            return Err(E::TransitWithContinue);
        }
        let asked = if self.sent_transit { Some(self.next_stage()) } else { None };
        if header.transit
            && (asked.is_none_or(|asked| next as u8 > asked as u8) || next as u8 <= current as u8)
        {
            return Err(E::BadTransit { current, next });
        }
        Ok(())
    }

    fn security(
        &mut self,
        header: &LoginResponse,
        received: Received,
    ) -> Result<InitiatorStep, InitiatorLoginError> {
        let mut text = self.authenticate(&received.authentication)?;
        text.append(received.answers);
        if header.transit {
            self.check_authenticated()?;
            return self.enter(header, text);
        }
        let ready = match &self.authentication {
            AuthenticationState::Offered => self.config.authentication.methods() == ["None"],
            AuthenticationState::NotNeeded => true,
            AuthenticationState::Chap(chap) => chap.has_responded(),
        };
        Ok(InitiatorStep::Send(self.send(&text, ready)))
    }

    fn authenticate(&mut self, keys: &[(Key, String)]) -> Result<Pairs, InitiatorLoginError> {
        use super::chap::ChapError;
        let (method, keys): (Vec<_>, Vec<_>) =
            keys.iter().cloned().partition(|(key, _)| *key == Key::AuthMethod);
        if let Some((_, method)) = method.into_iter().next() {
            let offered = self.config.authentication.methods();
            if !offered.contains(&method.as_str()) {
                return Err(InitiatorLoginError::Method { offered: offered.join(","), answered: method });
            }
            if let Some(&(key, _)) = keys.first() {
                return Err(ChapError::Unexpected { key }.into());
            }
            return Ok(match &self.config.authentication {
                InitiatorAuthentication::Chap(identity) if method == "CHAP" => {
                    let (chap, text) = ChapInitiator::start((**identity).clone(), self.random.clone());
                    self.authentication = AuthenticationState::Chap(Box::new(chap));
                    text
                }
                _ => {
                    self.authentication = AuthenticationState::NotNeeded;
                    Pairs::new()
                }
            });
        }
        match (&mut self.authentication, keys.first()) {
            (_, None) => Ok(Pairs::new()),
            (AuthenticationState::Chap(chap), Some(_)) => Ok(chap.receive(&keys)?),
            (_, Some(&(key, _))) => Err(ChapError::Unexpected { key }.into()),
        }
    }

    /// The target ends the security stage: it must have proved what it was asked to.
    fn check_authenticated(&self) -> Result<(), InitiatorLoginError> {
        let done = match &self.authentication {
            AuthenticationState::Chap(chap) => chap.is_done(),
            // Methods that were offered with None among them may end like this.
            AuthenticationState::Offered => self.config.authentication.methods().contains(&"None"),
            AuthenticationState::NotNeeded => true,
        };
        if done { Ok(()) } else { Err(InitiatorLoginError::TargetNotProved) }
    }

    fn operational(
        &mut self,
        header: &LoginResponse,
        answers: Pairs,
    ) -> Result<InitiatorStep, InitiatorLoginError> {
        if header.transit {
            return self.enter(header, answers);
        }
        Ok(InitiatorStep::Send(self.send(&answers, true)))
    }

    /// The target agreed to the next stage. `text` is what would still have to be answered.
    fn enter(&mut self, header: &LoginResponse, text: Pairs) -> Result<InitiatorStep, InitiatorLoginError> {
        if let Some(pair) = text.iter().next() {
            return Err(InitiatorLoginError::KeysWithTransit { key: pair.name.clone() });
        }
        if header.next_stage == Stage::OperationalNegotiation {
            self.state = State::Operational;
            let mut text = self.negotiation.begin();
            text.append(self.negotiation.declare());
            return Ok(InitiatorStep::Send(self.send(&text, true)));
        }
        let (session, connection) = self.negotiation.finish()?;
        let joins = self.config.tsih.0 != 0;
        if header.tsih.0 == 0 || joins && header.tsih != self.config.tsih {
            return Err(InitiatorLoginError::Tsih { tsih: header.tsih });
        }
        let portal_group = self.negotiation.declared(Key::TargetPortalGroupTag);
        let portal_group =
            portal_group.and_then(|text| number(text).ok()).and_then(|tag| tag.try_into().ok());
        Ok(InitiatorStep::Done(Box::new(EstablishedLogin {
            tsih: header.tsih,
            session: (!joins).then_some(session),
            connection,
            portal_group: portal_group.map(PortalGroupTag),
            target_alias: self.negotiation.declared(Key::TargetAlias).map(str::to_owned),
            cmd_sn: self.config.cmd_sn,
            exp_stat_sn: header.stat_sn.next(),
            exp_cmd_sn: header.exp_cmd_sn,
            max_cmd_sn: header.max_cmd_sn,
        })))
    }

    /// Begins to send a text; T stands on its last piece.
    fn send(&mut self, text: &Pairs, transit: bool) -> Pdu<LoginRequest> {
        self.sender.begin(text);
        self.asks_transit = transit;
        self.next_request()
    }

    fn next_request(&mut self) -> Pdu<LoginRequest> {
        let piece = self.sender.next_piece(DATA_SEGMENT_LEN_DEFAULT);
        let transit = self.asks_transit && !piece.continues;
        self.sent_transit = transit;
        let header = LoginRequest {
            transit,
            continues: piece.continues,
            current_stage: self.stage(),
            next_stage: if transit { self.next_stage() } else { self.stage() },
            version_max: VERSION,
            version_min: VERSION,
            isid: self.config.isid,
            tsih: self.config.tsih,
            itt: self.config.itt,
            cid: self.config.cid,
            cmd_sn: self.config.cmd_sn,
            exp_stat_sn: self.exp_stat_sn.unwrap_or(StatSn(0)),
        };
        Pdu::with_data(header, piece.data)
    }

    const fn stage(&self) -> Stage {
        match self.state {
            State::Security => Stage::SecurityNegotiation,
            State::Operational | State::Ended => Stage::OperationalNegotiation,
        }
    }

    const fn next_stage(&self) -> Stage {
        match self.state {
            State::Security => Stage::OperationalNegotiation,
            State::Operational | State::Ended => Stage::FullFeaturePhase,
        }
    }

    /// The TSIH that the login asks for: 0 for a new session.
    #[must_use]
    pub const fn tsih(&self) -> Tsih {
        self.config.tsih
    }
}

fn redirect(data: &[u8], permanent: bool) -> Result<InitiatorStep, InitiatorLoginError> {
    let text = Pairs::decode(data)?;
    let value = text.get(Key::TargetAddress).ok_or(InitiatorLoginError::RedirectWithoutAddress)?;
    let address = value.parse().map_err(InitiatorLoginError::RedirectAddress)?;
    Ok(InitiatorStep::Redirect { address, permanent })
}
