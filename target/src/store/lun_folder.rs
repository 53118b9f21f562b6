//! The state folder of one LUN: where it is, who may open it, what it holds.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::audit::AuditTrail;
use super::error::StoreError;
use super::files::{Files, HostFiles};
use super::identity::{LunIdentity, Naa, TargetName};
use super::parameters::FileParameters;
use super::ports::{KeptPorts, PortNumbers};
use super::record::{self, hex};
use super::reservations::FileState;

const IDENTITY: &str = "identity.json";
const TARGET: &str = "target.json";
const PARAMETERS: &str = "parameters.json";
const PORTS: &str = "ports.json";
const LOCK: &str = "lock";

/// Where state folders are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateLocation {
    /// `IMAGE.lunkeep` beside each image.
    BesideImage,
    /// `luns/NAME-HASH.lunkeep` in this folder, where HASH stands for the image's path.
    Folder(PathBuf),
}

impl StateLocation {
    /// The state folder of `image`, which is absolute and without symbolic links.
    #[must_use]
    pub fn folder_of(&self, image: &Path) -> PathBuf {
        match self {
            Self::BesideImage => with_suffix(image, ".lunkeep"),
            Self::Folder(folder) => {
                let hash = hex(&Sha256::digest(image.as_os_str().as_encoded_bytes())[..8]);
                let name = image.file_name().unwrap_or_default().to_string_lossy();
                folder.join("luns").join(format!("{name}-{hash}.lunkeep"))
            }
        }
    }
}

/// The open state folder of one LUN. While it lives no other process can open it.
#[derive(Debug)]
pub struct LunFolder {
    path: PathBuf,
    identity: LunIdentity,
    _lock: File,
}

impl LunFolder {
    /// Opens the state folder of `image`, which must exist. Folder and identity are made when there are none; a new identity
    /// is made out of `random`, which means nothing otherwise.
    ///
    /// # Errors
    /// Each [`StoreError`].
    pub fn open(location: &StateLocation, image: &Path, random: [u8; 8]) -> Result<Self, StoreError> {
        let files = HostFiles;
        let place = Place::find(location, image)?;
        make_folder(&files, &place.folder)?;
        let lock = lock(&place)?;
        let kept = place.load(&files, location)?;
        let (naa, serial) = match &kept {
            Some(kept) => (kept.naa, kept.serial.clone()),
            None => {
                let naa = Naa::from_random(random);
                (naa, naa.to_string())
            }
        };
        let identity = LunIdentity { naa, serial, image: place.text()?.into(), inode: place.inode };
        // Also when it came from beside the image: what this folder holds is then written here.
        if kept.as_ref() != Some(&identity) || !place.identity_file().exists() {
            record::save(&files, &place.identity_file(), &identity)?;
        }
        Ok(Self { path: place.folder, identity, _lock: lock })
    }

    /// The identity that [`LunFolder::open`] would find, without making or locking anything. `None`: it would make a new one.
    ///
    /// # Errors
    /// As [`LunFolder::open`], but never [`StoreError::InUse`].
    pub fn peek(location: &StateLocation, image: &Path) -> Result<Option<LunIdentity>, StoreError> {
        Place::find(location, image)?.load(&HostFiles, location)
    }

