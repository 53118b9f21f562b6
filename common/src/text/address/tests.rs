//! Addresses and listings, good and bad.

use super::*;

#[test]
fn addresses_are_read_and_written() {
    let cases = [
        ("192.0.2.1", "192.0.2.1", 3260, None, "192.0.2.1:3260"),
        ("192.0.2.1:860,1", "192.0.2.1", 860, Some(1), "192.0.2.1:860,1"),
        (
            "storage.example.org,65535",
            "storage.example.org",
            3260,
            Some(65535),
            "storage.example.org:3260,65535",
        ),
        ("[2001:db8::1]", "2001:db8::1", 3260, None, "[2001:db8::1]:3260"),
        ("[fe80::1%eth0]:3261,2", "fe80::1%eth0", 3261, Some(2), "[fe80::1%eth0]:3261,2"),
    ];
    for (text, host, port, tag, written) in cases {
        let address: TargetAddress = text.parse().unwrap();
        let expected = TargetAddress { host: host.into(), port, portal_group: tag.map(PortalGroupTag) };
        assert_eq!(address, expected, "{text}");
        assert_eq!(address.to_string(), written);
        assert_eq!(written.parse::<TargetAddress>().unwrap(), expected);
    }
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        ":3260",
        "a:0",
        "a:65536",
        "a:x",
        "a,x",
        "a,70000",
        "a,1,2",
        "[::1",
        "[::1]3260",
        "2001:db8::1",
        "a b",
    ] {
        assert!(text.parse::<TargetAddress>().is_err(), "{text:?}");
    }
}

fn listing(text: &str) -> Result<Vec<DiscoveredTarget>, ListingError> {
    decode_listing(&Pairs::decode(text.as_bytes()).unwrap())
}

#[test]
fn a_listing_groups_addresses_by_target() {
    let text = "TargetName=iqn.2026-11.org:a\0TargetAddress=a:1,1\0TargetName=iqn.2026-11.org:b\0\
                TargetName=iqn.2026-11.org:a\0TargetAddress=[::1]:2,2\0";
    let targets = listing(text).unwrap();
    assert_eq!(targets.len(), 2);
    assert_eq!(targets[0].addresses.len(), 2);
    assert_eq!(targets[1].addresses, []);
    assert_eq!(decode_listing(&encode_listing(&targets)), Ok(targets));
}

#[test]
fn a_listing_that_breaks_the_rules_is_refused() {
    assert!(matches!(listing("TargetAddress=a:1,1\0"), Err(ListingError::NoTarget { .. })));
    assert!(matches!(listing("TargetName=x\0"), Err(ListingError::Name(_))));
    assert!(matches!(
        listing("TargetName=iqn.2026-11.org:a\0TargetAddress=:\0"),
        Err(ListingError::Address(_))
    ));
    assert!(matches!(listing("SendTargets=All\0"), Err(ListingError::Key { .. })));
    assert_eq!(listing(""), Ok(vec![]));
}
