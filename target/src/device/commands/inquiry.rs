//! INQUIRY: standard data and vital product data (SPC-4 §6.6, §7.8; SBC-3 §6.5).

use std::fmt::Write as _;

use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::inquiry::{Peripheral, StandardInquiry, version};
use lunkeep_common::scsi::mode::{ALL_PAGES, ALL_SUBPAGES};
use lunkeep_common::scsi::vpd::{
    self, BlockCharacteristics, BlockLimits, ExtendedInquiry, LogicalBlockProvisioning, ProvisioningType,
};
use lunkeep_common::scsi::{Sense, ascii_field};

use super::super::config::{Identity, LogicalUnitConfig};
use super::super::nexus::{ExportPort, Nexus};
use super::port_groups::TARGET_PORT_GROUP;
use super::{Context, Next, Outcome, data_in, third_party_copy};
use crate::limits::UNMAP_GRANULARITY_REPORTED_MAX;

/// Makes the body of a VPD page.
type Body = fn(&Context<'_>) -> Vec<u8>;

/// The VPD pages, in ascending order.
pub(super) const PAGES: &[(u8, Body)] = &[
    (vpd::SUPPORTED_PAGES, |_| PAGES.iter().map(|(code, _)| *code).collect()),
    (vpd::UNIT_SERIAL_NUMBER, |context| context.config.identity.serial.clone().into_bytes()),
    (vpd::DEVICE_IDENTIFICATION, |context| {
        vpd::encode_designations(&designations(&context.config.identity, context.nexus))
    }),
    // None is known to the logical unit: an empty list.
    (vpd::MANAGEMENT_NETWORK_ADDRESSES, |_| Vec::new()),
    (vpd::EXTENDED_INQUIRY, |_| EXTENDED_INQUIRY.encode().to_vec()),
    // Every page and subpage is shared by all initiators.
    (vpd::MODE_PAGE_POLICY, |_| vec![ALL_PAGES, ALL_SUBPAGES, 0, 0]),
    (vpd::SCSI_PORTS, |context| context.ports.iter().flat_map(scsi_port).collect()),
    (vpd::THIRD_PARTY_COPY, |context| third_party_copy::page(&context.config.medium)),
    (vpd::BLOCK_LIMITS, |context| block_limits(context.config).encode().to_vec()),
    (vpd::BLOCK_DEVICE_CHARACTERISTICS, |_| BlockCharacteristics::NON_ROTATING.encode().to_vec()),
    (vpd::LOGICAL_BLOCK_PROVISIONING, |context| provisioning(context.config.medium.thin).encode().to_vec()),
];

/// The task attributes of [`task_order`](super::super::task_order).
const EXTENDED_INQUIRY: ExtendedInquiry = ExtendedInquiry {
    simple: true,
    ordered: true,
    head_of_queue: true,
    volatile_cache: true,
    max_sense_len: 252,
};

pub(super) fn inquiry(
    context: &Context<'_>,
    vital_product_data: bool,
    page_code: u8,
    allocation_length: u16,
) -> Outcome {
    let data = if vital_product_data {
        let page = PAGES.iter().find(|(code, _)| *code == page_code);
        let (_, body) = page.ok_or(Sense::invalid_field_in_cdb(2, None))?;
        vpd::encode_page(Peripheral::BLOCK, page_code, &body(context))
    } else if page_code != 0 {
        // PAGE CODE has a meaning only with EVPD (SPC-4 §6.6.1).
        return Err(Sense::invalid_field_in_cdb(2, None));
    } else {
        standard(context).encode().to_vec()
    };
    Ok(Next::Done(data_in(data, allocation_length.into())))
}

fn standard(context: &Context<'_>) -> StandardInquiry {
    let identity = &context.config.identity;
    StandardInquiry {
        peripheral: Peripheral::BLOCK,
        removable: context.config.removable,
        version: 6,
        command_queueing: true,
        multi_port: context.ports.len() > 1,
        third_party_copy: true,
        protection: false,
        // Implicit and explicit: one group, of which it can be asked what it is.
        target_port_groups: 0b11,
        vendor: identity.vendor.clone(),
        product: identity.product.clone(),
        revision: identity.revision.clone(),
        versions: vec![version::SAM_5, version::SPC_4, version::SBC_3, version::ISCSI],
    }
}

/// The names of the logical unit, of the port that the command came through, and of the target device (SPC-4 §7.8.6.2).
fn designations(identity: &Identity, nexus: &Nexus) -> Vec<Designation> {
    use Association::{TargetDevice, TargetPort};
    let ports = [
        (TargetPort, Designator::RelativeTargetPort(nexus.relative_target_port)),
        (TargetPort, Designator::TargetPortGroup(TARGET_PORT_GROUP)),
        (TargetPort, Designator::ScsiName(nexus.target.to_string())),
        (TargetDevice, Designator::ScsiName(nexus.target.name.to_string())),
    ];
    let ports = ports.into_iter().map(|(association, designator)| Designation { association, designator });
    names_of_unit(identity).chain(ports).collect()
}

/// The NAA name of the logical unit.
pub(super) fn naa_of_unit(identity: &Identity) -> Designation {
    let designator = Designator::Naa(identity.naa.clone());
    Designation { association: Association::LogicalUnit, designator }
}

/// The names of the logical unit.
pub(super) fn names_of_unit(identity: &Identity) -> impl Iterator<Item = Designation> {
    let association = Association::LogicalUnit;
    let naa_name = identity.naa.iter().fold(String::from("naa."), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02X}");
        name
    });
    // The product keeps serial numbers of different products of a vendor apart (SPC-4 §7.8.6.4).
    let vendor_specific = [&ascii_field::<16>(&identity.product), identity.serial.as_bytes()].concat();
    let vendor = identity.vendor.clone();
    [
        Designation {
            association,
            designator: Designator::T10VendorId { vendor, identifier: vendor_specific },
        },
        naa_of_unit(identity),
        Designation { association, designator: Designator::ScsiName(naa_name) },
    ]
    .into_iter()
}