    /// The LUN's identity.
    #[must_use]
    pub const fn identity(&self) -> &LunIdentity {
        &self.identity
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the LUN's reservations are kept.
    #[must_use]
    pub fn reservations(&self) -> FileState {
        FileState::new(super::reservations::file_in(&self.path), self.identity.naa)
    }

    /// Where its mode parameters and what else it keeps are.
    #[must_use]
    pub fn parameters(&self) -> FileParameters {
        FileParameters::new(self.path.join(PARAMETERS))
    }

    /// Where changes of its reservations are written down.
    #[must_use]
    pub fn audit_trail(&self) -> AuditTrail {
        AuditTrail::in_folder(&self.path)
    }

    /// The relative target port identifiers of the ports that lead, or once led, to this LUN.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::NewerVersion`], [`StoreError::Host`].
    pub fn port_numbers(&self) -> Result<PortNumbers, StoreError> {
        let path = self.path.join(PORTS);
        let kept = record::load::<KeptPorts>(&HostFiles, &path)?.unwrap_or_default();
        kept.numbers().map_err(|reason| StoreError::Damaged { path, reason })
    }

    /// Keeps these identifiers, and forgets those of all other ports.
    ///
    /// # Errors
    /// [`StoreError::Host`].
    pub fn keep_port_numbers(&self, numbers: &PortNumbers) -> Result<(), StoreError> {
        record::save(&HostFiles, &self.path.join(PORTS), &KeptPorts::new(numbers))
    }

    /// The name that was kept for the target of this LUN; `proposal` is kept and returned when there is none yet.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::NewerVersion`], [`StoreError::Host`].
    pub fn target_name(&self, proposal: &str) -> Result<String, StoreError> {
        let file = self.path.join(TARGET);
        if let Some(kept) = record::load::<TargetName>(&HostFiles, &file)? {
            return Ok(kept.name);
        }
        record::save(&HostFiles, &file, &TargetName { name: proposal.into() })?;
        Ok(proposal.into())
    }
}

/// Where an image and its state are.
struct Place {
    /// The image, absolute and without symbolic links.
    image: PathBuf,
    inode: u64,
    folder: PathBuf,
}

impl Place {
    fn find(location: &StateLocation, image: &Path) -> Result<Self, StoreError> {
        let image = image.canonicalize().map_err(StoreError::host("find", image))?;
        let metadata = image.metadata().map_err(StoreError::host("look at", &image))?;
        if *location == StateLocation::BesideImage && !metadata.is_file() {
            return Err(StoreError::NeedsStateFolder { image });
        }
        let folder = location.folder_of(&image);
        let place = Self { image, inode: metadata.ino(), folder };
        place.text()?;
        Ok(place)
    }

    fn text(&self) -> Result<&str, StoreError> {
        self.image.to_str().ok_or_else(|| StoreError::NotUtf8 { path: self.image.clone() })
    }

    fn identity_file(&self) -> PathBuf {
        self.folder.join(IDENTITY)
    }

    fn load(&self, files: &impl Files, location: &StateLocation) -> Result<Option<LunIdentity>, StoreError> {
        let mut found = record::load(files, &self.identity_file())?;
        if found.is_none() && *location != StateLocation::BesideImage {
            // An identity that was made while state was kept beside the image goes on when a state folder is given later.
            let beside = StateLocation::BesideImage.folder_of(&self.image);
            found = record::load(files, &beside.join(IDENTITY))?;
        }
        if let Some(found) = &found {
            self.refuse_copy(found)?;
        }
        Ok(found)
    }

    /// A moved image keeps its inode, or its old path is gone; with a copied one the old path still leads to another file.
    fn refuse_copy(&self, found: &LunIdentity) -> Result<(), StoreError> {
        let original = Path::new(&found.image);
        if original == self.image || found.inode == self.inode {
            return Ok(());
        }
        match original.metadata() {
            Ok(other) if other.ino() != self.inode => Err(StoreError::Copied {
                folder: self.folder.clone(),
                original: original.into(),
                image: self.image.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// `path` with `suffix` after its last component.
fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    text.into()
}

/// Makes a folder and what is missing above it, durably.
fn make_folder(files: &impl Files, path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(files, above)?;
    match std::fs::create_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(StoreError::host("make the state folder", path)(error)),
        Ok(()) => {}
    }
    files.sync_folder(above).map_err(StoreError::host("sync", above))
}

fn lock(place: &Place) -> Result<File, StoreError> {
    let path = place.folder.join(LOCK);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(StoreError::host("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { image: place.image.clone(), lock: path }),
        Err(TryLockError::Error(error)) => Err(StoreError::host("lock", &path)(error)),
    }
}

#[cfg(test)]
mod tests;
