//! Power cuts while a VHDX log goes round its ring.
//!
//! Each flush changes more pages of the block allocation table than two log entries carry, so the log has to make room again
//! and again. Between two syncs every combination of *kinds* of writes (headers, log, table, payload) may be there or not, and
//! besides each single write to the log may be missing or torn.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use lunkeep_target::image::{Access, BlockFile, CreateOptions, Format, MemoryFile};
use lunkeep_tests::crash::stamp;
use lunkeep_tests::test_environment::TestEnvironment;

const MIB: u64 = 1 << 20;
/// Bytes of the disk that one page of the table speaks of.
const PAGE_SPAN: u64 = 512 * MIB;

#[derive(Clone, Debug)]
enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

impl Op {
    /// Where it goes, in the layout of files that the target makes.
    fn kind(&self) -> u32 {
        match self {
            Self::Write(..MIB, _) => 0,
            Self::Write(offset, _) if *offset < 2 * MIB => 1,
            Self::Write(offset, _) if *offset < 4 * MIB => 2,
            Self::Write(..) | Self::SetLen(_) | Self::Sync => 3,
        }
    }

    fn apply(&self, file: &MemoryFile) {
        match self {
            Self::Write(offset, bytes) => file.write_all_at(bytes, *offset).unwrap(),
            Self::SetLen(len) => file.set_len(*len).unwrap(),
            Self::Sync => {}
        }
    }
}

/// A file that records what was asked of it; one of its syncs may do nothing.
#[derive(Debug)]
struct Recorder {
    now: MemoryFile,
    ops: Mutex<Vec<Op>>,
    syncs: Mutex<usize>,
    skip: Option<usize>,
}

impl BlockFile for Recorder {
    fn len(&self) -> io::Result<u64> {
        self.now.len()
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.now.read_exact_at(buf, offset)
    }
    fn write_all_vectored_at(&self, bufs: &[IoSlice<'_>], offset: u64) -> io::Result<()> {
        let bytes = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
        self.ops.lock().unwrap().push(Op::Write(offset, bytes));
        self.now.write_all_vectored_at(bufs, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.ops.lock().unwrap().push(Op::SetLen(len));
        self.now.set_len(len)
    }
    fn sync_data(&self) -> io::Result<()> {
        let mut syncs = self.syncs.lock().unwrap();
        if self.skip != Some(*syncs) {
            self.ops.lock().unwrap().push(Op::Sync);
        }
        *syncs += 1;
        Ok(())
    }
    fn zero_range(&self, _range: Range<u64>) -> io::Result<()> {
        unreachable!("nothing is zeroed here")
    }
    fn punch_hole(&self, _range: Range<u64>) -> io::Result<()> {
        unreachable!("nothing is freed here")
    }
    fn reserve(&self, _range: Range<u64>) -> io::Result<()> {
        Ok(())
    }
    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        self.now.next_data(offset)
    }
}

/// Rounds of writes and a flush.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    count: u64,
    /// Pages of the table that each round changes, its own ones; an entry of a 1 MiB log carries 63.
    pages: u64,
}

impl Rounds {
    /// Where on the disk a page of a round is reached.
    fn at(self, round: u64, page: u64) -> u64 {
        (round * self.pages + page) * PAGE_SPAN
    }

    /// Every page of the first `count` rounds.
    fn first(self, count: u64) -> impl Iterator<Item = (u64, u64)> {
        (0..count).flat_map(move |round| (0..self.pages).map(move |page| (round, page)))
    }
}

fn bytes(round: u64, page: u64) -> Vec<u8> {
    stamp(page, round, 512)
}

