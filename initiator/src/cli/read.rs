//! `read`: a LUN into a file.

use std::fs::File;
use std::io::{self, Write};
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
    /// First byte to read; K, M, G and T are powers of 1024.
    #[arg(long, default_value = "0", value_name = "BYTES", value_parser = size::parse)]
    offset: u64,
    /// Bytes to read [default: up to the end of the LUN].
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    length: Option<u64>,
    /// File to write to, - for standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    connection: ConnectionArguments,
}

pub(super) async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let to_stdout = arguments.output == Path::new("-");
    if to_stdout && arguments.connection.json {
        return Err(Failure::usage("--json and --output - would both write to standard output"));
    }
    let (_node, lun) = arguments.connection.open(&arguments.url).await?;
    let unit = prepare(&lun).await?;
    let (from, to) = range(arguments, unit)?;
    let name = if to_stdout { "standard output".into() } else { arguments.output.display().to_string() };
    let local = |error: io::Error| Failure::local(format!("{name}: {error}"));
    let mut sink: Box<dyn Write> = if to_stdout {
        Box::new(io::stdout().lock())
    } else {
        Box::new(File::create(&arguments.output).map_err(local)?)
    };

    copy(&lun, unit, from, to, |data| sink.write_all(data).map_err(local)).await?;
    sink.flush().map_err(local)?;
    lun.session().clone().logout().await?;
    if arguments.connection.json {
        output::json(&json!({ "offset": from, "length": to - from, "output": name }));
    }
    Ok(())
}

/// First byte and end, both within the LUN.
fn range(arguments: &Arguments, unit: Unit) -> Result<(u64, u64), Failure> {
    let (from, len) = (arguments.offset, unit.len);
    let to = match arguments.length {
        Some(length) => from.checked_add(length),
        None => Some(len),
    };
    match to {
        Some(to) if from <= to && to <= len => Ok((from, to)),
        _ => Err(Failure::usage(format!("the LUN has {len} bytes; --offset and --length go beyond its end"))),
    }
}

/// Reads whole blocks and hands over the bytes that were asked for, in order.
async fn copy(
    lun: &LunHandle,
    unit: Unit,
    from: u64,
    to: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let block_len = u64::from(unit.block_len);
    let (mut next, end) = (from / block_len, to.div_ceil(block_len));
    if from == to {
        return Ok(());
    }
    let bar = output::progress(Some(to - from));
    let mut pipeline: Pipeline<(u64, Bytes)> = Pipeline::new();
    loop {
        while next < end && !pipeline.is_full() {
            let blocks = u32::try_from(end - next).map_or(unit.chunk, |left| left.min(unit.chunk));
            let (lun, lba) = (lun.clone(), next);
            pipeline.push(async move {
                let data = until_processed(|| lun.read(lba, blocks, unit.block_len)).await?;
                Ok((lba * block_len, data))
            });
            next += u64::from(blocks);
        }
        let Some(result) = pipeline.next().await else { break };
        let (start, data) = result?;
        let data = within(&data, start, from, to);
        sink(data)?;
        bar.inc(data.len() as u64);
    }
    bar.finish_and_clear();
    Ok(())
}

/// The part of `data`, which begins at byte `start` of the LUN, that lies between `from` and `to`.
fn within(data: &[u8], start: u64, from: u64, to: u64) -> &[u8] {
    let clamp =
        |at: u64| usize::try_from(at.saturating_sub(start)).map_or(data.len(), |at| at.min(data.len()));
    data.get(clamp(from)..clamp(to)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_to_the_bytes_that_were_asked_for() {
        let data = [0, 1, 2, 3, 4, 5, 6, 7];
        assert_eq!(within(&data, 8, 0, 100), data);
        assert_eq!(within(&data, 8, 10, 100), [2, 3, 4, 5, 6, 7]);
        assert_eq!(within(&data, 8, 10, 13), [2, 3, 4]);
        assert_eq!(within(&data, 8, 8, 16), data);
        assert!(within(&data, 8, 16, 20).is_empty());
        assert!(within(&data, 8, 0, 8).is_empty());
    }
}
