//! The state folder: who this node is, the same after every restart.
//!
//! | file | content |
//! |---|---|
//! | `identity.json` | the initiator name and three random bytes that all ISIDs of the node share |
//! | `slot-N.lock` | empty; locked by the process that uses path slot N |
//!
//! A slot is an initiator port: its ISID is made of the random bytes and the slot's number (RFC 7143 §11.12.5, type 10b
//! "random"), and is used towards every target portal group. A process holds its slot by a file lock, which the operating
//! system gives up with the process, so two processes never log in as the same port and throw each other out (RFC 7143
//! §6.3.5). The folder must be on a file system with working locks, which rules out some network file systems.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lunkeep_common::name::{IscsiName, Isid, NameError};
use serde::{Deserialize, Serialize};

use super::config::Identity;
use crate::limits::SLOTS_MAX;

/// Why the state folder cannot be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StateError {
    /// A file or the folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Arc<io::Error>,
    },
    /// The identity is not as this program wrote it.
    #[error("{}: {reason}; restore it from a backup, or delete it to get a new identity (reservations under the old one stay)", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The name in the identity is none.
    #[error("{}: {error}", path.display())]
    Name {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: NameError,
    },
    /// Another process has this slot.
    #[error("path slot {slot} of {} is used by another process", path.display())]
    SlotTaken {
        /// The folder.
        path: PathBuf,
        /// The slot.
        slot: u16,
    },
    /// Other processes have all slots.
    #[error("all {SLOTS_MAX} path slots of {} are used by other processes", path.display())]
    NoSlot {
        /// The folder.
        path: PathBuf,
    },
    /// There is no such slot.
    #[error("there is no path slot {slot}; slots are 0 to {}", SLOTS_MAX - 1)]
    BadSlot {
        /// The slot.
        slot: u16,
    },
    /// No random bytes from the operating system.
    #[error("the operating system gives no random bytes: {0}")]
    Random(#[from] getrandom::Error),
}

/// An opened state folder.
#[derive(Clone, Debug)]
pub struct StateFolder {
    path: PathBuf,
    name: IscsiName,
    seed: [u8; 3],
}

/// A path slot that this process holds until it is dropped.
#[derive(Debug)]
pub struct Slot {
    number: u16,
    identity: Identity,
    /// Closing it gives the slot back.
    _lock: File,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityFile {
    version: u32,
    initiator_name: String,
    isid_seed: [u8; 3],
}

const VERSION: u32 = 1;
const PREFIX: &str = "iqn.2026-11.org.lunkeep:node-";

impl StateFolder {
    /// Opens the folder; creates it, with a new identity, when it is not there.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn open(path: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(path).map_err(|source| io_error(path, source))?;
        let file = path.join("identity.json");
        let content = match read(&file)? {
            Some(content) => content,
            None => {
                create(path, &file)?;
                // Another process may have been first: what is there now counts.
                read(&file)?.ok_or_else(|| io_error(&file, io::ErrorKind::NotFound.into()))?
            }
        };
        let corrupt = |reason: String| StateError::Corrupt { path: file.clone(), reason };
        let identity: IdentityFile = serde_json::from_str(&content).map_err(|e| corrupt(e.to_string()))?;
        if identity.version != VERSION {
            return Err(corrupt(format!("version {} is unknown to this program", identity.version)));
        }
        let name = identity
            .initiator_name
            .parse()
            .map_err(|error| StateError::Name { path: file.clone(), error })?;
        Ok(Self { path: path.to_owned(), name, seed: identity.isid_seed })
    }

    /// The node's initiator name.
    #[must_use]
    pub const fn name(&self) -> &IscsiName {
        &self.name
    }

    /// Takes a path slot: the one that is asked for, or the first that no other process has.
    ///
    /// # Errors
    /// [`StateError::SlotTaken`], [`StateError::NoSlot`], [`StateError::BadSlot`], [`StateError::Io`].
    pub fn take_slot(&self, wanted: Option<u16>) -> Result<Slot, StateError> {
        if let Some(slot) = wanted {
            if slot >= SLOTS_MAX {
                return Err(StateError::BadSlot { slot });
            }
            return self.lock(slot)?.ok_or_else(|| StateError::SlotTaken { path: self.path.clone(), slot });
        }
        for number in 0..SLOTS_MAX {
            if let Some(slot) = self.lock(number)? {
                return Ok(slot);
            }
        }
        Err(StateError::NoSlot { path: self.path.clone() })
    }

