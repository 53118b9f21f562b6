//! Chains: a differencing disk holds what differs from its parent, which may be one itself.
//!
//! A format reads from the child how its parent is called and which identity it must have. [`Lineage`] does the rest, the same
//! way for every format: it asks the [`ParentSource`] for the file, checks that it is no ancestor of itself, that its
//! identity, size and sectors are right, and opens it read-only. This room opens no files: which names mean which file, and
//! which folders may be looked into at all, is the source's to say.
//!
//! A parent never changes while it is open here, so several children may share one open parent.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    Access, BlockFile, BlockStatus, CheckReport, Disk, DiskError, Environment, Format, ImageInfo, OpenError,
    OpenErrorKind, Severity,
};
use crate::limits::MAX_CHAIN_DEPTH;

/// What makes two names one file: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileKey {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
}

/// A file that may be a parent.
#[derive(Clone, Debug)]
pub struct ParentFile {
    /// The file, open for reading and locked against writers.
    pub file: Arc<dyn BlockFile>,
    /// Which file it is.
    pub key: FileKey,
    /// What errors call it.
    pub label: String,
    /// Where its own parents are.
    pub parents: Arc<dyn ParentSource>,
}

/// Finds the parents of one file.
pub trait ParentSource: Send + Sync + fmt::Debug {
    /// The file whose parents these are; `None` when it has no identity, and so cannot be in a circle.
    fn child(&self) -> Option<FileKey>;

    /// Opens the file that `name`, as the child's metadata has it, means. `Ok(None)`: there is no such file.
    ///
    /// # Errors
    /// A sentence why the file may not be or cannot be opened.
    fn find(&self, name: &str) -> Result<Option<ParentFile>, String>;

    /// A parent that another child has open.
    fn shared(&self, _key: FileKey) -> Option<Arc<dyn Disk>> {
        None
    }

    /// Offers an open parent to other children.
    fn share(&self, _key: FileKey, _parent: &Arc<dyn Disk>) {}
}

/// What a child says of its parent.
#[derive(Clone, Debug)]
pub struct Link {
    /// Format of the child, and of the parent.
    pub format: Format,
    /// Names, the best first.
    pub names: Vec<String>,
    /// Identities of which the parent must have one.
    pub ids: Vec<Uuid>,
    /// Bytes of the child's disk.
    pub size: u64,
    /// Bytes of the child's logical sector.
    pub logical_block: u32,
}

/// The files above a file, and where its parents are.
#[derive(Clone, Debug, Default)]
pub struct Lineage {
    source: Option<Arc<dyn ParentSource>>,
    /// Files from the first child down to this one.
    above: Vec<FileKey>,
    ignore_ids: bool,
}

/// A parent that was found, with the lineage of its own parents.
struct Found {
    parent: ParentFile,
    lineage: Lineage,
}

impl Lineage {
    /// Without parents: differencing disks are refused.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// For a file whose parents `source` finds.
    #[must_use]
    pub fn new(source: Arc<dyn ParentSource>) -> Self {
        let above = source.child().into_iter().collect();
        Self { source: Some(source), above, ignore_ids: false }
    }

    /// Also takes a parent with another identity, for a repair by hand.
    #[must_use]
    pub fn ignoring_identities(mut self) -> Self {
        self.ignore_ids = true;
        self
    }

    /// Opens the parent that `link` tells of.
    ///
    /// # Errors
    /// [`OpenErrorKind::ParentNeeded`] when there is none that fits, [`OpenErrorKind::Damaged`] for a circle and what the parent's
    /// own open says.
    pub fn open_parent(&self, link: &Link, env: &Arc<dyn Environment>) -> Result<Backing, OpenError> {
        let disk = self.open(link, env)?;
        Ok(Backing { size: disk.geometry().size, disk })
    }

