//! Whether this process may serve the unit: the asymmetric access state of its ports (SPC-4 §5.15.2).
//!
//! Of several gateways in front of one medium one serves it. What the others answer meanwhile is here. Who serves is decided
//! elsewhere and told with [`LogicalUnit::set_access`] before each step, so a command meets the state of the moment in which it would go
//! to the medium, not of the one in which it came.

use lunkeep_common::scsi::opcode_table::{Operation, OperationInfo};
use lunkeep_common::scsi::{Asc, Sense, SenseKey};

use super::unit::LogicalUnit;

/// Asymmetric access state of every port of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessState {
    /// It serves the medium.
    #[default]
    Active,
    /// Another gateway does. Reservations are looked at and changed here too.
    Standby,
    /// This process has no part in the unit any more.
    Unavailable,
}

impl AccessState {
    /// ASYMMETRIC ACCESS STATE (SPC-4 table 291).
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Active => 0x0,
            Self::Standby => 0x2,
            Self::Unavailable => 0x3,
        }
    }

    /// Why nothing may be done on the medium.
    pub(super) const fn refusal(self) -> Option<Sense> {
        let asc = match self {
            Self::Active => return None,
            Self::Standby => Asc::TARGET_PORT_IN_STANDBY_STATE,
            Self::Unavailable => Asc::TARGET_PORT_IN_UNAVAILABLE_STATE,
        };
        Some(Sense::new(SenseKey::NotReady, asc))
    }

    /// Why a command is not processed (SPC-4 §5.15.2.5 and §5.15.2.6).
    pub(super) fn refuses(self, info: &OperationInfo) -> Option<Sense> {
        use Operation::{
            Inquiry, LogSense, ModeSense6, ModeSense10, ReportLuns, ReportSupportedOperationCodes,
            ReportSupportedTaskManagementFunctions, ReportTargetPortGroups, RequestSense,
            SetTargetPortGroups,
        };
        let anywhere = matches!(
            info.operation,
            Inquiry | ReportLuns | RequestSense | ReportTargetPortGroups | SetTargetPortGroups
        );
        let standby = matches!(
            info.operation,
            LogSense
                | ModeSense6
                | ModeSense10
                | ReportSupportedOperationCodes
                | ReportSupportedTaskManagementFunctions
        ) || matches!(info.opcode, 0x5e | 0x5f);
        self.refusal().filter(|_| !(anywhere || standby && self == Self::Standby))
    }
}

impl LogicalUnit {
    /// Whether this process may serve the unit now.
    pub const fn set_access(&mut self, access: AccessState) {
        self.access = access;
    }
}
