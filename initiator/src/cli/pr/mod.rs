//! `pr`: the persistent reservations of a LUN, by hand.
//!
//! Every call is a session of its own. Registrations belong to the initiator port, which the state folder and the path slot
//! make the same at each call; with another `--slot` one is another node to the device.

mod print;
mod values;

use clap::{Args, Subcommand};
use lunkeep_common::scsi::persistent::{BasicList, Key, RegisterAndMoveList, ReservationType, TransportId};

use super::connection::ConnectionArguments;
use super::failure::Failure;
use super::retry::until_processed;
use super::url::{self, Url};
use crate::commands::{
    PersistentReadFullStatus, PersistentReadKeys, PersistentReadReservation, PersistentReportCapabilities,
    PersistentReserveOut,
};
use crate::engine::{Error, LunHandle};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the registered keys, one for each registration.
    Keys(Common),
    /// Show the reservation, who is registered, and what the device can do.
    Status(Common),
    /// Register a key for this initiator, change it, or (with --key 0) end the registration.
    Register(Register),
    /// Reserve the LUN. Needs a registration.
    Reserve(Hold),
    /// Give the reservation up. The registrations stay.
    Release(Hold),
    /// Take the registration, and with it the reservation, from everybody who is registered with a key.
    Preempt(Preempt),
    /// End the reservation and all registrations, one's own included.
    Clear(Clear),
    /// Register another initiator and hand it the reservation.
    Move(Move),
}

#[derive(Debug, Args)]
struct Common {
    /// iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse)]
    url: Url,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Debug, Args)]
struct Register {
    #[command(flatten)]
    common: Common,
    /// The new key; 0 ends the registration.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    key: Key,
    /// The key that this initiator is registered with.
    #[arg(long, value_name = "HEX", value_parser = values::key, default_value = "0", conflicts_with = "ignore")]
    old_key: Key,
    /// Whatever the key was before (REGISTER AND IGNORE EXISTING KEY).
    #[arg(long)]
    ignore: bool,
    /// Keep registrations and reservation through a loss of power. Of the whole LUN; the last registration counts.
    #[arg(long)]
    aptpl: bool,
    /// For every target port, not only for that of the URL (ALL_TG_PT).
    #[arg(long)]
    all_target_ports: bool,
    /// Register this initiator port too (SPEC_I_PT); may be given several times.
    #[arg(long, value_name = "NAME,i,0xISID", value_parser = values::transport_id, conflicts_with = "ignore")]
    also: Vec<TransportId>,
}

#[derive(Debug, Args)]
struct Hold {
    #[command(flatten)]
    common: Common,
    /// The key that this initiator is registered with.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    key: Key,
    #[arg(long = "type", value_name = "TYPE", value_parser = values::kind, help = values::TYPE_HELP)]
    kind: ReservationType,
}

#[derive(Debug, Args)]
struct Preempt {
    #[command(flatten)]
    hold: Hold,
    /// The key of those who lose their registration.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    victim: Key,
    /// Abort their commands too (PREEMPT AND ABORT). Without it, commands of theirs may still be done.
    #[arg(long)]
    abort: bool,
}

#[derive(Debug, Args)]
struct Clear {
    #[command(flatten)]
    common: Common,
    /// The key that this initiator is registered with.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    key: Key,
}

#[derive(Debug, Args)]
struct Move {
    #[command(flatten)]
    common: Common,
    /// The key that this initiator is registered with.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    key: Key,
    /// The key of the new holder.
    #[arg(long, value_name = "HEX", value_parser = values::key)]
    new_key: Key,
    /// The initiator port that is to hold the reservation.
    #[arg(long, value_name = "NAME,i,0xISID", value_parser = values::transport_id)]
    to: TransportId,
    /// RELATIVE TARGET PORT IDENTIFIER of the target port that it uses; `pr status` shows those of the registrations.
    #[arg(long, value_name = "N")]
    port: u16,
    /// End one's own registration.
    #[arg(long)]
    unregister: bool,
    /// Keep registrations and reservation through a loss of power.
    #[arg(long)]
    aptpl: bool,
}

impl Action {
    const fn common(&self) -> &Common {
        match self {
            Self::Keys(common) | Self::Status(common) => common,
            Self::Register(register) => &register.common,
            Self::Reserve(hold) | Self::Release(hold) => &hold.common,
            Self::Preempt(preempt) => &preempt.hold.common,
            Self::Clear(clear) => &clear.common,
            Self::Move(moved) => &moved.common,
        }
    }

    /// What to send; `None` for what only looks.
    fn command(&self) -> Option<PersistentReserveOut> {
        let with = |key: Key| BasicList { key, ..BasicList::default() };
        Some(match self {
            Self::Keys(_) | Self::Status(_) => return None,
            Self::Register(register) => {
                let list = BasicList {
                    key: register.old_key,
                    service_action_key: register.key,
                    initiator_ports: (!register.also.is_empty()).then(|| register.also.clone()),
                    all_target_ports: register.all_target_ports,
                    activate_persist: register.aptpl,
                };
                if register.ignore {
                    PersistentReserveOut::RegisterAndIgnoreExistingKey(list)
                } else {
                    PersistentReserveOut::Register(list)
                }
            }
            Self::Reserve(hold) => PersistentReserveOut::Reserve(with(hold.key), hold.kind),
            Self::Release(hold) => PersistentReserveOut::Release(with(hold.key), hold.kind),
            Self::Preempt(Preempt { hold, victim, abort }) => {
                let list = BasicList { service_action_key: *victim, ..with(hold.key) };
                if *abort {
                    PersistentReserveOut::PreemptAndAbort(list, hold.kind)
                } else {
                    PersistentReserveOut::Preempt(list, hold.kind)
                }
            }
            Self::Clear(clear) => PersistentReserveOut::Clear(with(clear.key)),
            Self::Move(moved) => PersistentReserveOut::RegisterAndMove(RegisterAndMoveList {
                key: moved.key,
                service_action_key: moved.new_key,
                unregister: moved.unregister,
                activate_persist: moved.aptpl,
                relative_target_port: moved.port,
                transport_id: moved.to.clone(),
            }),
        })
    }
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let common = arguments.action.common();
    let (node, lun) = common.connection.open(&common.url).await?;
    let json = common.connection.json;
    match (&arguments.action, arguments.action.command()) {
        (_, Some(command)) => {
            until_processed(|| lun.run(&command)).await?;
            print::done(json, &command, &node);
        }
        (Action::Keys(_), None) => {
            print::keys(json, &until_processed(|| lun.run(&PersistentReadKeys)).await?);
        }
        (_, None) => {
            let full = optional(until_processed(|| lun.run(&PersistentReadFullStatus)).await)?;
            let keys = until_processed(|| lun.run(&PersistentReadKeys)).await?;
            let held = until_processed(|| lun.run(&PersistentReadReservation)).await?;
            let capabilities = optional(until_processed(|| lun.run(&PersistentReportCapabilities)).await)?;
            print::status(json, &keys, held, full.as_ref(), capabilities.as_ref());
        }
    }
    logout(lun).await
}

async fn logout(lun: LunHandle) -> Result<(), Failure> {
    Ok(lun.session().clone().logout().await?)
}

/// What a device need not have: `None` when it says so.
fn optional<T>(result: Result<T, Error>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Error::Command { error, .. }) if error.is_not_supported() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
