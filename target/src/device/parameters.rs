//! What a logical unit keeps besides its medium: mode parameters, identifying information, and an erasure that was cut off.

/// Values of mode pages that MODE SELECT can change (SPC-4 §7.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeParameters {
    /// WCE of the caching page: a write may be answered before it is on stable storage.
    pub write_cache: bool,
    /// D_SENSE of the control page: sense data goes out in descriptor format.
    pub descriptor_sense: bool,
    /// SWP of the control page: writes are refused.
    pub software_write_protect: bool,
    /// TAS of the control page: tasks that another nexus aborts end with TASK ABORTED.
    pub task_aborted_status: bool,
}

/// What erases the whole medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseKind {
    /// FORMAT UNIT.
    Format,
    /// SANITIZE.
    Sanitize {
        /// AUSE: EXIT FAILURE MODE ends a failure, without the medium having been erased.
        unrestricted_exit: bool,
    },
}

/// What must survive a restart. The engine keeps it (`MediaOp::Save`) and hands it over in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedParameters {
    /// Saved values of the mode pages.
    pub mode: ModeParameters,
    /// Logical unit identifying information (SPC-4 §6.32): up to 64 bytes.
    pub identifying: Vec<u8>,
    /// Text identifying information: up to 256 bytes of UTF-8, with the zero that ends it.
    pub text: Vec<u8>,
    /// An erasure had begun and its end was not noted: what the medium holds must not be shown (SBC-3 §4.11.4).
    pub erasing: Option<EraseKind>,
}

impl SavedParameters {
    /// Where nothing was ever saved.
    #[must_use]
    pub const fn new(mode: ModeParameters) -> Self {
        Self { mode, identifying: Vec::new(), text: Vec::new(), erasing: None }
    }
}
