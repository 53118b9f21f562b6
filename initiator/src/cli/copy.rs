//! `copy`: from one LUN of a target to another, done by the target.

use clap::Args;
use lunkeep_common::scsi::Lun;
use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::third_party_copy::{Cscd, CscdId, ExtendedCopyList, ListIdUsage, Segment};
use lunkeep_common::scsi::vpd::{DEVICE_IDENTIFICATION, decode_designations};
use serde_json::json;

use super::connection::ConnectionArguments;
use super::failure::Failure;
use super::retry::until_processed;
use super::transfer::{Unit, prepare};
use super::url::Url;
use super::{output, size, url};
use crate::commands::ExtendedCopy;
use crate::engine::LunHandle;

/// Bytes of one command: it must end before its time limit.
const CHUNK_LEN: u64 = 32 << 20;

/// Longest designator that a CSCD descriptor has room for.
const DESIGNATOR_LEN_MAX: usize = 20;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The LUN to copy from: iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse)]
    url: Url,
    /// LUN of the same target to copy to.
    #[arg(long, value_name = "LUN", value_parser = clap::value_parser!(u16).range(..=16383))]
    to: u16,
    /// First byte to copy, a multiple of both LUNs' block lengths; K, M, G and T are powers of 1024.
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = size::parse)]
    offset: u64,
    /// Bytes to copy [default: up to the end of the LUN].
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    length: Option<u64>,
    /// Where the first byte goes [default: as --offset].
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    to_offset: Option<u64>,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (_node, from) = arguments.connection.open(&arguments.url).await?;
    let number = Lun::from_number(arguments.to).ok_or_else(|| Failure::usage("--to is not a LUN"))?;
    let to = from.session().lun(number);
    let (source, destination) = (prepare(&from).await?, prepare(&to).await?);
    let mut plan = plan(arguments, source, destination)?;
    let cscds = vec![cscd(&from, source).await?, cscd(&to, destination).await?];

    let (length, bar) = (plan.left, output::progress(Some(plan.left)));
    while let Some((segment, len)) = plan.next(source, destination) {
        let (list_identifier, usage) = (0, ListIdUsage::None);
        let segments = vec![segment];
        let list = ExtendedCopyList { list_identifier, usage, cscds: cscds.clone(), segments };
        let command = ExtendedCopy(list);
        until_processed(|| to.run(&command)).await?;
        bar.inc(len);
    }
    bar.finish_and_clear();
    until_processed(|| to.flush()).await?;
    from.session().clone().logout().await?;
    if arguments.connection.json {
        let to_offset = arguments.to_offset.unwrap_or(arguments.offset);
        output::json(&json!({
            "offset": arguments.offset,
            "length": length,
            "to": arguments.to,
            "to_offset": to_offset,
        }));
    }
    Ok(())
}

/// What is still to be copied, in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    from: u64,
    to: u64,
    left: u64,
}

/// Whole blocks within both LUNs; what is known is checked before anything is copied.
fn plan(arguments: &Arguments, source: Unit, destination: Unit) -> Result<Plan, Failure> {
    let from = arguments.offset;
    let to = arguments.to_offset.unwrap_or(from);
    let left = arguments.length.unwrap_or_else(|| source.len.saturating_sub(from));
    let block = u64::from(source.block_len.max(destination.block_len));
    if [from, to, left].iter().any(|bytes| !bytes.is_multiple_of(block)) {
        return Err(Failure::usage(format!(
            "--offset, --length and --to-offset must be multiples of {block}, the longer of the LUNs' blocks"
        )));
    }
    let ends = [(from, source.len, "copied from"), (to, destination.len, "copied to")];
    for (start, len, which) in ends {
        if start.checked_add(left).is_none_or(|end| end > len) {
            return Err(Failure::usage(format!(
                "the LUN that is {which} has {len} bytes; this goes beyond its end"
            )));
        }
    }
    Ok(Plan { from, to, left })
}

