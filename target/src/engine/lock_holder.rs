//! Who has a file open that is locked, for the error message.
//!
//! The kernel tells the process of a lock in `/proc/locks`, unless the lock belongs to an open file description (QEMU's do,
//! with the process -1); then whoever has the file open is named. Processes of other users hide what they have open from
//! anyone but root. So the answer is a help, and never decides anything.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::limits::LOCK_HOLDERS_NAMED_MAX;

/// `qemu-system-x86 (process 1234)`, several joined by "and"; `None` when nobody can be named.
pub(super) fn name(file: &File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    let me = std::process::id();
    let mut holders = of_locks(&fs::read_to_string("/proc/locks").unwrap_or_default(), metadata.ino());
    // Another file system may have the same inode number.
    holders.retain(|process| has_open(*process, &metadata));
    if holders.is_empty() {
        holders = processes().filter(|process| *process != me && has_open(*process, &metadata)).collect();
    }
    holders.sort_unstable();
    holders.dedup();
    let names: Vec<String> =
        holders.into_iter().take(LOCK_HOLDERS_NAMED_MAX).map(|process| describe(process, me)).collect();
    (!names.is_empty()).then(|| names.join(" and "))
}

/// The processes with a lock on inode `inode`, from the text of `/proc/locks` (proc_locks(5)).
fn of_locks(text: &str, inode: u64) -> Vec<u32> {
    let holder = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        // A process that only waits has an arrow before the kind of the lock.
        let kind = fields.next().filter(|kind| *kind != "->")?;
        let process = fields.nth(2)?.parse().ok()?;
        let place = fields.next()?;
        let same = place.rsplit(':').next()?.parse() == Ok(inode);
        (same && kind != "LEASE").then_some(process)
    };
    text.lines().filter_map(holder).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Whether `process` has the file open, as far as this process may know.
fn has_open(process: u32, file: &fs::Metadata) -> bool {
    let same = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (file.dev(), file.ino()))
    };
    let Ok(entries) = fs::read_dir(format!("/proc/{process}/fd")) else { return false };
    if process != std::process::id() {
        return entries.filter_map(Result::ok).any(|entry| same(&entry.path()));
    }
    // The descriptor that asks is one of this process.
    entries.filter_map(Result::ok).filter(|entry| same(&entry.path())).count() > 1
}

fn describe(process: u32, me: u32) -> String {
    if process == me {
        return format!("this process ({me}) itself");
    }
    let name = fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default();
    match name.trim_end() {
        "" => format!("process {process}"),
        name => format!("{} (process {process})", name.escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_of_locks_is_read() {
        let text = "\
1: FLOCK  ADVISORY  WRITE 4711 fe:00:1234 0 EOF
2: POSIX  ADVISORY  READ  4712 fe:00:1234 100 100
2: -> POSIX  ADVISORY  WRITE  9999 fe:00:1234 100 100
3: OFDLCK ADVISORY  WRITE -1 fe:00:1234 100 100
4: FLOCK  ADVISORY  WRITE 4713 fe:00:12345 0 EOF
5: LEASE  ACTIVE    READ  4714 fe:00:1234 0 EOF
a line that is something else";
        assert_eq!(of_locks(text, 1234), [4711, 4712]);
    }
}
