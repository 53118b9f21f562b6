//! What is said about an image: its description and the result of a check.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Format;
use crate::limits::MAX_CHECK_FINDINGS;

/// A description of an image, for people and as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct ImageInfo {
    /// The format of the file.
    pub format: Format,
    /// `fixed`, `dynamic` or `differencing`; `None` for raw.
    pub subformat: Option<String>,
    /// Size of the virtual disk in bytes.
    pub virtual_size: u64,
    /// Length of the file in bytes, holes included.
    pub file_size: u64,
    /// Bytes of payload in a block.
    pub block_size: Option<u64>,
    /// Logical sector size in bytes.
    pub logical_sector: u32,
    /// Physical sector size in bytes.
    pub physical_sector: u32,
    /// The program that made the file, as the file tells it.
    pub creator: Option<String>,
    /// Identifiers in the file by name, such as `virtual disk`.
    pub ids: BTreeMap<String, String>,
    /// Where a differencing disk says that its parent is.
    pub parent: Option<ParentInfo>,
    /// Blocks that take up space in the file.
    pub allocated_blocks: Option<u64>,
    /// Blocks of the virtual disk.
    pub total_blocks: Option<u64>,
    /// `clean`, or why the log has to be replayed; `None` when the format has no log.
    pub log: Option<String>,
    /// What is odd about the file, in sentences.
    pub warnings: Vec<String>,
}

impl ImageInfo {
    /// A description with everything optional left out and 512-byte sectors.
    #[must_use]
    pub fn new(format: Format, virtual_size: u64, file_size: u64) -> Self {
        Self {
            format,
            subformat: None,
            virtual_size,
            file_size,
            block_size: None,
            logical_sector: 512,
            physical_sector: 512,
            creator: None,
            ids: BTreeMap::new(),
            parent: None,
            allocated_blocks: None,
            total_blocks: None,
            log: None,
            warnings: Vec::new(),
        }
    }
}

/// The parent of a differencing disk, as the child names it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ParentInfo {
    /// The identifier the parent must have.
    pub id: Option<String>,
    /// The names it may have, the best first.
    pub names: Vec<String>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file breaks a rule of its format; data may be lost or wrong.
    Error,
    /// Space that nothing refers to.
    Leak,
    /// Unusual and harmless.
    Note,
}

/// One thing that a check found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What and where, in a sentence.
    pub message: String,
    /// Whether the check put it right.
    pub repaired: bool,
}

/// The result of a check. Counts are exact; `findings` holds the first [`MAX_CHECK_FINDINGS`] only.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CheckReport {
    /// Errors that are still there.
    pub errors: u64,
    /// Leaks that are still there.
    pub leaks: u64,
    /// Errors and leaks that were put right.
    pub repaired: u64,
    /// Each finding, in the order found.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Adds something that is still as it was found.
    pub fn found(&mut self, severity: Severity, message: impl Into<String>) {
        self.add(severity, message.into(), false);
    }

    /// Adds something that was put right.
    pub fn repaired(&mut self, severity: Severity, message: impl Into<String>) {
        self.add(severity, message.into(), true);
    }

    /// Whether no error is left. Leaks and notes do not count.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.errors == 0
    }

    fn add(&mut self, severity: Severity, message: String, repaired: bool) {
        let count = match (severity, repaired) {
            (Severity::Error | Severity::Leak, true) => Some(&mut self.repaired),
            (Severity::Error, false) => Some(&mut self.errors),
            (Severity::Leak, false) => Some(&mut self.leaks),
            (Severity::Note, _) => None,
        };
        if let Some(count) = count {
            *count = count.saturating_add(1);
        }
        if self.findings.len() < MAX_CHECK_FINDINGS {
            self.findings.push(Finding { severity, message, repaired });
        }
    }
}
