//! `--disk PATH[,size=10G][,format=vhdx][,fixed][,ro][,removable][,block=4096][,serial=TEXT]`.

use std::str::FromStr;

use super::nearest;
use super::size;
use super::spec::{CreateSpec, LunSpec};
use crate::image::Allocation;

/// A `--disk` flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskFlag(pub LunSpec);

/// Options by name, each with how it is written.
const OPTIONS: [(&str, &str); 7] = [
    ("size", "size=10G"),
    ("format", "format=vhdx"),
    ("fixed", "fixed"),
    ("ro", "ro"),
    ("removable", "removable"),
    ("block", "block=4096"),
    ("serial", "serial=TEXT"),
];

impl FromStr for DiskFlag {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = split(text).into_iter();
        let path = parts.next().filter(|path| !path.is_empty()).ok_or("the path of the image is missing")?;
        let mut lun = LunSpec {
            path: path.into(),
            format: None,
            create: None,
            logical_block: None,
            read_only: false,
            removable: false,
            serial: None,
        };
        let (mut size, mut fixed) = (None, false);
        let mut seen = Vec::new();
        for part in parts {
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (part, None),
            };
            if seen.contains(&name) {
                return Err(format!("option {name:?} is there twice"));
            }
            match (name.as_str(), value) {
                ("size", Some(value)) => size = Some(size::parse(&value)?),
                ("format", Some(value)) => lun.format = Some(value.parse()?),
                ("block", Some(value)) => lun.logical_block = Some(logical_block(&value)?),
                ("serial", Some(value)) => lun.serial = Some(value.parse()?),
                ("fixed", None) => fixed = true,
                ("ro", None) => lun.read_only = true,
                ("removable", None) => lun.removable = true,
                (other, _) => return Err(unknown(other)),
            }
            seen.push(name);
        }
        match (size, fixed) {
            (Some(size), fixed) => {
                let allocation = if fixed { Allocation::Fixed } else { Allocation::Dynamic };
                lun.create = Some(CreateSpec { size, allocation });
            }
            (None, false) => {}
            (None, true) => {
                return Err(
                    "\"fixed\" says how an image is created: give its size too, such as size=10G".into()
                );
            }
        }
        Ok(Self(lun))
    }
}

/// A logical block size.
///
/// # Errors
/// A sentence that gives the two values.
fn logical_block(text: &str) -> Result<u32, String> {
    match text {
        "512" => Ok(512),
        "4096" => Ok(4096),
        _ => Err(format!("block size {text:?} must be 512 or 4096")),
    }
}

fn unknown(name: &str) -> String {
    let known = OPTIONS.iter().find(|(known, _)| *known == name);
    if let Some((_, written)) = known {
        return format!("option {name:?} is written {written}");
    }
    let near = nearest::of(name, OPTIONS.iter().map(|(known, _)| *known));
    let all: Vec<_> = OPTIONS.iter().map(|(_, written)| *written).collect();
    let near = near.map_or_else(String::new, |near| format!(" Did you mean {near:?}?"));
    format!(
        "unknown option {name:?}.{near} The options are: {} (a comma within the path is written twice)",
        all.join(", ")
    )
}

/// Splits at commas; two commas in a row stand for one within a part.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            ',' if rest.next_if_eq(&',').is_none() => parts.push(String::new()),
            c => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Format;

    fn parse(text: &str) -> Result<LunSpec, String> {
        text.parse::<DiskFlag>().map(|flag| flag.0)
    }

    #[test]
    fn a_path_alone_is_an_existing_image() {
        let lun = parse("dir/shared.vhdx").unwrap();
        assert_eq!(lun.path.to_str(), Some("dir/shared.vhdx"));
        assert_eq!((lun.format, lun.create, lun.read_only, lun.serial), (None, None, false, None));
    }

    #[test]
    fn options_come_in_any_order() {
        let lun = parse("a.img,fixed,block=4096,serial=S 1,size=10G,format=raw,ro").unwrap();
        assert_eq!(lun.format, Some(Format::Raw));
        let create = CreateSpec { size: 10 << 30, allocation: Allocation::Fixed };
        assert_eq!((lun.create, lun.logical_block), (Some(create), Some(4096)));
        assert!(lun.read_only);
        assert_eq!(lun.serial.unwrap().as_str(), "S 1");
    }

    #[test]
    fn a_block_size_needs_no_size_since_a_raw_disk_does_not_record_it() {
        let lun = parse("a.raw,block=4096").unwrap();
        assert_eq!((lun.create, lun.logical_block), (None, Some(4096)));
    }

    #[test]
    fn a_doubled_comma_belongs_to_the_path() {
        let lun = parse("a,,b.raw,ro").unwrap();
        assert_eq!(lun.path.to_str(), Some("a,b.raw"));
        assert!(lun.read_only);
    }

    #[test]
    fn errors_name_the_option_and_the_nearest_one() {
        for (text, part) in [
            ("", "path"),
            (",ro", "path"),
            ("a,siz=1G", "Did you mean \"size\"?"),
            ("a,read_only", "The options are: size=10G"),
            ("a,size", "is written size=10G"),
            ("a,ro=1", "is written ro"),
            ("a,size=1X", "\"1X\""),
            ("a,format=vmdk", "vmdk"),
            ("a,block=1024,size=1G", "512 or 4096"),
            ("a,fixed", "give its size"),
            ("a,ro,ro", "twice"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
