//! What can be wrong with durable state, said so that the reader knows which file and what to do.

use std::io;
use std::path::PathBuf;

/// Why state could not be loaded or kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The host refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Host {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the host said.
        source: io::Error,
    },
    /// The file's bytes are not what was written.
    #[error(
        "state file {} is damaged: {reason}. Restore it from a backup. Only when there is none, delete it to have a new one made; \
         what it held is then lost, and initiators may see a different disk or target",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file was written by a newer program.
    #[error("state file {} has format version {found}; this program knows version {known}: use a newer lunkeep-target", path.display())]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// Another process has the folder open.
    #[error("image {} is being served by another process (it holds {})", image.display(), lock.display())]
    InUse {
        /// The image.
        image: PathBuf,
        /// The lock file.
        lock: PathBuf,
    },
    /// The identity came here by copying an image together with its state folder.
    #[error(
        "state folder {} was copied: it holds the identity of {}, which is still there, and two LUNs must not share one. \
         Delete the folder {} to give {} an identity of its own",
        folder.display(), original.display(), folder.display(), image.display()
    )]
    Copied {
        /// The folder that holds the copied identity.
        folder: PathBuf,
        /// The image that the identity belongs to.
        original: PathBuf,
        /// The image that was to be served.
        image: PathBuf,
    },
    /// There is no place beside the image that outlives a restart.
    #[error("{} is not a regular file, so its state cannot be kept beside it: give a state folder (--state DIR, or `state` in the configuration)", image.display())]
    NeedsStateFolder {
        /// The image.
        image: PathBuf,
    },
    /// The path cannot be written into a state file.
    #[error("the path {} is not valid UTF-8: rename the image", path.display())]
    NotUtf8 {
        /// The path.
        path: PathBuf,
    },
}

impl StoreError {
    /// Wraps an error of the host; to be used with `map_err`.
    pub(super) fn host(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Host { action, path, source }
    }
}
