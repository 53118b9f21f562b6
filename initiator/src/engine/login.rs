//! A login over a connection, with the redirections that targets may ask for.

use lunkeep_common::limits::AHS_LEN_MAX;
use lunkeep_common::login::ChapRandom;
use lunkeep_common::login::initiator_side::{
    EstablishedLogin, InitiatorLogin, InitiatorLoginConfig, InitiatorSession, InitiatorStep,
};
use lunkeep_common::name::{Cid, Tsih};
use lunkeep_common::pdu::{FrameLimits, Header, InitiatorTaskTag, Pdu, TargetHeader};
use lunkeep_common::serial::CmdSn;
use lunkeep_common::text::TargetAddress;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::config::Config;
use super::dial::dial;
use super::error::{Error, LostCause};
use super::wire::{Receiver, Sender, split};
use crate::limits::REDIRECTS_MAX;
use crate::session::SessionError;

/// Which connection of which session a login is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// 0 for a new session.
    pub(super) tsih: Tsih,
    pub(super) cid: Cid,
    /// CmdSN of the session's next command.
    pub(super) cmd_sn: CmdSn,
}

impl Place {
    /// The first connection of a new session.
    pub(super) const FIRST: Self = Self { tsih: Tsih(0), cid: Cid(1), cmd_sn: CmdSn(1) };
}

/// A connection in the full feature phase.
pub(super) struct LoggedIn {
    pub(super) cid: Cid,
    /// Where it ended up after redirections.
    pub(super) portal: TargetAddress,
    pub(super) established: EstablishedLogin,
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
}

/// What a login ended with.
enum End {
    Done(Box<LoggedIn>),
    Redirect(TargetAddress),
}

/// Dials and logs in.
pub(super) async fn log_in(
    config: &Config,
    portal: &TargetAddress,
    session: &InitiatorSession,
    place: Place,
) -> Result<LoggedIn, Error> {
    let limit = config.login_limit;
    let mut portal = portal.clone();
    for _ in 0..=REDIRECTS_MAX {
        let (receiver, sender) = split(dial(&portal, limit).await?);
        let slow = |_| Error::Slow { portal: portal.clone(), what: "finish the login", limit };
        match timeout(limit, exchange(config, &portal, session, place, receiver, sender))
            .await
            .map_err(slow)??
        {
            End::Done(logged_in) => return Ok(*logged_in),
            End::Redirect(address) => {
                debug!(from = %portal, to = %address, "redirected");
                portal = address;
            }
        }
    }
    Err(Error::Redirects { portal, limit: REDIRECTS_MAX })
}

async fn exchange(
    config: &Config,
    portal: &TargetAddress,
    session: &InitiatorSession,
    place: Place,
    mut receiver: Receiver,
    mut sender: Sender,
) -> Result<End, Error> {
    let lost = |cause: LostCause| Error::Lost { portal: portal.clone(), cause };
    let login = InitiatorLoginConfig {
        name: config.identity.name.clone(),
        alias: None,
        isid: config.identity.isid,
        tsih: place.tsih,
        cid: place.cid,
        session: session.clone(),
        authentication: config.authentication.clone(),
        offer: config.offer.clone(),
        itt: InitiatorTaskTag(0),
        cmd_sn: place.cmd_sn,
    };
    let (mut machine, request) = InitiatorLogin::start(login, chap_random()?)?;
    sender.push(&request).map_err(lost)?;
    loop {
        sender.flush().await.map_err(lost)?;
        let pdu = receiver.receive().await.map_err(lost)?;
        let response = match pdu.header {
            TargetHeader::LoginResponse(header) => Pdu::with_data(header, pdu.data),
            other => {
                let error = SessionError::UnexpectedPdu { name: other.name() };
                return Err(lost(error.into()));
            }
        };
        match machine.handle(&response) {
            InitiatorStep::Send(request) => sender.push(&request).map_err(lost)?,
            InitiatorStep::Done(established) => {
                let connection = &established.connection;
                let limits = FrameLimits {
                    data_segment_len: connection.max_recv_data_segment_length,
                    ahs_len: AHS_LEN_MAX,
                };
                receiver.enter_full_feature(connection.digests, limits);
                sender.enter_full_feature(connection.digests);
                let (portal, established) = (portal.clone(), *established);
                let cid = place.cid;
                return Ok(End::Done(Box::new(LoggedIn { cid, portal, established, receiver, sender })));
            }
            InitiatorStep::Redirect { address, permanent } => {
                if permanent {
                    warn!(from = %portal, to = %address, "the target moved for good; use its new address");
                }
                return Ok(End::Redirect(address));
            }
            InitiatorStep::Failed(error) => return Err(Error::Login { portal: portal.clone(), error }),
        }
    }
}

fn chap_random() -> Result<ChapRandom, getrandom::Error> {
    let mut bytes = [0; 33];
    getrandom::fill(&mut bytes)?;
    let [identifier, challenge @ ..] = bytes;
    Ok(ChapRandom { identifier, challenge })
}
