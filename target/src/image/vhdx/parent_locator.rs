//! The parent locator of a differencing disk (MS-VHDX 2.6.2.6): keys and values that tell which file the parent is, and
//! what its data write GUID was.

use uuid::Uuid;

use super::{guid, le};
use crate::image::ParentRecord;

/// Where a differencing disk says that its parent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParentLocator {
    entries: Vec<(String, String)>,
}

/// Keys with a path, in the order in which they are to be tried (MS-VHDX 2.6.2.6.3).
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];
/// Keys with the parent's data write GUID; the second one is there while a parent is merged.
const LINKAGES: [&str; 2] = ["parent_linkage", "parent_linkage2"];
/// Where entries start.
const ENTRIES: usize = 20;
const ENTRY_LEN: usize = 12;

impl ParentLocator {
    /// The locator of a new child of `parent`.
    pub(super) fn new(parent: &ParentRecord) -> Self {
        let windows = |path: &str| path.replace('/', "\\");
        let relative = if parent.relative.starts_with("..") {
            windows(&parent.relative)
        } else {
            format!(".\\{}", windows(&parent.relative))
        };
        let entries = [
            ("parent_linkage", format!("{{{}}}", parent.id)),
            ("relative_path", relative),
            ("absolute_win32_path", windows(&parent.absolute)),
        ];
        Self { entries: entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect() }
    }

    /// Reads a locator; `Err` says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let kind = le::guid_at(bytes, 0);
        if kind != guid::PARENT_LOCATOR_VHDX {
            return Err(format!("its type is {kind}, only {} is known", guid::PARENT_LOCATOR_VHDX));
        }
        let count = usize::from(le::u16_at(bytes, 18));
        let table = bytes.get(ENTRIES..).unwrap_or_default();
        if table.len() / ENTRY_LEN < count {
            return Err(format!("it claims {count} entries, but ends before the last of them"));
        }
        let mut entries = Vec::new();
        for entry in table.chunks_exact(ENTRY_LEN).take(count) {
            let text = |offset: usize, length: usize| {
                let start = usize::try_from(le::u32_at(entry, offset)).ok()?;
                let end = start.checked_add(usize::from(le::u16_at(entry, length)))?;
                bytes.get(start..end).map(le::utf16)
            };
            let (Some(key), Some(value)) = (text(0, 8), text(4, 10)) else {
                return Err("an entry points outside it".to_owned());
            };
            entries.push((key, value));
        }
        Ok(Self { entries })
    }

    /// The bytes of this locator; `None` when a value is longer than 16 bits can say.
    pub(super) fn encode(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; ENTRIES + ENTRY_LEN * self.entries.len()];
        le::put(&mut bytes, 0, &guid::PARENT_LOCATOR_VHDX.to_bytes_le());
        le::put(&mut bytes, 18, &u16::try_from(self.entries.len()).ok()?.to_le_bytes());
        for (n, (key, value)) in self.entries.iter().enumerate() {
            for (text, offset, length) in [(key, 0, 8), (value, 4, 10)] {
                let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
                let at = ENTRIES + ENTRY_LEN * n;
                let start = u32::try_from(bytes.len()).ok()?;
                le::put(&mut bytes, at + offset, &start.to_le_bytes());
                le::put(&mut bytes, at + length, &u16::try_from(text.len()).ok()?.to_le_bytes());
                bytes.extend(text);
            }
        }
        Some(bytes)
    }

    /// The same with these linkages in place of its own.
    pub(super) fn with_linkages(&self, now: Uuid, next: Uuid) -> Self {
        let others = self.entries.iter().filter(|(key, _)| !LINKAGES.contains(&key.as_str())).cloned();
        let linkages =
            LINKAGES.iter().zip([now, next]).map(|(key, id)| ((*key).to_owned(), format!("{{{id}}}")));
        Self { entries: linkages.chain(others).collect() }
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.entries.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The parent's data write GUID when the child was made: any of these.
    pub(super) fn linkages(&self) -> Vec<Uuid> {
        LINKAGES.into_iter().filter_map(|key| Uuid::parse_str(self.value(key)?.trim()).ok()).collect()
    }

    /// The parent's names, in the order in which they are to be tried.
    pub(super) fn paths(&self) -> Vec<String> {
        PATHS.into_iter().filter_map(|key| self.value(key)).map(str::to_owned).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locator(pairs: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = guid::PARENT_LOCATOR_VHDX.to_bytes_le().to_vec();
        bytes.extend([0, 0]);
        bytes.extend(u16::try_from(pairs.len()).unwrap().to_le_bytes());
        let mut texts = Vec::new();
        for (key, value) in pairs {
            let [key, value] = [key, value].map(|t| t.encode_utf16().flat_map(u16::to_le_bytes).collect());
            let at = 20 + 12 * pairs.len() + texts.len();
            let (key, value): (Vec<u8>, Vec<u8>) = (key, value);
            bytes.extend(u32::try_from(at).unwrap().to_le_bytes());
            bytes.extend(u32::try_from(at + key.len()).unwrap().to_le_bytes());
            bytes.extend(u16::try_from(key.len()).unwrap().to_le_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
            texts.extend(key);
            texts.extend(value);
        }
        bytes.extend(texts);
        bytes
    }

    #[test]
    fn linkage_and_paths_are_found_whatever_their_order() {
        let found = ParentLocator::decode(&locator(&[
            ("absolute_win32_path", "C:\\vm\\base.vhdx"),
            ("parent_linkage", "{2DC27766-F623-4200-9D64-115E9BFD4A08}"),
            ("relative_path", ".\\base.vhdx"),
        ]))
        .unwrap();
        assert_eq!(found.linkages(), [guid::REGION_BAT]);
        assert_eq!(found.paths(), [".\\base.vhdx", "C:\\vm\\base.vhdx"]);
    }

    #[test]
    fn a_locator_is_read_as_it_was_written() {
        let record = |relative: &str| ParentRecord {
            id: guid::REGION_BAT,
            relative: relative.to_owned(),
            absolute: "/srv/gold/b\u{e4}se.vhdx".to_owned(),
            modified: 0,
        };
        for (relative, written) in [("gold/a.vhdx", ".\\gold\\a.vhdx"), ("../a.vhdx", "..\\a.vhdx")] {
            let locator = ParentLocator::new(&record(relative));
            let read = ParentLocator::decode(&locator.encode().unwrap()).unwrap();
            assert_eq!(read, locator);
            assert_eq!(read.linkages(), [guid::REGION_BAT]);
            assert_eq!(read.paths(), [written, "\\srv\\gold\\b\u{e4}se.vhdx"]);
        }
        let long = ParentRecord { absolute: "x".repeat(40_000), ..record("a") };
        assert_eq!(ParentLocator::new(&long).encode(), None);
    }

    #[test]
    fn entries_outside_the_locator_are_refused() {
        let mut bytes = locator(&[("relative_path", "x")]);
        bytes.truncate(bytes.len() - 1);
        assert!(ParentLocator::decode(&bytes).unwrap_err().contains("outside"));
        bytes.truncate(25);
        assert!(ParentLocator::decode(&bytes).unwrap_err().contains("1 entries"));
        assert!(ParentLocator::decode(&[]).unwrap_err().contains("type"));
    }
}
