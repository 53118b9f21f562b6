//! The parent locator of a differencing disk (MS-VHDX 2.6.2.6). It is read to tell the user which file is missing.

use uuid::Uuid;

use super::{guid, le};

/// Where a differencing disk says that its parent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ParentLocator {
    /// The parent's data write GUID when the child was made.
    pub(super) linkage: Option<Uuid>,
    /// The parent's names, in the order in which they are to be tried.
    pub(super) paths: Vec<String>,
}

/// Keys with a path, in the order in which they are to be tried (MS-VHDX 2.6.2.6.3).
const PATHS: [&str; 3] = ["relative_path", "volume_path", "absolute_win32_path"];

impl ParentLocator {
    /// Reads a locator; `Err` says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let kind = le::guid_at(bytes, 0);
        if kind != guid::PARENT_LOCATOR_VHDX {
            return Err(format!("its type is {kind}, only {} is known", guid::PARENT_LOCATOR_VHDX));
        }
        let count = usize::from(le::u16_at(bytes, 18));
        let entries = bytes.get(20..).unwrap_or_default();
        if entries.len() / 12 < count {
            return Err(format!("it claims {count} entries, but ends before the last of them"));
        }
        let mut found = Vec::new();
        for entry in entries.chunks_exact(12).take(count) {
            let text = |offset: usize, length: usize| {
                let start = usize::try_from(le::u32_at(entry, offset)).ok()?;
                let end = start.checked_add(usize::from(le::u16_at(entry, length)))?;
                bytes.get(start..end).map(le::utf16)
            };
            let (Some(key), Some(value)) = (text(0, 8), text(4, 10)) else {
                return Err("an entry points outside it".to_owned());
            };
            found.push((key, value));
        }
        let value = |name: &str| found.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let linkage = ["parent_linkage", "parent_linkage2"]
            .into_iter()
            .find_map(|key| Uuid::parse_str(value(key)?.trim()).ok());
        let paths = PATHS.into_iter().filter_map(value).map(str::to_owned).collect();
        Ok(Self { linkage, paths })
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
        ]));
        let linkage = Some(guid::REGION_BAT);
        let paths = vec![".\\base.vhdx".to_owned(), "C:\\vm\\base.vhdx".to_owned()];
        assert_eq!(found, Ok(ParentLocator { linkage, paths }));
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
