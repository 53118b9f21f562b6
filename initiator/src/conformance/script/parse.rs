//! Steps, read.

use lunkeep_common::scsi::Asc;

use super::super::wire;

/// A step that cannot be read. At fault: a table of this suite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("step {step:?}: {reason}")]
pub struct ScriptError {
    /// The step.
    pub step: String,
    /// What is wrong with it.
    pub reason: String,
}

/// A port: its letter, and whether it goes through the second portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) letter: char,
    pub(super) second: bool,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) text: String,
    pub(super) act: Act,
    /// What must come, any of these.
    pub(super) expect: Vec<Expect>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Act {
    By(Who, Verb),
    Keys(Vec<u64>),
    Holder(Option<(u64, u8)>),
    Status(Vec<Listed>),
    Persists(bool),
    Mark,
    Generation(u32),
    Restart,
}

/// A registration that must be in READ FULL STATUS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    pub(super) who: Who,
    pub(super) key: u64,
    pub(super) holds: bool,
    pub(super) all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Out { action: u8, key: u64, action_key: u64, scope_type: u8, options: Options },
    Move { key: u64, action_key: u64, to: Who, options: Options },
    In(u8),
    Plain(Plain),
    Write(u8),
    Block(u8),
    Attention(Asc),
    NoAttention,
    Login,
    Logout,
    Cut,
    Reset(Reset),
}

/// Commands without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    TestUnitReady,
    Inquiry,
    ReportLuns,
    Read,
    Reserve6,
    Release6,
    Reserve10,
    Release10,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    Unit,
    Warm,
    Cold,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) aptpl: bool,
    pub(super) all: bool,
    pub(super) unregister: bool,
    pub(super) ports: Ports,
    pub(super) len: Option<usize>,
    pub(super) port: Option<u16>,
}

/// SPEC_I_PT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Ports {
    #[default]
    None,
    Of(Vec<Who>),
    Cut,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Good,
    Conflict,
    Illegal(Asc),
    Attention(Asc),
    Refused,
}

/// The steps of a text.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\n', ';']).map(str::trim).filter(|line| !line.is_empty())
}

pub(super) fn parse(text: &str) -> Result<Vec<Step>, ScriptError> {
    lines(text)
        .map(|line| step(line).map_err(|reason| ScriptError { step: line.to_owned(), reason }))
        .collect()
}

fn step(line: &str) -> Result<Step, String> {
    let (act, expect) = match line.split_once(" = ") {
        Some((act, expect)) => (act, expect),
        None => (line, "good"),
    };
    let expect = expect.split('|').map(|one| expectation(one.trim())).collect::<Result<_, _>>()?;
    Ok(Step { text: line.to_owned(), act: self::act(act)?, expect })
}

fn expectation(text: &str) -> Result<Expect, String> {
    Ok(match text.split_once(' ') {
        None if text == "good" => Expect::Good,
        None if text == "conflict" => Expect::Conflict,
        None if text == "refused" => Expect::Refused,
        Some(("illegal", code)) => Expect::Illegal(asc(code)?),
        Some(("ua", code)) => Expect::Attention(asc(code)?),
        _ => return Err(format!("nothing can be expected to be {text:?}")),
    })
}

fn asc(text: &str) -> Result<Asc, String> {
    let (code, qualifier) = text.split_once('/').ok_or("a code is XX/YY")?;
    Ok(Asc { code: hex(code)?, qualifier: hex(qualifier)? })
}

fn hex(text: &str) -> Result<u8, String> {
    u8::from_str_radix(text, 16).map_err(|error| format!("{text:?}: {error}"))
}

fn key(text: &str) -> Result<u64, String> {
    match text.as_bytes() {
        [b'0'] => Ok(0),
        // No byte of a key equals another, so that no wrong order of bytes goes unseen.
        [letter @ b'a'..=b'f'] => Ok(0x1032_5476_98ba_dc00 | u64::from(*letter)),
        _ => Err(format!("{text:?} is no key")),
    }
}

fn who(text: &str) -> Result<Who, String> {
    let (letter, second) = match text.strip_suffix('2') {
        Some(letter) => (letter, true),
        None => (text, false),
    };
    match letter.chars().next() {
        Some(letter @ 'A'..='E') if text.len() == 1 + usize::from(second) => Ok(Who { letter, second }),
        _ => Err(format!("{text:?} is no port")),
    }
}

fn number<T: std::str::FromStr<Err = std::num::ParseIntError>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error| format!("{text:?}: {error}"))
}

fn act(text: &str) -> Result<Act, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["keys", keys @ ..] => {
            let mut keys = keys.iter().map(|text| key(text)).collect::<Result<Vec<_>, _>>()?;
            keys.sort_unstable();
            Act::Keys(keys)
        }
        ["holder", "none"] => Act::Holder(None),
        ["holder", holder, kind] => Act::Holder(Some((key(holder)?, hex(kind)?))),
        ["status", listed @ ..] => {
            Act::Status(listed.iter().map(|text| self::listed(text)).collect::<Result<_, _>>()?)
        }
        ["persists", "0"] => Act::Persists(false),
        ["persists", "1"] => Act::Persists(true),
        ["mark"] => Act::Mark,
        ["generation", by] => Act::Generation(number(by)?),
        ["restart"] => Act::Restart,
        [port, verb, rest @ ..] => Act::By(who(port)?, self::verb(verb, rest)?),
        _ => return Err("there is no such step".into()),
    })
}

