//! Which blocks a copy is about, and how many bytes go into one command.

use std::collections::VecDeque;

use lunkeep_common::scsi::vpd::{BLOCK_LIMITS, BlockLimits};
use tokio::task::JoinHandle;

use super::failure::Failure;
use super::retry::until_processed;
use crate::engine::{Error, LunHandle};
use crate::limits::{CHUNK_LEN, PIPELINE_DEPTH};

/// A logical unit that is ready.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unit {
    pub(super) block_len: u32,
    /// Size in bytes.
    pub(super) len: u64,
    /// Blocks of one command.
    pub(super) chunk: u32,
    /// The most blocks that the LUN takes in one command.
    pub(super) longest: u32,
}

/// Waits until the unit is ready and asks for its size and limits.
pub(super) async fn prepare(lun: &LunHandle) -> Result<Unit, Failure> {
    until_processed(|| lun.ready()).await?;
    let capacity = until_processed(|| lun.read_capacity()).await?;
    let len = (capacity.last_lba + 1).checked_mul(u64::from(capacity.block_len));
    let len = len.ok_or_else(|| Failure::local("the LUN states a size of more than 2^64 bytes"))?;
    // A unit without the page states no limit.
    let limit = match until_processed(|| lun.vital_product_data(BLOCK_LIMITS)).await {
        Ok(page) => BlockLimits::decode(&page).map_or(0, |limits| limits.max_transfer),
        Err(Error::Command { .. }) => 0,
        Err(error) => return Err(error.into()),
    };
    let usual = (CHUNK_LEN / capacity.block_len).max(1);
    let longest = if limit == 0 { u32::MAX } else { limit };
    Ok(Unit { block_len: capacity.block_len, len, chunk: usual.min(longest), longest })
}

/// Commands under way, in the order in which they were begun.
pub(super) struct Pipeline<T>(VecDeque<JoinHandle<Result<T, Error>>>);

impl<T: Send + 'static> Pipeline<T> {
    pub(super) const fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= PIPELINE_DEPTH
    }

    pub(super) fn push(&mut self, command: impl Future<Output = Result<T, Error>> + Send + 'static) {
        self.0.push_back(tokio::spawn(command));
    }

    /// The result of the oldest command; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<Result<T, Failure>> {
        let result = self.0.pop_front()?.await;
        Some(match result {
            Ok(result) => result.map_err(Failure::from),
            Err(error) => Err(Failure::local(format!("a task of this program ended: {error}"))),
        })
    }
}
