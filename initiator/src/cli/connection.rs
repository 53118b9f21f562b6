//! What every command needs to reach a target: who we are, what we prove, what we offer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use lunkeep_common::login::initiator_side::InitiatorAuthentication;
use lunkeep_common::login::{ChapCredentials, ChapSecret, DigestPolicy, Offer, OfferError, ValidOffer};
use lunkeep_common::name::IscsiName;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::output;
use super::url::Url;
use crate::engine::state::{Slot, StateFolder};
use crate::engine::{Config, Identity, Initiator, LunHandle, chap};
use crate::limits::CONNECTIONS_MAX;
use crate::session::Timing;

/// Arguments of every command.
#[derive(Debug, Args)]
pub(super) struct ConnectionArguments {
    /// Print JSON.
    #[arg(long)]
    pub(super) json: bool,
    /// Initiator name for this call, in place of the one in the state folder.
    #[arg(long, value_name = "IQN")]
    initiator_name: Option<IscsiName>,
    /// Folder with this node's initiator name and ISIDs, made when it is missing
    /// [default: $XDG_STATE_HOME/lunkeep/initiator or ~/.local/state/lunkeep/initiator].
    #[arg(long, value_name = "DIR", env = "LUNKEEP_INITIATOR_STATE")]
    state: Option<PathBuf>,
    /// Path slot: each has an ISID of its own, the same at every call [default: the first that no other process uses].
    #[arg(long, value_name = "N")]
    slot: Option<u16>,
    /// CHAP user; the URL's, if it has one, comes first.
    #[arg(long, value_name = "NAME")]
    chap_user: Option<String>,
    /// File whose first line is the CHAP secret; else the variable LUNKEEP_CHAP_SECRET. A secret in the URL can be seen
    /// by other users of this machine.
    #[arg(long, value_name = "FILE")]
    chap_secret_file: Option<PathBuf>,
    /// Mutual CHAP: the user as which the target must prove itself.
    #[arg(long, value_name = "NAME")]
    target_user: Option<String>,
    /// File whose first line is the target's secret; else the variable LUNKEEP_TARGET_SECRET.
    #[arg(long, value_name = "FILE", requires = "target_user")]
    target_secret_file: Option<PathBuf>,
    /// CRC32C over headers.
    #[arg(long, value_name = "WHEN", default_value = "none")]
    header_digest: Digest,
    /// CRC32C over data.
    #[arg(long, value_name = "WHEN", default_value = "none")]
    data_digest: Digest,
    /// Connections of the session; the target may agree to fewer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u16,
    /// Error recovery level, 0 to 2; the target may agree to less.
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    error_recovery_level: u8,
    /// Seconds for the connection, for the login and for each command.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Digest {
    /// Never.
    None,
    /// Always; a target that cannot is refused.
    Crc32c,
    /// If the target can.
    Prefer,
}

impl Digest {
    const fn policy(self) -> DigestPolicy {
        match self {
            Self::None => DigestPolicy::Refuse,
            Self::Crc32c => DigestPolicy::Require,
            Self::Prefer => DigestPolicy::Prefer,
        }
    }
}

/// An initiator, and the path slot that it holds.
pub(super) struct Node {
    pub(super) initiator: Initiator,
    pub(super) slot: Slot,
    pub(super) name: IscsiName,
}

impl ConnectionArguments {
    /// Takes a path slot and makes an initiator of it.
    pub(super) fn node(&self, user: Option<&str>, password: Option<&str>) -> Result<Node, Failure> {
        let slot = StateFolder::open(&self.state_folder()?)?.take_slot(self.slot)?;
        let mut identity = slot.identity().clone();
        if let Some(name) = &self.initiator_name {
            identity.name = name.clone();
        }
        let name = identity.name.clone();
        let initiator = self.initiator(identity, user, password, false)?;
        Ok(Node { initiator, slot, name })
    }

    /// An initiator of any identity; `digests` demands both.
    pub(super) fn initiator(
        &self,
        identity: Identity,
        user: Option<&str>,
        password: Option<&str>,
        digests: bool,
    ) -> Result<Initiator, Failure> {
        let mut config = Config::new(identity).map_err(invalid)?;
        config.offer =
            if digests { offer_with(DigestPolicy::Require, DigestPolicy::Require) } else { self.offer() }?;
        config = config.with_recovery(self.connections, self.error_recovery_level).map_err(invalid)?;
        config.authentication = self.authentication(user, password)?;
        config.login_limit = Duration::from_secs(self.timeout);
        config.timing = Timing { command: Duration::from_secs(self.timeout), ..Timing::default() };
        Ok(Initiator::new(config))
    }

