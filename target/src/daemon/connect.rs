//! The commands with which each kind of initiator connects to a target, ready to be copied.

use serde::Serialize;

use super::spec::{Access, Authentication, LunView};

/// Commands by initiator, each a line for a shell (PowerShell for Windows).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Connect {
    /// Linux's open-iscsi.
    pub open_iscsi: Vec<String>,
    /// Windows's own initiator, in PowerShell as administrator.
    pub windows: Vec<String>,
    /// libiscsi's tools.
    pub libiscsi: Vec<String>,
}

/// What the commands depend on.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// `HOST:PORT` of the portal.
    pub portal: &'a str,
    /// The target's name.
    pub target: &'a str,
    /// The number of a LUN that exists.
    pub lun: u16,
    /// How initiators log in to the target.
    pub authentication: &'a Authentication,
    /// How they log in to discovery.
    pub discovery: &'a Authentication,
    /// Who may log in.
    pub access: &'a Access,
}

/// What stands in a command for a secret, which is never printed.
const SECRET: &str = "SECRET";
const OWN_SECRET: &str = "TARGET_SECRET";

/// The commands for `connection`.
#[must_use]
pub fn commands(connection: &Connection<'_>) -> Connect {
    Connect {
        open_iscsi: open_iscsi(connection),
        windows: windows(connection),
        libiscsi: libiscsi(connection),
    }
}

/// The first user and, with mutual CHAP, the target's own name.
fn names(authentication: &Authentication) -> Option<(&str, Option<&str>)> {
    match authentication {
        Authentication::None => None,
        Authentication::Chap { users, mutual } => {
            users.first().map(|user| (user.name.as_str(), mutual.as_ref().map(|own| own.name.as_str())))
        }
    }
}

fn open_iscsi(c: &Connection<'_>) -> Vec<String> {
    let (portal, target) = (shell(c.portal), c.target);
    let discover = format!("sudo iscsiadm -m discoverydb -t sendtargets -p {portal}");
    let node = format!("sudo iscsiadm -m node -T {target} -p {portal}");
    let mut lines = Vec::new();
    if let Some(names) = names(c.discovery) {
        lines.push(format!("{discover} --op new"));
        lines.extend(settings(&discover, "discovery.sendtargets.auth", names));
        lines.push(format!("{discover} --discover"));
    } else {
        lines.push(format!("sudo iscsiadm -m discovery -t sendtargets -p {portal}"));
    }
    if let Some(names) = names(c.authentication) {
        lines.extend(settings(&node, "node.session.auth", names));
    }
    lines.push(format!("{node} --login"));
    lines
}

fn settings<'a>(
    command: &'a str,
    prefix: &'a str,
    (user, own): (&'a str, Option<&'a str>),
) -> impl Iterator<Item = String> + 'a {
    let one_way = [("authmethod", "CHAP"), ("username", user), ("password", SECRET)];
    let mutual = own.map(|own| [("username_in", own), ("password_in", OWN_SECRET)]);
    one_way
        .into_iter()
        .chain(mutual.into_iter().flatten())
        .map(move |(key, value)| format!("{command} --op update -n {prefix}.{key} -v {}", shell(value)))
}

