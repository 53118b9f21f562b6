//! The formats that are served, each with how it is made here and how QEMU opens it.

use std::path::Path;
use std::process::Command;

use lunkeep_tests::process::run;
use lunkeep_tests::target::TOOL_LIMIT;
use lunkeep_tests::{foreign, programs};

/// A format as the suites go through them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Format {
    pub(super) name: &'static str,
    /// File name, whose extension names the format.
    pub(super) file: &'static str,
    /// Options of `--disk` and of `image create` beside the size.
    pub(super) options: &'static [&'static str],
    /// Logical block size in bytes.
    pub(super) block: u32,
    /// QEMU's driver for the file, where QEMU can open it.
    pub(super) qemu: Option<&'static str>,
}

pub(super) const FORMATS: [Format; 8] = [
    Format { name: "raw", file: "disk.raw", options: &[], block: 512, qemu: Some("raw") },
    Format {
        name: "raw of 4096-byte blocks",
        file: "disk.raw",
        options: &["block=4096"],
        block: 4096,
        qemu: Some("raw"),
    },
    Format { name: "fixed VHD", file: "disk.vhd", options: &["fixed"], block: 512, qemu: Some("vpc") },
    Format { name: "dynamic VHD", file: "disk.vhd", options: &[], block: 512, qemu: Some("vpc") },
    Format { name: "fixed VHDX", file: "disk.vhdx", options: &["fixed"], block: 512, qemu: Some("vhdx") },
    Format { name: "dynamic VHDX", file: "disk.vhdx", options: &[], block: 512, qemu: Some("vhdx") },
    // QEMU refuses VHDX of 4096-byte sectors.
    Format {
        name: "fixed VHDX of 4096-byte blocks",
        file: "disk.vhdx",
        options: &["fixed", "block=4096"],
        block: 4096,
        qemu: None,
    },
    Format {
        name: "dynamic VHDX of 4096-byte blocks",
        file: "disk.vhdx",
        options: &["block=4096"],
        block: 4096,
        qemu: None,
    },
];

impl Format {
    /// The value of `--disk` for a new image of `size` bytes at `path`.
    pub(super) fn new_disk(&self, path: &str, size: u64) -> String {
        self.options.iter().fold(format!("{path},size={size}"), |text, option| text + "," + option)
    }

    /// The value of `--disk` for an image that exists. A raw file does not say its block size.
    pub(super) fn disk(&self, path: &str) -> String {
        if self.records_nothing() { format!("{path},block={}", self.block) } else { path.to_owned() }
    }

    fn records_nothing(&self) -> bool {
        self.qemu == Some("raw")
    }

    /// Turns the raw file `source` into a new image at `path` with our own tool.
    pub(super) fn convert_from(&self, source: &str, path: &str) {
        let mut arguments =
            vec!["image".to_owned(), "convert".to_owned(), source.to_owned(), path.to_owned()];
        let recorded = if self.records_nothing() { &[] } else { self.options };
        arguments
            .extend(recorded.iter().map(|option| format!("--{}", option.replace("block=", "sector-size="))));
        programs!().target(arguments).expect_success();
    }

    /// Has QEMU check the image, where it can, and turn it into the raw file `out`. `false` when QEMU cannot open the format.
    pub(super) fn read_with_qemu(&self, path: &str, out: &Path) -> bool {
        let Some(driver) = self.qemu else { return false };
        if driver == "vhdx" {
            run(foreign::command("qemu-img").args(["check", "-f", "vhdx", path]), TOOL_LIMIT)
                .expect_success();
        }
        let mut convert: Command = foreign::command("qemu-img");
        convert.args(["convert", "-f", driver, "-O", "raw", path]).arg(out);
        run(&mut convert, TOOL_LIMIT).expect_success();
        true
    }
}
