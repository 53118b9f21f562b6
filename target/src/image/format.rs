//! The formats by name, extension and content, and the one table through which an image is opened, created, described
//! and checked.
//!
//! Raw has no magic and is never guessed: whoever can write a raw disk could otherwise write the header of another format
//! into it and have the next start of the target interpret that.

use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::pack::PackError;
use super::tools::Progress;

use super::{
    Access, BlockFile, CheckReport, ChildOptions, CreateError, CreateOptions, Disk, Environment, FileSize,
    ImageInfo, Lineage, Link, OpenError, OpenErrorKind, ParentRecord, Severity, chain, qcow2, raw, vhd, vhdx,
};

/// A format that images are served in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// The disk's bytes and nothing else.
    Raw,
    /// Virtual PC and Hyper-V generation 1.
    Vhd,
    /// Hyper-V since Windows 8.
    Vhdx,
    /// QEMU's own, read-only.
    Qcow2,
}

type OpenFn =
    fn(Arc<dyn BlockFile>, Access, &Arc<dyn Environment>, &Lineage) -> Result<Arc<dyn Disk>, OpenError>;
type LinkFn = fn(&Arc<dyn BlockFile>) -> Result<Option<Link>, OpenError>;
type IdentityFn = fn(&Arc<dyn BlockFile>) -> Result<Uuid, OpenError>;
type CreateChildFn = fn(&dyn BlockFile, &ChildOptions, &dyn Environment) -> Result<(), CreateError>;
type CreateFn = fn(&dyn BlockFile, &CreateOptions, &dyn Environment) -> Result<(), CreateError>;
type MeasureFn = fn(&CreateOptions) -> Result<FileSize, CreateError>;
type SetParentFn = fn(&Arc<dyn BlockFile>, &ParentRecord, &Arc<dyn Environment>) -> Result<(), OpenError>;
type ResizeFn = fn(&Arc<dyn BlockFile>, u64, &Arc<dyn Environment>) -> Result<(), OpenError>;
type ExpectFn = fn(&Arc<dyn BlockFile>, Uuid, Uuid, &Arc<dyn Environment>) -> Result<(), OpenError>;
type CompactFn = fn(&Arc<dyn BlockFile>, &Arc<dyn Environment>, Progress<'_>) -> Result<(), PackError>;
type InspectFn = fn(&Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError>;
type CheckFn = fn(&Arc<dyn BlockFile>, bool, &Arc<dyn Environment>) -> Result<CheckReport, OpenError>;

struct Row {
    name: &'static str,
    title: &'static str,
    extensions: &'static [&'static str],
    open: OpenFn,
    create: CreateFn,
    measure: MeasureFn,
    /// What differencing disks need; `None` for a format without them.
    chain: Option<ChainRow>,
    resize: ResizeFn,
    /// Moves blocks; `None` for a format without them.
    compact: Option<CompactFn>,
    inspect: InspectFn,
    check: CheckFn,
}

struct ChainRow {
    link: LinkFn,
    identity: IdentityFn,
    create_child: CreateChildFn,
    set_parent: SetParentFn,
    /// Where writing to a parent changes its identity: tells a child the next one.
    expect_parent: Option<ExpectFn>,
}

static RAW: Row = Row {
    name: "raw",
    title: "raw",
    extensions: &["raw", "img", "bin", "iso"],
    open: raw::open,
    create: raw::create,
    measure: raw::measure,
    chain: None,
    resize: raw::resize,
    compact: None,
    inspect: raw::inspect,
    check: raw::check,
};
static VHD: Row = Row {
    name: "vhd",
    title: "VHD",
    extensions: &["vhd", "avhd", "vpc"],
    open: vhd::open,
    create: vhd::create,
    measure: vhd::measure,
    chain: Some(ChainRow {
        link: vhd::link,
        identity: vhd::identity,
        create_child: vhd::create_child,
        set_parent: vhd::set_parent,
        expect_parent: None,
    }),
    resize: vhd::resize,
    compact: Some(vhd::compact),
    inspect: vhd::inspect,
    check: vhd::check,
};
static VHDX: Row = Row {
    name: "vhdx",
    title: "VHDX",
    extensions: &["vhdx", "avhdx"],
    open: vhdx::open,
    create: vhdx::create,
    measure: vhdx::measure,
    chain: Some(ChainRow {
        link: vhdx::link,
        identity: vhdx::identity,
        create_child: vhdx::create_child,
        set_parent: vhdx::set_parent,
        expect_parent: Some(vhdx::expect_parent),
    }),
    resize: vhdx::resize,
    compact: Some(vhdx::compact),
    inspect: vhdx::inspect,
    check: vhdx::check,
};

static QCOW2: Row = Row {
    name: "qcow2",
    title: "qcow2",
    extensions: &["qcow2"],
    open: qcow2::open,
    create: qcow2::create,
    measure: qcow2::measure,
    chain: None,
    resize: qcow2::resize,
    compact: None,
    inspect: qcow2::inspect,
    check: qcow2::check,
};

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Vhd, Self::Vhdx, Self::Qcow2];

    fn row(self) -> &'static Row {
        match self {
            Self::Raw => &RAW,
            Self::Vhd => &VHD,
            Self::Vhdx => &VHDX,
            Self::Qcow2 => &QCOW2,
        }
    }

    /// The name that options use: `raw`, `vhd`, `vhdx`, `qcow2`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The format that a file name's extension stands for, whatever its case.
    #[must_use]
    pub fn of_extension(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Self::ALL.into_iter().find(|f| f.row().extensions.iter().any(|e| e.eq_ignore_ascii_case(extension)))
    }

    /// Opens `file` as this format. A differencing disk is refused: it needs [`Format::open_in`].
    ///
    /// # Errors
    /// As [`Format::open_in`].
    pub fn open(
        self,
        file: Arc<dyn BlockFile>,
        access: Access,
        env: &Arc<dyn Environment>,
    ) -> Result<Arc<dyn Disk>, OpenError> {
        self.open_in(file, access, env, &Lineage::none())
    }

    /// Opens `file` as this format, with its parents from `lineage`.
    ///
    /// # Errors
    /// [`OpenError`] when the file is not of this format, damaged, of a kind that is not served, or a parent cannot be opened.
    pub fn open_in(
        self,
        file: Arc<dyn BlockFile>,
        access: Access,
        env: &Arc<dyn Environment>,
        lineage: &Lineage,
    ) -> Result<Arc<dyn Disk>, OpenError> {
        (self.row().open)(file, access, env, lineage)
    }

    /// What `file` says of its parent, if it has one.
    ///
    /// # Errors
    /// [`OpenError`] when too little of the file makes sense to tell.
    pub fn link(self, file: &Arc<dyn BlockFile>) -> Result<Option<Link>, OpenError> {
        self.row().chain.as_ref().map_or(Ok(None), |chain| (chain.link)(file))
    }

    /// The identity by which children know `file`. It changes with the content, where the format has that.
    ///
    /// # Errors
    /// [`OpenError`] when the format has none, or too little of the file makes sense.
    pub fn identity(self, file: &Arc<dyn BlockFile>) -> Result<Uuid, OpenError> {
        match &self.row().chain {
            Some(chain) => (chain.identity)(file),
            None => Err(OpenError::unsupported(self, "parent", "this format has no differencing disks")),
        }
    }

    /// Lays a new differencing disk into the empty `file` and makes it durable.
    ///
    /// # Errors
    /// As [`Format::create`].
    pub fn create_child(
        self,
        file: &dyn BlockFile,
        options: &ChildOptions,
        env: &dyn Environment,
    ) -> Result<(), CreateError> {
        match &self.row().chain {
            Some(chain) => (chain.create_child)(file, options, env),
            None => Err(CreateError::option(
                self,
                "parent",
                &options.parent.relative,
                "this format has no differencing disks",
            )),
        }
    }

    /// Lays a new image into the empty `file` and makes it durable.
    ///
    /// # Errors
    /// [`CreateError`] when an option has a value that the format does not allow, or the host cannot write.
    pub fn create(
        self,
        file: &dyn BlockFile,
        options: &CreateOptions,
        env: &dyn Environment,
    ) -> Result<(), CreateError> {
        (self.row().create)(file, options, env)
    }

    /// How long the file of an image with these options will be.
    ///
    /// # Errors
    /// [`CreateError`] when an option has a value that the format does not allow.
    pub fn measure(self, options: &CreateOptions) -> Result<FileSize, CreateError> {
        (self.row().measure)(options)
    }

    /// Lets the child in `file`, which is not open, name `parent` in place of the parent that it has. Nothing else changes: whoever
    /// calls has made sure that the new parent reads the same, see [`super::rebase`]. A crash leaves the old parent or the new
    /// one.
    ///
    /// # Errors
    /// [`OpenError`] when the file is no differencing disk, the name does not fit, or the host fails.
    pub fn set_parent(
        self,
        file: &Arc<dyn BlockFile>,
        parent: &ParentRecord,
        env: &Arc<dyn Environment>,
    ) -> Result<(), OpenError> {
        match &self.row().chain {
            Some(chain) => (chain.set_parent)(file, parent, env),
            None => Err(OpenError::unsupported(self, "parent", "this format has no differencing disks")),
        }
    }

    /// Lets the child in `file` go on to accept its parent while that gets the identity `next` in place of `now`.
    ///
    /// # Errors
    /// [`OpenError`] when the file is no differencing disk, or the host fails.
    pub fn expect_parent(
        self,
        file: &Arc<dyn BlockFile>,
        now: Uuid,
        next: Uuid,
        env: &Arc<dyn Environment>,
    ) -> Result<(), OpenError> {
        match self.row().chain.as_ref().and_then(|chain| chain.expect_parent) {
            Some(expect) => expect(file, now, next, env),
            None => Ok(()),
        }
    }

    /// Gives the disk in `file`, which is not open, another size. A smaller one cuts bytes off: the caller has made sure that
    /// they are zero and without space, see [`super::tools::shrinkable`]. A crash leaves the old or the new size.
    ///
    /// # Errors
    /// [`OpenError`] when the format cannot have that size, or the host fails.
    pub fn resize(
        self,
        file: &Arc<dyn BlockFile>,
        size: u64,
        env: &Arc<dyn Environment>,
    ) -> Result<(), OpenError> {
        (self.row().resize)(file, size, env)
    }

    /// Moves the last blocks of `file`, which is not open, into gaps before them, and cuts the file off. A stop at any point, and a
    /// crash, leave an image with the same content.
    ///
    /// # Errors
    /// [`PackError`].
    pub fn compact(
        self,
        file: &Arc<dyn BlockFile>,
        env: &Arc<dyn Environment>,
        progress: Progress<'_>,
    ) -> Result<(), PackError> {
        self.row().compact.map_or(Ok(()), |compact| compact(file, env, progress))
    }

    /// Describes `file` without changing it.
    ///
    /// # Errors
    /// [`OpenError`] when too little of the file makes sense to describe it.
    pub fn inspect(self, file: &Arc<dyn BlockFile>) -> Result<ImageInfo, OpenError> {
        (self.row().inspect)(file)
    }

    /// Checks `file`; with `repair`, puts right what can be put right without losing data. A file that is too damaged
    /// to be opened gives a report with an error, not an `Err`.
    ///
    /// # Errors
    /// [`OpenError`] when the host fails, or the file is of a kind that cannot be checked.
    pub fn check(
        self,
        file: &Arc<dyn BlockFile>,
        repair: bool,
        env: &Arc<dyn Environment>,
    ) -> Result<CheckReport, OpenError> {
        match (self.row().check)(file, repair, env) {
            Err(e) if e.kind() == OpenErrorKind::Damaged => {
                let mut report = CheckReport::default();
                report.found(Severity::Error, e.to_string());
                Ok(report)
            }
            other => other,
        }
    }
}

