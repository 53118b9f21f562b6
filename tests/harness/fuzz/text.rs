//! Text keys, and a target's login, under arbitrary bytes.

use lunkeep_common::limits::{CHAP_CHALLENGE_LEN_MAX, TEXT_LEN_MAX, TEXT_PAIRS_MAX};
use lunkeep_common::login::chap::{ChapPolicy, ChapRandom};
use lunkeep_common::login::offer::Offer;
use lunkeep_common::login::target_side::{
    Admission, LoginIdentity, LoginRefusal, TargetLogin, TargetPolicy, TargetStep,
};
use lunkeep_common::login::{ChapCredentials, ChapSecret, Negotiation};
use lunkeep_common::name::{Cid, Isid, PortalGroupTag, Tsih};
use lunkeep_common::pdu::login::{LoginRequest, Stage};
use lunkeep_common::pdu::{InitiatorTaskTag, Pdu};
use lunkeep_common::serial::{CmdSn, StatSn};
use lunkeep_common::text::address::{TargetAddress, decode_listing};
use lunkeep_common::text::grammar::{BinaryEncoding, binary, boolean, encode_binary, list, number, range};
use lunkeep_common::text::{Pairs, Phase, Role, TextReceiver};

/// Decodes a text whole and cut in two, writes it again, reads each value in every way, and negotiates it.
///
/// Byte 0 says where the text is cut.
pub fn text(input: &[u8]) {
    let [cut, text @ ..] = input else { return };
    let whole = Pairs::decode(text);
    let (head, tail) = text.split_at(text.len() * usize::from(*cut) / 256);
    let mut receiver = TextReceiver::default();
    assert_eq!(receiver.push(head, true), Ok(None));
    assert_eq!(receiver.push(tail, false), whole.clone().map(Some), "the answer depends on the cut");
    let Ok(pairs) = whole else { return };
    assert!(pairs.len() <= TEXT_PAIRS_MAX);
    assert_eq!(Pairs::decode(&pairs.encode()).as_ref(), Ok(&pairs));
    for pair in &pairs {
        value(&pair.value);
    }
    for role in [Role::Initiator, Role::Target] {
        for phase in [Phase::Security, Phase::Operational, Phase::FullFeature] {
            let Ok(offer) = Offer::target().validate() else { panic!("the usual offer is valid") };
            let mut negotiation = Negotiation::new(role, offer);
            negotiation.begin();
            let Ok(received) = negotiation.receive(phase, &pairs) else { continue };
            assert!(received.answers.len() <= pairs.len());
            assert!(Pairs::decode(&received.answers.encode()).is_ok(), "our own answers cannot be read");
            if let Ok((session, _)) = negotiation.finish() {
                assert!(session.first_burst_length <= session.max_burst_length);
            }
        }
    }
    let _ = decode_listing(&pairs);
}

fn value(text: &str) {
    if let Ok(bytes) = binary(text, CHAP_CHALLENGE_LEN_MAX) {
        assert!(bytes.len() <= CHAP_CHALLENGE_LEN_MAX);
        for encoding in [BinaryEncoding::Hexadecimal, BinaryEncoding::Base64] {
            let again = encode_binary(&bytes, encoding);
            assert!(bytes.is_empty() || binary(&again, CHAP_CHALLENGE_LEN_MAX) == Ok(bytes.clone()));
        }
    }
    if let Ok(number) = self::number(text) {
        assert_eq!(self::number(&number.to_string()), Ok(number));
    }
    if let Ok((low, high)) = range(text) {
        assert!(low <= high);
    }
    if let Ok(members) = list(text) {
        assert_eq!(members.join(","), text);
    }
    if let Ok(address) = text.parse::<TargetAddress>() {
        assert_eq!(address.to_string().parse(), Ok(address));
    }
    let _ = boolean(text);
}

/// A target that asks for a secret which no input knows.
struct Guarded;

impl TargetPolicy for Guarded {
    fn admit(&self, _: &LoginIdentity<'_>) -> Result<Admission, LoginRefusal> {
        let account = ChapCredentials { name: "node".into(), secret: ChapSecret::new("no input knows this") };
        Ok(Admission::chap(PortalGroupTag(1), ChapPolicy::new(vec![account], None)))
    }
}

/// Plays requests against the login of a target that asks for CHAP: nobody gets past the security stage.
///
/// Each request is a byte of flags (bits 0 and 1 CSG, bits 2 and 3 NSG, bit 4 T, bit 5 C), two bytes of length (least
/// significant first) and that many bytes of text.
pub fn login(input: &[u8]) {
    let Ok(offer) = Offer::target().validate() else { panic!("the usual offer is valid") };
    let mut login = TargetLogin::new(offer, ChapRandom { identifier: 7, challenge: [7; 32] });
    let mut rest = input;
    let (mut sent, mut answered) = (0, 0);
    while let [flags, low, high, after @ ..] = rest {
        let (text, next) = after.split_at(after.len().min(usize::from(u16::from_le_bytes([*low, *high]))));
        rest = next;
        let header = LoginRequest {
            transit: flags & 0x10 != 0,
            continues: flags & 0x20 != 0,
            current_stage: stage(flags & 3),
            next_stage: stage(flags >> 2 & 3),
            version_max: 0,
            version_min: 0,
            isid: Isid([0; 6]),
            tsih: Tsih(0),
            itt: InitiatorTaskTag(1),
            cid: Cid(0),
            cmd_sn: CmdSn(1),
            exp_stat_sn: StatSn(0),
        };
        sent += text.len();
        match login.handle(&Guarded, &Pdu::with_data(header, text.to_vec().into())) {
            Ok(TargetStep::Send(response)) => {
                assert!(!response.header.transit, "the security stage ended without a proof");
                assert!(response.data.len() <= 8192, "a response is longer than a login allows");
                answered += response.data.len();
            }
            Ok(TargetStep::Complete(_)) => panic!("a login without a proof"),
            Err(failure) => {
                assert!(failure.response.is_some());
                assert!(login.handle(&Guarded, &Pdu::new(LoginRequest { ..last(&failure) })).is_err());
                break;
            }
        }
        assert!(sent <= TEXT_LEN_MAX, "more text was taken than a login may have");
        // An unknown key is answered with at most 14 bytes more than it has.
        assert!(answered <= sent + TEXT_PAIRS_MAX * 64 + 1024, "{sent} bytes were answered with {answered}");
    }
}

