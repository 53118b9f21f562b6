//! Answers where there is no logical unit: an unused LUN, and the REPORT LUNS well-known logical unit (SAM-5 §5.11, SPC-4 §8.2).

use lunkeep_common::scsi::inquiry::{Peripheral, StandardInquiry, version};
use lunkeep_common::scsi::{Asc, Cdb, Lun, Sense, SenseFormat, SenseKey, vpd};

use super::commands::{data_in, report_luns};
use super::step::Completion;

/// The answer to a command for a LUN that `luns`, the inventory of the nexus, does not have. Never needs data or a medium.
#[must_use]
pub fn answer(lun: Lun, cdb: &[u8], luns: &[Lun]) -> Completion {
    process(lun, cdb, luns).unwrap_or_else(Completion::check_condition)
}

fn process(lun: Lun, cdb: &[u8], luns: &[Lun]) -> Result<Completion, Sense> {
    let well_known = lun == Lun::REPORT_LUNS_WELL_KNOWN;
    let peripheral = if well_known { Peripheral::WELL_KNOWN } else { Peripheral::ABSENT };
    let not_here = Sense::illegal_request(Asc::LOGICAL_UNIT_NOT_SUPPORTED);
    let parsed = Cdb::parse(cdb).map(|(_, cdb)| cdb);
    match parsed {
        Ok(Cdb::Inquiry { vital_product_data: false, page_code: 0, allocation_length }) => {
            Ok(data_in(standard(peripheral).encode().to_vec(), allocation_length.into()))
        }
        Ok(Cdb::Inquiry { vital_product_data: true, page_code: vpd::SUPPORTED_PAGES, allocation_length }) => {
            let page = vpd::encode_page(peripheral, vpd::SUPPORTED_PAGES, &[vpd::SUPPORTED_PAGES]);
            Ok(data_in(page, allocation_length.into()))
        }
        Ok(Cdb::Inquiry { .. }) => Err(Sense::invalid_field_in_cdb(2, None)),
        Ok(Cdb::ReportLuns { select_report, allocation_length }) => {
            report_luns(luns, select_report, allocation_length)
        }
        Ok(Cdb::RequestSense { descriptor, allocation_length }) => {
            let sense =
                if well_known { Sense::new(SenseKey::NoSense, Asc::NO_ADDITIONAL_SENSE) } else { not_here };
            let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
            Ok(data_in(sense.encode(format), allocation_length.into()))
        }
        Ok(Cdb::TestUnitReady) if well_known => Ok(Completion::good()),
        Ok(_) if well_known => Err(Sense::illegal_request(Asc::INVALID_OPERATION_CODE)),
        Err(error) if well_known => Err(error.into()),
        _ => Err(not_here),
    }
}

fn standard(peripheral: Peripheral) -> StandardInquiry {
    StandardInquiry {
        peripheral,
        removable: false,
        version: 6,
        command_queueing: true,
        multi_port: false,
        third_party_copy: false,
        protection: false,
        target_port_groups: 0,
        vendor: "LUNKEEP".into(),
        product: String::new(),
        revision: String::new(),
        versions: vec![version::SAM_5, version::SPC_4, version::ISCSI],
    }
}
