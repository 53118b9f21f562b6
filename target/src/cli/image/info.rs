//! `image info`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::bytes;
use super::open::{ParentArgs, open};
use crate::cli::output;
use crate::image::{Access, Format, ImageInfo, chain};

/// Describes an image without changing it
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// The image
    path: PathBuf,
    /// Its format [default: what its content shows]
    #[arg(short = 'f', long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    parents: ParentArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    file: &'a Path,
    #[serde(flatten)]
    info: &'a ImageInfo,
    /// Bytes that the file takes on its file system.
    disk_usage: Option<u64>,
    /// Parent, its parent, and so on, for a differencing disk.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chain: Vec<Ancestor>,
    /// Why the chain ends before a disk without a parent.
    chain_error: Option<String>,
}

/// A parent, or a parent's parent.
#[derive(Serialize)]
struct Ancestor {
    file: String,
    #[serde(flatten)]
    info: ImageInfo,
}

pub(super) fn run(args: &InfoArgs) -> Result<(), String> {
    let path = &args.path;
    let opened =
        open(path, args.format, Access::ReadOnly, &args.parents).map_err(|refused| refused.message)?;
    let info = opened.format.inspect(&opened.file).map_err(|e| format!("{}: {e}", path.display()))?;
    let disk_usage = std::fs::metadata(path).ok().map(|m| m.blocks().saturating_mul(512));
    let (members, broken) = chain::ancestors(opened.format, &opened.file, &opened.lineage);
    let chain = members.into_iter().map(|m| Ancestor { file: m.label, info: m.info }).collect();
    let chain_error = broken.map(|e| e.to_string());
    let document = Document { file: path, info: &info, disk_usage, chain, chain_error };
    if args.json {
        output::line(serde_json::to_string_pretty(&document).map_err(|e| e.to_string())?);
    } else {
        lines(&document).iter().for_each(|(name, value)| output::line(format_args!("{name:<17} {value}")));
    }
    Ok(())
}

/// Name and value of each line for people.
fn lines(document: &Document<'_>) -> Vec<(String, String)> {
    let info = document.info;
    let subformat = info.subformat.as_deref().unwrap_or_default();
    let blocks = match (info.allocated_blocks, info.total_blocks) {
        (Some(allocated), Some(total)) => Some(format!("{allocated} of {total} take space")),
        _ => None,
    };
    let rows = [
        ("file", Some(document.file.display().to_string())),
        ("format", Some(format!("{} {subformat}", info.format).trim_end().to_owned())),
        ("virtual size", Some(bytes(info.virtual_size))),
        ("file size", Some(bytes(info.file_size))),
        ("disk usage", document.disk_usage.map(bytes)),
        ("block size", info.block_size.map(bytes)),
        ("blocks", blocks),
        ("sectors", Some(format!("{} logical, {} physical", info.logical_sector, info.physical_sector))),
        ("creator", info.creator.clone()),
        ("log", info.log.clone()),
        ("parent id", info.parent.as_ref().and_then(|p| p.id.clone())),
    ];
    let mut lines: Vec<(String, String)> =
        rows.into_iter().filter_map(|(name, value)| Some((format!("{name}:"), value?))).collect();
    lines.extend(info.ids.iter().map(|(name, id)| (format!("{name} id:"), id.clone())));
    let parents = info.parent.iter().flat_map(|p| &p.names);
    lines.extend(parents.map(|name| ("parent:".to_owned(), name.clone())));
    lines.extend(document.chain.iter().map(|ancestor| {
        let subformat = ancestor.info.subformat.as_deref().unwrap_or_default();
        ("chain:".to_owned(), format!("{} ({} {subformat})", ancestor.file, ancestor.info.format))
    }));
    lines.extend(document.chain_error.iter().map(|e| ("chain broken:".to_owned(), e.clone())));
    lines.extend(info.warnings.iter().map(|w| ("warning:".to_owned(), w.clone())));
    lines
}
