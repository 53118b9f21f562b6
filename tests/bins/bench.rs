//! `tests/bench`: our target beside others under the same load, in interleaved rounds.
//!
//! Each workload runs against one target after the other, round by round (A B A B), so that what else the machine does hits
//! all of them. A ratio is the median of the rounds' ratios: two runs that were neighbours in time are compared, never two that
//! were not. Processor time per command is that of the target's process, from the operating system's accounting.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use lunkeep_tests::foreign;
use lunkeep_tests::process::run;
use lunkeep_tests::random::Random;
use lunkeep_tests::target::{Programs, Target};
use lunkeep_tests::tgt::Tgt;
use serde_json::{Value, json};

const HELP: &str = "\
Usage: tests/bench [--quick] [--rounds N] [--time SECONDS] [--only TEXT]... [--size MIB] [--dir DIR]
                   [--program NAME=TARGET]... [--target NAME=URL[,PID]]... [--no-tgt] [--json] [--help]

Compares lunkeep-target with tgt and others under the loads of lunkeep-initiator bench. tests/run installs tgt.

  --quick            the three most telling loads, 2 rounds of 1 second
  --rounds N         rounds of each load (5)
  --time SECONDS     measured in each round, for each target (2)
  --only TEXT        only loads whose name contains this; may be given several times (--list shows the names)
  --size MIB         size of each disk, which must fit the page cache (256)
  --dir DIR          folder for the disks (.build/bench); on tmpfs reads without waiting are not possible
  --program NAME=TARGET  also compare this build of lunkeep-target, for before and after
  --target NAME=URL[,PID]  also compare a target that runs already; it is WRITTEN TO. With PID its processor time is measured
  --no-tgt           leave tgt out
  --list             print the loads and exit
  --json             print JSON, with every round

The table has, for each load and target: IOPS, MB/s, the ratio of the IOPS to those of the first target (median of the
rounds; ours is the first), microseconds of the target's processor time per command, latency percentiles in microseconds,
and the generator's share of one processor: near 1.00 it was the limit.
Exit code: 0 done, 1 a failure, 2 a wrong call.";

/// Name, then flags of `bench`.
const LOADS: &[(&str, &str)] = &[
    ("randread-4k-qd1", "--pattern randread --block-size 4K --queue-depth 1"),
    ("randread-4k-qd32", "--pattern randread --block-size 4K --queue-depth 32"),
    ("randwrite-4k-qd32", "--pattern randwrite --block-size 4K --queue-depth 32"),
    ("mixed-4k-qd32", "--pattern mixed --block-size 4K --queue-depth 32"),
    ("randread-4k-qd32-digests", "--pattern randread --block-size 4K --queue-depth 32 --digests"),
    ("randread-4k-qd32-16-sessions", "--pattern randread --block-size 4K --queue-depth 32 --sessions 16"),
    ("seqread-128k-qd8", "--pattern seqread --block-size 128K --queue-depth 8"),
    ("seqread-1m-qd8", "--pattern seqread --block-size 1M --queue-depth 8"),
    ("seqwrite-128k-qd8", "--pattern seqwrite --block-size 128K --queue-depth 8"),
    ("seqwrite-1m-qd8", "--pattern seqwrite --block-size 1M --queue-depth 8"),
];

/// Those of `--quick`.
const QUICK: &[&str] = &["randread-4k-qd32", "randwrite-4k-qd32", "seqread-128k-qd8"];

/// What tgt needs to be at its best; by default it splits everything into pieces of 8 KiB.
const TGT_TUNING: &[(&str, &str)] = &[
    ("MaxRecvDataSegmentLength", "262144"),
    ("InitialR2T", "No"),
    ("FirstBurstLength", "262144"),
    ("MaxBurstLength", "1048576"),
];

/// Time that one run may need beyond what it measures.
const SLACK: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Settings {
    rounds: usize,
    time: f64,
    only: Vec<String>,
    size: u64,
    dir: PathBuf,
    programs: Vec<(String, String)>,
    targets: Vec<(String, String, Option<u32>)>,
    tgt: bool,
    json: bool,
}

