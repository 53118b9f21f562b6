//! MODE SENSE (SPC-4 §6.13, §6.14).

use lunkeep_common::limits::SENSE_LEN_MAX;
use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::{Form, ModeSense};
use lunkeep_common::scsi::mode::{ALL_PAGES, ALL_SUBPAGES, BlockDescriptor, ModeHeader, Page};

use super::super::config::LogicalUnitConfig;
use super::super::parameters::ModeParameters;
use super::super::state::State;
use super::{Next, Outcome, data_in};

/// PS: the page can be saved.
const SAVEABLE: u8 = 0x80;

pub(super) fn mode_sense(config: &LogicalUnitConfig, state: &State, cdb: ModeSense) -> Outcome {
    let values = match cdb.page_control {
        0b10 => state.default_mode,
        0b11 => state.saved.mode,
        _ => state.mode,
    };
    let encode = |page: &Page| {
        let mut bytes = if cdb.page_control == 0b01 { page.encode_changeable() } else { page.encode() };
        if let Some(first) = bytes.first_mut().filter(|_| page.is_changeable()) {
            *first |= SAVEABLE;
        }
        bytes
    };
    let pages: Vec<u8> = pages(&values).iter().filter(|page| asked(&cdb, page)).flat_map(encode).collect();
    if pages.is_empty() {
        return Err(unknown_page(&values, &cdb));
    }
    let medium = &config.medium;
    // The long form only when it is accepted; a host that accepts it expects it.
    let long = cdb.form == Form::Ten && cdb.long_lba_accepted;
    let descriptor = BlockDescriptor { blocks: medium.blocks(), block_len: medium.logical_block, long };
    let header = ModeHeader {
        write_protected: medium.read_only || state.mode.software_write_protect,
        dpo_fua: true,
        block_descriptor: (!cdb.disable_block_descriptors).then_some(descriptor),
    };
    Ok(Next::Done(data_in(header.encode(cdb.form, &pages), cdb.allocation_length.into())))
}

/// The pages in ascending order.
pub(super) fn pages(values: &ModeParameters) -> [Page; 5] {
    [
        Page::ReadWriteErrorRecovery,
        Page::Caching { write_cache: values.write_cache },
        Page::Control {
            descriptor_sense: values.descriptor_sense,
            task_aborted_status: values.task_aborted_status,
            software_write_protect: values.software_write_protect,
        },
        Page::ControlExtension { max_sense_len: u8::try_from(SENSE_LEN_MAX).unwrap_or(u8::MAX) },
        Page::InformationalExceptions,
    ]
}

/// Whether a page is among those asked for (SPC-4 §6.13.1.1).
fn asked(cdb: &ModeSense, page: &Page) -> bool {
    let (code, subpage) = page.code();
    let code_asked = cdb.page == ALL_PAGES || cdb.page == code;
    match cdb.subpage {
        ALL_SUBPAGES => code_asked,
        0 => code_asked && subpage == 0,
        other => cdb.page == code && subpage == other,
    }
}

/// Points at SUBPAGE CODE when the page is there, or all were asked for, but not this subpage; else at PAGE CODE.
fn unknown_page(values: &ModeParameters, cdb: &ModeSense) -> Sense {
    let known = cdb.page == ALL_PAGES || pages(values).iter().any(|page| page.code().0 == cdb.page);
    if known { Sense::invalid_field_in_cdb(3, None) } else { Sense::invalid_field_in_cdb(2, Some(5)) }
}
