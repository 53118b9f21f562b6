//! Commands with several fields, each as a type.

use super::Form;

/// COMPARE AND WRITE (SBC-3 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompareAndWrite {
    /// LOGICAL BLOCK ADDRESS.
    pub lba: u64,
    /// NUMBER OF LOGICAL BLOCKS. Twice as many come with the command.
    pub blocks: u8,
    /// DPO.
    pub disable_page_out: bool,
    /// FUA.
    pub force_unit_access: bool,
}

/// READ DEFECT DATA (SBC-3 §5.17, §5.18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadDefectData {
    /// Ten or twelve.
    pub form: Form,
    /// REQ_PLIST.
    pub primary: bool,
    /// REQ_GLIST.
    pub grown: bool,
    /// DEFECT LIST FORMAT, three bits.
    pub list_format: u8,
    /// ADDRESS DESCRIPTOR INDEX. Twelve only.
    pub index: u32,
    /// ALLOCATION LENGTH.
    pub allocation_length: u32,
}

/// MODE SELECT (SPC-4 §6.10, §6.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeSelect {
    /// Six or ten.
    pub form: Form,
    /// PF: the parameters are pages as the standard has them.
    pub page_format: bool,
    /// SP: save them.
    pub save_pages: bool,
    /// PARAMETER LIST LENGTH.
    pub parameter_list_length: u16,
}

/// LOG SENSE (SPC-4 §6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSense {
    /// PC, two bits.
    pub page_control: u8,
    /// PAGE CODE, six bits.
    pub page: u8,
    /// SUBPAGE CODE.
    pub subpage: u8,
    /// PARAMETER POINTER.
    pub parameter_pointer: u16,
    /// ALLOCATION LENGTH.
    pub allocation_length: u16,
}

/// What SANITIZE is to do (SBC-3 §5.24).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanitizeAction {
    /// OVERWRITE, with the length of its parameter list.
    Overwrite {
        /// PARAMETER LIST LENGTH.
        parameter_list_length: u16,
    },
    /// BLOCK ERASE.
    BlockErase,
    /// EXIT FAILURE MODE.
    ExitFailureMode,
}

/// SANITIZE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sanitize {
    /// SERVICE ACTION.
    pub action: SanitizeAction,
    /// IMMED: answer as soon as the parameters are known to be right.
    pub immediate: bool,
    /// AUSE: a failure may be left with EXIT FAILURE MODE.
    pub unrestricted_exit: bool,
}

/// FORMAT UNIT (SBC-3 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FormatUnit {
    /// LONGLIST: the parameter list begins with the long header.
    pub long_list: bool,
    /// FMTDATA: there is a parameter list.
    pub format_data: bool,
    /// CMPLST: the defect list replaces the one that is there.
    pub complete_list: bool,
}
