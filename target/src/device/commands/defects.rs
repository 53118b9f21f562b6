//! READ DEFECT DATA (SBC-3 §5.17, §5.18): an image has no defects to list.

use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::{Form, ReadDefectData};

use super::{Next, Outcome, data_in};

/// Both lists are there when they are asked for, and empty. An empty list has any of the standard's address formats; the
/// vendor specific one and the reserved one are refused.
pub(super) fn read_defect_data(cdb: ReadDefectData) -> Outcome {
    if cdb.list_format >= 0b110 {
        let byte = if cdb.form == Form::Ten { 2 } else { 1 };
        return Err(Sense::invalid_field_in_cdb(byte, Some(2)));
    }
    let flags = u8::from(cdb.primary) << 4 | u8::from(cdb.grown) << 3 | cdb.list_format;
    // Header without descriptors: DEFECT LIST LENGTH zero, and in twelve bytes GENERATION CODE zero (it never changes).
    let mut data = vec![0; if cdb.form == Form::Ten { 4 } else { 8 }];
    data[1] = flags;
    Ok(Next::Done(data_in(data, cdb.allocation_length)))
}
