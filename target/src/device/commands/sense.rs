//! REQUEST SENSE (SPC-4 §6.39): sense data as data, with GOOD.

use lunkeep_common::scsi::{Asc, Sense, SenseFormat, SenseKey};

use super::super::state::MediumState;
use super::{Context, Next, data_in};

/// A pending unit attention first, then why the unit is not ready, else NO SENSE. The sense data of earlier commands went with
/// their status (SAM-5 §5.13).
pub(super) fn request_sense(context: &Context<'_>, descriptor: bool, allocation_length: u8) -> Next {
    let not_ready = |asc| Sense::new(SenseKey::NotReady, asc);
    let sense = match (context.attention, context.state.erase.refusal(), context.state.medium) {
        (Some(asc), ..) => Sense::unit_attention(asc),
        (None, Some(erasing), _) => erasing,
        (None, None, MediumState::Absent) => not_ready(Asc::MEDIUM_NOT_PRESENT),
        (None, None, MediumState::Stopped) => not_ready(Asc::INITIALIZING_COMMAND_REQUIRED),
        (None, None, MediumState::Ready) => Sense::new(SenseKey::NoSense, Asc::NO_ADDITIONAL_SENSE),
    };
    let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    Next::Done(data_in(sense.encode(format), allocation_length.into()))
}
