//! A PERSISTENT RESERVE OUT as it reaches [`apply`](super::apply): its CDB and its parameter list, well formed.

use lunkeep_common::scsi::persistent::{
    BasicList, Key, ListError, OutAction, RegisterAndMoveList, ReservationType, SCOPE_LOGICAL_UNIT,
};
use lunkeep_common::scsi::{Asc, Sense};

/// PERSISTENT RESERVE OUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrOut {
    /// Service action.
    pub action: OutAction,
    /// SCOPE, four bits.
    pub scope: u8,
    /// TYPE, four bits.
    pub kind: u8,
    /// Parameter list.
    pub parameters: Parameters,
}

/// The parameter list of a PERSISTENT RESERVE OUT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// Of REGISTER AND MOVE.
    Move(RegisterAndMoveList),
    /// Of every other service action.
    Basic(BasicList),
}

impl PrOut {
    /// Reads a parameter list.
    ///
    /// # Errors
    /// The sense for a list that is not one.
    pub fn decode(action: OutAction, scope: u8, kind: u8, list: &[u8]) -> Result<Self, Sense> {
        let parameters = if action == OutAction::RegisterAndMove {
            RegisterAndMoveList::decode(list).map(Parameters::Move)
        } else {
            BasicList::decode(list).map(Parameters::Basic)
        };
        let parameters = parameters.map_err(|error| match error {
            ListError::Length(_) => Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR),
            ListError::TransportId { byte, .. } => Sense::invalid_field_in_parameter_list(byte, None),
        })?;
        Ok(Self { action, scope, kind, parameters })
    }

    /// RESERVATION KEY.
    #[must_use]
    pub const fn key(&self) -> Key {
        match &self.parameters {
            Parameters::Move(list) => list.key,
            Parameters::Basic(list) => list.key,
        }
    }

    /// SERVICE ACTION RESERVATION KEY.
    #[must_use]
    pub const fn service_action_key(&self) -> Key {
        match &self.parameters {
            Parameters::Move(list) => list.service_action_key,
            Parameters::Basic(list) => list.service_action_key,
        }
    }

    /// The type, where the service action has one.
    pub(super) fn reservation_type(&self) -> Result<ReservationType, Sense> {
        ReservationType::from_bits(self.kind).ok_or_else(|| Sense::invalid_field_in_cdb(2, Some(3)))
    }

    /// What can be wrong with a command whatever the state is (SPC-4 tables 220 and 222).
    pub(super) fn check_fields(&self) -> Result<(), Sense> {
        use OutAction::*;
        let scoped =
            matches!(self.action, Reserve | Release | Preempt | PreemptAndAbort | ReplaceLostReservation);
        if scoped && self.scope != SCOPE_LOGICAL_UNIT {
            return Err(Sense::invalid_field_in_cdb(2, Some(7)));
        }
        if matches!(self.action, Reserve | Preempt | PreemptAndAbort | ReplaceLostReservation) {
            self.reservation_type()?;
        }
        if let Parameters::Basic(list) = &self.parameters {
            if list.initiator_ports.is_some() && self.action != Register {
                return Err(Sense::invalid_field_in_parameter_list(20, Some(3)));
            }
            if list.all_target_ports && !matches!(self.action, Register | RegisterAndIgnoreExistingKey) {
                return Err(Sense::invalid_field_in_parameter_list(20, Some(2)));
            }
        }
        Ok(())
    }
}