    /// Logs in to the target of a URL.
    pub(super) async fn open(&self, url: &Url) -> Result<(Node, LunHandle), Failure> {
        let node = self.node(url.user.as_deref(), url.password.as_deref())?;
        let session = node.initiator.login(&url.portal, &url.target).await?;
        Ok((node, session.lun(url.lun)))
    }

    /// What is offered in the negotiation.
    pub(super) fn offer(&self) -> Result<ValidOffer, Failure> {
        offer_with(self.header_digest.policy(), self.data_digest.policy())
    }

    /// The initiator name of this call.
    pub(super) fn name(&self) -> Result<IscsiName, Failure> {
        match &self.initiator_name {
            Some(name) => Ok(name.clone()),
            None => Ok(StateFolder::open(&self.state_folder()?)?.name().clone()),
        }
    }

    /// Seconds for the connection, for the login and for each command.
    pub(super) const fn limit(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn state_folder(&self) -> Result<PathBuf, Failure> {
        let from = |variable, tail: &str| {
            let folder = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
            folder.map(|path| path.join(tail))
        };
        self.state
            .clone()
            .or_else(|| from("XDG_STATE_HOME", "lunkeep/initiator"))
            .or_else(|| from("HOME", ".local/state/lunkeep/initiator"))
            .ok_or_else(|| Failure::usage("neither XDG_STATE_HOME nor HOME is set; give --state DIR"))
    }

    /// What is proved, and what the target must prove.
    pub(super) fn authentication(
        &self,
        user: Option<&str>,
        password: Option<&str>,
    ) -> Result<InitiatorAuthentication, Failure> {
        let Some(name) = user.or(self.chap_user.as_deref()) else {
            if self.target_user.is_some() || self.chap_secret_file.is_some() {
                return Err(Failure::usage("CHAP needs --chap-user (or a user in the URL)"));
            }
            return Ok(InitiatorAuthentication::None);
        };
        let ours = match password {
            Some(password) => ChapSecret::new(password),
            None => secret("--chap-secret-file", self.chap_secret_file.as_deref(), "LUNKEEP_CHAP_SECRET")?,
        };
        let mutual = match &self.target_user {
            Some(name) => {
                let file = self.target_secret_file.as_deref();
                let secret = secret("--target-secret-file", file, "LUNKEEP_TARGET_SECRET")?;
                Some(ChapCredentials { name: name.clone(), secret })
            }
            None => None,
        };
        if ours.is_short() || mutual.as_ref().is_some_and(|mutual| mutual.secret.is_short()) {
            output::note(
                "note: a CHAP secret is shorter than 12 bytes, which RFC 7143 9.2.1 advises against",
            );
        }
        Ok(chap(ChapCredentials { name: name.to_owned(), secret: ours }, mutual))
    }
}

fn offer_with(header_digest: DigestPolicy, data_digest: DigestPolicy) -> Result<ValidOffer, Failure> {
    Offer { header_digest, data_digest, ..Offer::initiator() }.validate().map_err(invalid)
}

fn invalid(error: OfferError) -> Failure {
    Failure::usage(format!("cannot negotiate: {error}"))
}

/// The first line of a file, or a variable.
fn secret(flag: &str, file: Option<&Path>, variable: &str) -> Result<ChapSecret, Failure> {
    let text = match file {
        Some(path) => {
            let text = fs::read_to_string(path);
            Zeroizing::new(text.map_err(|error| Failure::local(format!("{}: {error}", path.display())))?)
        }
        None => match std::env::var(variable) {
            Ok(text) => Zeroizing::new(text),
            Err(_) => return Err(Failure::usage(format!("CHAP needs {flag} or the variable {variable}"))),
        },
    };
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(ChapSecret::new(line)),
        None => Err(Failure::usage(match file {
            Some(path) => format!("{}: the first line, which is the secret, is empty", path.display()),
            None => format!("the variable {variable} is empty"),
        })),
    }
}
