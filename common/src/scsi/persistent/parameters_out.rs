//! Parameter lists of PERSISTENT RESERVE OUT (SPC-4 §6.16.3, §6.16.4).

use super::Key;
use super::transport_id::{TransportId, TransportIdError};
use crate::scsi::bytes::{u8_at, u16_at, u32_at, u64_at};

/// Bytes of the list of every service action but REGISTER AND MOVE, without SPEC_I_PT.
const BASIC_LEN: usize = 24;

/// The list of every service action but REGISTER AND MOVE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasicList {
    /// RESERVATION KEY.
    pub key: Key,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_action_key: Key,
    /// SPEC_I_PT: the TransportIDs that follow.
    pub initiator_ports: Option<Vec<TransportId>>,
    /// ALL_TG_PT.
    pub all_target_ports: bool,
    /// APTPL.
    pub activate_persist: bool,
}

/// The list of REGISTER AND MOVE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterAndMoveList {
    /// RESERVATION KEY.
    pub key: Key,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_action_key: Key,
    /// UNREG: the sender's registration ends with the move.
    pub unregister: bool,
    /// APTPL.
    pub activate_persist: bool,
    /// RELATIVE TARGET PORT IDENTIFIER of the destination.
    pub relative_target_port: u16,
    /// Initiator port of the destination.
    pub transport_id: TransportId,
}

/// Why bytes are not a parameter list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The list has another length than it must (PARAMETER LIST LENGTH ERROR).
    #[error("a parameter list of {0} bytes")]
    Length(usize),
    /// A TransportID is wrong, or the length of all of them is (INVALID FIELD IN PARAMETER LIST).
    #[error("{error} (from byte {byte} of the parameter list)")]
    TransportId {
        /// Where the TransportIDs begin.
        byte: u16,
        /// What is wrong.
        error: TransportIdError,
    },
}

impl BasicList {
    /// The list.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = [self.key.0.to_be_bytes(), self.service_action_key.0.to_be_bytes()].concat();
        out.extend([0; 4]);
        out.push(
            u8::from(self.initiator_ports.is_some()) << 3
                | u8::from(self.all_target_ports) << 2
                | u8::from(self.activate_persist),
        );
        out.extend([0; 3]);
        if let Some(ports) = &self.initiator_ports {
            let ids: Vec<u8> = ports.iter().flat_map(TransportId::encode).collect();
            out.extend(u32::try_from(ids.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend(ids);
        }
        out
    }

    /// Reads a list. Reserved and obsolete bits are ignored.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn decode(list: &[u8]) -> Result<Self, ListError> {
        let wrong = ListError::Length(list.len());
        let flags = u8_at(list, 20).ok_or(wrong.clone())?;
        let initiator_ports = if flags & 8 == 0 {
            if list.len() != BASIC_LEN {
                return Err(wrong);
            }
            None
        } else {
            let len = u32_at(list, BASIC_LEN).ok_or(wrong.clone())?;
            let ids = list.get(BASIC_LEN + 4..).ok_or(wrong.clone())?;
            if usize::try_from(len).ok() != Some(ids.len()) {
                return Err(wrong);
            }
            let ids = TransportId::decode_all(ids);
            Some(ids.map_err(|error| ListError::TransportId { byte: 28, error })?)
        };
        Ok(Self {
            key: Key(u64_at(list, 0).ok_or(wrong.clone())?),
            service_action_key: Key(u64_at(list, 8).ok_or(wrong)?),
            initiator_ports,
            all_target_ports: flags & 4 != 0,
            activate_persist: flags & 1 != 0,
        })
    }
}

impl RegisterAndMoveList {
    /// The list.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let id = self.transport_id.encode();
        let mut out = [self.key.0.to_be_bytes(), self.service_action_key.0.to_be_bytes()].concat();
        out.push(0);
        out.push(u8::from(self.unregister) << 1 | u8::from(self.activate_persist));
        out.extend(self.relative_target_port.to_be_bytes());
        out.extend(u32::try_from(id.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(id);
        out
    }

    /// Reads a list. Reserved bits are ignored.
    ///
    /// # Errors
    /// [`ListError`].
    pub fn decode(list: &[u8]) -> Result<Self, ListError> {
        let wrong = ListError::Length(list.len());
        let flags = u8_at(list, 17).ok_or(wrong.clone())?;
        let len = u32_at(list, 20).ok_or(wrong.clone())?;
        let id = list.get(BASIC_LEN..).ok_or(wrong.clone())?;
        if usize::try_from(len).ok() != Some(id.len()) {
            return Err(wrong);
        }
        let bad = |error| ListError::TransportId { byte: 24, error };
        let (transport_id, used) = TransportId::decode(id).map_err(bad)?;
        if used != id.len() {
            return Err(bad(TransportIdError::Length(u16::try_from(id.len()).unwrap_or(u16::MAX))));
        }
        Ok(Self {
            key: Key(u64_at(list, 0).ok_or(wrong.clone())?),
            service_action_key: Key(u64_at(list, 8).ok_or(wrong.clone())?),
            unregister: flags & 2 != 0,
            activate_persist: flags & 1 != 0,
            relative_target_port: u16_at(list, 18).ok_or(wrong)?,
            transport_id,
        })
    }
}
