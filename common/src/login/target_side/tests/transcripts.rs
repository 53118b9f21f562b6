//! The logins in `fixtures/login`; its README has the format.

use std::fs;
use std::path::Path;

use super::*;

/// A request line without its `> `.
fn parse(line: &str) -> Pdu<LoginRequest> {
    let (mut words, mut pieces) = (line.split(' ').peekable(), Vec::new());
    let mut pdu = request(Sec, None, "");
    let stage = |digit: &str| match digit {
        "0" => Sec,
        "1" => Op,
        "3" => Full,
        _ => panic!("no stage {digit}"),
    };
    while let Some(word) = words.next() {
        match word {
            "T" => {
                pdu.header.transit = true;
                let next = words.next().and_then(|word| word.strip_prefix("NSG="));
                pdu.header.next_stage = stage(next.expect("NSG= after T"));
            }
            "C" => pdu.header.continues = true,
            _ => match (word.strip_prefix("CSG="), word.strip_suffix("...")) {
                (Some(digit), _) => pdu.header.current_stage = stage(digit),
                (None, Some(cut)) => pieces.push(cut.to_owned()),
                (None, None) => pieces.push(format!("{word}\0")),
            },
        }
    }
    pdu.data = pieces.concat().into_bytes().into();
    pdu
}

/// A response line without its `< `.
fn written(result: Result<TargetStep, Box<LoginFailure>>) -> String {
    let (head, data) = match result {
        Ok(TargetStep::Send(response)) => {
            let header = response.header;
            let transit =
                if header.transit { format!(" T NSG={}", header.next_stage as u8) } else { String::new() };
            let continues = if header.continues { " C" } else { "" };
            (format!("CSG={}{transit}{continues}", header.current_stage as u8), response.data)
        }
        Ok(TargetStep::Complete(completed)) => {
            let window = CommandWindow::new(completed.outcome.initial_cmd_sn, 8);
            let response = completed.reply.respond(TSIH, &window);
            assert_eq!((response.header.tsih, response.header.next_stage), (TSIH, Full));
            ("done".into(), response.data)
        }
        Err(failure) => {
            let response = failure.response.expect("a login that fails is told so");
            return format!("{:04x}", response.header.status as u16);
        }
    };
    let pairs = String::from_utf8(data.to_vec()).unwrap();
    let pairs: String =
        pairs.split_terminator('\0').map(|pair| format!(" {}", pair.replace(' ', "_"))).collect();
    head + &pairs
}

fn replay(path: &Path) {
    let name = path.display();
    let text = fs::read_to_string(path).unwrap();
    let mut policy = None;
    let mut login = login();
    let mut answer: Option<String> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match line.split_once(' ') {
            _ if line.starts_with('#') || line.is_empty() => {}
            Some(("policy:", "open")) => policy = Some(Policy::open()),
            Some(("policy:", "chap")) => policy = Some(Policy::chap()),
            Some((">", request)) => {
                assert_eq!(answer, None, "{name}:{number}: the last answer is not in the file");
                let policy = policy.as_ref().expect("policy: comes first");
                answer = Some(written(login.handle(policy, &parse(request))));
            }
            Some(("<", expected)) => assert_eq!(answer.take().as_deref(), Some(expected), "{name}:{number}"),
            _ => panic!("{name}:{number}: {line}"),
        }
    }
    assert_eq!(answer, None, "{name}: the last answer is not in the file");
}

#[test]
fn every_transcript_is_answered_as_it_is_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/login");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    assert!(paths.len() >= 14, "only {} transcripts", paths.len());
    paths.iter().for_each(|path| replay(path));
}
