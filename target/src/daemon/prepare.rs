//! From what is to be served to open disks with identities: the last step before the engine.
//!
//! Creates missing images, opens every image and its state folder, and refuses what must not be: one image as two LUNs (unless one says that it is the other), two
//! LUNs with one identity, two targets with one name. When anything fails, what was opened before is closed again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lunkeep_common::name::{IscsiName, NameError, TargetPort};

use super::images::{self, ImageError};
use super::name;
use super::server_config::unit_config;
use super::spec::{
    Access, Authentication, LunAddress, LunSource, LunSpec, PortalSpec, ServeSpec, TargetSpec,
};
use crate::engine::config::{PortalGroups, Redirect, UnitConfig};
use crate::engine::{HostFile, Medium, ParentFolders};
use crate::image::{Disk, DiskError, Format};
use crate::store::{LunFolder, Naa, PortNumbers, StateLocation, StoreError, TooManyPorts};

/// Targets with open disks.
#[derive(Debug)]
pub struct Prepared {
    /// The targets.
    pub targets: Vec<PreparedTarget>,
    /// Relative target port identifiers of all target ports, kept with the LUNs that they lead to.
    pub port_numbers: PortNumbers,
    /// What a person should know and nobody asked for, in sentences.
    pub notes: Vec<String>,
    /// Where the parents of differencing disks may be.
    pub parents: Arc<ParentFolders>,
}

/// A target with open disks.
#[derive(Debug)]
pub struct PreparedTarget {
    /// Its name, given or kept.
    pub name: IscsiName,
    /// A text for people.
    pub alias: Option<String>,
    /// Its logical units, by number. Targets that export the same unit hold the same `Arc`.
    pub luns: BTreeMap<u16, Arc<PreparedLun>>,
    /// How initiators log in.
    pub authentication: Authentication,
    /// Which initiators may, and what they see.
    pub access: Access,
    /// Where it can be reached.
    pub portal_groups: PortalGroups,
    /// Where it is instead.
    pub redirect: Option<Redirect>,
}

/// A logical unit with its open disk.
#[derive(Debug)]
pub struct PreparedLun {
    /// The image that was opened first: absolute, without symbolic links.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
    /// The image that is in now.
    pub image: Mutex<LunImage>,
    /// Whether it was created just now.
    pub created: bool,
    /// NAA designator.
    pub naa: Naa,
    /// Serial number.
    pub serial: String,
    /// Whether the medium can be ejected and loaded.
    pub removable: bool,
    /// The disk, in whose place another can come.
    pub disk: Arc<Medium>,
    /// What the engine makes the logical unit from.
    pub unit: Arc<UnitConfig>,
    /// The state folder, held open.
    pub folder: LunFolder,
}

/// The image in a medium, and how it was opened.
#[derive(Clone, Debug)]
pub struct LunImage {
    /// How it was asked for, with an absolute path.
    pub spec: LunSpec,
    /// Its format.
    pub format: Format,
    /// Its file, locked while this lives. `None`: it is closed.
    pub file: Option<Arc<HostFile>>,
}

