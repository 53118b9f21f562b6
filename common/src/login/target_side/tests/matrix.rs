//! Every state by every event. A change of behaviour shows as a changed line of the snapshot.

use std::fmt::Write;

use super::*;

/// A machine that was brought into a state, with the policy that it talks to.
struct Case {
    login: TargetLogin,
    policy: Policy,
}

impl Case {
    fn new(policy: Policy) -> Self {
        Self { login: login(), policy }
    }

    fn after(mut self, current: Stage, next: Option<Stage>, pairs: &str) -> Self {
        send(&mut self.login, &self.policy, &request(current, next, pairs));
        self
    }
}

fn state(name: &str) -> Case {
    let open = || Case::new(Policy::open());
    let chap = || Case::new(Policy::chap());
    let chap_agreed = || chap().after(Sec, None, &format!("{} AuthMethod=CHAP", names()));
    let many: String = (0..200).map(|i| format!("X-{}{i}=1 ", "k".repeat(58))).collect();
    match name {
        "Start" => open(),
        "Start, CHAP needed" => chap(),
        "Security" => open().after(Sec, None, &names()),
        "Security, CHAP needed" => chap().after(Sec, None, &names()),
        "Security, CHAP agreed" => chap_agreed(),
        "Security, challenged" => chap_agreed().after(Sec, None, "CHAP_A=7,5"),
        "Operational" => open().after(Sec, Some(Op), &names()),
        "Operational, our key open" => {
            let offer = Offer { header_digest: DigestPolicy::Require, ..Offer::target() };
            let login = TargetLogin::new(offer.validate().unwrap(), random(1));
            Case { login, policy: Policy::open() }.after(Op, Some(Full), &names())
        }
        "Operational, their text in part" => {
            let mut case = open().after(Sec, Some(Op), &names());
            let mut part = request(Op, None, "DataDigest=None");
            part.header.continues = true;
            send(&mut case.login, &case.policy, &part);
            case
        }
        "Operational, our text in part" => open().after(Op, None, &format!("{} {many}", names())),
        "Ended" => {
            let mut case = open();
            complete(&mut case.login, &case.policy, &request(Op, Some(Full), &names()));
            case
        }
        _ => panic!("no state {name}"),
    }
}

const STATES: [&str; 11] = [
    "Start",
    "Start, CHAP needed",
    "Security",
    "Security, CHAP needed",
    "Security, CHAP agreed",
    "Security, challenged",
    "Operational",
    "Operational, our key open",
    "Operational, their text in part",
    "Operational, our text in part",
    "Ended",
];

fn events(first: bool) -> Vec<(&'static str, Pdu<LoginRequest>)> {
    let changed = |change: fn(&mut LoginRequest)| {
        let mut pdu = request(Op, Some(Full), "");
        change(&mut pdu.header);
        pdu
    };
    // In the states before the names are known, most events would only show that names are missing.
    let with_names = |pairs: &str| if first { format!("{} {pairs}", names()) } else { pairs.into() };
    let plain = |current, next, pairs: &str| request(current, next, &with_names(pairs));
    let mut events = vec![
        ("CSG=0", plain(Sec, None, "")),
        ("CSG=0 T NSG=1", plain(Sec, Some(Op), "")),
        ("CSG=0 T NSG=3", plain(Sec, Some(Full), "")),
        ("CSG=0 T NSG=0", plain(Sec, Some(Sec), "")),
        ("CSG=1", plain(Op, None, "")),
        ("CSG=1 T NSG=3", plain(Op, Some(Full), "")),
        ("CSG=1 T NSG=1", plain(Op, Some(Op), "")),
        ("CSG=1 T NSG=0", plain(Op, Some(Sec), "")),
        ("CSG=3", plain(Full, None, "")),
        ("CSG=1 T and C", changed(|header| header.continues = true)),
        ("CSG=0 C", {
            let mut pdu = plain(Sec, None, "");
            pdu.header.continues = true;
            pdu
        }),
        ("CSG=1 C", {
            let mut pdu = plain(Op, None, "");
            pdu.header.continues = true;
            pdu
        }),
        ("no names", request(Op, Some(Full), "")),
        ("names again", request(Op, Some(Full), &names())),
        ("AuthMethod=None T NSG=1", plain(Sec, Some(Op), "AuthMethod=None")),
        ("AuthMethod=CHAP", plain(Sec, None, "AuthMethod=CHAP")),
        ("AuthMethod=KRB5", plain(Sec, None, "AuthMethod=KRB5")),
        ("CHAP_A=5", plain(Sec, None, "CHAP_A=5")),
        ("CHAP_N and a right CHAP_R", plain(Sec, Some(Op), &proof(BinaryEncoding::Hexadecimal))),
        ("CHAP_N and a wrong CHAP_R", plain(Sec, Some(Op), &format!("CHAP_N=a CHAP_R=0x{}", "0".repeat(64)))),
        ("security key in CSG=1", plain(Op, None, "AuthMethod=None")),
        ("operational key in CSG=0", plain(Sec, None, "DataDigest=None")),
        ("HeaderDigest=CRC32C T NSG=3", plain(Op, Some(Full), "HeaderDigest=CRC32C")),
        ("HeaderDigest=None T NSG=3", plain(Op, Some(Full), "HeaderDigest=None")),
        ("unknown key", plain(Op, None, "X-com.example.x=1")),
        ("text that is none", plain(Op, None, "=")),
        ("versions 1 to 2", {
            let mut pdu = plain(Op, Some(Full), "");
            (pdu.header.version_min, pdu.header.version_max) = (1, 2);
            pdu
        }),
    ];
    if !first {
        events.extend([
            ("another ISID", changed(|header| header.isid = Isid([0; 6]))),
            ("another TSIH", changed(|header| header.tsih = Tsih(9))),
            ("another CID", changed(|header| header.cid = Cid(9))),
            ("another task tag", changed(|header| header.itt = InitiatorTaskTag(9))),
        ]);
    }
    events
}

fn described(result: Result<TargetStep, Box<LoginFailure>>) -> String {
    match result {
        Ok(TargetStep::Send(response)) => {
            let header = response.header;
            let text = shown(&response.data);
            let text = if text.len() > 100 { format!("{} bytes", response.data.len()) } else { text };
            let transit =
                if header.transit { format!(" T NSG={}", header.next_stage as u8) } else { String::new() };
            let continues = if header.continues { " C" } else { "" };
            format!("CSG={}{transit}{continues} {text}", header.current_stage as u8).trim_end().into()
        }
        Ok(TargetStep::Complete(_)) => "complete".into(),
        Err(failure) => {
            let status = failure
                .response
                .map_or("silence".into(), |response| format!("{:04x}", response.header.status as u16));
            let error = failure.error.to_string();
            format!("{status} {}", error.chars().take(90).collect::<String>())
        }
    }
}

#[test]
fn every_state_answers_every_event() {
    let mut table = String::new();
    for name in STATES {
        writeln!(table, "\n{name}").unwrap();
        for (event, request) in events(name.starts_with("Start")) {
            let mut case = state(name);
            let result = case.login.handle(&case.policy, &request);
            let failed = result.is_err();
            writeln!(table, "  {event:28} -> {}", described(result)).unwrap();
            if failed {
                let again = case.login.handle(&case.policy, &request);
                assert!(again.is_err(), "{name}, {event}: the machine goes on after its end");
            }
        }
        let other = state(name).login.handle_other(InitiatorTaskTag(9));
        writeln!(table, "  {:28} -> {}", "another PDU", described(Err(Box::new(other)))).unwrap();
    }
    insta::assert_snapshot!(table);
}
