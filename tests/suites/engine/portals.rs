//! Where a target can be reached: portal groups that are its own, and redirections. Discovery, login, inquiry data and port groups must
//! tell the same.

use std::collections::BTreeSet;

use lunkeep_target::engine::config::Redirect;
use lunkeep_tests::wire::INITIATOR;

use super::*;

const OTHER: &str = "iqn.2024-01.invalid.lunkeep:other";

/// Portals of groups 1 and 2. `TARGET` is in group 2 alone, `OTHER`, which exports the same LUN 0, in both.
fn restricted() -> (Bench, SocketAddr, SocketAddr) {
    let bench = Bench::with(|config| {
        config.portals.push(PortalConfig { group: PortalGroupTag(2), ..portal(None) });
        let luns = vec![config.targets[0].luns[0].clone()];
        config.targets.push(TargetConfig {
            name: OTHER.parse().unwrap(),
            alias: None,
            luns,
            authentication: Authentication::NotRequired,
            access: AccessList::Everyone,
            portal_groups: PortalGroups::All,
            redirect: None,
        });
        config.targets[0].portal_groups = PortalGroups::Only(BTreeSet::from([PortalGroupTag(2)]));
    });
    let portals = bench.server.as_ref().unwrap().portals();
    (bench, portals[0], portals[1])
}

/// The addresses that discovery at `portal` tells of each target.
fn discover(portal: SocketAddr) -> Vec<(String, String)> {
    let mut peer = Peer::connect(portal);
    peer.send(&login_request(0x87, 1, &[("InitiatorName", INITIATOR), ("SessionType", "Discovery")]));
    let answer = peer.receive().unwrap();
    assert_eq!((answer.opcode(), answer.bhs[36]), (opcode::LOGIN_RESPONSE, 0));
    let ask = Frame::new(opcode::TEXT | 0x40)
        .word(16, 5)
        .word(20, u32::MAX)
        .word(24, 1)
        .word(28, answer.word_at(24).wrapping_add(1))
        .data(*b"SendTargets=All\0");
    peer.send(&ask);
    let keys = text_keys(&peer.expect(opcode::TEXT_RESPONSE).data);
    let mut target = String::new();
    let mut found = Vec::new();
    for (key, value) in keys {
        match key.as_str() {
            "TargetName" => target = value,
            _ => found.push((target.clone(), value)),
        }
    }
    found
}