fn listed(text: &str) -> Result<Listed, String> {
    let (port, rest) = text.split_once(':').ok_or("a registration is PORT:KEY")?;
    let letter = rest.trim_end_matches(['*', '+']);
    Ok(Listed { who: who(port)?, key: key(letter)?, holds: rest.contains('*'), all: rest.contains('+') })
}

fn verb(verb: &str, rest: &[&str]) -> Result<Verb, String> {
    use wire::{CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER, REGISTER_AND_IGNORE, RELEASE, RESERVE};
    let out = |action, own: &str, other: &str, scope_type: &str, rest: &[&str]| {
        let (key, action_key, scope_type) = (key(own)?, key(other)?, hex(scope_type)?);
        Ok::<_, String>(Verb::Out { action, key, action_key, scope_type, options: options(rest)? })
    };
    Ok(match (verb, rest) {
        ("register", [own, new, rest @ ..]) => out(REGISTER, own, new, "0", rest)?,
        ("ignore", [own, new, rest @ ..]) => out(REGISTER_AND_IGNORE, own, new, "0", rest)?,
        ("reserve", [own, kind, rest @ ..]) => out(RESERVE, own, "0", kind, rest)?,
        ("release", [own, kind, rest @ ..]) => out(RELEASE, own, "0", kind, rest)?,
        ("clear", [own, rest @ ..]) => out(CLEAR, own, "0", "0", rest)?,
        ("preempt", [own, victim, kind, rest @ ..]) => out(PREEMPT, own, victim, kind, rest)?,
        ("abort", [own, victim, kind, rest @ ..]) => out(PREEMPT_AND_ABORT, own, victim, kind, rest)?,
        ("out", [action, own, other, kind, rest @ ..]) => out(hex(action)?, own, other, kind, rest)?,
        ("move", [own, new, to, rest @ ..]) => {
            Verb::Move { key: key(own)?, action_key: key(new)?, to: who(to)?, options: options(rest)? }
        }
        ("in", [action]) => Verb::In(hex(action)?),
        ("tur", []) => Verb::Plain(Plain::TestUnitReady),
        ("inquiry", []) => Verb::Plain(Plain::Inquiry),
        ("luns", []) => Verb::Plain(Plain::ReportLuns),
        ("read", []) => Verb::Plain(Plain::Read),
        ("reserve6", []) => Verb::Plain(Plain::Reserve6),
        ("release6", []) => Verb::Plain(Plain::Release6),
        ("reserve10", []) => Verb::Plain(Plain::Reserve10),
        ("release10", []) => Verb::Plain(Plain::Release10),
        ("write", [byte]) => Verb::Write(hex(byte)?),
        ("block", [byte]) => Verb::Block(hex(byte)?),
        ("ua", [code]) => Verb::Attention(asc(code)?),
        ("noua", []) => Verb::NoAttention,
        ("login", []) => Verb::Login,
        ("logout", []) => Verb::Logout,
        ("cut", []) => Verb::Cut,
        ("lureset", []) => Verb::Reset(Reset::Unit),
        ("warmreset", []) => Verb::Reset(Reset::Warm),
        ("coldreset", []) => Verb::Reset(Reset::Cold),
        _ => return Err(format!("a port cannot {verb:?} with {rest:?}")),
    })
}

fn options(words: &[&str]) -> Result<Options, String> {
    let mut options = Options::default();
    for word in words {
        match (*word, word.split_once('=')) {
            ("aptpl", _) => options.aptpl = true,
            ("all", _) => options.all = true,
            ("unreg", _) => options.unregister = true,
            ("ports=!", _) => options.ports = Ports::Cut,
            (_, Some(("ports", list))) => {
                options.ports = Ports::Of(list.split(',').map(who).collect::<Result<_, _>>()?);
            }
            (_, Some(("len", len))) => options.len = Some(number(len)?),
            (_, Some(("port", port))) => options.port = Some(number(port)?),
            _ => return Err(format!("there is no option {word:?}")),
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_read_with_options_and_expectation() {
        let steps =
            parse("A2 register 0 a aptpl ports=B,C = illegal 26/00 | conflict\nkeys b a; mark").unwrap();
        assert_eq!(steps.len(), 3);
        let Act::By(who, Verb::Out { action: 0, key: 0, action_key, options, .. }) = &steps[0].act else {
            panic!("{:?}", steps[0])
        };
        assert!(who.second && *action_key & 0xff == u64::from(b'a') && options.aptpl);
        assert!(matches!(&options.ports, Ports::Of(ports) if ports.len() == 2));
        assert_eq!(steps[0].expect.len(), 2);
        assert!(matches!(&steps[1].act, Act::Keys(keys) if keys.is_sorted() && keys.len() == 2));
    }

    #[test]
    fn what_is_no_step_is_refused() {
        for text in [
            "A",
            "F tur",
            "A register 0",
            "A register 0 g",
            "A reserve a x",
            "keys 1",
            "A ua 2a",
            "A tur = bad",
            "holder a",
            "A register 0 a len=x",
            "A22 tur",
            "status A",
            "A register 0 a b",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