/// The request that a failure answered, as far as the response tells.
fn last(failure: &lunkeep_common::login::target_side::LoginFailure) -> LoginRequest {
    let itt = failure.response.as_ref().map_or(InitiatorTaskTag::RESERVED, |response| response.header.itt);
    LoginRequest {
        transit: false,
        continues: false,
        current_stage: Stage::SecurityNegotiation,
        next_stage: Stage::SecurityNegotiation,
        version_max: 0,
        version_min: 0,
        isid: Isid([0; 6]),
        tsih: Tsih(0),
        itt,
        cid: Cid(0),
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(0),
    }
}

fn stage(bits: u8) -> Stage {
    match bits {
        0 => Stage::SecurityNegotiation,
        1 => Stage::OperationalNegotiation,
        _ => Stage::FullFeaturePhase,
    }
}

const NAMES: &str =
    "InitiatorName=iqn.2026-11.org.example:a\0TargetName=iqn.2026-11.org.example:b\0SessionType=Normal\0";
const KEYS: &str = "HeaderDigest=CRC32C,None\0MaxBurstLength=0x40000\0FirstBurstLength=65536\0InitialR2T=No\0\
     DefaultTime2Wait=2\0OFMarkInt=1~2048\0X-com.example.x=1\0MaxRecvDataSegmentLength=8192\0";
const PROOF: &str = "CHAP_N=node\0CHAP_R=0x00112233445566778899aabbccddeeff\0CHAP_I=1\0CHAP_C=0bAAECAw==\0";
const LISTING: &str =
    "TargetName=iqn.2026-11.org.example:b\0TargetAddress=[2001:db8::1]:3260,1\0TargetAddress=a,2\0";

/// The first inputs of [`text`].
pub fn text_seeds() -> Vec<(String, Vec<u8>)> {
    let seeds = [
        ("names", NAMES.to_owned()),
        ("operational", KEYS.to_owned()),
        ("chap", format!("AuthMethod=CHAP,None\0CHAP_A=5,7\0{PROOF}")),
        ("listing", LISTING.to_owned()),
        ("answers", "MaxBurstLength=Reject\0InitialR2T=Irrelevant\0Foo=NotUnderstood\0".to_owned()),
        ("nuls", "\0\0A=1\0\0\0B=\0".to_owned()),
        ("unterminated", "A=1\0B=2".to_owned()),
        ("twice", "A=1\0A=2\0".to_owned()),
        ("no-name", "=1\0".to_owned()),
        ("longest-name", format!("{}=1\0{}=1\0", "K".repeat(63), "L".repeat(64))),
        ("many", (0..300).map(|i| format!("K{i}=\0")).collect()),
        ("numbers", "A=18446744073709551616\0B=0xg\0C=00\0D=2~1\0E=0b====\0F=0x123\0".to_owned()),
    ];
    let cut = |text: String| [&[0x80], text.as_bytes()].concat();
    let mut seeds: Vec<_> = seeds.into_iter().map(|(name, text)| (name.to_owned(), cut(text))).collect();
    seeds.push(("not-utf8".into(), b"\x80InitiatorAlias=\xff\xfe\0".to_vec()));
    seeds
}

/// The first inputs of [`login`].
pub fn login_seeds() -> Vec<(String, Vec<u8>)> {
    let request = |flags: u8, text: &str| {
        let len = u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
        [&[flags, len[0], len[1]], text.as_bytes()].concat()
    };
    let first = request(0, &format!("{NAMES}AuthMethod=CHAP\0"));
    let asked = [first.clone(), request(0, "CHAP_A=5,6,7,8\0")].concat();
    let unknown: String = (0..200).map(|i| format!("X-{}{i}=1\0", "k".repeat(58))).collect();
    [
        ("chap-wrong", [asked.clone(), request(0x14, PROOF)].concat()),
        ("chap-skipped", [first.clone(), request(0x14, ""), request(0x1d, KEYS)].concat()),
        ("operational-first", request(0x1d, &format!("{NAMES}{KEYS}"))),
        ("in-pieces", [request(0x20, &NAMES[..30]), request(0, &NAMES[30..]), request(0x10, "")].concat()),
        (
            "long-answer",
            [request(0, &format!("{NAMES}AuthMethod=CHAP\0{unknown}")), request(0, ""), request(0, "")]
                .concat(),
        ),
        ("transit-with-continue", [first, request(0x34, "")].concat()),
        ("full-feature", request(0x0f, NAMES)),
        ("twice", [asked.clone(), asked].concat()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}