impl Format {
    /// As [`Format::check`], and the ancestors that `lineage` finds, none of which is changed.
    ///
    /// # Errors
    /// As [`Format::check`].
    pub fn check_in(
        self,
        file: &Arc<dyn BlockFile>,
        repair: bool,
        env: &Arc<dyn Environment>,
        lineage: &Lineage,
    ) -> Result<CheckReport, OpenError> {
        let mut report = self.check(file, repair, env)?;
        chain::check(self, file, lineage, env, &mut report)?;
        Ok(report)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().title)
    }
}

impl Serialize for Format {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|f| f.name().eq_ignore_ascii_case(s))
            .ok_or_else(|| format!("unknown image format {s:?}; known are raw, vhd, vhdx and qcow2"))
    }
}

/// What the content of a file looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A format that is served.
    Known(Format),
    /// Something with a name, which is not served.
    Foreign(&'static str),
    /// Nothing known: a raw disk, or anything else.
    Unknown,
}

/// Magic bytes at the start of the file of what is recognised and not served.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"QFI\xfb\x00\x00\x00\x01", "a qcow image"),
    (0, b"QED\0", "a QED image"),
    (0, b"KDMV", "a VMDK sparse extent"),
    (0, b"COWD", "a VMDK sparse extent (ESX)"),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor"),
    (0x40, b"\x7f\x10\xda\xbe", "a VDI image"),
    (0, b"WithoutFreeSpace", "a Parallels image"),
    (0, b"WithouFreSpacExt", "a Parallels image"),
    (0, b"EVF\x09\x0d\x0a\xff\x00", "an EWF (EnCase) image"),
    (0, b"\x1f\x8b\x08", "a gzip file"),
    (0, b"\xfd7zXZ\0", "an xz file"),
    (0, b"BZh", "a bzip2 file"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file"),
];

