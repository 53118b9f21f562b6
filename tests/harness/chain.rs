//! Chains of images in memory: each file has a name, under which its children find it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use lunkeep_target::image::{
    BlockFile, ChildOptions, Disk, Environment, FileKey, Format, Lineage, MemoryFile, ParentFile,
    ParentRecord, ParentSource,
};

/// Files by name. Every file may be the parent of every other.
#[derive(Clone, Debug, Default)]
pub struct Folder {
    files: Arc<Mutex<BTreeMap<String, Arc<dyn BlockFile>>>>,
}

impl Folder {
    /// Puts `file` there under `name`, in place of another.
    pub fn put(&self, name: &str, file: Arc<dyn BlockFile>) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), file);
    }

    fn find(&self, name: &str) -> Option<(u64, Arc<dyn BlockFile>)> {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let last = name.rsplit(['/', '\\']).next()?;
        let place = files.keys().position(|known| known == last)?;
        Some((place as u64, Arc::clone(files.get(last)?)))
    }

    /// The file `name`, if it is there.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<Arc<dyn BlockFile>> {
        self.find(name).map(|(_, file)| file)
    }

    /// The lineage of the file `name`; of a name that is not there, that of a file that nobody else has.
    #[must_use]
    pub fn lineage(&self, name: &str) -> Lineage {
        let inode = self.find(name).map_or(u64::MAX, |(place, _)| place);
        Lineage::new(Arc::new(Source { folder: self.clone(), child: FileKey { device: 1, inode } }))
    }

    /// An empty child of the file `parent`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn child_of(
        &self,
        format: Format,
        parent: &str,
        block_size: Option<u64>,
        env: &Arc<dyn Environment>,
    ) -> MemoryFile {
        let (_, file) = self.find(parent).expect("the parent is there");
        let disk: Arc<dyn Disk> = format
            .open_in(Arc::clone(&file), lunkeep_target::image::Access::ReadOnly, env, &self.lineage(parent))
            .expect("the parent opens");
        let geometry = disk.geometry();
        let options = ChildOptions {
            parent: ParentRecord {
                id: format.identity(&file).expect("an identity"),
                relative: parent.to_owned(),
                absolute: format!("/images/{parent}"),
                modified: 1_800_000_000,
            },
            size: geometry.size,
            block_size,
            logical_sector: geometry.logical_block,
            physical_sector: geometry.physical_block,
        };
        let child = MemoryFile::default();
        format.create_child(&child, &options, &**env).expect("a child");
        child
    }
}

struct Source {
    folder: Folder,
    child: FileKey,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("child", &self.child).finish_non_exhaustive()
    }
}

impl ParentSource for Source {
    fn child(&self) -> Option<FileKey> {
        Some(self.child)
    }

    fn find(&self, name: &str) -> Result<Option<ParentFile>, String> {
        Ok(self.folder.find(name).map(|(inode, file)| {
            let key = FileKey { device: 1, inode };
            let parents = Arc::new(Self { folder: self.folder.clone(), child: key });
            ParentFile { file, key, label: name.to_owned(), parents }
        }))
    }
}