enum Call {
    Run(Settings),
    Help,
    List,
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Call, String> {
    let mut settings = Settings {
        rounds: 5,
        time: 2.0,
        only: Vec::new(),
        size: 256,
        dir: foreign::root().join(".build/bench"),
        programs: Vec::new(),
        targets: Vec::new(),
        tgt: true,
        json: false,
    };
    let mut arguments = arguments;
    while let Some(flag) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{flag} needs a value"));
        let number = |text: &str| format!("{flag}: {text:?} is not a number that fits");
        match flag.as_str() {
            "--quick" => {
                (settings.rounds, settings.time) = (2, 1.0);
                settings.only = QUICK.iter().map(|&name| format!("={name}")).collect();
            }
            "--rounds" => {
                let text = value()?;
                settings.rounds = text.parse().ok().filter(|&n| n > 0).ok_or_else(|| number(&text))?;
            }
            "--time" => {
                let text = value()?;
                settings.time =
                    text.parse().ok().filter(|s| (0.1..=3600.0).contains(s)).ok_or_else(|| number(&text))?;
            }
            "--only" => settings.only.push(value()?),
            "--size" => {
                let text = value()?;
                settings.size =
                    text.parse().ok().filter(|m| (16..=1 << 20).contains(m)).ok_or_else(|| number(&text))?;
            }
            "--dir" => settings.dir = value()?.into(),
            "--program" => settings.programs.push(pair(&flag, &value()?)?),
            "--target" => {
                let (name, rest) = pair(&flag, &value()?)?;
                let (url, pid) = match rest.rsplit_once(',') {
                    Some((url, pid)) => (url.to_owned(), Some(pid.parse().map_err(|_| number(pid))?)),
                    None => (rest, None),
                };
                settings.targets.push((name, url, pid));
            }
            "--no-tgt" => settings.tgt = false,
            "--list" => return Ok(Call::List),
            "--json" => settings.json = true,
            "--help" | "-h" => return Ok(Call::Help),
            other => return Err(format!("unknown argument {other:?}")),
        }
    }
    if loads(&settings.only).is_empty() {
        return Err("no load has such a name; --list shows them".into());
    }
    Ok(Call::Run(settings))
}

fn pair(flag: &str, text: &str) -> Result<(String, String), String> {
    let (name, rest) = text.split_once('=').ok_or_else(|| format!("{flag} {text:?} is not NAME=..."))?;
    Ok((name.to_owned(), rest.to_owned()))
}

/// The loads that were asked for; `=NAME` is exact.
fn loads(only: &[String]) -> Vec<(&'static str, &'static str)> {
    let wanted = |name: &str| {
        only.iter().any(|text| match text.strip_prefix('=') {
            Some(exact) => name == exact,
            None => name.contains(text.as_str()),
        })
    };
    LOADS.iter().copied().filter(|(name, _)| only.is_empty() || wanted(name)).collect()
}

/// A target under load.
struct Subject {
    name: String,
    url: String,
    pid: Option<u32>,
}

/// What keeps the processes of the subjects running.
#[derive(Default)]
struct Running {
    ours: Vec<Target>,
    tgt: Option<Tgt>,
}

