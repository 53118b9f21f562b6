//! One small record in one file: a header line with a checksum, then JSON.
//!
//! ```text
//! {"kind":"lun identity","version":1,"sha256":"<of all bytes after this line>"}
//! { ...the record... }
//! ```
//!
//! A record is replaced by writing `NAME.new`, syncing it, renaming it over `NAME` and syncing the folder: a power cut at any
//! moment leaves the old record or the new one.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::StoreError;
use super::files::Files;

/// A type that is kept in a file.
pub trait Record: Serialize + DeserializeOwned {
    /// What it is, in the header line: a file of another kind is refused.
    const KIND: &'static str;
    /// The version of its JSON.
    const VERSION: u32;
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    kind: String,
    version: u32,
    sha256: String,
}

/// Makes `record` the content of `path`, durably: it is there after a power cut once this has returned.
///
/// # Errors
/// [`StoreError::Host`]. The file at `path` then holds the old record or the new one.
pub fn save<R: Record>(files: &impl Files, path: &Path, record: &R) -> Result<(), StoreError> {
    let bytes =
        encode(record).map_err(|source| StoreError::Host { action: "encode", path: path.into(), source })?;
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    files.write(&new, &bytes).map_err(StoreError::host("write", &new))?;
    files.sync_file(&new).map_err(StoreError::host("sync", &new))?;
    files.rename(&new, path).map_err(StoreError::host("replace", path))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    files.sync_folder(folder).map_err(StoreError::host("sync", folder))
}

/// The record at `path`; `None` when there is no such file.
///
/// # Errors
/// [`StoreError::Damaged`] when the bytes are not those that [`save`] wrote, [`StoreError::NewerVersion`], and
/// [`StoreError::Host`].
pub fn load<R: Record>(files: &impl Files, path: &Path) -> Result<Option<R>, StoreError> {
    let Some(bytes) = files.read(path).map_err(StoreError::host("read", path))? else { return Ok(None) };
    match decode(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(Fault::Version(found)) => {
            Err(StoreError::NewerVersion { path: path.into(), found, known: R::VERSION })
        }
        Err(Fault::Damaged(reason)) => Err(StoreError::Damaged { path: path.into(), reason }),
    }
}

enum Fault {
    Version(u32),
    Damaged(String),
}

fn encode<R: Record>(record: &R) -> std::io::Result<Vec<u8>> {
    let mut body = serde_json::to_vec_pretty(record)?;
    body.push(b'\n');
    let header = Header { kind: R::KIND.into(), version: R::VERSION, sha256: hex(&Sha256::digest(&body)) };
    let mut bytes = serde_json::to_vec(&header)?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

fn decode<R: Record>(bytes: &[u8]) -> Result<R, Fault> {
    let damaged = |reason: String| Fault::Damaged(reason);
    let end =
        bytes.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it has no header line".into()))?;
    let (first, rest) = bytes.split_at(end);
    let body = rest.get(1..).unwrap_or_default();
    let header: Header =
        serde_json::from_slice(first).map_err(|e| damaged(format!("its header line is not valid: {e}")))?;
    if header.kind != R::KIND {
        return Err(damaged(format!("it is a {:?}, not a {:?}", header.kind, R::KIND)));
    }
    if header.sha256 != hex(&Sha256::digest(body)) {
        return Err(damaged("its checksum does not match its content".into()));
    }
    if header.version > R::VERSION {
        return Err(Fault::Version(header.version));
    }
    serde_json::from_slice(body).map_err(|e| damaged(format!("its content is not valid: {e}")))
}

/// Lower-case hexadecimal digits of `bytes`.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
pub(super) mod tests;
