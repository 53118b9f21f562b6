//! LOG SENSE (SPC-4 §6.8): only pages whose values are known to be true.

use lunkeep_common::scsi::Sense;
use lunkeep_common::scsi::cdb::LogSense;
use lunkeep_common::scsi::log::{self, Parameter, encode_page, encode_parameters};

use super::super::state::Counters;
use super::{Next, Outcome, data_in};

/// Makes the parameters of a page.
type Parameters = fn(&Counters) -> Vec<Parameter>;

/// The pages with parameters, in ascending order.
pub(super) const PAGES: &[(u8, Parameters)] = &[
    (log::WRITE_ERROR_COUNTERS, |c| errors(c.written_bytes, c.write_errors)),
    (log::READ_ERROR_COUNTERS, |c| errors(c.read_bytes, c.read_errors)),
    // A verify operation that cannot read counts as a read that failed.
    (log::VERIFY_ERROR_COUNTERS, |c| vec![Parameter::counter(log::TOTAL_BYTES_PROCESSED, c.verified_bytes)]),
    // No informational exception, and no temperature is known (FFh).
    (log::INFORMATIONAL_EXCEPTIONS, |_| {
        vec![Parameter { code: 0, format: 0b11, value: vec![0, 0, 0xff, 0] }]
    }),
];

fn errors(bytes: u64, errors: u64) -> Vec<Parameter> {
    vec![
        Parameter::counter(log::TOTAL_BYTES_PROCESSED, bytes),
        Parameter::counter(log::TOTAL_UNCORRECTED_ERRORS, errors),
    ]
}

pub(super) fn log_sense(counters: &Counters, cdb: LogSense) -> Outcome {
    // Thresholds cannot be set, so neither they nor their defaults are there: cumulative values only (SPC-4 §6.8).
    if cdb.page_control != 0b01 {
        return Err(Sense::invalid_field_in_cdb(2, Some(7)));
    }
    let codes = || std::iter::once(log::SUPPORTED_PAGES).chain(PAGES.iter().map(|(code, _)| *code));
    let body = match (cdb.page, cdb.subpage) {
        (log::SUPPORTED_PAGES, 0) => codes().collect(),
        (log::SUPPORTED_PAGES, log::ALL_SUBPAGES) => {
            let lists = [[log::SUPPORTED_PAGES, 0], [log::SUPPORTED_PAGES, log::ALL_SUBPAGES]];
            lists.into_iter().chain(PAGES.iter().map(|(code, _)| [*code, 0])).flatten().collect()
        }
        (page, 0) => {
            let found = PAGES.iter().find(|(code, _)| *code == page);
            let (_, parameters) = found.ok_or(Sense::invalid_field_in_cdb(2, Some(5)))?;
            let mut parameters = parameters(counters);
            let last = parameters.last().map_or(0, |parameter| parameter.code);
            if cdb.parameter_pointer > last {
                return Err(Sense::invalid_field_in_cdb(5, None));
            }
            parameters.retain(|parameter| parameter.code >= cdb.parameter_pointer);
            encode_parameters(&parameters)
        }
        (page, _) if page == log::SUPPORTED_PAGES || PAGES.iter().any(|(code, _)| *code == page) => {
            return Err(Sense::invalid_field_in_cdb(3, None));
        }
        _ => return Err(Sense::invalid_field_in_cdb(2, Some(5))),
    };
    if cdb.page == log::SUPPORTED_PAGES && cdb.parameter_pointer != 0 {
        return Err(Sense::invalid_field_in_cdb(5, None));
    }
    Ok(Next::Done(data_in(encode_page(cdb.page, cdb.subpage, &body), cdb.allocation_length.into())))
}