fn main() -> ExitCode {
    let settings = match parse(std::env::args().skip(1)) {
        Ok(Call::Run(settings)) => settings,
        Ok(Call::Help) => return print(HELP),
        Ok(Call::List) => return print(&LOADS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("\n")),
        Err(problem) => {
            eprintln!("tests/bench: {problem} (see --help)");
            return ExitCode::from(2);
        }
    };
    let (subjects, running) = start(&settings);
    let mut results = Vec::new();
    for (load, flags) in loads(&settings.only) {
        let mut rounds: Vec<Vec<Value>> = subjects.iter().map(|_| Vec::new()).collect();
        for round in 0..settings.rounds {
            // Every other round begins with the last, so that none always has the quiet place.
            let mut order: Vec<usize> = (0..subjects.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for subject in order {
                rounds[subject].push(measure(&settings, &subjects[subject], flags));
            }
        }
        results.extend(summary(load, &subjects, rounds));
        if !settings.json {
            print(&table(&results[results.len() - subjects.len()..], results.len() == subjects.len()));
        }
    }
    if settings.json {
        print(&serde_json::to_string_pretty(&results).expect("JSON"));
    }
    for target in running.ours {
        target.stop();
    }
    drop(running.tgt);
    ExitCode::SUCCESS
}

fn print(text: &str) -> ExitCode {
    println!("{text}");
    ExitCode::SUCCESS
}

/// A program that Cargo built beside this one.
fn beside(name: &str) -> String {
    let this = std::env::current_exe().expect("the path of this program");
    this.with_file_name(name).to_str().expect("a UTF-8 path").to_owned()
}

fn start(settings: &Settings) -> (Vec<Subject>, Running) {
    std::fs::create_dir_all(&settings.dir)
        .unwrap_or_else(|error| panic!("{}: {error}", settings.dir.display()));
    let (mut subjects, mut running) = (Vec::new(), Running::default());
    let own = ("lunkeep".to_owned(), beside("lunkeep-target"));
    for (name, program) in std::iter::once(&own).chain(&settings.programs) {
        let disk = warm_disk(settings, name);
        let state = settings.dir.join(format!("{name}.state"));
        let programs = Programs { target: Box::leak(program.clone().into_boxed_str()), initiator: "" };
        let path = |path: &Path| path.to_str().expect("a UTF-8 path").to_owned();
        let mut target =
            Target::serve(programs, ["--disk", &path(&disk), "--state", &path(&state), "--log", "warn"]);
        subjects.push(Subject { name: name.clone(), url: target.url(0), pid: Some(target.daemon().id()) });
        running.ours.push(target);
    }
    if settings.tgt {
        if foreign::find("tgtd").is_some() {
            let tgt = Tgt::serve(&settings.dir, &warm_disk(settings, "tgt"));
            tgt.allow_digests();
            TGT_TUNING.iter().for_each(|(key, value)| tgt.set(key, value));
            subjects.push(Subject { name: "tgt".into(), url: tgt.url(), pid: Some(tgt.id()) });
            running.tgt = Some(tgt);
        } else {
            eprintln!("tests/bench: tgt is not there and left out; tests/run installs it");
        }
    }
    for (name, url, pid) in &settings.targets {
        subjects.push(Subject { name: name.clone(), url: url.clone(), pid: *pid });
    }
    (subjects, running)
}

/// A disk without holes whose pages are all in the page cache and on the medium, so that no round pays for writing it back.
fn warm_disk(settings: &Settings, name: &str) -> PathBuf {
    let path = settings.dir.join(format!("{name}.raw"));
    let fail = |error: std::io::Error| -> ! { panic!("{}: {error}", path.display()) };
    let mut file = File::create(&path).unwrap_or_else(|error| fail(error));
    let mut random = Random::new(1);
    for _ in 0..settings.size {
        let chunk: Vec<u8> = (0..1 << 17).flat_map(|_| random.next_u64().to_le_bytes()).collect();
        file.write_all(&chunk).unwrap_or_else(|error| fail(error));
    }
    file.sync_all().unwrap_or_else(|error| fail(error));
    let mut file = File::open(&path).unwrap_or_else(|error| fail(error));
    let mut chunk = vec![0; 1 << 20];
    while file.read(&mut chunk).unwrap_or_else(|error| fail(error)) > 0 {}
    path
}

/// One round against one target.
fn measure(settings: &Settings, subject: &Subject, flags: &str) -> Value {
    let mut command = Command::new(beside("lunkeep-initiator"));
    let (time, warmup) = (settings.time.to_string(), (settings.time / 4.0).to_string());
    command
        .args(["bench", &subject.url, "--json", "--destructive", "--time", &time, "--warmup", &warmup])
        .args(["--span", &format!("{}M", settings.size)])
        .args(flags.split_whitespace())
        .arg("--state")
        .arg(settings.dir.join("initiator.state"));
    if let Some(pid) = subject.pid {
        command.args(["--pid", &pid.to_string()]);
    }
    let text = run(&mut command, Duration::from_secs_f64(settings.time * 2.0) + SLACK).expect_success();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// One document per target: medians of the rounds, and the rounds.
fn summary(load: &str, subjects: &[Subject], rounds: Vec<Vec<Value>>) -> Vec<Value> {
    let iops = |round: &Value| number(round, &["total", "iops"]);
    let first: Vec<f64> = rounds[0].iter().map(iops).collect();
    subjects
        .iter()
        .zip(rounds)
        .map(|(subject, rounds)| {
            let middle = |keys: &[&str]| median(rounds.iter().map(|round| number(round, keys)));
            let latency: BTreeMap<_, _> = ["p50", "p90", "p99", "p99.9", "max"]
                .map(|key| (key, middle(&["total", "latency_us", key])))
                .into();
            json!({
                "load": load,
                "target": subject.name,
                "iops": middle(&["total", "iops"]),
                "mb_per_s": middle(&["total", "mb_per_s"]),
                "ratio": median(rounds.iter().zip(&first).map(|(round, first)| iops(round) / first)),
                "cpu_us": subject.pid.map(|_| middle(&["process", "cpu_us_per_command"])),
                "latency_us": latency,
                "generator": middle(&["generator", "processors"]),
                "rounds": rounds,
            })
        })
        .collect()
}

fn number(document: &Value, keys: &[&str]) -> f64 {
    let found = keys.iter().fold(document, |value, key| &value[key]);
    found.as_f64().unwrap_or_else(|| panic!("no {keys:?} in {document:#}"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// Rows of a Markdown table.
fn table(results: &[Value], with_head: bool) -> String {
    let mut lines = Vec::new();
    if with_head {
        lines.push(
            "| load | target | IOPS | MB/s | ratio | CPU us | p50 | p90 | p99 | p99.9 | generator |".into(),
        );
        lines.push("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|".into());
    }
    for result in results {
        let text = |key: &str| result[key].as_str().unwrap_or_default().to_owned();
        let real = |key: &str| result[key].as_f64();
        let time = |key: &str| format!("{:.0}", result["latency_us"][key].as_f64().unwrap_or(f64::NAN));
        let digits =
            |value: Option<f64>, digits: usize| value.map_or("".into(), |value| format!("{value:.digits$}"));
        lines.push(format!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            text("load"),
            text("target"),
            digits(real("iops"), 0),
            digits(real("mb_per_s"), 0),
            digits(real("ratio"), 2),
            digits(real("cpu_us"), 1),
            time("p50"),
            time("p90"),
            time("p99"),
            time("p99.9"),
            digits(real("generator"), 2),
        ));
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Result<Call, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_wrong_call_is_named() {
        for (line, culprit) in [
            ("--rounds 0", "--rounds"),
            ("--time x", "--time"),
            ("--only nothing", "--list"),
            ("--target url", "--target"),
            ("--target a=url,x", "--target"),
            ("--size", "--size"),
            ("--fast", "--fast"),
        ] {
            let problem = call(line).err().unwrap_or_else(|| panic!("{line} was taken"));
            assert!(problem.contains(culprit), "{line}: {problem}");
        }
    }

    #[test]
    fn quick_names_loads_that_are_there() {
        let Ok(Call::Run(settings)) = call("--quick") else { panic!("--quick is right") };
        assert_eq!(loads(&settings.only).len(), QUICK.len());
        let Ok(Call::Run(settings)) = call("--target x=iscsi://host/iqn.2026-11.org:a/0,12") else {
            panic!("right")
        };
        assert_eq!(settings.targets[0].2, Some(12));
        assert_eq!(loads(&settings.only).len(), LOADS.len());
    }

    #[test]
    fn a_ratio_is_the_median_of_neighbours() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 2.5);
        let subjects = ["a", "b"].map(|name| Subject { name: name.into(), url: String::new(), pid: None });
        let round = |iops: f64| {
            let latency = json!({ "p50": 1.0, "p90": 1.0, "p99": 1.0, "p99.9": 1.0, "max": 1.0 });
            json!({ "total": { "iops": iops, "mb_per_s": 1.0, "latency_us": latency }, "generator": { "processors": 0.5 } })
        };
        // The machine was three times as fast in the second round; b is half of a in each.
        let rounds = vec![vec![round(100.0), round(300.0)], vec![round(50.0), round(150.0)]];
        let results = summary("load", &subjects, rounds);
        assert_eq!((results[0]["ratio"].as_f64(), results[1]["ratio"].as_f64()), (Some(1.0), Some(0.5)));
        assert!(results[1]["cpu_us"].is_null());
        let text = table(&results, true);
        assert!(text.lines().count() == 4 && text.contains("| load | b | 100 | 1 | 0.50 |  | 1 |"), "{text}");
    }
}