    fn open(&self, link: &Link, env: &Arc<dyn Environment>) -> Result<Arc<dyn Disk>, OpenError> {
        let Found { parent, lineage } = self.find(link)?;
        let within = |depth: usize| {
            if self.above.len().max(1) + depth <= MAX_CHAIN_DEPTH {
                Ok(())
            } else {
                Err(OpenError::unsupported(
                    link.format,
                    "parent",
                    format!("the chain of parents has more than {MAX_CHAIN_DEPTH} files"),
                )
                .advise("merge some of them"))
            }
        };
        within(1)?;
        let known = self.source.as_ref().and_then(|source| source.shared(parent.key));
        let opened = match known {
            Some(opened) => opened,
            None => {
                let file = Arc::clone(&parent.file);
                let opened = link.format.open_in(file, Access::ReadOnly, env, &lineage).map_err(|e| {
                    let detail = format!("{}: {e}", parent.label);
                    OpenError::new(e.kind(), Some(link.format), "parent", detail)
                })?;
                if let Some(source) = &self.source {
                    source.share(parent.key, &opened);
                }
                opened
            }
        };
        within(opened.chain_depth())?;
        let geometry = opened.geometry();
        let refuse = |what: &str, child: u64, parent_has: u64| {
            Err(OpenError::new(
                OpenErrorKind::ParentNeeded,
                Some(link.format),
                "parent",
                format!("{} has a {what} of {parent_has} bytes, the child of {child}", parent.label),
            ))
        };
        if geometry.logical_block != link.logical_block {
            return refuse("logical sector", link.logical_block.into(), geometry.logical_block.into());
        }
        if geometry.size > link.size {
            return refuse("size", link.size, geometry.size);
        }
        Ok(opened)
    }

