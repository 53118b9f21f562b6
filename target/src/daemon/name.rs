//! The name of a target that was given none.

use std::path::Path;

use lunkeep_common::limits::ISCSI_NAME_LEN_MAX;

/// What every made-up name begins with.
const PREFIX: &str = "iqn.2026-11.org.lunkeep:";

/// A name out of the host's name and the image of the first LUN: `iqn.2026-11.org.lunkeep:HOST:IMAGE`. Characters that an iSCSI
/// name may not have become `-`.
#[must_use]
pub fn proposal(host: &str, image: &Path) -> String {
    let host = clean(host.split('.').next().unwrap_or_default(), 63);
    let room = ISCSI_NAME_LEN_MAX - PREFIX.len() - host.len() - 1;
    let stem = image.file_stem().unwrap_or_default().to_string_lossy();
    format!("{PREFIX}{host}:{}", clean(&stem, room))
}

/// The host's name.
#[must_use]
pub fn of_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// At most `room` bytes of `text`, in lower case, with runs of other characters as one `-`; never empty.
fn clean(text: &str, room: usize) -> String {
    let mut clean = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() || c == '.' {
            clean.push(c);
        } else if !clean.ends_with('-') {
            clean.push('-');
        }
        if clean.len() >= room {
            break;
        }
    }
    let clean = clean.trim_matches(['-', '.']);
    if clean.is_empty() { "x".into() } else { clean.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lunkeep_common::name::IscsiName;

    #[test]
    fn a_name_is_made_of_host_and_image_and_is_always_valid() {
        for (host, image, name) in [
            ("lab-1", "shared.vhdx", "iqn.2026-11.org.lunkeep:lab-1:shared"),
            ("LAB.example.org", "dir/My Disk_2.vhdx", "iqn.2026-11.org.lunkeep:lab:my-disk-2"),
            ("", "..", "iqn.2026-11.org.lunkeep:x:x"),
            ("_", "ÄÖ é.img", "iqn.2026-11.org.lunkeep:x:x"),
        ] {
            assert_eq!(proposal(host, Path::new(image)), name);
            assert!(name.parse::<IscsiName>().is_ok());
        }
        let long = proposal(&"h".repeat(300), Path::new(&"i".repeat(300)));
        assert_eq!(long.len(), ISCSI_NAME_LEN_MAX);
        assert!(long.parse::<IscsiName>().is_ok());
    }
}
