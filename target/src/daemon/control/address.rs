//! Where the control socket is.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Name of the socket in a state folder.
pub const NAME: &str = "control.sock";

/// Longest path that fits into a socket address of Linux, with the zero that ends it.
const ADDRESS_LEN: usize = 108;

/// A path that fits into a socket address: the path itself, or one through the open folder, which is as short whatever the folder is
/// called.
#[derive(Debug)]
pub struct Reachable {
    path: PathBuf,
    /// `path` leads through it.
    _folder: Option<File>,
}

impl Reachable {
    /// A way to the socket `path`.
    ///
    /// # Errors
    /// What the host says of its folder.
    pub fn to(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() < ADDRESS_LEN {
            return Ok(Self { path: path.to_owned(), _folder: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let through = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
        Ok(Self { path: through, _folder: Some(folder) })
    }

    /// The path to use.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_in_a_folder_with_a_long_name_is_reached() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["short".to_owned(), "long".repeat(60)] {
            let path = folder.path().join(name).join(NAME);
            std::fs::create_dir(path.parent().unwrap()).unwrap();
            let listener = UnixListener::bind(Reachable::to(&path).unwrap().path()).unwrap();
            assert!(path.exists());
            UnixStream::connect(Reachable::to(&path).unwrap().path()).unwrap();
            drop(listener);
        }
    }
}