    fn find(&self, link: &Link) -> Result<Found, OpenError> {
        let error = |kind, detail: String| OpenError::new(kind, Some(link.format), "parent", detail);
        let names = if link.names.is_empty() {
            "a file without a name".to_owned()
        } else {
            link.names.iter().map(|n| format!("{n:?}")).collect::<Vec<_>>().join(" or ")
        };
        let Some(source) = &self.source else {
            return Err(error(
                OpenErrorKind::ParentNeeded,
                format!("{names} is needed: this is a differencing disk"),
            ));
        };
        let mut problems = Vec::new();
        for name in &link.names {
            let parent = match source.find(name) {
                Ok(None) => continue,
                Ok(Some(parent)) => parent,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            if self.above.contains(&parent.key) {
                return Err(error(
                    OpenErrorKind::Damaged,
                    format!("{} is an ancestor of itself: the chain is a circle", parent.label),
                ));
            }
            let right = match link.format.identity(&parent.file) {
                Ok(id) if link.ids.contains(&id) || self.ignore_ids => Ok(()),
                Ok(id) => Err(format!(
                    "{} is not the parent: its identity is {id}, the child was made of {}; it was changed or replaced since",
                    parent.label,
                    link.ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(" or ")
                )),
                Err(e) => Err(format!("{}: {e}", parent.label)),
            };
            match right {
                Ok(()) => {
                    let mut above = self.above.clone();
                    above.push(parent.key);
                    let source = Some(Arc::clone(&parent.parents));
                    return Ok(Found {
                        parent,
                        lineage: Self { source, above, ignore_ids: self.ignore_ids },
                    });
                }
                Err(problem) => problems.push(problem),
            }
        }
        problems.dedup();
        Err(if problems.is_empty() {
            error(OpenErrorKind::ParentNeeded, format!("{names} is needed and not found"))
                .advise("put it beside the child, or name its folder with --parent-dir")
        } else {
            error(OpenErrorKind::ParentNeeded, problems.join("; "))
        })
    }
}

/// A parent that is open, as its child reads it: what lies past its end is zero.
#[derive(Clone, Debug)]
pub struct Backing {
    disk: Arc<dyn Disk>,
    size: u64,
}

impl Backing {
    /// The parent's disk.
    #[must_use]
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn split<'a>(&self, buf: &'a mut [u8], offset: u64) -> (&'a mut [u8], &'a mut [u8]) {
        let there = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        buf.split_at_mut(there)
    }

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// As [`Disk::read_at`].
    pub fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), DiskError> {
        let (there, past) = self.split(buf, offset);
        past.fill(0);
        if there.is_empty() { Ok(()) } else { self.disk.read_at(there, offset) }
    }

    /// As [`Backing::read`] when that does not wait.
    ///
    /// # Errors
    /// As [`Disk::read_cached_at`].
    pub fn read_cached(&self, buf: &mut [u8], offset: u64) -> Result<bool, DiskError> {
        let (there, past) = self.split(buf, offset);
        past.fill(0);
        if there.is_empty() { Ok(true) } else { self.disk.read_cached_at(there, offset) }
    }

    /// The status at `offset`, and for how many bytes it holds, at most `len`.
    ///
    /// # Errors
    /// As [`Disk::block_status`].
    pub fn status(&self, offset: u64, len: u64) -> Result<(BlockStatus, u64), DiskError> {
        match self.size.checked_sub(offset) {
            None | Some(0) => Ok((BlockStatus::Deallocated, len)),
            Some(left) => self.disk.block_status(offset, len.min(left)),
        }
    }

    /// Whether all of a range takes no space, and so is zero.
    ///
    /// # Errors
    /// As [`Disk::block_status`].
    pub fn is_empty(&self, offset: u64, len: u64) -> Result<bool, DiskError> {
        let end = offset.saturating_add(len);
        let mut at = offset;
        while at < end {
            match self.status(at, end - at)? {
                (BlockStatus::Deallocated, len) => at += len.max(1),
                (BlockStatus::Mapped, _) => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// A file of a chain.
#[derive(Debug)]
pub struct Member {
    /// What errors call it.
    pub label: String,
    /// The file.
    pub file: Arc<dyn BlockFile>,
    /// What it says of itself.
    pub info: ImageInfo,
}

/// Describes the ancestors of `file`, the nearest first. The error at the end, if there is one, tells where the chain breaks.
#[must_use]
pub fn ancestors(
    format: Format,
    file: &Arc<dyn BlockFile>,
    lineage: &Lineage,
) -> (Vec<Member>, Option<OpenError>) {
    let mut members: Vec<Member> = Vec::new();
    let (mut file, mut lineage) = (Arc::clone(file), lineage.clone());
    loop {
        let link = match format.link(&file) {
            Ok(Some(link)) => link,
            Ok(None) => return (members, None),
            Err(e) => return (members, Some(e)),
        };
        if members.len() + 1 >= MAX_CHAIN_DEPTH {
            let detail = format!("the chain of parents has more than {MAX_CHAIN_DEPTH} files");
            return (members, Some(OpenError::unsupported(format, "parent", detail)));
        }
        let found = lineage.find(&link).and_then(|found| {
            let info = format.inspect(&found.parent.file)?;
            Ok((found, info))
        });
        match found {
            Ok((found, info)) => {
                file = Arc::clone(&found.parent.file);
                lineage = found.lineage;
                members.push(Member { label: found.parent.label, file: found.parent.file, info });
            }
            Err(e) => return (members, Some(e)),
        }
    }
}

/// Adds to `report` what is wrong with the ancestors of `file`: a chain that breaks, and damage in any of its files.
///
/// # Errors
/// [`OpenError`] when the host fails.
pub fn check(
    format: Format,
    file: &Arc<dyn BlockFile>,
    lineage: &Lineage,
    env: &Arc<dyn Environment>,
    report: &mut CheckReport,
) -> Result<(), OpenError> {
    let Ok(Some(link)) = format.link(file) else { return Ok(()) };
    let (members, broken) = ancestors(format, file, lineage);
    for member in &members {
        let found = format.check(&member.file, false, env)?;
        for finding in found.findings.iter().filter(|f| f.severity == Severity::Error) {
            report.found(Severity::Error, format!("{}: {}", member.label, finding.message));
        }
    }
    match broken.or_else(|| lineage.open(&link, env).err()) {
        Some(error) if error.kind() == OpenErrorKind::Io => return Err(error),
        Some(error) => report.found(Severity::Error, error.to_string()),
        None => {}
    }
    Ok(())
}
