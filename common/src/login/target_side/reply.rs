//! The result of a login, and its last response, which needs the session's numbers.

use bytes::Bytes;

use super::VERSION;
use super::failure::{LoginFailure, TargetLoginError};
use super::policy::LoginRefusal;
use crate::login::parameters::{ConnectionParameters, SessionParameters};
use crate::name::{Cid, InitiatorPort, IscsiName, PortalGroupTag, Tsih};
use crate::pdu::Pdu;
use crate::pdu::login::{LoginRequest, LoginResponse, LoginStatus, Stage};
use crate::serial::{CmdSn, StatSn};
use crate::window::CommandWindow;

/// A login in which the initiator did its part.
#[derive(Debug)]
pub struct CompletedLogin {
    /// Who logged in, to what, on which terms.
    pub outcome: LoginOutcome,
    /// Writes the last response.
    pub reply: FinalReply,
}

/// Who logged in, to what, on which terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoginOutcome {
    /// The initiator port.
    pub initiator: InitiatorPort,
    /// InitiatorAlias, if it was sent.
    pub initiator_alias: Option<String>,
    /// What it logged in to.
    pub session: LoginSession,
    /// Whether the session is new.
    pub login: SessionLogin,
    /// The connection's ID.
    pub cid: Cid,
    /// What holds for this connection from the next PDU on.
    pub connection: ConnectionParameters,
    /// The CHAP name that was proved.
    pub authenticated_as: Option<String>,
    /// The CmdSN of the first command that is not immediate: ExpCmdSN of a new session (RFC 7143 §11.12.8).
    pub initial_cmd_sn: CmdSn,
    /// The StatSN of the first response in the full feature phase: one after that of the last login response.
    pub next_stat_sn: StatSn,
}

/// What an initiator logged in to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginSession {
    /// A target.
    Normal {
        /// Its name.
        target: IscsiName,
        /// The portal group, as the policy gave it.
        portal_group: Option<PortalGroupTag>,
    },
    /// SendTargets only.
    Discovery,
}

/// Whether a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionLogin {
    /// A new session; one of the same initiator port, target and portal group that exists is replaced (RFC 7143 §6.3.5).
    New(SessionParameters),
    /// A further connection of this session, or one in place of its connection with the same CID (RFC 7143 §6.3.4).
    Joins(Tsih),
}

/// The last response of a login, to be finished by who owns sessions.
#[derive(Debug)]
pub struct FinalReply {
    header: Header,
    data: Bytes,
    target: Option<IscsiName>,
}

impl FinalReply {
    pub(super) const fn new(header: Header, data: Bytes, target: Option<IscsiName>) -> Self {
        Self { header, data, target }
    }

    /// The login succeeds. `tsih` is the session's and not 0, `window` is the session's.
    #[must_use]
    pub fn respond(self, tsih: Tsih, window: &CommandWindow) -> Pdu<LoginResponse> {
        let mut response = self.header.response(LoginStatus::Success);
        response.transit = true;
        response.next_stage = Stage::FullFeaturePhase;
        response.tsih = tsih;
        response.exp_cmd_sn = window.exp_cmd_sn();
        response.max_cmd_sn = window.max_cmd_sn();
        Pdu::with_data(response, self.data)
    }

    /// The login fails after all, for instance since no session can be made.
    #[must_use]
    pub fn refuse(self, refusal: LoginRefusal) -> LoginFailure {
        LoginFailure::new(TargetLoginError::Refused { refusal, target: self.target }, &self.header.request)
    }
}

/// What every response takes from the request.
#[derive(Clone, Debug)]
pub(super) struct Header {
    pub(super) request: LoginRequest,
    pub(super) stat_sn: StatSn,
}

impl Header {
    /// A response without T and C. ISID, TSIH and task tag are those of the request (RFC 7143 §11.13).
    pub(super) fn response(&self, status: LoginStatus) -> LoginResponse {
        let request = &self.request;
        LoginResponse {
            transit: false,
            continues: false,
            current_stage: request.current_stage,
            // Reserved without T.
            next_stage: request.current_stage,
            version_max: VERSION,
            version_active: VERSION,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn: self.stat_sn,
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
            status,
        }
    }
}
