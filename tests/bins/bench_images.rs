//! `tests/bench-images`: our image formats beside QEMU's drivers for the same formats, with the same pattern in the same run.
//!
//! `qemu-img bench` gives the pattern: request number n goes to offset n times a step, modulo the size of the image. A step of a
//! block writes into a new block each time; a step that has nothing to do with the size jumps about in it. Here the same
//! requests go to a disk in this process, from as many threads as QEMU keeps requests in flight. Both go through the
//! host's page cache. Rounds are interleaved, and the table has the median of each.

use std::ffi::OsStr;
use std::io::{IoSlice, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use lunkeep_target::engine::{HostEnvironment, HostFile};
use lunkeep_target::image::{Access, Disk, Environment, Format};
use lunkeep_tests::foreign;

const HELP: &str = "\
Usage: tests/bench-images [--rounds N] [--dir DIR] [--only TEXT]... [--scale PERCENT] [--help]

Compares the image formats with QEMU's drivers for them (qemu-img bench) under the same requests, and prints a table.

  --rounds N       rounds of each row (3)
  --dir DIR        folder for the images, on a real file system (.build/bench-images)
  --only TEXT      only rows whose name contains this; may be given several times
  --scale PERCENT  how many requests, of the usual number (100)
";

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

/// What is done to an image.
struct Load {
    name: &'static str,
    /// Bytes of the disk.
    size: u64,
    /// Whether every block is written before.
    full: bool,
    write: bool,
    request: u64,
    step: u64,
    count: u64,
    depth: u64,
    /// Requests between two flushes; zero: none.
    flush: u64,
}

const FULL: u64 = 512 * MIB;
/// Odd, and 0.38 times the size: neighbours in time are far apart, and every request of 4 KiB comes before one comes again.
const JUMP: u64 = 195_563 * KIB / 4 * 4 + KIB;

const LOADS: [Load; 9] = [
    Load {
        name: "4 KiB into new blocks, 1",
        size: 8192 * MIB,
        full: false,
        write: true,
        request: 4 * KIB,
        step: 2 * MIB,
        count: 2000,
        depth: 1,
        flush: 0,
    },
    Load {
        name: "4 KiB into new blocks, 16",
        size: 8192 * MIB,
        full: false,
        write: true,
        request: 4 * KIB,
        step: 2 * MIB,
        count: 2000,
        depth: 16,
        flush: 0,
    },
    Load {
        name: "4 KiB into new blocks, 1, flush each 16",
        size: 8192 * MIB,
        full: false,
        write: true,
        request: 4 * KIB,
        step: 2 * MIB,
        count: 2000,
        depth: 1,
        flush: 16,
    },
    Load {
        name: "random 4 KiB write, 1",
        size: FULL,
        full: true,
        write: true,
        request: 4 * KIB,
        step: JUMP * 4,
        count: 30_000,
        depth: 1,
        flush: 0,
    },
    Load {
        name: "random 4 KiB write, 16",
        size: FULL,
        full: true,
        write: true,
        request: 4 * KIB,
        step: JUMP * 4,
        count: 60_000,
        depth: 16,
        flush: 0,
    },
    Load {
        name: "random 4 KiB write, 1, flush each 16",
        size: FULL,
        full: true,
        write: true,
        request: 4 * KIB,
        step: JUMP * 4,
        count: 6_000,
        depth: 1,
        flush: 16,
    },
    Load {
        name: "sequential 1 MiB write, new",
        size: FULL,
        full: false,
        write: true,
        request: MIB,
        step: MIB,
        count: 512,
        depth: 1,
        flush: 0,
    },
    Load {
        name: "sequential 1 MiB write, again",
        size: FULL,
        full: true,
        write: true,
        request: MIB,
        step: MIB,
        count: 1024,
        depth: 1,
        flush: 0,
    },
    Load {
        name: "sequential 1 MiB read",
        size: FULL,
        full: true,
        write: false,
        request: MIB,
        step: MIB,
        count: 2048,
        depth: 1,
        flush: 0,
    },
];

/// A format, what QEMU calls it, and the options with which QEMU makes the image.
const FORMATS: [(Format, &str, &str); 3] = [
    (Format::Vhdx, "vhdx", "subformat=dynamic,block_size=2M"),
    (Format::Vhd, "vpc", "subformat=dynamic,force_size=on"),
    (Format::Raw, "raw", ""),
];

struct Options {
    rounds: usize,
    dir: PathBuf,
    only: Vec<String>,
    scale: u64,
}

fn options() -> Result<Option<Options>, String> {
    let mut options =
        Options { rounds: 3, dir: foreign::root().join(".build/bench-images"), only: Vec::new(), scale: 100 };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        match arg.as_str() {
            "--rounds" => options.rounds = usize::try_from(number(value()?)?.max(1)).unwrap_or(1),
            "--dir" => options.dir = value()?.into(),
            "--only" => options.only.push(value()?),
            "--scale" => options.scale = number(value()?)?,
            "--help" | "-h" => return Ok(None),
            other => return Err(format!("unknown argument {other}; --help tells what there is")),
        }
    }
    Ok(Some(options))
}

