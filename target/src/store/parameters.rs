//! What a LUN keeps besides its medium and its reservations: saved mode parameters, identifying information, and that it was being
//! erased.

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::files::HostFiles;
use super::record::{self, Record};
use crate::device::{EraseKind, ModeParameters, SavedParameters};

/// Keeps the parameters of one logical unit.
pub trait ParameterStore: Debug + Send + Sync {
    /// What was saved last; `None` when nothing ever was.
    ///
    /// # Errors
    /// [`StoreError`] when there is something that cannot be understood.
    fn load(&self) -> Result<Option<SavedParameters>, StoreError>;

    /// Replaces what was saved, and returns when the new survives a loss of power. Blocks.
    ///
    /// # Errors
    /// [`StoreError`]; then the old or the new is there.
    fn save(&self, parameters: &SavedParameters) -> Result<(), StoreError>;
}

/// Parameters that end with the process.
#[derive(Debug, Default)]
pub struct MemoryParameters(Mutex<Option<SavedParameters>>);

impl ParameterStore for MemoryParameters {
    fn load(&self) -> Result<Option<SavedParameters>, StoreError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&self, parameters: &SavedParameters) -> Result<(), StoreError> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(parameters.clone());
        Ok(())
    }
}

/// Parameters in a file of the LUN's state folder.
#[derive(Debug)]
pub struct FileParameters(PathBuf);

impl FileParameters {
    /// The file at `path`. Nothing is read or made yet.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self(path)
    }
}

impl ParameterStore for FileParameters {
    fn load(&self) -> Result<Option<SavedParameters>, StoreError> {
        Ok(record::load::<Kept>(&HostFiles, &self.0)?.map(SavedParameters::from))
    }

    fn save(&self, parameters: &SavedParameters) -> Result<(), StoreError> {
        record::save(&HostFiles, &self.0, &Kept::from(parameters))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    write_cache: bool,
    descriptor_sense: bool,
    software_write_protect: bool,
    task_aborted_status: bool,
    identifying: Vec<u8>,
    text: Vec<u8>,
    erasing: Option<KeptErase>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptErase {
    Format,
    Sanitize { unrestricted_exit: bool },
}

impl Record for Kept {
    const KIND: &'static str = "lun parameters";
    const VERSION: u32 = 1;
}

impl From<&SavedParameters> for Kept {
    fn from(saved: &SavedParameters) -> Self {
        let mode = saved.mode;
        Self {
            write_cache: mode.write_cache,
            descriptor_sense: mode.descriptor_sense,
            software_write_protect: mode.software_write_protect,
            task_aborted_status: mode.task_aborted_status,
            identifying: saved.identifying.clone(),
            text: saved.text.clone(),
            erasing: saved.erasing.map(|kind| match kind {
                EraseKind::Format => KeptErase::Format,
                EraseKind::Sanitize { unrestricted_exit } => KeptErase::Sanitize { unrestricted_exit },
            }),
        }
    }
}

impl From<Kept> for SavedParameters {
    fn from(kept: Kept) -> Self {
        Self {
            mode: ModeParameters {
                write_cache: kept.write_cache,
                descriptor_sense: kept.descriptor_sense,
                software_write_protect: kept.software_write_protect,
                task_aborted_status: kept.task_aborted_status,
            },
            identifying: kept.identifying,
            text: kept.text,
            erasing: kept.erasing.map(|kind| match kind {
                KeptErase::Format => EraseKind::Format,
                KeptErase::Sanitize { unrestricted_exit } => EraseKind::Sanitize { unrestricted_exit },
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_there_again_and_damage_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let store = FileParameters::new(folder.path().join("parameters.json"));
        assert_eq!(store.load().unwrap(), None);
        let mode = ModeParameters {
            write_cache: false,
            descriptor_sense: true,
            software_write_protect: true,
            task_aborted_status: false,
        };
        let mut saved = SavedParameters::new(mode);
        saved.identifying = vec![0, 255, 7];
        saved.text = b"rack 4\0".to_vec();
        for erasing in [None, Some(EraseKind::Format), Some(EraseKind::Sanitize { unrestricted_exit: true })]
        {
            saved.erasing = erasing;
            store.save(&saved).unwrap();
            assert_eq!(store.load().unwrap(), Some(saved.clone()));
        }
        std::fs::write(folder.path().join("parameters.json"), "{}").unwrap();
        assert!(store.load().is_err());
    }
}
