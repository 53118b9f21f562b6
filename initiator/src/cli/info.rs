//! `info`: what a LUN is, and what was negotiated.

use std::fmt;

use clap::Args;
use lunkeep_common::scsi::designator::{Association, Designator};
use lunkeep_common::scsi::vpd::{self, BlockLimits, LogicalBlockProvisioning};
use serde::Serialize;

use super::connection::{ConnectionArguments, Node};
use super::failure::Failure;
use super::retry::until_processed;
use super::url::Url;
use super::{output, size, url};
use crate::engine::{Error, LunHandle};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse)]
    url: Url,
    #[command(flatten)]
    connection: ConnectionArguments,
}

#[derive(Debug, Serialize)]
struct Document {
    session: SessionPart,
    device: DevicePart,
    capacity: CapacityPart,
    limits: Option<LimitsPart>,
    provisioning: Option<ProvisioningPart>,
    /// Numbers of the target's LUNs, and others as hexadecimal text.
    luns: Vec<String>,
}

#[derive(Debug, Serialize)]
struct SessionPart {
    portal: String,
    target: String,
    target_alias: Option<String>,
    portal_group: Option<u16>,
    tsih: u16,
    initiator: String,
    isid: String,
    slot: u16,
    header_digest: bool,
    data_digest: bool,
    initial_r2t: bool,
    immediate_data: bool,
    max_recv_data_segment_length: u32,
    target_max_recv_data_segment_length: u32,
    first_burst_length: u32,
    max_burst_length: u32,
    max_outstanding_r2t: u16,
    max_connections: u16,
    error_recovery_level: u8,
}