fn windows(c: &Connection<'_>) -> Vec<String> {
    let (host, port) = c.portal.rsplit_once(':').unwrap_or((c.portal, "3260"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let chap = |authentication| {
        names(authentication).map_or_else(String::new, |(user, own)| {
            let kind = if own.is_some() { "MUTUALCHAP" } else { "ONEWAYCHAP" };
            format!(" -AuthenticationType {kind} -ChapUsername {} -ChapSecret {SECRET}", powershell(user))
        })
    };
    let mutual = [c.discovery, c.authentication]
        .iter()
        .any(|authentication| names(authentication).is_some_and(|(_, own)| own.is_some()));
    let mut lines = vec!["Start-Service MSiSCSI".to_owned()];
    if mutual {
        lines.push(format!("Set-IscsiChapSecret -ChapSecret {OWN_SECRET}"));
    }
    lines.push(format!(
        "New-IscsiTargetPortal -TargetPortalAddress {host} -TargetPortalPortNumber {port}{}",
        chap(c.discovery)
    ));
    lines.push(format!(
        "Connect-IscsiTarget -NodeAddress {} -TargetPortalAddress {host} -TargetPortalPortNumber {port} -IsPersistent $true{}",
        c.target,
        chap(c.authentication)
    ));
    lines
}

fn libiscsi(c: &Connection<'_>) -> Vec<String> {
    let initiator = match c.access {
        Access::Everyone => String::new(),
        Access::Only(allowed) => {
            allowed.keys().next().map_or_else(String::new, |name| format!("--initiator-name={name} "))
        }
    };
    let lun = match c.access {
        Access::Only(allowed) => match allowed.values().next() {
            Some(LunView::Map(map)) => map.keys().next().copied().unwrap_or(c.lun),
            _ => c.lun,
        },
        Access::Everyone => c.lun,
    };
    let login = |authentication| {
        names(authentication).map_or_else(Default::default, |(user, own): (&str, Option<&str>)| {
            let variables = own.map_or_else(String::new, |own| {
                format!(
                    "LIBISCSI_CHAP_TARGET_USERNAME={} LIBISCSI_CHAP_TARGET_PASSWORD={OWN_SECRET} ",
                    shell(own)
                )
            });
            (variables, format!("{user}%{SECRET}@"))
        })
    };
    let (variables, user) = login(c.discovery);
    let list = format!("{variables}iscsi-ls {initiator}{}", shell(&format!("iscsi://{user}{}", c.portal)));
    let (variables, user) = login(c.authentication);
    let url = format!("iscsi://{user}{}/{}/{lun}", c.portal, c.target);
    vec![list, format!("{variables}iscsi-inq {initiator}{}", shell(&url))]
}

/// A word for a POSIX shell.
fn shell(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A word for PowerShell.
fn powershell(word: &str) -> String {
    if !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(&b)) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "''"))
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::daemon::spec::{Credential, Secret};

    fn credential(name: &str, secret: &str) -> Credential {
        Credential { name: name.into(), secret: Secret::new(Zeroizing::new(secret.into())).unwrap() }
    }

    fn shown(
        authentication: &Authentication,
        discovery: &Authentication,
        access: &Access,
        portal: &str,
    ) -> String {
        let connect = commands(&Connection {
            portal,
            target: "iqn.2026-11.org.lunkeep:host:shared",
            lun: 0,
            authentication,
            discovery,
            access,
        });
        let lines = |name: &str, lines: &[String]| format!("{name}\n{}\n", lines.join("\n"));
        lines("open-iscsi", &connect.open_iscsi)
            + &lines("windows", &connect.windows)
            + &lines("libiscsi", &connect.libiscsi)
    }

    #[test]
    fn commands_without_authentication() {
        let none = Authentication::None;
        insta::assert_snapshot!(shown(&none, &none, &Access::Everyone, "192.168.1.10:3260"));
    }

    #[test]
    fn commands_over_ipv6_for_one_allowed_initiator_with_its_own_numbers() {
        let none = Authentication::None;
        let allowed = [("iqn.1993-08.org.debian:01:a".parse().unwrap(), LunView::Map([(3, 0)].into()))];
        insta::assert_snapshot!(shown(&none, &none, &Access::Only(allowed.into()), "[fd00::1]:3260"));
    }

    #[test]
    fn commands_with_chap_hold_no_secret_and_quote_names() {
        let chap =
            Authentication::chap(vec![credential("alice o'hara", "correct horse battery")], None).unwrap();
        let mutual = Authentication::chap(
            vec![credential("bob", "another secret of bob")],
            Some(credential("lunkeep", "staple of the target")),
        )
        .unwrap();
        let shown = shown(&mutual, &chap, &Access::Everyone, "192.168.1.10:3260");
        assert!(!["horse", "bob's", "another", "staple"].iter().any(|word| shown.contains(word)), "{shown}");
        insta::assert_snapshot!(shown);
    }
}
