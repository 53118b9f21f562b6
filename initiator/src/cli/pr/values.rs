//! Keys, types and initiator ports as people write them.

use lunkeep_common::name::{InitiatorPort, Isid};
use lunkeep_common::scsi::persistent::{Key, ReservationType, TransportId};

/// Names and numbers of the types; `print` uses the first name.
pub(super) const TYPES: [(ReservationType, &str, &str); 6] = [
    (ReservationType::WriteExclusive, "write-exclusive", "we"),
    (ReservationType::ExclusiveAccess, "exclusive-access", "ea"),
    (ReservationType::WriteExclusiveRegistrantsOnly, "write-exclusive-registrants-only", "wero"),
    (ReservationType::ExclusiveAccessRegistrantsOnly, "exclusive-access-registrants-only", "earo"),
    (ReservationType::WriteExclusiveAllRegistrants, "write-exclusive-all-registrants", "wear"),
    (ReservationType::ExclusiveAccessAllRegistrants, "exclusive-access-all-registrants", "eaar"),
];

pub(super) const TYPE_HELP: &str = "Type, by number or name: 1 write-exclusive (we), 3 exclusive-access (ea), \
    5 write-exclusive-registrants-only (wero), 6 exclusive-access-registrants-only (earo), \
    7 write-exclusive-all-registrants (wear), 8 exclusive-access-all-registrants (eaar)";

/// The long name of a type.
pub(super) fn type_name(kind: ReservationType) -> &'static str {
    TYPES.iter().find(|(known, ..)| *known == kind).map_or("unknown", |(_, name, _)| name)
}

/// Reads a type.
pub(super) fn kind(text: &str) -> Result<ReservationType, String> {
    TYPES
        .iter()
        .find(|(kind, name, short)| text == *name || text == *short || text == (*kind as u8).to_string())
        .map(|(kind, ..)| *kind)
        .ok_or_else(|| {
            let names: Vec<String> =
                TYPES.iter().map(|(kind, name, _)| format!("{} {name}", *kind as u8)).collect();
            format!("there is no such type; types are {}", names.join(", "))
        })
}

/// Reads a key: up to sixteen hexadecimal digits, with or without `0x`.
pub(super) fn key(text: &str) -> Result<Key, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    if digits.is_empty() || digits.len() > 16 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("a key is 1 to 16 hexadecimal digits, with or without 0x".into());
    }
    u64::from_str_radix(digits, 16).map(Key).map_err(|error| error.to_string())
}

/// Reads an initiator port, `name,i,0x` and twelve hexadecimal digits (RFC 7143 §4.4.3), or a name alone.
pub(super) fn transport_id(text: &str) -> Result<TransportId, String> {
    let Some((name, isid)) = text.split_once(",i,0x") else {
        return text.parse().map(TransportId::Device).map_err(|error| format!("{error}"));
    };
    if isid.len() != 12 || !isid.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("the ISID after \",i,0x\" is twelve hexadecimal digits".into());
    }
    let value = u64::from_str_radix(isid, 16).map_err(|error| error.to_string())?;
    let [_, _, isid @ ..] = value.to_be_bytes();
    let name = name.parse().map_err(|error| format!("{error}"))?;
    Ok(TransportId::Port(InitiatorPort { name, isid: Isid(isid) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_a_number_a_name_and_a_short_one() {
        for (expected, name, short) in TYPES {
            for text in [name, short, &(expected as u8).to_string()] {
                assert_eq!(kind(text), Ok(expected));
            }
            assert!(TYPE_HELP.contains(&format!("{} {name} ({short})", expected as u8)));
        }
        for text in ["0", "2", "9", "WE", ""] {
            assert!(kind(text).unwrap_err().contains("5 write-exclusive-registrants-only"), "{text}");
        }
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert_eq!(key("0x12Ab"), Ok(Key(0x12ab)));
        assert_eq!(key("ffffffffffffffff"), Ok(Key(u64::MAX)));
        for text in ["", "0x", "g", "+1", "-1", "0x10000000000000000", "1 "] {
            assert!(key(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ports_are_read_as_they_are_printed() {
        let text = "iqn.2026-11.org:a,i,0x80000000001f";
        let TransportId::Port(port) = transport_id(text).unwrap() else { panic!("it has an ISID") };
        assert_eq!(port.to_string(), text);
        assert!(matches!(transport_id("iqn.2026-11.org:a"), Ok(TransportId::Device(_))));
        assert!(transport_id("iqn.2026-11.org:a,i,0x80").is_err());
        assert!(transport_id("disk").is_err());
    }
}
