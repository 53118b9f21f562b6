//! Merging a child into its parent.
//!
//! The parent is open for writing and the child reads through that very disk, so the child reads the same at every moment, and
//! after a crash: only sectors that the child holds itself are written to the parent. Where writing changes the parent's
//! identity the child is told the next one before, so the two stay parent and child until all is merged.

use std::fmt;
use std::io;
use std::sync::Arc;

use uuid::Uuid;

use super::copy::CopyError;
use super::tools::{self, Progress};
use super::{
    Access, BlockFile, Disk, DiskError, Environment, FileKey, Format, Lineage, OpenError, ParentFile,
    ParentSource,
};

/// Why a merge did not come to its end. It may be started again.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An image cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The host has no randomness.
    #[error("no random identity: {0}")]
    Random(io::Error),
    /// Reading, writing, or a stop.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// The parent cannot be put on stable storage.
    #[error("closing the parent: {0}")]
    Close(DiskError),
}

/// The one parent that is open for writing.
struct Single {
    child: FileKey,
    parent: ParentFile,
    disk: Arc<dyn Disk>,
}

impl fmt::Debug for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Single").field("parent", &self.parent.label).finish_non_exhaustive()
    }
}

impl ParentSource for Single {
    fn child(&self) -> Option<FileKey> {
        Some(self.child)
    }

    fn find(&self, _name: &str) -> Result<Option<ParentFile>, String> {
        Ok(Some(self.parent.clone()))
    }

    fn shared(&self, key: FileKey) -> Option<Arc<dyn Disk>> {
        (key == self.parent.key).then(|| Arc::clone(&self.disk))
    }
}

/// Gives the parent the identity that its child was told.
#[derive(Debug)]
struct Foretold {
    inner: Arc<dyn Environment>,
    next: Uuid,
}

impl Environment for Foretold {
    fn random_guid(&self) -> io::Result<Uuid> {
        self.inner.random_guid()
    }

    fn content_guid(&self) -> io::Result<Uuid> {
        Ok(self.next)
    }

    fn unix_time(&self) -> u64 {
        self.inner.unix_time()
    }
}

/// Merges the child in `file`, which is `child` and open for writing, into `parent`, which is open for writing, too. Then the
/// parent reads as the child did, and is closed; the child is as good as empty, and still its child.
///
/// # Errors
/// [`MergeError`]; chain and content are as before then.
pub fn merge(
    format: Format,
    (file, child): (&Arc<dyn BlockFile>, FileKey),
    parent: ParentFile,
    env: &Arc<dyn Environment>,
    progress: Progress<'_>,
) -> Result<(), MergeError> {
    let lineage = Lineage::new(Arc::clone(&parent.parents));
    let next = env.random_guid().map_err(MergeError::Random)?;
    let now = format.identity(&parent.file)?;
    let foretold: Arc<dyn Environment> = Arc::new(Foretold { inner: Arc::clone(env), next });
    let disk = format.open_in(Arc::clone(&parent.file), Access::ReadWrite, &foretold, &lineage)?;
    let single = Lineage::new(Arc::new(Single { child, parent: parent.clone(), disk: Arc::clone(&disk) }));
    // Opened before it is told anything: a stranger is refused here.
    drop(format.open_in(Arc::clone(file), Access::ReadOnly, env, &single)?);
    format.expect_parent(file, now, next, env)?;
    let child = format.open_in(Arc::clone(file), Access::ReadOnly, env, &single)?;
    tools::merge(&*child, &*disk, progress)?;
    disk.close().map_err(MergeError::Close)
}
