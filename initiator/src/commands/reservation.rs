//! PERSISTENT RESERVE IN and OUT (SPC-4 §6.15, §6.16), and the RESERVE and RELEASE that they replaced (SPC-2 §7.17, §7.21).
//!
//! A RESERVATION CONFLICT is a [`CommandError::Status`] like any other status; what it means depends on the service action, and
//! only the caller knows what it wanted.

use lunkeep_common::scsi::Cdb;
use lunkeep_common::scsi::cdb::Form;
use lunkeep_common::scsi::persistent::{
    BasicList, Capabilities, FullStatus, InAction, OutAction, ReadKeys, ReadReservation, RegisterAndMoveList,
    ReservationType, SCOPE_LOGICAL_UNIT,
};

use super::error::CommandError;
use super::operations::Operation;
use super::request::{Completion, Request, Transfer};

/// Most bytes that PERSISTENT RESERVE IN can bring: its ALLOCATION LENGTH has two bytes.
const ALLOCATION_LEN: u16 = u16::MAX;

macro_rules! reserve_in {
    ($($(#[$doc:meta])* $name:ident -> $output:ident, $action:ident, $text:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Operation for $name {
            type Output = $output;

            fn name(&self) -> &'static str {
                concat!("PERSISTENT RESERVE IN, ", $text)
            }

            fn request(&self) -> Result<Request, CommandError> {
                let action = InAction::$action;
                let cdb = Cdb::PersistentReserveIn { action, allocation_length: ALLOCATION_LEN };
                Ok(Request::new(cdb.encode()?, Transfer::In(ALLOCATION_LEN.into())))
            }

            fn read(&self, completion: Completion) -> Result<$output, CommandError> {
                whole(&completion, self.name())?;
                $output::decode(&completion.data).ok_or(CommandError::Unreadable { operation: self.name() })
            }
        }
    )*};
}

reserve_in! {
    /// The keys of all registrations.
    PersistentReadKeys -> ReadKeys, ReadKeys, "READ KEYS";
    /// The reservation.
    PersistentReadReservation -> ReadReservation, ReadReservation, "READ RESERVATION";
    /// What the device server can do.
    PersistentReportCapabilities -> Capabilities, ReportCapabilities, "REPORT CAPABILITIES";
    /// Every registration, with who made it.
    PersistentReadFullStatus -> FullStatus, ReadFullStatus, "READ FULL STATUS";
}

/// Parameter data must be all there: to take a part of the registrations for all of them would be an error with consequences.
/// All but REPORT CAPABILITIES say in ADDITIONAL LENGTH how long they are; that one says it in its first two bytes.
fn whole(completion: &Completion, operation: &'static str) -> Result<(), CommandError> {
    let data = &completion.data;
    let unreadable = CommandError::Unreadable { operation };
    let expected = if operation.ends_with("REPORT CAPABILITIES") {
        let bytes: [u8; 2] = data.get(..2).and_then(|bytes| bytes.try_into().ok()).ok_or(unreadable)?;
        u64::from(u16::from_be_bytes(bytes))
    } else {
        let bytes: [u8; 4] = data.get(4..8).and_then(|bytes| bytes.try_into().ok()).ok_or(unreadable)?;
        8 + u64::from(u32::from_be_bytes(bytes))
    };
    let got = data.len() as u64;
    if got < expected { Err(CommandError::Short { operation, expected, got }) } else { Ok(()) }
}

