//! REPORT and SET TARGET PORT GROUPS (SPC-4 §5.15, §6.37, §6.45) in their simplest true form: one group with every target port of
//! this process, which is active/optimized as long as it serves the unit.

use bytes::Bytes;
use lunkeep_common::scsi::{Asc, Sense};

use super::super::access_state::AccessState;
use super::super::nexus::ExportPort;
use super::super::step::Completion;
use super::{DataOutOf, Next, Outcome, data_in};

/// Target port group of every target port.
pub(super) const TARGET_PORT_GROUP: u16 = 0;
/// ASYMMETRIC ACCESS STATE: active/optimized.
const ACTIVE_OPTIMIZED: u8 = 0x0;
/// AO_SUP.
const ACTIVE_SUPPORTED: u8 = 0x01;
/// Bytes before the descriptors of SET TARGET PORT GROUPS, and of each descriptor.
const SET_UNIT: usize = 4;

pub(super) fn report(
    ports: &[ExportPort],
    access: AccessState,
    extended: bool,
    allocation_length: u32,
) -> Next {
    let mut body = Vec::new();
    if extended {
        // RETURN DATA FORMAT 001b; IMPLICIT TRANSITION TIME zero: there are none.
        body.extend([0x10, 0, 0, 0]);
    }
    let [high, low] = TARGET_PORT_GROUP.to_be_bytes();
    let count = u8::try_from(ports.len()).unwrap_or(u8::MAX);
    // The supported states are AO_SUP and the one that it is in; STATUS CODE 0: no status is available.
    let supported = ACTIVE_SUPPORTED | 1 << access.code();
    body.extend([access.code(), supported, high, low, 0, 0, 0, count]);
    for port in ports.iter().take(count.into()) {
        let [high, low] = port.relative.to_be_bytes();
        body.extend([0, 0, high, low]);
    }
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    Next::Done(data_in([len.to_be_bytes().as_slice(), &body].concat(), allocation_length))
}

pub(super) fn set(parameter_list_length: u32) -> Outcome {
    match usize::try_from(parameter_list_length).unwrap_or(usize::MAX) {
        0 => Ok(Next::Done(Completion::good())),
        len if len < SET_UNIT => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        // One group: more descriptors than that would be the same one again.
        len if len > SET_UNIT * 2 => Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR)),
        len => Ok(Next::DataOut { len: len as u64, of: DataOutOf::PortGroups { len } }),
    }
}

/// Asking for what is already so is no error; every other state is one that the group cannot be in.
pub(super) fn set_received(len: usize, data: &[Bytes]) -> Outcome {
    let list = data.concat();
    if list.len() != len || !len.is_multiple_of(SET_UNIT) {
        return Err(Sense::illegal_request(Asc::PARAMETER_LIST_LENGTH_ERROR));
    }
    for (at, descriptor) in (0u16..).step_by(SET_UNIT).zip(list.chunks_exact(SET_UNIT)).skip(1) {
        let &[state, _, high, low] = descriptor else { continue };
        if state & 0x0f != ACTIVE_OPTIMIZED {
            return Err(Sense::invalid_field_in_parameter_list(at, Some(3)));
        }
        if u16::from_be_bytes([high, low]) != TARGET_PORT_GROUP {
            return Err(Sense::invalid_field_in_parameter_list(at + 2, None));
        }
    }
    Ok(Next::Done(Completion::good()))
}
