//! `write`: a file to a LUN.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::connection::ConnectionArguments;
use super::failure::Failure;
use super::retry::until_processed;
use super::transfer::{Pipeline, Unit, prepare};
use super::url::Url;
use super::{output, size, url};
use crate::engine::LunHandle;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// iscsi://[user[%password]@]host[:port]/target/lun
    #[arg(value_parser = url::parse)]
    url: Url,
    /// First byte to write, a multiple of the LUN's block length; K, M, G and T are powers of 1024.
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = size::parse)]
    offset: u64,
    /// File to read from, - for standard input. Its length must be a multiple of the LUN's block length.
    #[arg(long, short, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let from_stdin = arguments.input == Path::new("-");
    let name = if from_stdin { "standard input".into() } else { arguments.input.display().to_string() };
    let local = |error: io::Error| Failure::local(format!("{name}: {error}"));
    let (mut source, len): (Box<dyn Read>, Option<u64>) = if from_stdin {
        (Box::new(io::stdin().lock()), None)
    } else {
        let file = File::open(&arguments.input).map_err(local)?;
        let metadata = file.metadata().map_err(local)?;
        (Box::new(file), metadata.is_file().then_some(metadata.len()))
    };
    let (_node, lun) = arguments.connection.open(&arguments.url).await?;
    let unit = prepare(&lun).await?;
    // What is known is checked before the first block is written.
    check(&name, unit, arguments.offset, len.unwrap_or(0))?;

    let bar = output::progress(len);
    let mut next = arguments.offset;
    let mut pipeline = Pipeline::new();
    let mut chunk = vec![0; unit.chunk as usize * unit.block_len as usize];
    loop {
        let filled = fill(&mut source, &mut chunk).map_err(local)?;
        if filled > 0 {
            let written =
                |failure: Failure| failure.while_doing(format_args!("bytes {} on were not written", next));
            check(&name, unit, next, filled as u64).map_err(written)?;
            if pipeline.is_full() {
                finish_one(&mut pipeline, &bar).await?;
            }
            pipeline.push(write(lun.clone(), unit, next, Bytes::copy_from_slice(&chunk[..filled])));
            next += filled as u64;
        }
        if filled < chunk.len() {
            break;
        }
    }
    while finish_one(&mut pipeline, &bar).await? {}
    bar.finish_and_clear();
    until_processed(|| lun.flush()).await?;
    lun.session().clone().logout().await?;
    if arguments.connection.json {
        output::json(
            &json!({ "offset": arguments.offset, "length": next - arguments.offset, "input": name }),
        );
    }
    Ok(())
}

async fn write(lun: LunHandle, unit: Unit, at: u64, data: Bytes) -> Result<u64, crate::engine::Error> {
    let lba = at / u64::from(unit.block_len);
    until_processed(|| lun.write(lba, data.clone(), unit.block_len)).await?;
    Ok(data.len() as u64)
}

/// Waits for the oldest write; `false` when there is none.
async fn finish_one(pipeline: &mut Pipeline<u64>, bar: &indicatif::ProgressBar) -> Result<bool, Failure> {
    match pipeline.next().await {
        Some(written) => bar.inc(written?),
        None => return Ok(false),
    }
    Ok(true)
}

/// Whole blocks within the LUN.
fn check(name: &str, unit: Unit, at: u64, len: u64) -> Result<(), Failure> {
    let block_len = u64::from(unit.block_len);
    if !at.is_multiple_of(block_len) {
        return Err(Failure::usage(format!(
            "--offset {at} is not a multiple of the LUN's {block_len} byte blocks"
        )));
    }
    if !len.is_multiple_of(block_len) {
        return Err(Failure::usage(format!(
            "{name} does not end at a multiple of the LUN's {block_len} byte blocks; pad it first"
        )));
    }
    match at.checked_add(len) {
        Some(end) if end <= unit.len => Ok(()),
        _ => Err(Failure::usage(format!(
            "{name} goes beyond the end of the LUN, which has {} bytes",
            unit.len
        ))),
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_blocks_within_the_lun_are_written() {
        let unit = Unit { block_len: 512, len: 4096, chunk: 8, longest: 8 };
        let refused = |at, len| check("in", unit, at, len).err().map(|failure| failure.message);
        assert_eq!(refused(0, 4096), None);
        assert_eq!(refused(4096, 0), None);
        assert!(refused(100, 512).is_some_and(|text| text.contains("--offset 100")));
        assert!(refused(0, 100).is_some_and(|text| text.contains("pad")));
        assert!(refused(512, 4096).is_some_and(|text| text.contains("beyond the end")));
        assert!(refused(u64::MAX - 511, 512).is_some());
    }

    #[test]
    fn a_source_that_gives_little_at_a_time_fills_the_buffer() {
        struct OneByte<'a>(&'a [u8]);
        impl Read for OneByte<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let one = buffer.len().min(1);
                self.0.read(&mut buffer[..one])
            }
        }
        let mut source = OneByte(b"abcdefgh");
        let mut buffer = [0; 5];
        assert_eq!((fill(&mut source, &mut buffer).unwrap(), &buffer), (5, b"abcde"));
        assert_eq!((fill(&mut source, &mut buffer).unwrap(), &buffer[..3]), (3, &b"fgh"[..]));
        assert_eq!(fill(&mut source, &mut buffer).unwrap(), 0);
    }
}
