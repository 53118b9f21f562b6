//! Commands again that the device did not process: unit attentions tell of a change and busy states pass.
//!
//! The library leaves both to its callers, since a cluster node must see them; a plain copy need not.

use std::future::Future;
use std::time::Duration;

use tracing::info;

use crate::engine::Error;
use crate::limits::UNIT_ATTENTIONS_MAX;

/// Pause before a busy device is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Runs a command until it was processed, a bounded number of times.
pub(super) async fn until_processed<T, F>(mut command: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    for _ in 0..UNIT_ATTENTIONS_MAX {
        match command().await {
            Err(Error::Command { error, .. }) if error.unit_attention().is_some() => info!(%error, "again"),
            Err(Error::Command { error, .. }) if error.is_busy() => tokio::time::sleep(PAUSE).await,
            other => return other,
        }
    }
    command().await
}