impl PreparedLun {
    /// The image that is in now.
    pub fn image(&self) -> MutexGuard<'_, LunImage> {
        self.image.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the disk and lets go of the image, so that others can open it.
    ///
    /// # Errors
    /// What closing the disk said.
    pub fn close(&self) -> Result<(), DiskError> {
        let result = self.disk.close();
        self.image().file = None;
        result
    }
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
    #[error(
        "{} is given twice, as {first} and as {second}; one image is one LUN. To export it by several targets, give it once \
         and write `same_as = \"TARGET/NUMBER\"` in the other targets",
        path.display()
    )]
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
    /// A LUN that is to be that of another target, which has none such.
    #[error(
        "{place} is to be the same as {named}, but that is no LUN with an image of another target, or it is here twice"
    )]
    SameAs {
        /// The place.
        place: String,
        /// What it names.
        named: LunAddress,
    },
    /// More target ports than there are numbers for.
    #[error(transparent)]
    Ports(#[from] TooManyPorts),
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
        let opened = opening.targets(spec).and_then(refuse_same_names).and_then(|targets| {
            let port_numbers = number_ports(&targets, &spec.portals)?;
            Ok((targets, port_numbers))
        });
        match opened {
            Ok((targets, port_numbers)) => {
                Ok(Self { targets, port_numbers, notes: opening.notes, parents: opening.parents })
            }
            Err(error) => {
                opening.disks.iter().for_each(|(path, disk)| log_close(path, disk.close()));
                Err(error)
            }
        }
    }

    /// The state folder of the first LUN, where no other is.
    #[must_use]
    pub fn first_state(&self) -> Option<&Path> {
        let mut luns = self.targets.iter().flat_map(|target| target.luns.values());
        luns.next().map(|lun| lun.folder.path())
    }

    /// Closes every disk, so that all that was written is on stable storage and each image is clean. Answers with the disks
    /// that could not be closed.
    #[must_use]
    pub fn close(&self) -> Vec<(PathBuf, DiskError)> {
        let mut seen = HashSet::new();
        let luns = self.targets.iter().flat_map(|target| target.luns.values());
        let once = luns.filter(|lun| seen.insert(Arc::as_ptr(lun)));
        once.filter_map(|lun| lun.close().err().map(|error| (lun.path.clone(), error))).collect()
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
    for (target, number, source) in spec.targets.iter().flat_map(sources) {
        let place = place_of(target, number);
        if let LunSource::Image(lun) = source {
            errors.extend(check_lun(lun, (&spec.state, &parents), &place, &mut seen).err());
        }
    }
    let mut used = BTreeSet::new();
    for (target, number, source) in spec.targets.iter().flat_map(sources) {
        let LunSource::SameAs(address) = source else { continue };
        let origin = spec.targets.iter().find(|other| other.name.as_ref() == Some(&address.target));
        let image = origin.and_then(|origin| origin.luns.get(&address.number));
        let found =
            matches!(image, Some(LunSource::Image(_))) && target.name.as_ref() != Some(&address.target);
        if !found || !used.insert((&target.name, &address.target, address.number)) {
            errors.push(PrepareError::SameAs { place: place_of(target, number), named: address.clone() });
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
    disks: Vec<(PathBuf, Arc<Medium>)>,
}

impl Opening {
    /// Opens every image, and then gives each unit to the other targets that export it.
    fn targets(&mut self, spec: &ServeSpec) -> Result<Vec<PreparedTarget>, PrepareError> {
        let mut targets = Vec::new();
        for target in &spec.targets {
            targets.push(self.target(target, &spec.state)?);
        }
        let mut shared: Vec<(usize, u16, Arc<PreparedLun>)> = Vec::new();
        for (at, target) in spec.targets.iter().enumerate() {
            for (_, number, source) in sources(target) {
                let LunSource::SameAs(address) = source else { continue };
                let origin = targets.iter().position(|other| other.name == address.target);
                let origin = origin.filter(|origin| *origin != at).and_then(|origin| targets.get(origin));
                let lun = origin.and_then(|origin| origin.luns.get(&address.number));
                let twice =
                    |lun: &Arc<PreparedLun>| shared.iter().any(|(t, _, l)| *t == at && Arc::ptr_eq(l, lun));
                match lun.filter(|lun| !twice(lun)) {
                    Some(lun) => shared.push((at, number, lun.clone())),
                    None => {
                        let (place, named) = (place_of(target, number), address.clone());
                        return Err(PrepareError::SameAs { place, named });
                    }
                }
            }
        }
        for (at, number, lun) in shared {
            if let Some(target) = targets.get_mut(at) {
                target.luns.insert(number, lun);
            }
        }
        Ok(targets)
    }

    fn target(&mut self, spec: &TargetSpec, state: &StateLocation) -> Result<PreparedTarget, PrepareError> {
        let mut luns = BTreeMap::new();
        for (_, number, source) in sources(spec) {
            if let LunSource::Image(lun) = source {
                luns.insert(number, Arc::new(self.lun(lun, state, &place_of(spec, number))?));
            }
        }
        Ok(PreparedTarget {
            name: name_of(spec, &luns)?,
            alias: spec.alias.clone(),
            luns,
            authentication: spec.authentication.clone(),
            access: spec.access.clone(),
            portal_groups: spec.portal_groups.clone(),
            redirect: spec.redirect.clone(),
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
        let disk = Arc::new(Medium::new(image.disk));
        self.disks.push((spec.path.clone(), Arc::clone(&disk)));
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(PrepareError::Random)?;
        let folder = LunFolder::open(state, &spec.path, random)?;
        let identity = folder.identity();
        let serial = spec.serial.as_ref().map_or(&*identity.serial, |serial| serial.as_str()).to_owned();
        let naa = identity.naa;
        self.seen.naa(place, naa)?;
        self.seen.serial(place, Some(serial.clone()))?;
        let path = PathBuf::from(&identity.image);

        let found = disk.geometry().size;
        if let Some(create) = spec.create.filter(|create| !created && create.size != found) {
            self.notes.push(format!(
                "{} is there already, with {} bytes; the size of {} bytes is for a new image and was not used",
                path.display(),
                found,
                create.size
            ));
        }
        let unit = unit_config(&disk, &folder, (naa, &serial), spec.removable);
        let spec = LunSpec { path: path.clone(), format: Some(image.format), ..spec.clone() };
        let inside = LunImage { spec, format: image.format, file: Some(image.file) };
        Ok(PreparedLun {
            path,
            format: image.format,
            image: Mutex::new(inside),
            created,
            naa,
            serial,
            removable: unit.device.removable,
            disk,
            unit: Arc::new(unit),
            folder,
        })
    }
}

/// A LUN that is open and about to be served.
#[derive(Debug)]
pub enum OpenLun {
    /// Opened for this.
    New(Arc<PreparedLun>),
    /// Served already, elsewhere.
    Shared(Arc<PreparedLun>),
}

impl OpenLun {
    /// Opens one more image, with the state that it has in `state`, to be served at `place`. It must share no identity with what is
    /// `served`.
    ///
    /// # Errors
    /// [`PrepareError`], with everything closed again. An image that was created stays.
    pub fn open(
        spec: &LunSpec,
        state: &StateLocation,
        parents: &Arc<ParentFolders>,
        place: &str,
        served: &[(String, Arc<PreparedLun>)],
    ) -> Result<Self, PrepareError> {
        let mut seen = Seen::default();
        for (place, lun) in served {
            seen.naas.insert(lun.naa, place.clone());
            seen.serials.insert(lun.serial.clone(), place.clone());
            let image = lun.image();
            if image.file.is_some()
                && let Ok(metadata) = image.spec.path.metadata()
            {
                seen.images.insert((metadata.dev(), metadata.ino()), place.clone());
            }
        }
        let (notes, disks) = (Vec::new(), Vec::new());
        let mut opening = Opening { parents: parents.clone(), seen, notes, disks };
        match opening.lun(spec, state, place) {
            Ok(lun) => Ok(Self::New(Arc::new(lun))),
            Err(error) => {
                opening.disks.iter().for_each(|(path, disk)| log_close(path, disk.close()));
                Err(error)
            }
        }
    }

    /// The LUN.
    #[must_use]
    pub const fn lun(&self) -> &Arc<PreparedLun> {
        match self {
            Self::New(lun) | Self::Shared(lun) => lun,
        }
    }

    /// It is not served after all: closes what was opened for it.
    pub fn give_up(self) {
        if let Self::New(lun) = self {
            log_close(&lun.path, lun.close());
        }
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

fn sources(target: &TargetSpec) -> impl Iterator<Item = (&TargetSpec, u16, &LunSource)> {
    target.luns.iter().map(move |(number, source)| (target, *number, source))
}

fn place_of(target: &TargetSpec, number: u16) -> String {
    match &target.name {
        Some(name) => format!("LUN {number} of {name}"),
        None => format!("LUN {number}"),
    }
}

/// The name that was given, or the one kept beside the identity of the first LUN.
fn name_of(spec: &TargetSpec, luns: &BTreeMap<u16, Arc<PreparedLun>>) -> Result<IscsiName, PrepareError> {
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

/// Gives every target port its relative identifier, and keeps it with every LUN that the port leads to. What a LUN remembers of ports
/// that do not lead to it any more stays, because registrations may name them.
fn number_ports(targets: &[PreparedTarget], portals: &[PortalSpec]) -> Result<PortNumbers, PrepareError> {
    let groups: BTreeSet<_> = portals.iter().map(|portal| portal.group).collect();
    let ports_of = |target: &PreparedTarget| -> BTreeSet<TargetPort> {
        let port = |&portal_group| TargetPort { name: target.name.clone(), portal_group };
        groups.iter().filter(|group| target.portal_groups.contains(**group)).map(port).collect()
    };
    let served: BTreeSet<TargetPort> = targets.iter().flat_map(ports_of).collect();
    let mut luns: HashMap<*const PreparedLun, (&PreparedLun, BTreeSet<TargetPort>)> = HashMap::new();
    for target in targets {
        for lun in target.luns.values() {
            luns.entry(Arc::as_ptr(lun)).or_insert((lun, BTreeSet::new())).1.extend(ports_of(target));
        }
    }
    let mut kept = Vec::new();
    for (lun, ports) in luns.into_values() {
        kept.push((lun, ports, lun.folder.port_numbers()?));
    }
    // The same whatever order they are found in.
    kept.sort_by_key(|(lun, ..)| lun.naa);
    let known =
        || kept.iter().flat_map(|(.., known)| known.iter()).map(|(port, number)| (port.clone(), number));
    let mut numbers = PortNumbers::default();
    numbers.adopt(known().filter(|(port, _)| served.contains(port)));
    numbers.adopt(known());
    numbers.assign(served.iter().cloned().chain(known().map(|(port, _)| port)))?;
    for (lun, mut ports, known) in kept {
        ports.extend(known.iter().map(|(port, _)| port.clone()));
        let own = numbers.only(&ports);
        if own != known {
            lun.folder.keep_port_numbers(&own)?;
        }
    }
    Ok(numbers)
}

fn log_close(path: &Path, result: Result<(), DiskError>) {
    if let Err(error) = result {
        tracing::error!(image = %path.display(), %error, "cannot close the image");
    }
}

#[cfg(test)]
mod tests;