    fn lock(&self, number: u16) -> Result<Option<Slot>, StateError> {
        let path = self.path.join(format!("slot-{number}.lock"));
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|source| io_error(&path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(source)) => return Err(io_error(&path, source)),
        }
        let identity = Identity { name: self.name.clone(), isid: isid(self.seed, number) };
        Ok(Some(Slot { number, identity, _lock: file }))
    }
}

impl Slot {
    /// The slot's number.
    #[must_use]
    pub const fn number(&self) -> u16 {
        self.number
    }

    /// The initiator port of the slot.
    #[must_use]
    pub const fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Type 10b "random": 24 random bits and the slot as qualifier (RFC 7143 §11.12.5).
fn isid([a, b, c]: [u8; 3], slot: u16) -> Isid {
    let [high, low] = slot.to_be_bytes();
    Isid([0x80, a, b, c, high, low])
}

fn read(file: &Path) -> Result<Option<String>, StateError> {
    match fs::read_to_string(file) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error(file, source)),
    }
}

/// Writes a new identity. The file appears whole or not at all, and never replaces another.
fn create(folder: &Path, file: &Path) -> Result<(), StateError> {
    let mut random = [0; 9];
    getrandom::fill(&mut random)?;
    let [a, b, c, rest @ ..] = random;
    let node: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let identity =
        IdentityFile { version: VERSION, initiator_name: format!("{PREFIX}{node}"), isid_seed: [a, b, c] };
    let write = || -> io::Result<()> {
        let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut temporary, &identity)?;
        temporary.write_all(b"\n")?;
        temporary.as_file().sync_all()?;
        match temporary.persist_noclobber(file) {
            Ok(_) => File::open(folder)?.sync_all(),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error.error),
        }
    };
    write().map_err(|source| io_error(file, source))
}

fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io { path: path.to_owned(), source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_is_the_same_after_every_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/state");
        let first = StateFolder::open(&path).unwrap().take_slot(None).unwrap().identity().clone();
        let again = StateFolder::open(&path).unwrap().take_slot(None).unwrap().identity().clone();
        assert_eq!(first, again);
        assert!(first.name.as_str().starts_with(PREFIX));
        assert_eq!(first.isid.0[0], 0x80, "type 10b, reserved bits zero");
        let other = tempfile::tempdir().unwrap();
        assert_ne!(StateFolder::open(other.path()).unwrap().name(), &first.name);
    }

    #[test]
    fn a_slot_has_one_owner_and_is_free_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let zero = state.take_slot(None).unwrap();
        let one = StateFolder::open(folder.path()).unwrap().take_slot(None).unwrap();
        assert_eq!((zero.number(), one.number()), (0, 1));
        assert_ne!(zero.identity().isid, one.identity().isid);
        assert_eq!(zero.identity().name, one.identity().name);
        assert!(matches!(state.take_slot(Some(1)), Err(StateError::SlotTaken { slot: 1, .. })));
        let isid = zero.identity().isid;
        drop(zero);
        assert_eq!(state.take_slot(Some(0)).unwrap().identity().isid, isid);
    }

    #[test]
    fn slots_end_at_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::open(folder.path()).unwrap();
        let held: Vec<_> = (0..SLOTS_MAX).map(|_| state.take_slot(None).unwrap()).collect();
        assert_eq!(held.last().unwrap().number(), SLOTS_MAX - 1);
        assert!(matches!(state.take_slot(None), Err(StateError::NoSlot { .. })));
        assert!(matches!(state.take_slot(Some(SLOTS_MAX)), Err(StateError::BadSlot { .. })));
    }

    #[test]
    fn a_spoiled_identity_is_named_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("identity.json");
        for content in [
            "",
            "{}",
            "{\"version\": 2, \"initiator_name\": \"iqn.2026-11.org:a\", \"isid_seed\": [1, 2, 3]}",
            "{\"version\": 1, \"initiator_name\": \"me\", \"isid_seed\": [1, 2, 3]}",
        ] {
            fs::write(&file, content).unwrap();
            let error = StateFolder::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains("identity.json"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), content);
        }
    }

    #[test]
    fn of_processes_that_start_at_once_all_get_the_same_identity() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = std::thread::scope(|scope| {
            let open = || StateFolder::open(folder.path()).unwrap().name().clone();
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(names.windows(2).all(|pair| pair[0] == pair[1]), "{names:?}");
    }
}