/// Relative identifiers of the target ports in the group that REPORT TARGET PORT GROUPS tells.
fn ports_of_groups(peer: &mut Peer) -> Vec<u16> {
    let cdb = [0xa3, 0x0a, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    let data = peer.command_in(0, &cdb, 256).data;
    assert_eq!(usize::from(data[11]) * 4 + 12, data.len(), "one group");
    data[12..].chunks(4).map(|port| u16::from_be_bytes([port[2], port[3]])).collect()
}

/// Relative identifier and name of each target port in the SCSI Ports page.
fn scsi_ports(peer: &mut Peer) -> Vec<(u16, String)> {
    let data = peer.command_in(0, &[0x12, 1, 0x88, 4, 0, 0], 1024).data;
    let mut rest = &data[4..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let relative = u16::from_be_bytes([rest[2], rest[3]]);
        let len = usize::from(u16::from_be_bytes([rest[10], rest[11]]));
        let name = String::from_utf8(rest[16..12 + len].to_vec()).unwrap();
        found.push((relative, name.trim_end_matches('\0').to_owned()));
        rest = &rest[12 + len..];
    }
    found
}

/// Relative identifier of the port that the command came through, from the Device Identification page.
fn own_port(peer: &mut Peer) -> u16 {
    let data = peer.command_in(0, &[0x12, 1, 0x83, 4, 0, 0], 1024).data;
    let mut rest = &data[4..];
    loop {
        let len = usize::from(rest[3]);
        // Association target port, designator type relative target port identifier.
        if rest[1] & 0x3f == 0x14 {
            return u16::from_be_bytes([rest[6], rest[7]]);
        }
        rest = &rest[4 + len..];
    }
}

#[test]
fn discovery_login_inquiry_and_port_groups_agree_on_where_a_target_is() {
    let (_bench, first, second) = restricted();
    let everywhere = [
        (OTHER.to_owned(), format!("{first},1")),
        (OTHER.to_owned(), format!("{second},2")),
        (TARGET.to_owned(), format!("{second},2")),
    ];
    for portal in [first, second] {
        let mut found = discover(portal);
        let mut expected = everywhere.to_vec();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }
    let refused = Peer::login_with(first, TARGET, 1, &[]).map(drop).unwrap_err();
    assert_eq!((refused.class, refused.detail), (2, 3), "no such target at that portal");
    let mut peers =
        [Peer::login(second, TARGET, 1), Peer::login(first, OTHER, 1), Peer::login(second, OTHER, 2)];
    let names = [(TARGET, 2), (OTHER, 1), (OTHER, 2)].map(|(name, group)| format!("{name},t,0x{group:04x}"));
    for (peer, name) in peers.iter_mut().zip(&names) {
        assert!(peer.is_ready(0));
        let ports = scsi_ports(peer);
        let told: BTreeSet<&String> = ports.iter().map(|(_, name)| name).collect();
        assert_eq!(told, names.iter().collect::<BTreeSet<_>>());
        let relative: BTreeSet<u16> = ports.iter().map(|(relative, _)| *relative).collect();
        assert_eq!(relative.len(), 3, "no two ports have one number");
        assert_eq!(ports_of_groups(peer).into_iter().collect::<BTreeSet<_>>(), relative);
        let own = own_port(peer);
        assert!(ports.iter().any(|(relative, port)| (*relative, port) == (own, name)), "{own} {name}");
    }
}

#[test]
fn a_target_without_a_portal_is_refused_at_the_start_and_later() {
    let nowhere = PortalGroups::Only(BTreeSet::from([PortalGroupTag(9)]));
    let bench = Bench::new();
    let mut config = config(&bench.disks);
    config.targets[0].portal_groups = nowhere.clone();
    let error = bench.runtime.block_on(Server::start(config)).unwrap_err();
    assert!(matches!(error, StartError::NoPortalOfTarget { .. }), "{error}");
    let late = TargetConfig {
        name: OTHER.parse().unwrap(),
        alias: None,
        luns: Vec::new(),
        authentication: Authentication::NotRequired,
        access: AccessList::Everyone,
        portal_groups: nowhere,
        redirect: None,
    };
    let handle = bench.server.as_ref().unwrap().handle();
    let error = bench.runtime.block_on(handle.add_target(late)).unwrap_err();
    assert!(error.to_string().contains("no portal"), "{error}");
}

/// Status class, detail and TargetAddress of the answer to a login.
fn asked(portal: SocketAddr, isid: u16) -> (u8, u8, Option<String>) {
    let mut peer = Peer::connect(portal);
    let keys = [("InitiatorName", INITIATOR), ("TargetName", TARGET), ("SessionType", "Normal")];
    peer.send(&login_request(0x87, isid, &keys));
    let answer = peer.receive().unwrap();
    let keys = text_keys(&answer.data);
    let address = keys.into_iter().find(|(key, _)| key == "TargetAddress").map(|(_, value)| value);
    (answer.bhs[36], answer.bhs[37], address)
}

#[test]
fn who_logs_in_is_sent_elsewhere_and_who_is_there_stays_with_all_its_connections() {
    let bench = Bench::with(|config| config.settings.offer.max_connections = 2);
    let more = [("MaxConnections", "2")];
    let mut peer = Peer::login_with(bench.portal, TARGET, 1, &more).unwrap();
    assert!(peer.is_ready(0));
    let handle = bench.server.as_ref().unwrap().handle();
    let name: IscsiName = TARGET.parse().unwrap();
    let redirect = |to: Option<Redirect>| bench.runtime.block_on(handle.redirect(&name, to)).unwrap();
    for (permanent, detail) in [(false, 1), (true, 2)] {
        redirect(Some(Redirect { to: "storage.example:3261".parse().unwrap(), permanent }));
        assert_eq!(asked(bench.portal, 5), (1, detail, Some("storage.example:3261".into())));
    }
    assert_eq!(discover(bench.portal), [(TARGET.to_owned(), format!("{},1", bench.portal))]);
    let mut second = Peer::join(bench.portal, TARGET, 1, peer.tsih, 7, &[]).unwrap();
    (second.cmd_sn, second.tag) = (peer.cmd_sn, peer.tag + 0x1000);
    assert!(second.is_ready(0));
    redirect(None);
    let (class, _, address) = asked(bench.portal, 5);
    assert_eq!((class, address), (0, None));
}
