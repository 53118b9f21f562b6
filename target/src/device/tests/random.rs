//! Any bytes as a CDB: nothing panics, and what reaches the medium lies within it.

use lunkeep_common::scsi::opcode_table::TABLE;
use proptest::prelude::*;

use super::*;

/// A CDB whose operation is in the table, with a bias towards bits that are allowed and towards small values.
fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![2 => Just(0u8), 1 => 0u8..4, 1 => any::<u8>(), 1 => Just(0xff)];
    let parts = (0..TABLE.len(), prop::collection::vec(byte, 32), prop::bool::weighted(0.9));
    parts.prop_map(|(row, mut cdb, allowed)| {
        let info = &TABLE[row];
        if allowed {
            for (at, byte) in cdb.iter_mut().enumerate().take(info.usage.len()) {
                *byte &= info.allowed(at);
            }
        }
        cdb[0] = info.opcode;
        cdb[1] |= info.service_action.unwrap_or(0);
        cdb
    })
}

fn within(op: &MediaOp, size: u64, block: u64) -> bool {
    let fits = |offset: u64, len: u64| {
        len > 0
            && offset.is_multiple_of(block)
            && len.is_multiple_of(block)
            && offset.checked_add(len).is_some_and(|end| end <= size)
    };
    match op {
        MediaOp::Read { offset, len } => fits(*offset, (*len).into()),
        MediaOp::ReadForCopy { offset, len, .. } => fits(*offset, *len),
        MediaOp::Write { offset, data, .. } => {
            fits(*offset, data.iter().map(|piece| piece.len() as u64).sum())
        }
        MediaOp::Verify { offset, len, compare } => {
            fits(*offset, *len)
                && compare.as_ref().is_none_or(|c| [block, *len].contains(&(c.concat().len() as u64)))
        }
        MediaOp::WriteSame { offset, len, pattern, .. } => {
            fits(*offset, *len) && pattern.len() as u64 == block
        }
        MediaOp::Unmap { ranges } => !ranges.is_empty() && ranges.iter().all(|&(at, len)| fits(at, len)),
        MediaOp::WriteAndVerify { offset, data, .. } | MediaOp::OrWrite { offset, data, .. } => {
            fits(*offset, data.concat().len() as u64)
        }
        MediaOp::CompareAndWrite { offset, expected, write, .. } => {
            fits(*offset, write.concat().len() as u64) && expected.concat().len() == write.concat().len()
        }
        MediaOp::Prefetch { offset, len } => fits(*offset, *len),
        MediaOp::BlockStatus { offset, len, parts } => fits(*offset, *len) && *parts > 0,
        MediaOp::Flush | MediaOp::Save(_) => true,
    }
}

proptest! {
    #[test]
    fn operations_on_the_medium_lie_within_it(
        cdb in any_cdb(),
        data in prop_oneof![Just(0usize), Just(512), Just(8), 0usize..5000],
        fill in any::<u8>(),
        read_only in any::<bool>(),
        thin in any::<bool>(),
    ) {
        let mut bench = Bench::with(|config| {
            config.medium.read_only = read_only;
            config.medium.thin = thin;
        });
        let completion = bench.run_out(&cdb, &vec![fill; data]);
        prop_assert_eq!(completion.status == Status::CheckCondition, completion.sense.is_some());
        for op in &bench.ops {
            prop_assert!(within(op, BLOCKS * 512, 512), "{:?}", op);
            prop_assert!(!(read_only && op.changes_medium()) || matches!(op, MediaOp::Save(_)), "{:?}", op);
        }
        prop_assert_eq!(bench.unit.task_count(), 0);
    }

    #[test]
    fn any_bytes_are_answered_where_there_is_no_unit(cdb in prop::collection::vec(any::<u8>(), 0..32), lun: u64) {
        let completion = crate::device::absent::answer(Lun(lun), &cdb, &[]);
        prop_assert_eq!(completion.status == Status::CheckCondition, completion.sense.is_some());
    }
}
