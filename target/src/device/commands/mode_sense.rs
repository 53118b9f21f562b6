//! MODE SENSE (SPC-4 §6.13, §6.14).

use lunkeep_common::limits::SENSE_LEN_MAX;
use lunkeep_common::scsi::cdb::{Form, ModeSense};
use lunkeep_common::scsi::mode::{ALL_PAGES, ALL_SUBPAGES, BlockDescriptor, ModeHeader, Page};
use lunkeep_common::scsi::{Asc, Sense};

use super::super::config::LogicalUnitConfig;
use super::{Next, Outcome, data_in};

pub(super) fn mode_sense(config: &LogicalUnitConfig, cdb: ModeSense) -> Outcome {
    let encode = match cdb.page_control {
        // Current and default values are the same: nothing can be changed.
        0b00 | 0b10 => Page::encode,
        0b01 => Page::encode_changeable,
        _ => return Err(Sense::illegal_request(Asc::SAVING_NOT_SUPPORTED)),
    };
    let pages: Vec<u8> = pages(config).iter().filter(|page| asked(&cdb, page)).flat_map(encode).collect();
    if pages.is_empty() {
        return Err(unknown_page(config, &cdb));
    }
    let medium = &config.medium;
    // The long form only when it is accepted; a host that accepts it expects it.
    let long = cdb.form == Form::Ten && cdb.long_lba_accepted;
    let descriptor = BlockDescriptor { blocks: medium.blocks(), block_len: medium.logical_block, long };
    let header = ModeHeader {
        write_protected: medium.read_only,
        dpo_fua: true,
        block_descriptor: (!cdb.disable_block_descriptors).then_some(descriptor),
    };
    Ok(Next::Done(data_in(header.encode(cdb.form, &pages), cdb.allocation_length.into())))
}

/// The pages in ascending order.
fn pages(config: &LogicalUnitConfig) -> [Page; 5] {
    [
        Page::ReadWriteErrorRecovery,
        Page::Caching { write_cache: true },
        Page::Control { task_aborted_status: config.task_aborted_status, software_write_protect: false },
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
fn unknown_page(config: &LogicalUnitConfig, cdb: &ModeSense) -> Sense {
    let known = cdb.page == ALL_PAGES || pages(config).iter().any(|page| page.code().0 == cdb.page);
    if known { Sense::invalid_field_in_cdb(3, None) } else { Sense::invalid_field_in_cdb(2, Some(5)) }
}
