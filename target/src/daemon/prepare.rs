//! From what is to be served to open disks with identities: the last step before the engine.
//!
//! Creates missing images, opens every image and its state folder, and refuses what must not be: one image as two LUNs, two
//! LUNs with one identity, two targets with one name. When anything fails, what was opened before is closed again.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunkeep_common::name::{IscsiName, NameError};

use super::images::{self, ImageError};
use super::name;
use super::spec::{Access, Authentication, LunSpec, ServeSpec, TargetSpec};
use crate::engine::ParentFolders;
use crate::image::{Disk, DiskError, Format};
use crate::store::{LunFolder, Naa, StateLocation, StoreError};

/// Targets with open disks.
#[derive(Debug)]
pub struct Prepared {
    /// The targets.
    pub targets: Vec<PreparedTarget>,
    /// What a person should know and nobody asked for, in sentences.
    pub notes: Vec<String>,
}

/// A target with open disks.
#[derive(Debug)]
pub struct PreparedTarget {
    /// Its name, given or kept.
    pub name: IscsiName,
    /// A text for people.
    pub alias: Option<String>,
    /// Its logical units, by number.
    pub luns: BTreeMap<u16, PreparedLun>,
    /// How initiators log in.
    pub authentication: Authentication,
    /// Which initiators may, and what they see.
    pub access: Access,
}

/// A logical unit with its open disk.
#[derive(Debug)]
pub struct PreparedLun {
    /// The image: absolute, without symbolic links.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// Whether it was created just now.
    pub created: bool,
    /// NAA designator.
    pub naa: Naa,
    /// Serial number.
    pub serial: String,
    /// Whether the medium can be ejected and loaded.
    pub removable: bool,
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The state folder, held open.
    pub folder: LunFolder,
}

/// Why something cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An image.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A folder for parents of differencing disks.
    #[error("a folder for parents: {0}")]
    ParentFolder(String),
    /// Durable state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host gives no random bytes for an identity.
    #[error("the host gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// One image twice.
    #[error("{} is given twice, as {first} and as {second}; one image is one LUN", path.display())]
    SameImage {
        /// The image.
        path: PathBuf,
        /// One place.
        first: String,
        /// The other place.
        second: String,
    },
    /// One identity twice.
    #[error(
        "{first} and {second} have the same {what}; give one of them another serial number, or an identity of its own"
    )]
    SameIdentity {
        /// One place.
        first: String,
        /// The other place.
        second: String,
        /// What is the same, with its value.
        what: String,
    },
    /// Two targets with one name.
    #[error("two targets have the name {0}")]
    SameName(IscsiName),
    /// The name in a state folder is not one.
    #[error("the name kept in {}: {source}", folder.display())]
    KeptName {
        /// The state folder.
        folder: PathBuf,
        /// What is wrong with it.
        source: NameError,
    },
}

impl Prepared {
    /// Opens all that `spec` names.
    ///
    /// # Errors
    /// [`PrepareError`], with everything closed again. An image that was created stays.
    pub fn open(spec: &ServeSpec) -> Result<Self, PrepareError> {
        let parents = ParentFolders::new(&spec.parent_dirs).map_err(PrepareError::ParentFolder)?;
        let mut opening = Opening { parents, seen: Seen::default(), notes: Vec::new(), disks: Vec::new() };
        let targets: Result<Vec<_>, _> =
            spec.targets.iter().map(|target| opening.target(target, &spec.state)).collect();
        match targets.and_then(refuse_same_names) {
            Ok(targets) => Ok(Self { targets, notes: opening.notes }),
            Err(error) => {
                opening.disks.iter().for_each(|(path, disk)| log_close(path, disk.close()));
                Err(error)
            }
        }
    }

    /// Closes every disk, so that all that was written is on stable storage and each image is clean. Answers with the disks
    /// that could not be closed.
    #[must_use]
    pub fn close(&self) -> Vec<(PathBuf, DiskError)> {
        let luns = self.targets.iter().flat_map(|target| target.luns.values());
        luns.filter_map(|lun| lun.disk.close().err().map(|error| (lun.path.clone(), error))).collect()
    }
}

