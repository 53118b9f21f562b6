//! `iscsi://[user[%password]@]host[:port]/target/lun`, as libiscsi and QEMU write it.

use lunkeep_common::name::IscsiName;
use lunkeep_common::scsi::Lun;
use lunkeep_common::text::TargetAddress;

/// The parts of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// CHAP user.
    pub(super) user: Option<String>,
    /// CHAP secret.
    pub(super) password: Option<String>,
    pub(super) portal: TargetAddress,
    pub(super) target: IscsiName,
    pub(super) lun: Lun,
}

/// Reads a URL.
///
/// # Errors
/// What is wrong, for clap to print. It never repeats the password.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    const FORM: &str = "not of the form iscsi://[user[%password]@]host[:port]/target/lun";
    let rest = text.strip_prefix("iscsi://").ok_or(FORM)?;
    let (authority, path) = rest.split_once('/').ok_or(FORM)?;
    let (target, lun) = path.split_once('/').ok_or(FORM)?;
    // The last @: a password may have one.
    let (credentials, portal) = match authority.rsplit_once('@') {
        Some((credentials, portal)) => (Some(credentials), portal),
        None => (None, authority),
    };
    let (user, password) = match credentials.map(|credentials| credentials.split_once('%')) {
        None => (None, None),
        Some(None) => (credentials.map(str::to_owned), None),
        Some(Some((user, password))) => (Some(user.to_owned()), Some(password.to_owned())),
    };
    if user.as_deref() == Some("") {
        return Err("the user before the @ is empty".into());
    }
    let lun: u16 = lun.parse().map_err(|_| format!("LUN {lun:?} is not a number"))?;
    Ok(Url {
        user,
        password,
        portal: self::portal(portal)?,
        target: target.parse().map_err(|error| format!("{error}"))?,
        lun: Lun::from_number(lun).ok_or_else(|| format!("LUN {lun} is above {}", Lun::NUMBER_MAX))?,
    })
}

/// Reads a portal: `host[:port]`, an IPv6 address in brackets.
///
/// # Errors
/// What is wrong, for clap to print.
pub(super) fn portal(text: &str) -> Result<TargetAddress, String> {
    let address: TargetAddress = text
        .parse()
        .map_err(|_| format!("portal {text:?} is not host[:port], with an IPv6 address in brackets"))?;
    if address.portal_group.is_some() {
        return Err(format!("portal {text:?} has a portal group, which is not part of an address"));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_is_found() {
        let url = parse("iscsi://me%se@cr/").unwrap_err();
        assert!(url.starts_with("not of the form"), "{url}");
        let url = parse("iscsi://me%s%e@cret@[fe80::1]:3261/iqn.2026-11.org:disk/7").unwrap();
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("me"), Some("s%e@cret")));
        assert_eq!((url.portal.host.as_str(), url.portal.port), ("fe80::1", 3261));
        assert_eq!((url.target.as_str(), url.lun), ("iqn.2026-11.org:disk", Lun(7 << 48)));
        let url = parse("iscsi://host/iqn.2026-11.org:disk/300").unwrap();
        assert_eq!((url.user, url.password, url.portal.port), (None, None, 3260));
        assert_eq!(url.lun.number(), Some(300));
        assert_eq!(parse("iscsi://me@host/iqn.2026-11.org:disk/0").unwrap().password, None);
    }

    #[test]
    fn what_is_wrong_is_named_and_a_password_is_not() {
        for (url, culprit) in [
            ("http://host/iqn.2026-11.org:a/0", "not of the form"),
            ("iscsi://host", "not of the form"),
            ("iscsi://host/iqn.2026-11.org:a", "not of the form"),
            ("iscsi://host/iqn.2026-11.org:a/x", "LUN"),
            ("iscsi://host/iqn.2026-11.org:a/16384", "LUN 16384"),
            ("iscsi://host/disk/0", "disk"),
            ("iscsi://host:0/iqn.2026-11.org:a/0", "host:0"),
            ("iscsi://host:99999/iqn.2026-11.org:a/0", "host:99999"),
            ("iscsi:///iqn.2026-11.org:a/0", "portal"),
            ("iscsi://@host/iqn.2026-11.org:a/0", "user"),
            ("iscsi://me%hunter2@ho st/iqn.2026-11.org:a/0", "ho st"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(culprit), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(portal("host:3260,1").is_err());
    }
}