/// A SCSI port descriptor (SPC-4 §7.8.14): no initiator port, one name of the target port.
fn scsi_port(port: &ExportPort) -> Vec<u8> {
    let name = Designation {
        association: Association::TargetPort,
        designator: Designator::ScsiName(port.target.to_string()),
    };
    let name = name.encode();
    let [high, low] = port.relative.to_be_bytes();
    let [len_high, len_low] = u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes();
    [[0, 0, high, low, 0, 0, 0, 0, 0, 0, len_high, len_low].as_slice(), &name].concat()
}

fn block_limits(config: &LogicalUnitConfig) -> BlockLimits {
    let medium = &config.medium;
    let if_thin = |value| if medium.thin { value } else { 0 };
    // A granularity of one block says nothing, and zero means that nothing is said (SBC-3 §6.6.3). QEMU 7.2 fails an assertion on
    // reading from a LUN of 4096-byte blocks for which it has one of a single block.
    let unmap_granularity = match medium.allocation_unit / medium.logical_block {
        0 | 1 => 0,
        blocks => if_thin(blocks.min(UNMAP_GRANULARITY_REPORTED_MAX)),
    };
    BlockLimits {
        write_same_non_zero: true,
        max_compare_and_write: config.commands.compare_and_write,
        optimal_granularity: u16::try_from(medium.blocks_per_physical()).unwrap_or(u16::MAX),
        max_transfer: config.commands.transfer / medium.logical_block,
        max_unmap_blocks: if_thin(config.commands.unmap_blocks),
        max_unmap_descriptors: if_thin(config.commands.unmap_descriptors),
        unmap_granularity,
        unmap_alignment: (unmap_granularity > 0).then_some(0),
        max_write_same: (config.commands.write_same / medium.logical_block).into(),
        ..BlockLimits::default()
    }
}

fn provisioning(thin: bool) -> LogicalBlockProvisioning {
    LogicalBlockProvisioning {
        threshold_exponent: 0,
        unmap: thin,
        write_same_16: thin,
        write_same_10: thin,
        reads_zero: thin,
        anchor: false,
        provisioning: if thin { ProvisioningType::Thin } else { ProvisioningType::NotReported },
    }
}