/// Checks all that [`Prepared::open`] would do, without creating, changing or locking anything.
///
/// # Errors
/// Every [`PrepareError`].
pub fn check(spec: &ServeSpec) -> Result<(), Vec<PrepareError>> {
    let mut seen = Seen::default();
    let mut errors = Vec::new();
    let parents = match ParentFolders::new(&spec.parent_dirs) {
        Ok(parents) => parents,
        Err(error) => return Err(vec![PrepareError::ParentFolder(error)]),
    };
    for target in &spec.targets {
        for (number, lun) in &target.luns {
            let place = place_of(target, *number);
            errors.extend(check_lun(lun, (&spec.state, &parents), &place, &mut seen).err());
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn check_lun(
    lun: &LunSpec,
    (state, parents): (&StateLocation, &Arc<ParentFolders>),
    place: &str,
    seen: &mut Seen,
) -> Result<(), PrepareError> {
    images::check(lun, parents)?;
    let serial = lun.serial.as_ref().map(|serial| serial.as_str().to_owned());
    if !lun.path.exists() {
        return seen.serial(place, serial);
    }
    seen.image(place, &lun.path)?;
    let kept = LunFolder::peek(state, &lun.path)?;
    if let Some(kept) = &kept {
        seen.naa(place, kept.naa)?;
    }
    seen.serial(place, serial.or(kept.map(|kept| kept.serial)))
}

/// What is open so far.
struct Opening {
    parents: Arc<ParentFolders>,
    seen: Seen,
    notes: Vec<String>,
    disks: Vec<(PathBuf, Arc<dyn Disk>)>,
}

impl Opening {
    fn target(&mut self, spec: &TargetSpec, state: &StateLocation) -> Result<PreparedTarget, PrepareError> {
        let mut luns = BTreeMap::new();
        for (number, lun) in &spec.luns {
            luns.insert(*number, self.lun(lun, state, &place_of(spec, *number))?);
        }
        Ok(PreparedTarget {
            name: name_of(spec, &luns)?,
            alias: spec.alias.clone(),
            luns,
            authentication: spec.authentication.clone(),
            access: spec.access.clone(),
        })
    }

    fn lun(
        &mut self,
        spec: &LunSpec,
        state: &StateLocation,
        place: &str,
    ) -> Result<PreparedLun, PrepareError> {
        let created = images::create_if_missing(spec)?;
        self.seen.image(place, &spec.path)?;
        // Damaged state is found before the image is touched, and an image that cannot be opened gets no state.
        LunFolder::peek(state, &spec.path)?;
        let image = images::open(spec, images::access_of(spec), &self.parents)?;
        self.disks.push((spec.path.clone(), Arc::clone(&image.disk)));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(PrepareError::Random)?;
        let folder = LunFolder::open(state, &spec.path, random)?;
        let identity = folder.identity();
        let serial = spec.serial.as_ref().map_or(&*identity.serial, |serial| serial.as_str()).to_owned();
        let naa = identity.naa;
        self.seen.naa(place, naa)?;
        self.seen.serial(place, Some(serial.clone()))?;
        let path = PathBuf::from(&identity.image);

        let found = image.disk.geometry().size;
        if let Some(create) = spec.create.filter(|create| !created && create.size != found) {
            self.notes.push(format!(
                "{} is there already, with {} bytes; the size of {} bytes is for a new image and was not used",
                path.display(),
                found,
                create.size
            ));
        }
        Ok(PreparedLun {
            path,
            format: image.format,
            created,
            naa,
            serial,
            removable: spec.removable,
            disk: image.disk,
            folder,
        })
    }
}

/// What two LUNs must not share, and who has it.
#[derive(Default)]
struct Seen {
    images: BTreeMap<(u64, u64), String>,
    naas: BTreeMap<Naa, String>,
    serials: BTreeMap<String, String>,
}

impl Seen {
    fn image(&mut self, place: &str, path: &Path) -> Result<(), PrepareError> {
        // A file that vanished since it was found is an error of whoever opens it next.
        let Ok(metadata) = path.metadata() else { return Ok(()) };
        match self.images.insert((metadata.dev(), metadata.ino()), place.into()) {
            None => Ok(()),
            Some(first) => Err(PrepareError::SameImage { path: path.into(), first, second: place.into() }),
        }
    }

    fn naa(&mut self, place: &str, naa: Naa) -> Result<(), PrepareError> {
        same(self.naas.insert(naa, place.into()), place, || format!("NAA designator {naa}"))
    }

    fn serial(&mut self, place: &str, serial: Option<String>) -> Result<(), PrepareError> {
        let Some(serial) = serial else { return Ok(()) };
        let what = format!("serial number {serial:?}");
        same(self.serials.insert(serial, place.into()), place, || what)
    }
}

fn same(first: Option<String>, second: &str, what: impl FnOnce() -> String) -> Result<(), PrepareError> {
    match first {
        None => Ok(()),
        Some(first) => Err(PrepareError::SameIdentity { first, second: second.into(), what: what() }),
    }
}

fn place_of(target: &TargetSpec, number: u16) -> String {
    match &target.name {
        Some(name) => format!("LUN {number} of {name}"),
        None => format!("LUN {number}"),
    }
}

/// The name that was given, or the one kept beside the identity of the first LUN.
fn name_of(spec: &TargetSpec, luns: &BTreeMap<u16, PreparedLun>) -> Result<IscsiName, PrepareError> {
    let first = match (&spec.name, luns.values().next()) {
        (Some(name), _) => return Ok(name.clone()),
        (None, None) => return name_from(name::proposal(&name::of_host(), "".as_ref()), PathBuf::new()),
        (None, Some(first)) => first,
    };
    let kept = first.folder.target_name(&name::proposal(&name::of_host(), &first.path))?;
    name_from(kept, first.folder.path().into())
}

fn name_from(text: String, folder: PathBuf) -> Result<IscsiName, PrepareError> {
    text.parse().map_err(|source| PrepareError::KeptName { folder, source })
}

fn refuse_same_names(targets: Vec<PreparedTarget>) -> Result<Vec<PreparedTarget>, PrepareError> {
    let mut names = BTreeSet::new();
    match targets.iter().find(|target| !names.insert(&target.name)) {
        Some(target) => Err(PrepareError::SameName(target.name.clone())),
        None => Ok(targets),
    }
}

fn log_close(path: &Path, result: Result<(), DiskError>) {
    if let Err(error) = result {
        tracing::error!(image = %path.display(), %error, "cannot close the image");
    }
}

#[cfg(test)]
mod tests;
