//! iSCSI protocol data units (RFC 7143 §11): one file per pair of PDUs.
//!
//! A PDU is a basic header segment of 48 bytes, additional header segments, and a data segment. [`framer`] cuts a byte
//! stream into whole, digest-checked PDUs; each header type here decodes its own 48 bytes at fixed offsets.
//!
//! * In: [`Framer`] gives a [`RawPdu`], [`InitiatorPdu::decode`] or [`TargetPdu::decode`] gives it a type. What is wrong is a
//!   [`PduError`], which knows its Reject reason.
//! * Out: [`Pdu::encode`] gives a [`WirePdu`] of three slices for one vectored write.
//!
//! Reserved bits are ignored when received and zero when sent (RFC 7143 §11.1). Deliberately not here: rules that need more
//! than one PDU to judge, such as sequence numbers; they belong to the sessions.

pub mod ahs;
pub mod async_message;
pub mod data_in;
pub mod data_out;
pub mod digest;
pub mod error;
mod fields;
pub mod framer;
pub mod header;
pub mod login;
pub mod logout;
pub mod nop;
pub mod r2t;
pub mod reject;
pub mod scsi_command;
pub mod scsi_response;
pub mod snack;
#[cfg(test)]
mod strategies;
pub mod task_management;
#[cfg(test)]
mod testing;
pub mod text;
pub mod wire;

use bytes::Bytes;

pub use ahs::Ahs;
pub use async_message::AsyncMessage;
pub use data_in::DataIn;
pub use data_out::DataOut;
pub use digest::Digests;
pub use error::{EncodeError, PduError};
pub use framer::{FrameError, FrameLimits, Framer, RawPdu};
pub use header::Header;
pub use login::{LoginRequest, LoginResponse};
pub use logout::{LogoutRequest, LogoutResponse};
pub use nop::{NopIn, NopOut};
pub use r2t::R2t;
pub use reject::{Reject, RejectReason};
pub use scsi_command::ScsiCommand;
pub use scsi_response::ScsiResponse;
pub use snack::SnackRequest;
pub use task_management::{TaskManagementRequest, TaskManagementResponse};
pub use text::{TextRequest, TextResponse};
pub use wire::WirePdu;

/// Length of the basic header segment.
pub const BHS_LEN: usize = 48;

/// A basic header segment as it stands on the wire.
pub type Bhs = [u8; BHS_LEN];

/// Initiator task tag (RFC 7143 §11.2.1.8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InitiatorTaskTag(pub u32);

impl InitiatorTaskTag {
    /// The reserved tag, FFFFFFFFh.
    pub const RESERVED: Self = Self(u32::MAX);
}

/// Target transfer tag (RFC 7143 §11.7.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct TargetTransferTag(pub u32);

impl TargetTransferTag {
    /// The reserved tag, FFFFFFFFh.
    pub const RESERVED: Self = Self(u32::MAX);
}

/// A header with its additional header segments and data segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu<H> {
    /// The typed header.
    pub header: H,
    /// Additional header segments, in wire order; mostly empty.
    pub ahs: Vec<Ahs>,
    /// The data segment without padding.
    pub data: Bytes,
}

impl<H> Pdu<H> {
    /// A PDU of a header alone.
    pub fn new(header: H) -> Self {
        Self::with_data(header, Bytes::new())
    }

    /// A PDU of a header and a data segment.
    pub fn with_data(header: H, data: Bytes) -> Self {
        Self { header, ahs: Vec::new(), data }
    }
}

/// What an initiator sends (opcodes 00h to 1Fh).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitiatorHeader {
    /// 00h
    NopOut(NopOut),
    /// 01h
    ScsiCommand(ScsiCommand),
    /// 02h
    TaskManagementRequest(TaskManagementRequest),
    /// 03h
    LoginRequest(LoginRequest),
    /// 04h
    TextRequest(TextRequest),
    /// 05h
    DataOut(DataOut),
    /// 06h
    LogoutRequest(LogoutRequest),
    /// 10h
    SnackRequest(SnackRequest),
}

/// What a target sends (opcodes 20h to 3Fh).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHeader {
    /// 20h
    NopIn(NopIn),
    /// 21h
    ScsiResponse(ScsiResponse),
    /// 22h
    TaskManagementResponse(TaskManagementResponse),
    /// 23h
    LoginResponse(LoginResponse),
    /// 24h
    TextResponse(TextResponse),
    /// 25h
    DataIn(DataIn),
    /// 26h
    LogoutResponse(LogoutResponse),
    /// 31h
    R2t(R2t),
    /// 32h
    AsyncMessage(AsyncMessage),
    /// 3Fh
    Reject(Reject),
}

/// A PDU from an initiator.
pub type InitiatorPdu = Pdu<InitiatorHeader>;

/// A PDU from a target.
pub type TargetPdu = Pdu<TargetHeader>;