/// Looks at the content of `file`: its start, and its end, where a fixed VHD has its only mark.
///
/// # Errors
/// What the host reports.
pub fn probe(file: &dyn BlockFile) -> io::Result<Probe> {
    let len = file.len()?;
    let mut start = [0; 512];
    let head = start.get_mut(..usize::try_from(len.min(512)).unwrap_or(512)).unwrap_or_default();
    file.read_exact_at(head, 0)?;
    if head.starts_with(vhdx::SIGNATURE) {
        return Ok(Probe::Known(Format::Vhdx));
    }
    if vhd::has_footer(file)? {
        return Ok(Probe::Known(Format::Vhd));
    }
    let found = FOREIGN.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|h| h.starts_with(magic)));
    Ok(match found {
        Some((_, _, name)) => Probe::Foreign(name),
        None if head.starts_with(qcow2::SIGNATURE) => Probe::Known(Format::Qcow2),
        None => Probe::Unknown,
    })
}

/// Decides which format `file` has. `wanted` is what the user said; without it the content decides, and a name with an
/// extension that stands for raw is needed for a file without a known mark.
///
/// # Errors
/// [`OpenErrorKind::NotRecognised`] when name and content do not agree, or neither says anything;
/// [`OpenErrorKind::Unsupported`] when the content is of a format that is not served.
pub fn decide(file: &dyn BlockFile, path: &Path, wanted: Option<Format>) -> Result<Format, OpenError> {
    if let Some(format) = wanted {
        return Ok(format);
    }
    let refuse = |kind, detail: String, advice: &'static str| {
        Err(OpenError::new(kind, None, "content", detail).advise(advice))
    };
    let seen = probe(file).map_err(|e| OpenError::new(OpenErrorKind::Io, None, "content", e.to_string()))?;
    match (seen, Format::of_extension(path)) {
        (Probe::Known(seen), Some(Format::Raw)) => refuse(
            OpenErrorKind::NotRecognised,
            format!("the name stands for a raw disk, but the content is a {seen} image"),
            "say which it is with the format option",
        ),
        (Probe::Known(seen), _) => Ok(seen),
        (Probe::Foreign(name), _) => refuse(
            OpenErrorKind::Unsupported,
            format!("this is {name}, which is not served"),
            "convert it first, for example with qemu-img convert -O vhdx, or give the format raw to serve its bytes as they are",
        ),
        (Probe::Unknown, Some(Format::Raw)) => Ok(Format::Raw),
        (Probe::Unknown, Some(named)) => refuse(
            OpenErrorKind::NotRecognised,
            format!("the name stands for a {named} image, but the content has no {named} mark"),
            "the file is damaged or of another format; if it is a raw disk, give the format raw",
        ),
        (Probe::Unknown, None) => refuse(
            OpenErrorKind::NotRecognised,
            "neither the name nor the content tells the format".to_owned(),
            "if it is a raw disk, give the format raw",
        ),
    }
}