/// A service action of PERSISTENT RESERVE OUT with what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersistentReserveOut {
    /// REGISTER: `list.key` is the present key, zero for none; `list.service_action_key` the new one, zero to unregister.
    Register(BasicList),
    /// REGISTER AND IGNORE EXISTING KEY: as `Register`, without a look at `list.key`.
    RegisterAndIgnoreExistingKey(BasicList),
    /// RESERVE.
    Reserve(BasicList, ReservationType),
    /// RELEASE; the type must be that of the reservation.
    Release(BasicList, ReservationType),
    /// CLEAR.
    Clear(BasicList),
    /// PREEMPT: whoever is registered with `list.service_action_key` loses its registration, and its reservation to us.
    Preempt(BasicList, ReservationType),
    /// PREEMPT AND ABORT: as `Preempt`, and their commands are aborted.
    PreemptAndAbort(BasicList, ReservationType),
    /// REGISTER AND MOVE.
    RegisterAndMove(RegisterAndMoveList),
    /// REPLACE LOST RESERVATION: `list.service_action_key` is the new key.
    ReplaceLostReservation(BasicList, ReservationType),
}

impl PersistentReserveOut {
    /// The service action.
    #[must_use]
    pub const fn action(&self) -> OutAction {
        match self {
            Self::Register(_) => OutAction::Register,
            Self::RegisterAndIgnoreExistingKey(_) => OutAction::RegisterAndIgnoreExistingKey,
            Self::Reserve(..) => OutAction::Reserve,
            Self::Release(..) => OutAction::Release,
            Self::Clear(_) => OutAction::Clear,
            Self::Preempt(..) => OutAction::Preempt,
            Self::PreemptAndAbort(..) => OutAction::PreemptAndAbort,
            Self::RegisterAndMove(_) => OutAction::RegisterAndMove,
            Self::ReplaceLostReservation(..) => OutAction::ReplaceLostReservation,
        }
    }

    fn parts(&self) -> (Vec<u8>, u8) {
        match self {
            Self::Register(list) | Self::RegisterAndIgnoreExistingKey(list) | Self::Clear(list) => {
                (list.encode(), 0)
            }
            Self::Reserve(list, kind)
            | Self::Release(list, kind)
            | Self::Preempt(list, kind)
            | Self::PreemptAndAbort(list, kind)
            | Self::ReplaceLostReservation(list, kind) => (list.encode(), *kind as u8),
            Self::RegisterAndMove(list) => (list.encode(), 0),
        }
    }
}

impl Operation for PersistentReserveOut {
    type Output = ();