/// Runs the rounds and looks at every power cut. Answers how many there were and how many syncs were asked for.
fn run(rounds: Rounds, skip: Option<usize>) -> Result<(usize, usize), String> {
    let size = rounds.at(rounds.count, 0);
    let options = CreateOptions { block_size: Some(MIB), ..CreateOptions::dynamic(size) };
    let image = MemoryFile::default();
    Format::Vhdx.create(&image, &options, &*TestEnvironment::shared()).unwrap();
    let file =
        Arc::new(Recorder { now: image.clone(), ops: Mutex::default(), syncs: Mutex::default(), skip });
    let disk = Format::Vhdx
        .open(Arc::clone(&file) as _, Access::ReadWrite, &TestEnvironment::shared())
        .map_err(|e| e.to_string())?;
    let mut flushed = Vec::new();
    for round in 0..rounds.count {
        for page in 0..rounds.pages {
            disk.write_at(&[IoSlice::new(&bytes(round, page))], rounds.at(round, page)).unwrap();
        }
        disk.flush().unwrap();
        flushed.push(file.ops.lock().unwrap().len());
    }
    drop(disk);
    let ops = file.ops.lock().unwrap().clone();
    let mut cuts = 0;
    let mut start = 0;
    while start < ops.len() {
        let stretch = &ops[start..];
        let len = stretch.iter().position(|op| matches!(op, Op::Sync)).unwrap_or(stretch.len());
        let stretch = &stretch[..len];
        // A flush that was answered before the end of the stretch is owed.
        let done = flushed.iter().filter(|at| **at <= start + len).count() as u64;
        let mut cut = |what: String, kept: &dyn Fn(usize, &Op) -> Option<Op>| {
            let file = image.clone();
            for op in stretch.iter().enumerate().filter_map(|(n, op)| kept(n, op)) {
                op.apply(&file);
            }
            cuts += 1;
            verify(file, rounds, done).map_err(|e| format!("{e}; {what} of the operations {start}.."))
        };
        for kinds in 0..16_u32 {
            cut(format!("kinds {kinds:04b}"), &|_, op| (kinds >> op.kind() & 1 == 1).then(|| op.clone()))?;
        }
        for (missing, op) in stretch.iter().enumerate() {
            let Op::Write(offset, bytes) = op else { continue };
            if op.kind() != 1 {
                continue;
            }
            cut(format!("all but {missing}"), &|n, op| (n != missing).then(|| op.clone()))?;
            let torn = Op::Write(*offset, bytes[..bytes.len() / 2].to_vec());
            cut(format!("all and half of {missing}"), &|n, op| {
                Some(if n == missing { torn.clone() } else { op.clone() })
            })?;
        }
        stretch.iter().for_each(|op| op.apply(&image));
        start += len + 1;
    }
    let syncs = *file.syncs.lock().unwrap();
    Ok((cuts, syncs))
}

/// Everything of the first `done` rounds has to be there.
fn verify(file: MemoryFile, rounds: Rounds, done: u64) -> Result<(), String> {
    let file: Arc<dyn BlockFile> = Arc::new(file);
    let env = TestEnvironment::shared();
    let report = Format::Vhdx.check(&file, false, &env).map_err(|e| e.to_string())?;
    if !report.is_sound() {
        return Err(format!("{:?}", report.findings));
    }
    let disk = Format::Vhdx.open(file, Access::ReadWrite, &env).map_err(|e| e.to_string())?;
    let mut buf = [0; 512];
    for (round, page) in rounds.first(done) {
        disk.read_at(&mut buf, rounds.at(round, page)).map_err(|e| e.to_string())?;
        if buf[..] != bytes(round, page) {
            return Err(format!("page {page} of round {round} is lost"));
        }
    }
    Ok(())
}

/// Syncs 1 and 2 are those of the headers, whose content lies in one sector, which is never torn.
fn every_sync_counts(rounds: Rounds, but: &[usize]) {
    let (cuts, syncs) = run(rounds, None).unwrap();
    println!("{cuts} power cuts, {syncs} syncs");
    for missing in (0..syncs).filter(|n| !but.contains(n)) {
        let violation = run(rounds, Some(missing));
        let violation = violation.expect_err(&format!("nothing noticed that sync {missing} is missing"));
        println!("without sync {missing}: {violation}");
    }
}

#[test]
fn a_vhdx_log_that_makes_room_between_flushes_survives_power_cuts() {
    every_sync_counts(Rounds { count: 3, pages: 120 }, &[1, 2]);
}

#[test]
fn a_vhdx_log_that_makes_room_within_a_flush_survives_power_cuts() {
    // 5 covers pages in place of which nothing was promised yet.
    every_sync_counts(Rounds { count: 2, pages: 130 }, &[1, 2, 5]);
}