#[derive(Debug, Serialize)]
struct DevicePart {
    lun: String,
    device_type: u8,
    vendor: String,
    product: String,
    revision: String,
    serial: Option<String>,
    identifiers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct CapacityPart {
    blocks: u64,
    block_length: u32,
    physical_block_length: u64,
    bytes: u64,
}

#[derive(Debug, Serialize)]
struct LimitsPart {
    max_transfer_blocks: u32,
    optimal_transfer_blocks: u32,
    max_unmap_blocks: u32,
    unmap_granularity_blocks: u32,
    max_write_same_blocks: u64,
}

#[derive(Debug, Serialize)]
struct ProvisioningPart {
    thin: bool,
    unmap: bool,
    unmapped_blocks_read_zero: bool,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (node, lun) = arguments.connection.open(&arguments.url).await?;
    let document = gather(&node, &lun).await?;
    lun.session().clone().logout().await?;
    if arguments.connection.json {
        output::json(&document);
    } else {
        output::line(&document);
    }
    Ok(())
}

async fn gather(node: &Node, lun: &LunHandle) -> Result<Document, Failure> {
    let inquiry = until_processed(|| lun.inquiry()).await?;
    until_processed(|| lun.ready()).await?;
    let capacity = until_processed(|| lun.read_capacity()).await?;
    let supported = page(lun, vpd::SUPPORTED_PAGES).await?.unwrap_or_default();
    let mut pages = Vec::new();
    for code in [
        vpd::UNIT_SERIAL_NUMBER,
        vpd::DEVICE_IDENTIFICATION,
        vpd::BLOCK_LIMITS,
        vpd::LOGICAL_BLOCK_PROVISIONING,
    ] {
        pages.push(if supported.contains(&code) { page(lun, code).await? } else { None });
    }
    let [serial, identification, limits, provisioning] = pages.as_slice() else {
        return Err(Failure::local("four pages were asked for"));
    };
    let luns = until_processed(|| lun.report_luns()).await?;
    let block_length = u64::from(capacity.block_len);
    let blocks = capacity.last_lba + 1;
    Ok(Document {
        session: session(node, lun),
        device: DevicePart {
            lun: lun.lun().to_string(),
            device_type: inquiry.peripheral.device_type(),
            vendor: inquiry.vendor,
            product: inquiry.product,
            revision: inquiry.revision,
            serial: serial.as_deref().map(|serial| String::from_utf8_lossy(serial).trim().to_owned()),
            identifiers: identification.as_deref().map(identifiers).unwrap_or_default(),
        },
        capacity: CapacityPart {
            blocks,
            block_length: capacity.block_len,
            physical_block_length: block_length << capacity.physical_exponent,
            bytes: blocks.saturating_mul(block_length),
        },
        limits: limits.as_deref().and_then(BlockLimits::decode).map(|limits| LimitsPart {
            max_transfer_blocks: limits.max_transfer,
            optimal_transfer_blocks: limits.optimal_transfer,
            max_unmap_blocks: limits.max_unmap_blocks,
            unmap_granularity_blocks: limits.unmap_granularity,
            max_write_same_blocks: limits.max_write_same,
        }),
        provisioning: provisioning.as_deref().and_then(LogicalBlockProvisioning::decode).map(|page| {
            ProvisioningPart {
                thin: capacity.thin,
                unmap: page.unmap,
                unmapped_blocks_read_zero: page.reads_zero || capacity.reads_zero,
            }
        }),
        luns: luns.iter().map(ToString::to_string).collect(),
    })
}

/// A page's body; `None` when the device does not have it.
async fn page(lun: &LunHandle, code: u8) -> Result<Option<bytes::Bytes>, Failure> {
    match until_processed(|| lun.vital_product_data(code)).await {
        Ok(body) => Ok(Some(body)),
        Err(Error::Command { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn session(node: &Node, lun: &LunHandle) -> SessionPart {
    let info = lun.session().info();
    SessionPart {
        portal: info.portal.to_string(),
        target: info.target.as_ref().map(ToString::to_string).unwrap_or_default(),
        target_alias: info.alias.clone(),
        portal_group: info.portal_group.map(|group| group.0),
        tsih: info.tsih.0,
        initiator: node.name.to_string(),
        isid: node.slot.identity().isid.to_string(),
        slot: node.slot.number(),
        header_digest: info.connection.digests.header,
        data_digest: info.connection.digests.data,
        initial_r2t: info.parameters.initial_r2t,
        immediate_data: info.parameters.immediate_data,
        max_recv_data_segment_length: info.connection.max_recv_data_segment_length,
        target_max_recv_data_segment_length: info.connection.peer_max_recv_data_segment_length,
        first_burst_length: info.parameters.first_burst_length,
        max_burst_length: info.parameters.max_burst_length,
        max_outstanding_r2t: info.parameters.max_outstanding_r2t,
        max_connections: info.parameters.max_connections,
        error_recovery_level: info.parameters.error_recovery_level,
    }
}

/// The names of the logical unit itself.
fn identifiers(body: &[u8]) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    vpd::decode_designations(body)
        .into_iter()
        .filter(|designation| designation.association == Association::LogicalUnit)
        .map(|designation| match designation.designator {
            Designator::Naa(bytes) => format!("naa.{}", hex(&bytes)),
            Designator::T10VendorId { vendor, identifier } => {
                format!("t10.{vendor} {}", String::from_utf8_lossy(&identifier).trim())
            }
            Designator::ScsiName(name) => name,
            Designator::RelativeTargetPort(port) => format!("port {port}"),
            Designator::TargetPortGroup(group) => format!("port group {group}"),
            Designator::Other { kind, bytes } => format!("type {kind:x}h {}", hex(&bytes)),
        })
        .collect()
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { session, device, capacity, limits, provisioning, luns } = self;
        let on = |on: bool| if on { "CRC32C" } else { "none" };
        let mut rows = vec![
            ("Target", session.target.clone()),
            ("Portal", session.portal.clone()),
            ("Initiator", format!("{} (ISID {}, slot {})", session.initiator, session.isid, session.slot)),
            ("Digests", format!("header {}, data {}", on(session.header_digest), on(session.data_digest))),
            ("LUN", format!("{} of {}", device.lun, luns.join(", "))),
            ("Device", format!("{} {} {}", device.vendor, device.product, device.revision)),
            (
                "Size",
                format!(
                    "{} ({} bytes, {} blocks of {})",
                    size::show(capacity.bytes),
                    capacity.bytes,
                    capacity.blocks,
                    capacity.block_length
                ),
            ),
        ];
        rows.extend(device.serial.iter().map(|serial| ("Serial", serial.clone())));
        rows.extend(device.identifiers.iter().map(|identifier| ("Identifier", identifier.clone())));
        if let Some(limits) = limits {
            let blocks = |n: u64| if n == 0 { "not limited".into() } else { format!("{n} blocks") };
            rows.push(("Transfer", format!("at most {}", blocks(limits.max_transfer_blocks.into()))));
        }
        if let Some(provisioning) = provisioning {
            let kind = if provisioning.thin { "thin" } else { "full" };
            let unmap = if provisioning.unmap { "with UNMAP" } else { "without UNMAP" };
            rows.push(("Provisioning", format!("{kind}, {unmap}")));
        }
        let lines: Vec<String> = rows.into_iter().map(|(name, value)| format!("{name:<14}{value}")).collect();
        f.write_str(&lines.join("\n"))
    }
}