    fn name(&self) -> &'static str {
        match self.action() {
            OutAction::Register => "PERSISTENT RESERVE OUT, REGISTER",
            OutAction::Reserve => "PERSISTENT RESERVE OUT, RESERVE",
            OutAction::Release => "PERSISTENT RESERVE OUT, RELEASE",
            OutAction::Clear => "PERSISTENT RESERVE OUT, CLEAR",
            OutAction::Preempt => "PERSISTENT RESERVE OUT, PREEMPT",
            OutAction::PreemptAndAbort => "PERSISTENT RESERVE OUT, PREEMPT AND ABORT",
            OutAction::RegisterAndIgnoreExistingKey => {
                "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY"
            }
            OutAction::RegisterAndMove => "PERSISTENT RESERVE OUT, REGISTER AND MOVE",
            OutAction::ReplaceLostReservation => "PERSISTENT RESERVE OUT, REPLACE LOST RESERVATION",
        }
    }

    fn request(&self) -> Result<Request, CommandError> {
        let (list, kind) = self.parts();
        let len = list.len() as u64;
        let parameter_list_length =
            u32::try_from(len).map_err(|_| CommandError::TransferTooLong { operation: self.name(), len })?;
        let cdb = Cdb::PersistentReserveOut {
            action: self.action(),
            scope: SCOPE_LOGICAL_UNIT,
            kind,
            parameter_list_length,
        };
        Ok(Request::new(cdb.encode()?, Transfer::Out(list.into())))
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

/// RESERVE(6) or RESERVE(10) of the whole logical unit.
#[derive(Clone, Copy, Debug)]
pub struct Reserve(pub Form);

/// RELEASE(6) or RELEASE(10) of the whole logical unit.
#[derive(Clone, Copy, Debug)]
pub struct Release(pub Form);

impl Operation for Reserve {
    type Output = ();

    fn name(&self) -> &'static str {
        if self.0 == Form::Six { "RESERVE(6)" } else { "RESERVE(10)" }
    }

    fn request(&self) -> Result<Request, CommandError> {
        Ok(Request::new(Cdb::Reserve(self.0).encode()?, Transfer::None))
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

impl Operation for Release {
    type Output = ();

    fn name(&self) -> &'static str {
        if self.0 == Form::Six { "RELEASE(6)" } else { "RELEASE(10)" }
    }

    fn request(&self) -> Result<Request, CommandError> {
        Ok(Request::new(Cdb::Release(self.0).encode()?, Transfer::None))
    }

    fn read(&self, _: Completion) -> Result<(), CommandError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lunkeep_common::pdu::scsi_response::Residual;
    use lunkeep_common::scsi::Status;
    use lunkeep_common::scsi::persistent::Key;

    use super::*;

    fn good(data: impl Into<Bytes>) -> Completion {
        Completion { status: Status::Good, sense: Bytes::new(), data: data.into(), residual: Residual::None }
    }

    #[test]
    fn a_list_of_keys_that_was_cut_is_an_error() {
        let keys = ReadKeys { generation: 7, keys: vec![Key(1), Key(2)] };
        assert_eq!(PersistentReadKeys.finish(good(keys.encode())), Ok(keys.clone()));
        let cut = PersistentReadKeys.finish(good(keys.encode()[..16].to_vec()));
        assert!(matches!(cut, Err(CommandError::Short { expected: 24, got: 16, .. })), "{cut:?}");
        assert!(PersistentReadKeys.finish(good(vec![0; 7])).is_err());
        assert!(PersistentReportCapabilities.finish(good(vec![0, 8, 0])).is_err());
    }

    #[test]
    fn a_preemption_carries_both_keys_its_type_and_the_length_of_its_list() {
        let list = BasicList { key: Key(1), service_action_key: Key(2), ..BasicList::default() };
        let preempt =
            PersistentReserveOut::PreemptAndAbort(list, ReservationType::ExclusiveAccessRegistrantsOnly);
        let request = preempt.request().unwrap();
        assert_eq!(request.cdb[..10], [0x5f, 5, 6, 0, 0, 0, 0, 0, 24, 0]);
        let Transfer::Out(list) = request.transfer else { panic!("a list goes out") };
        assert_eq!((list[7], list[15], list.len()), (1, 2, 24));
    }

    #[test]
    fn the_names_are_those_of_the_standard() {
        for action in OutAction::ALL {
            let list = BasicList::default;
            let kind = ReservationType::WriteExclusive;
            let operation = match action {
                OutAction::Register => PersistentReserveOut::Register(list()),
                OutAction::Reserve => PersistentReserveOut::Reserve(list(), kind),
                OutAction::Release => PersistentReserveOut::Release(list(), kind),
                OutAction::Clear => PersistentReserveOut::Clear(list()),
                OutAction::Preempt => PersistentReserveOut::Preempt(list(), kind),
                OutAction::PreemptAndAbort => PersistentReserveOut::PreemptAndAbort(list(), kind),
                OutAction::RegisterAndIgnoreExistingKey => {
                    PersistentReserveOut::RegisterAndIgnoreExistingKey(list())
                }
                OutAction::ReplaceLostReservation => {
                    PersistentReserveOut::ReplaceLostReservation(list(), kind)
                }
                OutAction::RegisterAndMove => continue,
            };
            assert_eq!(operation.name(), format!("PERSISTENT RESERVE OUT, {}", action.name()));
            assert_eq!(operation.request().unwrap().cdb[1], *action as u8);
        }
    }

    #[test]
    fn the_reservations_of_spc_2_are_for_the_whole_unit() {
        assert_eq!(Reserve(Form::Six).request().unwrap().cdb[..6], [0x16, 0, 0, 0, 0, 0]);
        assert_eq!(Release(Form::Ten).request().unwrap().cdb[..10], [0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Reserve(Form::Twelve).request().is_err());
    }
}
