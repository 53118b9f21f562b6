//! The checks of the command line, the plan of a load, and its tally.

use std::collections::BTreeSet;

use clap::Parser;

use super::plan::Direction;
use super::*;
use crate::cli::failure::Exit;
use crate::cli::transfer::Unit;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn parse(flags: &str) -> Result<Arguments, String> {
    let words = ["bench", "iscsi://host/iqn.2026-11.org:disk/0"].into_iter().chain(flags.split_whitespace());
    Line::try_parse_from(words).map(|line| line.arguments).map_err(|error| error.to_string())
}

fn plan(flags: &str) -> Result<Plan, Failure> {
    let arguments = parse(flags).unwrap();
    arguments.check()?;
    Plan::new(&arguments, Unit { block_len: 512, len: 1 << 20, chunk: 2048, longest: 256 }, 7)
}

#[test]
fn nothing_is_written_unless_that_is_asked_for() {
    for pattern in ["seqwrite", "randwrite", "mixed"] {
        let failure = plan(&format!("--pattern {pattern}")).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(failure.message.contains("--destructive"), "{failure}");
        plan(&format!("--pattern {pattern} --destructive")).unwrap();
    }
    for pattern in ["seqread", "randread"] {
        let mut share = plan(&format!("--pattern {pattern} --destructive")).unwrap().share(0);
        assert!((0..10_000).all(|_| share.next().0 == Direction::Read));
    }
}

#[test]
fn what_does_not_fit_the_lun_is_refused_by_name() {
    for (flags, culprit) in [
        ("--block-size 1000", "--block-size 1000"),
        ("--block-size 0", "--block-size 0"),
        ("--block-size 256K", "128 KiB per command"),
        ("--block-size 17M", "--block-size"),
        ("--span 2M", "--span"),
        ("--span 4K --sessions 2", "session"),
        ("--read-share 50", "--read-share"),
    ] {
        let failure = plan(flags).unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{flags}");
        assert!(failure.message.contains(culprit), "{flags}: {failure}");
    }
    for flags in
        ["--queue-depth 0", "--queue-depth 257", "--sessions 1001", "--time 0", "--time nan", "--warmup -1"]
    {
        assert!(parse(flags).is_err(), "{flags}");
    }
}

#[test]
fn sessions_share_the_span_without_gap_or_overlap() {
    let plan = plan("--pattern seqread --sessions 3 --span 100K").unwrap();
    let mut seen = Vec::new();
    for session in 0..3 {
        let mut share = plan.share(session);
        let first = share.next().1;
        seen.push(first);
        seen.extend(std::iter::from_fn(|| Some(share.next().1).filter(|&place| place != first)));
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
}

#[test]
fn random_places_cover_the_span_and_nothing_else_and_differ_between_sessions() {
    let plan = plan("--pattern mixed --destructive --read-share 30 --sessions 2 --span 64K").unwrap();
    let draw = |session| {
        let mut share = plan.share(session);
        (0..1000).map(|_| share.next()).collect::<Vec<_>>()
    };
    let first = draw(0);
    assert_eq!(first, draw(0));
    assert_ne!(first, draw(1));
    assert_eq!(first.iter().map(|draw| draw.1).collect::<BTreeSet<_>>(), (0..16).collect());
    let reads = first.iter().filter(|draw| draw.0 == Direction::Read).count();
    assert!((200..400).contains(&reads), "{reads}");
}

#[test]
fn a_tally_of_several_sessions_has_all_their_commands() {
    let (mut one, mut other) = (Tally::new(512), Tally::new(512));
    (1..=99).for_each(|us| one.count(Direction::Read, Duration::from_micros(us)));
    other.count(Direction::Read, Duration::from_millis(5));
    other.count(Direction::Write, Duration::from_micros(7));
    let mut all = Tally::new(512);
    all.add(&one);
    all.add(&other);
    assert_eq!((all.commands(), all.bytes(&all.reads), all.writes.commands()), (101, 51_200, 1));
    let near = |value: f64, expected: f64| (value - expected).abs() <= expected / 500.0;
    assert!(near(all.reads.percentile_us(50.0), 50.0) && near(all.reads.percentile_us(99.0), 99.0));
    assert!(near(all.reads.max_us(), 5000.0) && near(all.writes.mean_us(), 7.0));
}
