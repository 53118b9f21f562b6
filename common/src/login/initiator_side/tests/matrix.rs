//! Every state by every event. A change of behaviour shows as a changed line of the snapshot.

use std::fmt::Write;

use super::*;
use crate::login::chap::ChapAlgorithm;
use crate::login::testing::MUTUAL_USER;
use crate::text::grammar::{BinaryEncoding, encode_binary};

const CHALLENGE: &str = "CHAP_A=5 CHAP_I=9 CHAP_C=0x00112233445566778899aabbccddeeff";

/// A machine in a state, and how many responses it has seen.
fn state(name: &str) -> (InitiatorLogin, u32, Stage) {
    let one_way = || start(with_chap(config(Offer::initiator()), SECRET, None)).0;
    let mutual = || start(with_chap(config(Offer::initiator()), SECRET, Some(MUTUAL_SECRET))).0;
    let after = |mut login: InitiatorLogin, steps: &[&str]| {
        for (number, pairs) in (0..).zip(steps) {
            next(&mut login, &response(number, Sec, None, pairs));
        }
        (login, u32::try_from(steps.len()).unwrap(), Sec)
    };
    match name {
        "None offered" => after(start(config(Offer::initiator())).0, &[]),
        "CHAP,None offered" => after(one_way(), &[]),
        "CHAP offered" => after(mutual(), &[]),
        "CHAP_A sent" => after(mutual(), &["AuthMethod=CHAP"]),
        "one-way response sent" => after(one_way(), &["AuthMethod=CHAP", CHALLENGE]),
        "mutual response sent" => after(mutual(), &["AuthMethod=CHAP", CHALLENGE]),
        "Operational" => (operational(), 1, Op),
        "Operational, answered" => {
            let mut login = operational();
            next(&mut login, &response(1, Op, None, ANSWERS));
            (login, 2, Op)
        }
        "Operational, their text in part" => {
            let mut login = operational();
            let mut part = response(1, Op, None, ANSWERS);
            part.header.continues = true;
            next(&mut login, &part);
            (login, 2, Op)
        }
        "Ended" => {
            let mut login = operational();
            assert!(matches!(login.handle(&response(1, Op, Some(Full), ANSWERS)), InitiatorStep::Done(_)));
            (login, 2, Op)
        }
        _ => panic!("no state {name}"),
    }
}

const STATES: [&str; 10] = [
    "None offered",
    "CHAP,None offered",
    "CHAP offered",
    "CHAP_A sent",
    "one-way response sent",
    "mutual response sent",
    "Operational",
    "Operational, answered",
    "Operational, their text in part",
    "Ended",
];

fn events(number: u32, stage: Stage) -> Vec<(&'static str, Pdu<LoginResponse>)> {
    let changed = |change: fn(&mut LoginResponse)| {
        let mut pdu = response(number, stage, None, "");
        change(&mut pdu.header);
        pdu
    };
    let proof = |secret: &str, name: &str| {
        let secret = crate::login::chap::ChapSecret::new(secret);
        let bytes = ChapAlgorithm::Md5.respond(2, &secret, &[2; 16]);
        let value = encode_binary(&bytes, BinaryEncoding::Hexadecimal);
        response(number, stage, Some(Op), &format!("CHAP_N={name} CHAP_R={value}"))
    };
    vec![
        ("nothing", response(number, stage, None, "")),
        ("T NSG=1", response(number, stage, Some(Op), "")),
        ("T NSG=3", response(number, stage, Some(Full), "")),
        ("T NSG=3, all answered", response(number, stage, Some(Full), ANSWERS)),
        ("AuthMethod=None", response(number, stage, None, "AuthMethod=None")),
        ("AuthMethod=None T NSG=1", response(number, stage, Some(Op), "AuthMethod=None")),
        ("AuthMethod=CHAP", response(number, stage, None, "AuthMethod=CHAP")),
        ("AuthMethod=Reject", response(number, stage, None, "AuthMethod=Reject")),
        ("a challenge", response(number, stage, None, CHALLENGE)),
        ("a right proof T NSG=1", proof(MUTUAL_SECRET, MUTUAL_USER)),
        ("a wrong proof T NSG=1", proof("wrong", MUTUAL_USER)),
        ("a proof of another T NSG=1", proof(MUTUAL_SECRET, "other")),
        ("HeaderDigest=CRC32C", response(number, stage, None, "HeaderDigest=CRC32C")),
        ("HeaderDigest=MD5", response(number, stage, None, "HeaderDigest=MD5")),
        ("unknown key", response(number, stage, None, "X-com.example.x=1")),
        ("text that is none", response(number, stage, None, "=")),
        ("T and C", {
            let mut pdu = response(number, stage, Some(Op), "");
            pdu.header.continues = true;
            pdu
        }),
        ("C", changed(|header| header.continues = true)),
        (
            "another stage",
            changed(|header| {
                header.current_stage = if header.current_stage == Sec { Op } else { Sec };
            }),
        ),
        ("another ISID", changed(|header| header.isid = Isid([0; 6]))),
        ("another task tag", changed(|header| header.itt = InitiatorTaskTag(9))),
        ("an old StatSN", changed(|header| header.stat_sn = StatSn(0x2f))),
        ("status 0101 with an address", {
            let mut pdu = response(number, stage, None, "TargetAddress=192.0.2.1:3260");
            pdu.header.status = LoginStatus::TargetMovedTemporarily;
            pdu
        }),
        ("status 0102 without one", changed(|header| header.status = LoginStatus::TargetMovedPermanently)),
        ("status 0201", changed(|header| header.status = LoginStatus::AuthenticationFailure)),
        ("status 0300", changed(|header| header.status = LoginStatus::TargetError)),
    ]
}

fn described(step: InitiatorStep) -> String {
    match step {
        InitiatorStep::Send(request) => {
            let header = request.header;
            let text = shown(&request.data);
            let text = if text.len() > 100 { format!("{} bytes", request.data.len()) } else { text };
            let transit =
                if header.transit { format!(" T NSG={}", header.next_stage as u8) } else { String::new() };
            format!("CSG={}{transit} {text}", header.current_stage as u8).trim_end().into()
        }
        InitiatorStep::Done(_) => "done".into(),
        InitiatorStep::Redirect { address, permanent } => {
            format!("redirect to {address}, permanent: {permanent}")
        }
        InitiatorStep::Failed(error) => {
            format!("failed: {}", error.to_string().chars().take(90).collect::<String>())
        }
    }
}

#[test]
fn every_state_answers_every_event() {
    let mut table = String::new();
    for name in STATES {
        writeln!(table, "\n{name}").unwrap();
        let (_, number, stage) = state(name);
        for (event, response) in events(number, stage) {
            let (mut login, ..) = state(name);
            let step = login.handle(&response);
            let over = !matches!(step, InitiatorStep::Send(_));
            writeln!(table, "  {event:28} -> {}", described(step)).unwrap();
            if over {
                let again = login.handle(&response);
                assert!(
                    matches!(again, InitiatorStep::Failed(InitiatorLoginError::AfterTheEnd)),
                    "{name}, {event}: the machine goes on after its end"
                );
            }
        }
    }
    insta::assert_snapshot!(table);
}
