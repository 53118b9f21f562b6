//! A case, and how it ends.

use super::coded::Coded;
use super::matrix::Cell;

/// Something that one target checks out with, or does not.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique, of parts with slashes between them; the first part is its group.
    pub name: String,
    /// Where the requirement stands.
    pub clause: &'static str,
    /// What the standard wants, in one sentence.
    pub requirement: String,
    /// What must be there for the case to mean anything.
    pub needs: Vec<Need>,
    pub(super) body: Body,
}

/// What is done.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Script(String),
    Coded(Coded),
    Matrix(Cell),
}

/// What a case needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Need {
    /// This type of reservation.
    Type(u8),
    /// SIP_C: SPEC_I_PT.
    SpecifyInitiatorPorts,
    /// ATP_C: ALL_TG_PT.
    AllTargetPorts,
    /// PTPL_C: APTPL.
    PersistThroughPowerLoss,
    /// CRH.
    CompatibleHandling,
    /// A second portal, of another target port.
    SecondPortal,
    /// A command that restarts the target.
    Restart,
}

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As the standard wants it.
    Passed,
    /// Otherwise.
    Failed,
    /// The target says that it lacks what the case is about.
    NotSupported,
    /// Something that only the caller can give was not given.
    NotRun,
}

impl Verdict {
    /// All, in the order of tables.
    pub const ALL: [Self; 4] = [Self::Passed, Self::Failed, Self::NotSupported, Self::NotRun];

    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotSupported => "not supported",
            Self::NotRun => "not run",
        }
    }
}

/// Why a case ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The target did something else than the standard wants.
    Failed(String),
    /// The target lacks it, and says so.
    NotSupported(String),
}
