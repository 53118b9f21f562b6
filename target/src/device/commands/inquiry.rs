//! INQUIRY: standard data and vital product data (SPC-4 §6.6, §7.8; SBC-3 §6.5).

use std::fmt::Write as _;

use lunkeep_common::scsi::designator::{Association, Designation, Designator};
use lunkeep_common::scsi::inquiry::{Peripheral, StandardInquiry, version};
use lunkeep_common::scsi::vpd::{
    self, BlockCharacteristics, BlockLimits, LogicalBlockProvisioning, ProvisioningType,
};
use lunkeep_common::scsi::{Sense, ascii_field};

use super::super::config::{Identity, LogicalUnitConfig};
use super::super::nexus::Nexus;
use super::{Context, Next, Outcome, data_in};
use crate::limits::UNMAP_GRANULARITY_REPORTED_MAX;

/// Target port group of every target port: there is one group, in which all ports are alike.
const TARGET_PORT_GROUP: u16 = 0;

/// Makes the body of a VPD page.
type Body = fn(&LogicalUnitConfig, &Nexus) -> Vec<u8>;

/// The VPD pages, in ascending order.
const PAGES: &[(u8, Body)] = &[
    (vpd::SUPPORTED_PAGES, |_, _| PAGES.iter().map(|(code, _)| *code).collect()),
    (vpd::UNIT_SERIAL_NUMBER, |config, _| config.identity.serial.clone().into_bytes()),
    (vpd::DEVICE_IDENTIFICATION, |config, nexus| {
        vpd::encode_designations(&designations(&config.identity, nexus))
    }),
    (vpd::BLOCK_LIMITS, |config, _| block_limits(config).encode().to_vec()),
    (vpd::BLOCK_DEVICE_CHARACTERISTICS, |_, _| BlockCharacteristics::NON_ROTATING.encode().to_vec()),
    (vpd::LOGICAL_BLOCK_PROVISIONING, |config, _| provisioning(config.medium.thin).encode().to_vec()),
];

pub(super) fn inquiry(
    context: &Context<'_>,
    vital_product_data: bool,
    page_code: u8,
    allocation_length: u16,
) -> Outcome {
    let data = if vital_product_data {
        let page = PAGES.iter().find(|(code, _)| *code == page_code);
        let (_, body) = page.ok_or(Sense::invalid_field_in_cdb(2, None))?;
        vpd::encode_page(Peripheral::BLOCK, page_code, &body(context.config, context.nexus))
    } else if page_code != 0 {
        // PAGE CODE has a meaning only with EVPD (SPC-4 §6.6.1).
        return Err(Sense::invalid_field_in_cdb(2, None));
    } else {
        standard(&context.config.identity).encode().to_vec()
    };
    Ok(Next::Done(data_in(data, allocation_length.into())))
}

fn standard(identity: &Identity) -> StandardInquiry {
    StandardInquiry {
        peripheral: Peripheral::BLOCK,
        removable: false,
        version: 6,
        command_queueing: true,
        multi_port: false,
        protection: false,
        target_port_groups: 0,
        vendor: identity.vendor.clone(),
        product: identity.product.clone(),
        revision: identity.revision.clone(),
        versions: vec![version::SAM_5, version::SPC_4, version::SBC_3, version::ISCSI],
    }
}

/// The names of the logical unit, of the port that the command came through, and of the target device (SPC-4 §7.8.6.2).
fn designations(identity: &Identity, nexus: &Nexus) -> Vec<Designation> {
    use Association::{LogicalUnit, TargetDevice, TargetPort};
    let naa_name = identity.naa.iter().fold(String::from("naa."), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02X}");
        name
    });
    // The product keeps serial numbers of different products of a vendor apart (SPC-4 §7.8.6.4).
    let vendor_specific = [&ascii_field::<16>(&identity.product), identity.serial.as_bytes()].concat();
    let vendor = identity.vendor.clone();
    let names = [
        (LogicalUnit, Designator::T10VendorId { vendor, identifier: vendor_specific }),
        (LogicalUnit, Designator::Naa(identity.naa.clone())),
        (LogicalUnit, Designator::ScsiName(naa_name)),
        (TargetPort, Designator::RelativeTargetPort(nexus.relative_target_port)),
        (TargetPort, Designator::TargetPortGroup(TARGET_PORT_GROUP)),
        (TargetPort, Designator::ScsiName(nexus.target.to_string())),
        (TargetDevice, Designator::ScsiName(nexus.target.name.to_string())),
    ];
    names.into_iter().map(|(association, designator)| Designation { association, designator }).collect()
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
