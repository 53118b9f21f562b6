//! What the tests of both sides share: PDUs from short texts, a policy, and a run of one side against the other.

use bytes::Bytes;

use super::chap::{ChapCredentials, ChapIdentity, ChapPolicy, ChapRandom, ChapSecret};
use super::initiator_side::{
    EstablishedLogin, InitiatorAuthentication, InitiatorLogin, InitiatorLoginConfig, InitiatorLoginError,
    InitiatorSession, InitiatorStep,
};
use super::offer::Offer;
use super::target_side::{
    Admission, LoginFailure, LoginIdentity, LoginOutcome, LoginRefusal, RequestedSession, TargetLogin,
    TargetPolicy, TargetStep,
};
use crate::name::{Cid, Isid, PortalGroupTag, Tsih};
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::pdu::{InitiatorTaskTag, Pdu};
use crate::serial::{CmdSn, StatSn};
use crate::text::address::TargetAddress;
use crate::window::CommandWindow;

pub(super) const INITIATOR: &str = "iqn.2026-11.org.example:node1";
pub(super) const TARGET: &str = "iqn.2026-11.org.example:disk1";
pub(super) const USER: &str = "node1";
pub(super) const SECRET: &str = "node1 proves itself";
pub(super) const MUTUAL_USER: &str = "disk1";
pub(super) const MUTUAL_SECRET: &str = "disk1 proves itself";
pub(super) const TSIH: Tsih = Tsih(0x0100);
pub(super) const ISID: Isid = Isid([0x80, 1, 2, 3, 4, 5]);

pub(super) fn credentials(name: &str, secret: &str) -> ChapCredentials {
    ChapCredentials { name: name.into(), secret: ChapSecret::new(secret) }
}

pub(super) fn random(seed: u8) -> ChapRandom {
    ChapRandom { identifier: seed, challenge: [seed; 32] }
}

/// One target that admits everybody on the same terms, or refuses everybody alike.
pub(super) struct Policy {
    pub(super) terms: Result<Admission, LoginRefusal>,
}

impl Policy {
    pub(super) fn open() -> Self {
        let mut admission = Admission::open(PortalGroupTag(1));
        admission.target_alias = Some("first disk".into());
        Self { terms: Ok(admission) }
    }

    pub(super) fn chap() -> Self {
        let chap =
            ChapPolicy::new(vec![credentials(USER, SECRET)], Some(credentials(MUTUAL_USER, MUTUAL_SECRET)));
        Self { terms: Ok(Admission::chap(PortalGroupTag(1), chap)) }
    }

    pub(super) fn refusing(refusal: LoginRefusal) -> Self {
        Self { terms: Err(refusal) }
    }

    pub(super) fn moved() -> TargetAddress {
        "[2001:db8::7]:3261".parse().unwrap()
    }
}

impl TargetPolicy for Policy {
    fn admit(&self, identity: &LoginIdentity<'_>) -> Result<Admission, LoginRefusal> {
        match identity.session {
            RequestedSession::Normal { target } if target.as_str() != TARGET => {
                return Err(LoginRefusal::NotFound);
            }
            RequestedSession::Normal { .. } | RequestedSession::Discovery => {}
        }
        self.terms.clone()
    }
}

/// Text of pairs that stand between spaces.
pub(super) fn text(pairs: &str) -> Bytes {
    pairs.split_whitespace().map(|pair| format!("{pair}\0")).collect::<String>().into_bytes().into()
}

/// A request in a stage; `next` sets T.
pub(super) fn request(current: Stage, next: Option<Stage>, pairs: &str) -> Pdu<LoginRequest> {
    let header = LoginRequest {
        transit: next.is_some(),
        continues: false,
        current_stage: current,
        next_stage: next.unwrap_or(current),
        version_max: 0,
        version_min: 0,
        isid: ISID,
        tsih: Tsih(0),
        itt: InitiatorTaskTag(0x11),
        cid: Cid(1),
        cmd_sn: CmdSn(0x20),
        exp_stat_sn: StatSn(0x30),
    };
    Pdu::with_data(header, text(pairs))
}