fn main() -> ExitCode {
    match options().and_then(|options| {
        options.map_or_else(
            || {
                print!("{HELP}");
                Ok(())
            },
            |options| compare(&options),
        )
    }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{}: {e}", options.dir.display());
    std::fs::create_dir_all(&options.dir).map_err(failed)?;
    let version = output(foreign::command("qemu-img").arg("--version"))?;
    println!(
        "lunkeep {} beside {}, median of {} rounds\n",
        env!("CARGO_PKG_VERSION"),
        version.lines().next().unwrap_or_default(),
        options.rounds
    );
    println!(
        "| format | load | lunkeep /s | QEMU /s | lunkeep MiB/s | QEMU MiB/s | ratio |\n|---|---|--:|--:|--:|--:|--:|"
    );
    for (format, qemu_name, qemu_options) in FORMATS {
        for load in &LOADS {
            let name = format!("{} {}", format.name(), load.name);
            if !options.only.is_empty() && !options.only.iter().any(|text| name.contains(text.as_str())) {
                continue;
            }
            let count = (load.count * options.scale / 100).max(load.depth);
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..options.rounds {
                let image = options.dir.join(format!("image.{}", format.name()));
                make(&image, load, (format, qemu_name, qemu_options))?;
                ours.push(run_ours(&image, format, load, count)?);
                make(&image, load, (format, qemu_name, qemu_options))?;
                match run_qemu(&image, qemu_name, load, count) {
                    Ok(seconds) => theirs.push(seconds),
                    Err(e) => eprintln!("QEMU failed: {e}"),
                }
                std::fs::remove_file(&image).map_err(failed)?;
            }
            let (ours, theirs) = (median(ours), median(theirs));
            let rate = |seconds: f64| whole(count) / seconds;
            let speed = |seconds: f64| rate(seconds) * whole(load.request) / whole(MIB);
            println!(
                "| {} | {} | {:.0} | {} | {:.0} | {} | {} |",
                format.name(),
                load.name,
                rate(ours),
                or_failed(rate(theirs), 0),
                speed(ours),
                or_failed(speed(theirs), 0),
                or_failed(theirs / ours, 2)
            );
            std::io::stdout().flush().map_err(failed)?;
        }
    }
    Ok(())
}

/// A figure; of a run in which QEMU failed each time there is none.
fn or_failed(value: f64, decimals: usize) -> String {
    if value.is_nan() { "failed".to_owned() } else { format!("{value:.decimals$}") }
}

fn whole(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!("{command:?}: {}", text(&output.stderr)))
    }
}

/// An image that QEMU made, the same for both; filled where the load wants that, and on stable storage.
fn make(
    image: &Path,
    load: &Load,
    (format, qemu_name, qemu_options): (Format, &str, &str),
) -> Result<(), String> {
    drop(std::fs::remove_file(image));
    let size = load.size.to_string();
    let mut args: Vec<&OsStr> = ["create", "-q", "-f", qemu_name].map(OsStr::new).to_vec();
    if !qemu_options.is_empty() {
        args.extend([OsStr::new("-o"), OsStr::new(qemu_options)]);
    }
    args.extend([image.as_os_str(), OsStr::new(&size)]);
    output(foreign::command("qemu-img").args(args))?;
    if load.full {
        let disk = open(image, format)?;
        let bytes = vec![0xa5; 1 << 20];
        for at in (0..load.size).step_by(1 << 20) {
            disk.write_at(&[IoSlice::new(&bytes)], at).map_err(|e| e.to_string())?;
        }
        disk.close().map_err(|e| e.to_string())?;
    }
    let file = std::fs::File::open(image).and_then(|file| file.sync_all());
    file.map_err(|e| format!("{}: {e}", image.display()))
}

fn open(image: &Path, format: Format) -> Result<Arc<dyn Disk>, String> {
    let env: Arc<dyn Environment> = Arc::new(HostEnvironment);
    let file = HostFile::open(image, Access::ReadWrite).map_err(|e| e.to_string())?;
    format.open(Arc::new(file), Access::ReadWrite, &env).map_err(|e| e.to_string())
}

/// Seconds for the load.
fn run_ours(image: &Path, format: Format, load: &Load, count: u64) -> Result<f64, String> {
    let disk = open(image, format)?;
    let next = AtomicU64::new(0);
    let start = Instant::now();
    let work = || -> Result<(), String> {
        let mut bytes = vec![0x5a; usize::try_from(load.request).unwrap_or(0)];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                return Ok(());
            }
            // As QEMU: the request that would cross the end starts anew.
            let at = number * load.step % (load.size - load.request);
            let done = if load.write {
                disk.write_at(&[IoSlice::new(&bytes)], at)
            } else {
                disk.read_at(&mut bytes, at)
            };
            done.map_err(|e| e.to_string())?;
            if load.flush > 0 && (number + 1).is_multiple_of(load.flush) {
                disk.flush().map_err(|e| e.to_string())?;
            }
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (1..load.depth).map(|_| scope.spawn(work)).collect();
        let first = work();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err("a thread failed".to_owned())))
            .fold(first, Result::and)
    })?;
    let seconds = start.elapsed().as_secs_f64();
    disk.close().map_err(|e| e.to_string())?;
    Ok(seconds)
}

/// Seconds for the load, as QEMU tells.
fn run_qemu(image: &Path, qemu_name: &str, load: &Load, count: u64) -> Result<f64, String> {
    let mut command = foreign::command("qemu-img");
    command.args(["bench", "-f", qemu_name, "-t", "writeback", "--pattern=90"]);
    for (flag, value) in [("-c", count), ("-d", load.depth), ("-s", load.request), ("-S", load.step)] {
        command.arg(flag).arg(value.to_string());
    }
    if load.write {
        command.arg("-w");
    }
    if load.flush > 0 {
        command.arg(format!("--flush-interval={}", load.flush));
    }
    let text = output(command.arg(image))?;
    let seconds = text.split_whitespace().rev().nth(1).and_then(|word| word.parse().ok());
    seconds.ok_or_else(|| format!("qemu-img bench said {text:?}"))
}