impl Plan {
    /// The next segment and its bytes.
    fn next(&mut self, source: Unit, destination: Unit) -> Option<(Segment, u64)> {
        let block = u64::from(source.block_len);
        let whole = u64::from(source.block_len.max(destination.block_len));
        let most = CHUNK_LEN.min(u64::from(u16::MAX) * block);
        let len = self.left.min(most - most % whole);
        let blocks = u16::try_from(len / block).ok().filter(|blocks| *blocks > 0)?;
        let segment = Segment {
            source: CscdId(0),
            destination: CscdId(1),
            counts_destination: false,
            blocks,
            source_lba: self.from / block,
            destination_lba: self.to / u64::from(destination.block_len),
        };
        *self = Self { from: self.from + len, to: self.to + len, left: self.left - len };
        Some((segment, len))
    }
}

/// The name by which the copy manager knows a LUN.
async fn cscd(lun: &LunHandle, unit: Unit) -> Result<Cscd, Failure> {
    let page = until_processed(|| lun.vital_product_data(DEVICE_IDENTIFICATION)).await?;
    let name = decode_designations(&page).into_iter().filter(fits).max_by_key(rank);
    let none =
        || Failure::local("the LUN has no name that a copy can be asked for with (NAA, EUI-64 or T10)");
    Ok(Cscd { device_type: 0, designation: name.ok_or_else(none)?, block_len: unit.block_len })
}

fn fits(name: &Designation) -> bool {
    let len = name.encode().len() - 4;
    name.association == Association::LogicalUnit && rank(name) > 0 && len <= DESIGNATOR_LEN_MAX
}

/// The better known a type of name is, the higher.
const fn rank(name: &Designation) -> u8 {
    match name.designator {
        Designator::Naa(_) => 3,
        Designator::Other { kind: 2, .. } => 2,
        Designator::T10VendorId { .. } => 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn arguments(more: &str) -> Arguments {
        let line = format!("copy iscsi://h/iqn.2026-11.org.example:a/0 --to 1 {more}");
        Line::try_parse_from(line.split_whitespace()).unwrap().arguments
    }

    const fn unit(block_len: u32, len: u64) -> Unit {
        Unit { block_len, len, chunk: 8, longest: 8 }
    }

    #[test]
    fn the_whole_lun_is_copied_in_segments_of_whole_blocks_of_both() {
        let (source, destination) = (unit(512, 100 << 20), unit(4096, 200 << 20));
        let mut plan = plan(&arguments("--offset 4K --to-offset 8K"), source, destination).unwrap();
        let (mut at, mut total) = ((8, 2), 0);
        while let Some((segment, len)) = plan.next(source, destination) {
            assert_eq!((segment.source_lba, segment.destination_lba), at);
            assert_eq!(u64::from(segment.blocks) * 512, len);
            assert!(len % 4096 == 0 && len <= CHUNK_LEN);
            at = (at.0 + len / 512, at.1 + len / 4096);
            total += len;
        }
        assert_eq!(total, (100 << 20) - 4096);
    }

    #[test]
    fn what_is_no_whole_block_or_beyond_an_end_is_refused_before_anything_is_copied() {
        let (source, destination) = (unit(512, 1 << 20), unit(4096, 1 << 20));
        let refused = |more| plan(&arguments(more), source, destination).err().map(|failure| failure.message);
        assert_eq!(refused(""), None);
        assert_eq!(refused("--length 0"), None);
        for uneven in ["--offset 512", "--length 512", "--to-offset 512"] {
            assert!(refused(uneven).is_some_and(|text| text.contains("multiples of 4096")), "{uneven}");
        }
        assert!(refused("--length 2M").is_some_and(|text| text.contains("copied from")));
        assert!(refused("--to-offset 4K").is_some_and(|text| text.contains("copied to")));
    }

    #[test]
    fn a_lun_is_named_by_the_best_name_that_a_descriptor_holds() {
        let of = |designator| Designation { association: Association::LogicalUnit, designator };
        let naa = of(Designator::Naa(vec![0x60; 16]));
        let long = of(Designator::T10VendorId { vendor: "A".into(), identifier: vec![b'x'; 20] });
        let short = of(Designator::T10VendorId { vendor: "A".into(), identifier: vec![b'x'; 4] });
        let port = Designation { association: Association::TargetPort, ..naa.clone() };
        assert_eq!([&naa, &long, &short, &port].map(fits), [true, false, true, false]);
        assert!(rank(&naa) > rank(&short));
        assert!(!fits(&of(Designator::ScsiName("naa.60".into()))));
    }
}