/// The pairs of a data segment, as `request` takes them.
pub(super) fn shown(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data);
    text.split('\0').filter(|pair| !pair.is_empty()).collect::<Vec<_>>().join(" ")
}

pub(super) fn config(offer: Offer) -> InitiatorLoginConfig {
    InitiatorLoginConfig {
        name: INITIATOR.parse().unwrap(),
        alias: None,
        isid: ISID,
        tsih: Tsih(0),
        cid: Cid(1),
        session: InitiatorSession::Normal { target: TARGET.parse().unwrap() },
        authentication: InitiatorAuthentication::None,
        offer: offer.validate().unwrap(),
        itt: InitiatorTaskTag(0x11),
        cmd_sn: CmdSn(0x20),
    }
}

pub(super) fn with_chap(
    mut config: InitiatorLoginConfig,
    secret: &str,
    mutual: Option<&str>,
) -> InitiatorLoginConfig {
    let mutual = mutual.map(|secret| credentials(MUTUAL_USER, secret));
    let identity = ChapIdentity::new(credentials(USER, secret), mutual);
    config.authentication = InitiatorAuthentication::Chap(Box::new(identity));
    config
}

/// How a login of both sides ended.
#[derive(Debug)]
pub(super) struct Run {
    /// What the initiator got.
    pub(super) initiator: Result<EstablishedLogin, InitiatorStep>,
    /// What the target got.
    pub(super) target: Option<Result<LoginOutcome, LoginFailure>>,
    /// Every response, in order.
    pub(super) responses: Vec<Pdu<LoginResponse>>,
}

impl Run {
    pub(super) fn status(&self) -> LoginStatus {
        self.responses.last().unwrap().header.status
    }

    /// The initiator's error.
    pub(super) fn error(&self) -> &InitiatorLoginError {
        match &self.initiator {
            Err(InitiatorStep::Failed(error)) => error,
            other => panic!("no error: {other:?}"),
        }
    }
}

/// Lets an initiator log in to a target, each PDU through its codec, and stops when the initiator is done.
pub(super) fn run(config: InitiatorLoginConfig, policy: &Policy, offer: Offer) -> Run {
    run_with(config, policy, offer, |reply| reply)
}

/// As [`run`], with every response passed through `tamper` on its way.
pub(super) fn run_with(
    config: InitiatorLoginConfig,
    policy: &Policy,
    offer: Offer,
    mut tamper: impl FnMut(Pdu<LoginResponse>) -> Pdu<LoginResponse>,
) -> Run {
    let mut target = TargetLogin::new(offer.validate().unwrap(), random(1));
    let (mut initiator, mut request) = InitiatorLogin::start(config, random(2)).unwrap();
    let mut run =
        Run { initiator: Err(InitiatorStep::Send(request.clone())), target: None, responses: vec![] };
    loop {
        request.header = LoginRequest::decode(&request.header.encode()).unwrap();
        let response = match target.handle(policy, &request) {
            Ok(TargetStep::Send(response)) => response,
            Ok(TargetStep::Complete(completed)) => {
                let window = CommandWindow::new(completed.outcome.initial_cmd_sn, 32);
                run.target = Some(Ok(completed.outcome));
                completed.reply.respond(TSIH, &window)
            }
            Err(failure) => {
                let response = failure.response.clone().unwrap();
                run.target = Some(Err(*failure));
                response
            }
        };
        let mut response = tamper(response);
        response.header = LoginResponse::decode(&response.header.encode()).unwrap();
        run.responses.push(response.clone());
        match initiator.handle(&response) {
            InitiatorStep::Send(next) => request = next,
            InitiatorStep::Done(login) => {
                run.initiator = Ok(*login);
                return run;
            }
            step => {
                run.initiator = Err(step);
                return run;
            }
        }
    }
}
