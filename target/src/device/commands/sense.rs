//! REQUEST SENSE (SPC-4 §6.39): sense data as data, with GOOD.

use lunkeep_common::scsi::{Asc, Sense, SenseFormat, SenseKey};

use super::{Context, Next, data_in};

/// A pending unit attention first, then whether the medium is stopped, else NO SENSE. The sense data of earlier commands
/// went with their status (SAM-5 §5.13).
pub(super) fn request_sense(context: &Context<'_>, descriptor: bool, allocation_length: u8) -> Next {
    let sense = match context.attention {
        Some(asc) => Sense::unit_attention(asc),
        None if context.stopped => Sense::new(SenseKey::NotReady, Asc::INITIALIZING_COMMAND_REQUIRED),
        None => Sense::new(SenseKey::NoSense, Asc::NO_ADDITIONAL_SENSE),
    };
    let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
    Next::Done(data_in(sense.encode(format), allocation_length.into()))
}
