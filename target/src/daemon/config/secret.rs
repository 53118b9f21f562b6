//! Secrets from files and environment variables.

use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use crate::daemon::spec::Secret;
use crate::limits::CHAP_SECRET_LEN_MAX;

/// The secret in a file: its bytes, without one line end at the end.
///
/// # Errors
/// A sentence that names the file.
pub fn from_file(path: &Path) -> Result<Secret, String> {
    let name = path.display();
    let file =
        std::fs::File::open(path).map_err(|error| format!("cannot read the secret file {name}: {error}"))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(CHAP_SECRET_LEN_MAX + 3));
    file.take(CHAP_SECRET_LEN_MAX as u64 + 3)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the secret file {name}: {error}"))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    Secret::new(bytes).map_err(|error| format!("{name}: {error}"))
}

/// The secret in an environment variable.
///
/// # Errors
/// A sentence that names the variable.
pub fn from_variable(name: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Secret, String> {
    let value = variable(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
    Secret::new(Zeroizing::new(value.into_bytes()))
        .map_err(|error| format!("environment variable {name}: {error}"))
}

/// Whether others than the owner can read the file.
#[must_use]
pub fn is_exposed(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

/// The note for a file that is exposed.
#[must_use]
pub fn exposed_note(path: &Path) -> String {
    let path = path.display();
    format!("the secret file {path} can be read by others; chmod 600 {path} keeps it to its owner")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_no_part_of_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (content, secret) in [
            (&b"secret-of-12-or-more"[..], &b"secret-of-12-or-more"[..]),
            (b"secret-of-12-or-more\n", b"secret-of-12-or-more"),
            (b"secret-of-12-or-more\r\n", b"secret-of-12-or-more"),
            (b"secret-of-12-or-more\n\n", b"secret-of-12-or-more\n"),
            (b"\x00\xff\x01 binary bytes", b"\x00\xff\x01 binary bytes"),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(from_file(&path).unwrap().bytes(), secret);
        }
        std::fs::write(&path, [b'x'; 257]).unwrap();
        assert!(from_file(&path).unwrap_err().contains("at most 255"));
        std::fs::write(&path, "short\n").unwrap();
        assert!(from_file(&path).unwrap_err().contains("5 bytes"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named() {
        let error = from_variable("LAB_SECRET", &|_| None).unwrap_err();
        assert!(error.contains("LAB_SECRET"));
        assert!(from_variable("X", &|name| Some(format!("{name}-long-enough"))).is_ok());
    }

    #[test]
    fn a_file_that_others_can_read_is_exposed() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, exposed) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_exposed(file.path()), exposed, "{mode:o}");
        }
    }
}
