//! Text Request and Text Response (RFC 7143 §11.10, §11.11).

use super::{InitiatorTaskTag, TargetTransferTag};
use crate::scsi::Lun;
use crate::serial::{CmdSn, StatSn};

/// Text Request header, opcode 04h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextRequest {
    /// I bit.
    pub immediate: bool,
    /// F bit: last request of the exchange.
    pub is_final: bool,
    /// C bit: the text goes on in the next request.
    pub continues: bool,
    /// Logical unit, copied from the response when the tag is valid.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag that the target handed out, or reserved in the first request.
    pub ttt: TargetTransferTag,
    /// CmdSN.
    pub cmd_sn: CmdSn,
    /// ExpStatSN.
    pub exp_stat_sn: StatSn,
}

/// Text Response header, opcode 24h.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextResponse {
    /// F bit: the exchange is over.
    pub is_final: bool,
    /// C bit: the text goes on in the next response.
    pub continues: bool,
    /// Logical unit.
    pub lun: Lun,
    /// Initiator task tag.
    pub itt: InitiatorTaskTag,
    /// Tag for the next request, or reserved in the last response.
    pub ttt: TargetTransferTag,
    /// StatSN.
    pub stat_sn: StatSn,
    /// ExpCmdSN.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN.
    pub max_cmd_sn: CmdSn,
}
